"""What must hold before the log is used: it is opened by its first record, and nobody who writes it can rewrite it.

`open_log` is run by `migrate` as the owner; every process checks first that it was given the role that is meant for it
(`check_rights`, `check_role`, `check_owner`). Owns no state.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

from uuid_utils.compat import uuid7

from service.errors import Misconfigured
from service.log.record import Kind, Record
from service.log.writing import write

if TYPE_CHECKING:
    from uuid import UUID

    import asyncpg

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

# Who this is, whether our tables are there, and what only the API, only the keeper and only the owner may do: insert
# records, insert positions, and change the schema.
JOB = """
    SELECT current_user AS role, record IS NOT NULL AS migrated,
           coalesce(has_any_column_privilege(record, 'INSERT'), false) AS appends,
           coalesce(has_table_privilege(place, 'INSERT'), false) AS seals,
           coalesce((SELECT pg_has_role(relowner, 'MEMBER') FROM pg_class WHERE oid = record),
                    has_schema_privilege('public', 'CREATE')) AS owns
    FROM (SELECT to_regclass('public.audit_record')::oid AS record,
                 to_regclass('public.audit_position')::oid AS place) AS ours
"""

# The right that each process needs, and the role that has it.
RIGHTS: Final = {"serve": ("appends", "timewarden_app"), "keep": ("seals", "timewarden_keeper")}


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


async def check_role(connection: Connection, process: Literal["serve", "keep"]) -> None:
    """Raise Misconfigured if this connection's role is not the one that is meant for the process, in one sentence."""
    job = await connection.fetchrow(JOB)
    if job is None or not job["migrated"]:
        raise Misconfigured("The database of TIMEWARDEN_DATABASE_URL has no tables of ours: run `timewarden migrate`")
    right, wanted = RIGHTS[process]
    await check_rights(connection, wanted)
    if not job[right]:
        raise Misconfigured(
            f"The role {job['role']} of TIMEWARDEN_DATABASE_URL {_known_for(job)}, so it cannot `{process}`:"
            f" connect as {wanted}"
        )


async def check_owner(connection: Connection, command: str) -> None:
    """Raise Misconfigured if this connection's role does not own the tables, or may not make them where there are none.
    `command` is what needs that, such as `migrate`."""
    job = await connection.fetchrow(JOB)
    if job is None or not job["owns"]:
        role = job["role"] if job else "given"
        raise Misconfigured(
            f"The role {role} of TIMEWARDEN_DATABASE_URL does not own the database's tables, so it cannot `{command}`:"
            " connect as timewarden_owner"
        )


async def check_rights(connection: Connection, wanted: str = "timewarden_app") -> None:
    """Raise Misconfigured if this connection's role could alter, remove or forge records, which `wanted` could not."""
    if found := [row["what"] for row in await connection.fetch(TOO_MUCH)]:
        raise Misconfigured(
            f"The role of TIMEWARDEN_DATABASE_URL could rewrite the log: it {', '.join(found[:5])}; connect as {wanted}"
        )


def _known_for(job: asyncpg.Record) -> str:
    if job["seals"]:
        return "is the keeper's"
    return "is the API's" if job["appends"] else "only reads"
