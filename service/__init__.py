"""Timewarden: a timesheet API in which a policy decides every request and an append-only log records every decision.

README.md draws the rooms; import-linter (pyproject.toml) and tests/unit/test_architecture.py check their imports.
"""

# The release; a test keeps it equal to pyproject.toml.
VERSION = "0.1.0"
