"""Timewarden: a timesheet API whose every answer is decided by a policy and remembered by an append-only log.

The floors are drawn in README.md and are checked by import-linter (pyproject.toml) and tests/unit/test_architecture.py.
"""

# The release; a test keeps it equal to pyproject.toml.
VERSION = "0.1.0"
