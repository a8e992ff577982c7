"""Migrations: plain SQL, numbered, forward only, run by `timewarden migrate` as the owner of the database.

Alembic keeps the order and remembers what ran; the SQL stands beside each step. The log is never rewritten.
"""

from service.migrations.run import migrate

__all__ = ["migrate"]
