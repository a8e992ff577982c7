"""Checks that a process connects to a real Postgres, with the database role that is meant for it, and that nobody who
writes the log can rewrite it. Every process runs its checks before it starts. Owns no state."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final, Literal

import asyncpg

from service.errors import Misconfigured
from service.migrations.run import newest, read_step

if TYPE_CHECKING:
    from service.database import Connection, Database

# The rights of this role, its own or those of a role that it may assume, that a writer of the log must not have.
EXCESSIVE_RIGHTS = """
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

# The current role, whether the tables exist, and whether the role may insert records (the API), insert positions (the
# keeper) or change the schema (the owner).
ROLE = """
    SELECT current_user AS role, record IS NOT NULL AS migrated,
           coalesce(has_any_column_privilege(record, 'INSERT'), false) AS appends,
           coalesce(has_table_privilege(place, 'INSERT'), false) AS seals,
           coalesce((SELECT pg_has_role(relowner, 'MEMBER') FROM pg_class WHERE oid = record),
                    has_schema_privilege('public', 'CREATE')) AS owns
    FROM (SELECT to_regclass('public.audit_record')::oid AS record,
                 to_regclass('public.audit_position')::oid AS place) AS ours
"""

# Which transactions are visible: the sealer reads the log in this order. Postgres has it since version 13.
VISIBLE = "SELECT pg_current_snapshot()::text"
# A lock that ends with its transaction; false if another transaction holds it.
LOCK = "SELECT pg_try_advisory_xact_lock($1)"
NOT_POSTGRES = "The server of TIMEWARDEN_DATABASE_URL is not Postgres: {}. Use Postgres itself (docs/production.md)"

# The right that each process needs, and the role that has it.
RIGHTS: Final = {"serve": ("appends", "timewarden_app"), "keep": ("seals", "timewarden_keeper")}


async def check_server(database: Database) -> None:
    """Raise Misconfigured for a server that only looks like Postgres: on which two sessions can hold the same exclusive
    advisory lock, or without snapshots of transactions. Changes would then run at the same time, and the sealer could
    skip records."""
    key = secrets.randbits(62)
    other = await database.reserve()
    try:
        async with database.transaction() as connection, other.transaction():
            await connection.fetchval(VISIBLE)
            taken = [await session.fetchval(LOCK, key) for session in (connection, other)]
    except (asyncpg.SyntaxOrAccessError, asyncpg.FeatureNotSupportedError) as error:
        raise Misconfigured(
            NOT_POSTGRES.format("it has no snapshots or no advisory locks"), cause=type(error).__name__
        ) from error
    finally:
        database.give_back(other)
    if taken != [True, False]:
        raise Misconfigured(NOT_POSTGRES.format("two sessions can hold the same exclusive advisory lock"))


async def check_role(connection: Connection, process: Literal["serve", "keep"]) -> None:
    """Raise Misconfigured if this connection's role is not the one that is meant for the process, or if the database
    lacks a migration."""
    role = await connection.fetchrow(ROLE)
    if role is None or not role["migrated"]:
        raise Misconfigured(
            "The database of TIMEWARDEN_DATABASE_URL has no Timewarden tables: run `timewarden migrate` as the owner"
        )
    right, wanted = RIGHTS[process]
    await check_rights(connection, wanted)
    if not role[right]:
        raise Misconfigured(
            f"The role {role['role']} of TIMEWARDEN_DATABASE_URL {_describe(role)}, so it cannot `{process}`:"
            f" connect as {wanted}"
        )
    await check_schema(connection)


async def check_schema(connection: Connection) -> None:
    """Raise Misconfigured if the database lacks a migration of this release."""
    try:
        is_older = await read_step(connection) < newest()
    except asyncpg.UndefinedTableError:
        is_older = True
    if is_older:
        raise Misconfigured(
            "The database is older than this version of the service: run `timewarden migrate` as the owner"
        )


async def check_owner(connection: Connection, command: str) -> None:
    """Raise Misconfigured if this connection's role neither owns the tables nor may create them. `command`, such as
    `migrate`, is named in the error."""
    role = await connection.fetchrow(ROLE)
    if role is None or not role["owns"]:
        name = role["role"] if role else "given"
        raise Misconfigured(
            f"The role {name} of TIMEWARDEN_DATABASE_URL does not own the database's tables, so it cannot `{command}`:"
            " connect as timewarden_owner"
        )


async def check_rights(connection: Connection, wanted: str = "timewarden_app") -> None:
    """Raise Misconfigured if this connection's role could alter, remove or forge records. `wanted` is the
    role to use instead."""
    if found := [row["what"] for row in await connection.fetch(EXCESSIVE_RIGHTS)]:
        raise Misconfigured(
            f"The role of TIMEWARDEN_DATABASE_URL could rewrite the log: it {', '.join(found[:5])}; connect as {wanted}"
        )


def _describe(role: asyncpg.Record) -> str:
    if role["seals"]:
        return "is the keeper's"
    return "is the API's" if role["appends"] else "only reads"
