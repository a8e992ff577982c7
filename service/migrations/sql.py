"""Runs a SQL file of many statements through asyncpg's simple protocol, within Alembic's transaction, locks tables for
it, and finds the transactions that hold them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import op
from sqlalchemy.util import await_only

if TYPE_CHECKING:
    from sqlalchemy import Connection

# The tables of the service.
OWN = """pg_has_role(relowner, 'USAGE')
    AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())"""
# Those that are locked before the first step. Records are left to the steps: an export reads them for minutes, and what
# writes them needs no table afterwards that it does not hold.
LOCKED = "relkind = 'r' AND NOT starts_with(relname, 'audit_')"
# Lock them. Transactions of the service lock a timesheet, the directory's revision or the head of the log first, and
# other tables later; with an idempotency key they look for a stored response before that. In the same order, this waits
# for them while it holds nothing that they need. Steps that lock one table after another deadlock with them, again and
# again where many requests change sheets.
# Postgres counts lock_timeout anew for each table, while requests already wait for the tables before it. So each table
# gets only what is left of one lock_timeout, and a step that locks a table of records waits no longer than that.
LOCK_TABLES = f"""
DO $$
DECLARE
    first text[] := '{{kept_answer,timesheet,directory_revision,log_head}}';
    deadline timestamptz := clock_timestamp() + current_setting('lock_timeout')::interval;
    name text;
BEGIN
    FOR name IN
        SELECT relname FROM pg_class WHERE {LOCKED} AND {OWN} ORDER BY array_position(first, relname::text), relname
    LOOP
        -- In whole milliseconds; 0 would be no limit.
        PERFORM set_config('lock_timeout',
            greatest(1, ceil(1000 * extract(epoch FROM deadline - clock_timestamp())))::int::text, true);
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', name);
    END LOOP;
END
$$
"""
# The other transactions that hold tables of the service, the oldest first, and whether LOCK_TABLES waits for them.
# Postgres tells the age of another role's transaction only to members of that role or of pg_read_all_stats. The workers
# of a parallel query end with their leader.
HOLDERS = f"""
SELECT held.virtualtransaction AS transaction, held.pid, activity.usename AS role,
       coalesce(nullif(activity.application_name, ''), activity.backend_type, 'a session') AS application,
       extract(epoch FROM clock_timestamp() - activity.xact_start)::int AS seconds,
       count(DISTINCT relname) AS tables, min(relname) AS example, bool_or({LOCKED}) AS blocks
FROM pg_locks AS held
JOIN pg_class ON pg_class.oid = held.relation
LEFT JOIN pg_stat_activity AS activity ON activity.pid = held.pid
WHERE held.granted AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND held.pid IS DISTINCT FROM pg_backend_pid() AND activity.leader_pid IS NULL
    AND relkind IN ('r', 'p') AND {OWN}
GROUP BY held.virtualtransaction, held.pid, activity.usename, activity.application_name, activity.backend_type,
    activity.xact_start
ORDER BY activity.xact_start
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
