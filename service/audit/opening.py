"""What must hold before the log is used: it is opened by its first record, and nobody who writes it can rewrite it.

`open_log` is run by `migrate` as the owner; `check_rights` by every process that writes, as itself. Owns no state.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from uuid_utils.compat import uuid7

from service.audit.record import Kind, Record
from service.audit.writing import write
from service.errors import Misconfigured

if TYPE_CHECKING:
    from uuid import UUID

    from service.database import Connection

# Let nobody write a record or open the log meanwhile, and wait for those who are at it.
LOCK = "LOCK TABLE audit_record, log_head IN SHARE ROW EXCLUSIVE MODE"

# The epoch of a log that is open.
EPOCH = "SELECT epoch FROM log_head"

# Whether any record is there already.
ANY_RECORD = "SELECT EXISTS (SELECT FROM audit_record)"

# Open the log: nothing is sealed, and the first scan for unsealed rows starts from the beginning.
OPEN = "INSERT INTO log_head (epoch, size, low_xid) VALUES ($1, 0, '0'::xid8)"

# Which rights does this role have, by itself or by a role that it may take on, that a writer of the log must not have?
TOO_MUCH = """
    WITH mine AS (SELECT oid FROM pg_roles WHERE pg_has_role(current_user, oid, 'MEMBER')),
    part AS (
        SELECT relid::oid AS oid FROM pg_partition_tree('audit_record')
        UNION ALL SELECT 'audit_position'::regclass
    )
    SELECT 'is a superuser' AS what FROM pg_roles WHERE rolname = current_user AND rolsuper
    UNION ALL
    SELECT 'owns ' || relname FROM part JOIN pg_class USING (oid) WHERE pg_has_role(current_user, relowner, 'MEMBER')
    UNION ALL
    SELECT DISTINCT 'has ' || word || ' on ' || oid::regclass
    FROM part, unnest(ARRAY['DELETE', 'TRUNCATE', 'TRIGGER']) word
    WHERE EXISTS (SELECT FROM mine WHERE has_table_privilege(mine.oid, part.oid, word))
    UNION ALL
    SELECT 'has UPDATE on ' || oid::regclass FROM part
    WHERE EXISTS (SELECT FROM mine WHERE has_any_column_privilege(mine.oid, part.oid, 'UPDATE'))
    UNION ALL
    SELECT 'may set ' || attname || ' of ' || oid::regclass
    FROM part JOIN pg_attribute ON attrelid = part.oid AND attname IN ('id', 'xid', 'at')
    WHERE EXISTS (SELECT FROM mine WHERE has_column_privilege(mine.oid, attrelid, attnum, 'INSERT'))
    UNION ALL
    SELECT 'may switch triggers off'
    WHERE EXISTS (SELECT FROM mine WHERE has_parameter_privilege(mine.oid, 'session_replication_role', 'SET'))
"""


async def open_log(connection: Connection, epoch: UUID | None = None) -> UUID:
    """Open the log unless it is open, and return its epoch. `connection` belongs to the owner of the tables.

    The very first record, which gets position 0, is a `system` record that names the epoch. Raises Misconfigured when
    records exist in a log that was never opened.
    """
    async with connection.transaction():
        await connection.execute(LOCK)
        known: UUID | None = await connection.fetchval(EPOCH)
        if known is not None:
            return known
        if await connection.fetchval(ANY_RECORD):
            raise Misconfigured("The log holds records but was never opened; restore log_head from a backup")
        epoch = epoch or uuid7()
        opened = {"decided_at": datetime.now(UTC), "event": "log.opened", "epoch": epoch}
        await connection.execute(OPEN, epoch)
        await write(connection, [Record.make(Kind.SYSTEM, opened)])
    return epoch


async def check_rights(connection: Connection) -> None:
    """Raise Misconfigured if this connection's role could alter, remove or forge records."""
    if found := [row["what"] for row in await connection.fetch(TOO_MUCH)]:
        raise Misconfigured(
            f"The role of TIMEWARDEN_DATABASE_URL could rewrite the log: it {', '.join(found[:5])};"
            " connect as timewarden_app"
        )
