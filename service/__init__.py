"""Timewarden: a timesheet API whose every answer is decided by a policy and remembered by an append-only log.

The floors are drawn in docs/architecture.md and in README.md, and are checked by import-linter (pyproject.toml).
"""
