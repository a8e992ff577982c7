"""Builds the indexes of coming steps on large partitions of the log, one by one, while the log is in use.

A step creates its index on the whole log, and takes over those that partitions have already. So it locks the log for a
moment only, however many records there are. Owns nothing; what is durable is in Postgres.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

# What a step reads within half a second.
LARGE_BYTES = 64 * 2**20
# The indexes of a step, as its SQL has them.
INDEXES = {
    "0045": (
        "(request_id) WHERE left(request_id, 11) <> left(uid::text, 11)",
        "(person_id, decided_at)",
        "(resource_id, decided_at)",
    ),
}

# The partitions with more bytes than $1.
LARGE = """
    SELECT relid::regclass::text FROM pg_partition_tree(to_regclass('audit_record'))
    WHERE isleaf AND pg_relation_size(relid) > $1 ORDER BY 1
"""
# Whether an index can be used, and whether it is being built; no row if there is none.
STATE = """
    SELECT indisvalid AS usable, EXISTS (SELECT FROM pg_stat_progress_create_index WHERE index_relid = indexrelid) AS
           growing
    FROM pg_index WHERE indexrelid = to_regclass($1)
"""


async def build_indexes(
    connection: asyncpg.Connection[asyncpg.Record], seen: str, upto: str, say: Callable[[str], None]
) -> None:
    """Build what the steps after `seen`, up to `upto`, would build under a lock. `connection` is the owner's, in no
    transaction. Each index waits for the transactions that are older than it."""
    steps = [step for step in INDEXES if seen < step and (upto == "head" or step <= upto)]
    partitions = [row[0] for row in await connection.fetch(LARGE, LARGE_BYTES)] if steps else []
    for partition in partitions:
        for step in steps:
            for number, definition in enumerate(INDEXES[step], start=1):
                await _build(connection, f"{partition}_step{step}_{number}", f"{partition} {definition}", say)


async def _build(
    connection: asyncpg.Connection[asyncpg.Record], name: str, of: str, say: Callable[[str], None]
) -> None:
    state = await connection.fetchrow(STATE, name)
    if state is not None:
        if state["usable"] or state["growing"]:
            return
        # An attempt that failed left it.
        await connection.execute(f"DROP INDEX CONCURRENTLY {name}")
    say(f"Building an index on {of}, while requests go on")
    # Names and definitions are not input.
    await connection.execute(f"CREATE INDEX CONCURRENTLY {name} ON {of}")
