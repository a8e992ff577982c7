"""Runs a SQL file of many statements through asyncpg's simple protocol, within Alembic's transaction, and locks tables
for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import op
from sqlalchemy.util import await_only

if TYPE_CHECKING:
    from sqlalchemy import Connection

# Lock the tables before the first step. Transactions of the service lock a timesheet, the directory's revision or the
# head of the log first, and other tables later; with an idempotency key they look for a stored response before that. In
# the same order, this waits for them while it holds nothing that they need. Steps that lock one table after another
# deadlock with them, again and again where many requests change sheets. Records are left to the steps: an export reads
# them for minutes, and what writes them needs no table afterwards that it does not hold.
LOCK_TABLES = """
DO $$
DECLARE
    first text[] := '{kept_answer,timesheet,directory_revision,log_head}';
    tables text := (
        SELECT string_agg(format('%I', relname), ', ' ORDER BY array_position(first, relname::text), relname)
        FROM pg_class
        WHERE relkind = 'r' AND NOT starts_with(relname, 'audit_') AND pg_has_role(relowner, 'USAGE')
            AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()));
BEGIN
    IF tables IS NOT NULL THEN
        EXECUTE 'LOCK TABLE ' || tables || ' IN ACCESS EXCLUSIVE MODE';
    END IF;
END
$$
"""


def lock_tables(connection: Connection) -> None:
    """Lock the tables, without records, against every other transaction, until the end of this one."""
    _execute(connection, LOCK_TABLES)


def run_file(name: str) -> None:
    """Execute `versions/<name>` on the connection that Alembic holds."""
    _execute(op.get_bind(), (Path(__file__).parent / "versions" / name).read_text(encoding="utf-8"))


def _execute(connection: Connection, text: str) -> None:
    driver_connection = connection.connection.driver_connection
    if driver_connection is None:
        raise RuntimeError("Alembic holds no connection")
    await_only(driver_connection.execute(text))
