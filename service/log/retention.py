"""Retention: drops the bodies of old records and keeps positions, ids and leaf hashes (`audit_pruned`).

Run by the owner of the tables, in one transaction. Tiles and checkpoints stay, so every proof about the other records
holds; a `system` record says which positions went and under which policy. Pruned is always a beginning of the log, a
partition at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from service.errors import LogDamaged
from service.log.partitions import partitions
from service.log.record import Kind, Record
from service.log.writing import write

if TYPE_CHECKING:
    from uuid import UUID

    from service.database import Connection

# A hold that is being set is waited for.
HOLDS_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('legal_hold', 0))"

# How a partition stands: its records, whether one is too young by any of its times or has none, and how many are not
# sealed.
STANDING = """
    SELECT count(*) AS records, coalesce(bool_or(coalesce(greatest(r.at, r.decided_at) >= $1, true)), false) AS young,
           count(*) FILTER (WHERE p.position IS NULL) AS unsealed, max(p.position) AS last
    FROM {name} r LEFT JOIN audit_position p ON p.record_id = r.id
"""

# The first position that does not hold the record that was sealed there: what was removed or altered must be looked
# into while there is something to look at.
UNLIKE = """
    SELECT min(w.position) FROM generate_series($1::bigint, $2::bigint) AS w (position)
    LEFT JOIN (audit_position p JOIN {name} r ON r.id = p.record_id) ON p.position = w.position
    LEFT JOIN tile t ON t.level = 0 AND t.index = w.position / 256
    WHERE r.leaf IS DISTINCT FROM substr(t.hashes, (w.position % 256)::integer * 32 + 1, 32)
"""

# Where the log's bodies begin now.
DROPPED = "SELECT coalesce(max(position) + 1, 0) FROM audit_pruned"

# A standing legal hold that keeps something in a partition; one on a person, under every id that they have.
HELD = """
    SELECT h.id FROM legal_hold h CROSS JOIN LATERAL (SELECT ids_of_person(h.about) AS ids) AS theirs
    WHERE h.until IS NULL AND (h.what = 'all' OR EXISTS (
        SELECT FROM {name} r WHERE r.person_id = ANY (theirs.ids) OR r.owner_id = ANY (theirs.ids)
            OR r.resource_id = ANY (theirs.ids::text[]) OR r.returned && theirs.ids))
    ORDER BY h.id LIMIT 1
"""

# What is kept of a partition's records.
KEEP = """
    INSERT INTO audit_pruned (position, record_id, uid, leaf, at)
    SELECT p.position, r.id, r.uid, r.leaf, r.at FROM {name} r JOIN audit_position p ON p.record_id = r.id
"""

# The texts beside them go with their salts.
FORGET = "DELETE FROM audit_text USING {name} r WHERE record_uid = r.uid"


@dataclass(frozen=True, slots=True)
class Pruned:
    """What went: so many records, and that no position from `upto` on did. `held`: the legal hold that stopped it,
    `partitions` how many partitions went."""

    records: int
    upto: int
    partitions: int
    held: UUID | None


async def prune(connection: Connection, before: datetime, policy: str, *, dry_run: bool = False) -> Pruned:
    """Drop partitions all of whose records were decided and taken before a moment; `policy` is how that moment was
    said, such as `36mo`. Stops at the first that is younger, holds what is not sealed, or is kept by a legal hold.
    Raises LogDamaged, and drops nothing, where a record is not the one that was sealed."""
    async with connection.transaction():
        await connection.execute(HOLDS_LOCK)
        records = upto = went = 0
        held: UUID | None = None
        for partition in (await partitions(connection))[:-1]:
            standing = await connection.fetchrow(STANDING.format(name=partition.name), before)
            if standing is None or standing["unsealed"] or standing["young"]:
                break
            held = await connection.fetchval(HELD.format(name=partition.name))
            if held is not None:
                break
            start = max(upto, await connection.fetchval(DROPPED))
            await _check(connection, partition.name, start, standing["last"])
            records, went = records + standing["records"], went + 1
            upto = max(upto, (standing["last"] if standing["last"] is not None else -1) + 1)
            if not dry_run:
                await _drop(connection, partition.name)
        if records and not dry_run:
            told = {
                "decided_at": datetime.now(UTC),
                "event": "log.pruned",
                "pruned_to": upto,
                "records": records,
                "older_than": before,
                "retention": policy,
            }
            await write(connection, [Record.make(Kind.SYSTEM, told)])
    return Pruned(records, upto, went, held)


async def _check(connection: Connection, name: str, first: int, last: int | None) -> None:
    unlike = await connection.fetchval(UNLIKE.format(name=name), first, last)
    if unlike is not None:
        raise LogDamaged(
            f"The record at position {unlike} is not the one that was sealed there: look into it with a proof bundle"
            " and timewarden-verify before anything is dropped"
        )


async def _drop(connection: Connection, name: str) -> None:
    for statement in (KEEP, FORGET, "ALTER TABLE audit_record DETACH PARTITION {name}", "DROP TABLE {name}"):
        await connection.execute(statement.format(name=name))
    # Nobody needs to look there any more.
    await connection.execute("DELETE FROM audit_partition WHERE name = $1", name)
