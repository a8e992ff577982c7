"""Retention: deletes the bodies of old records and keeps their positions, ids and leaf hashes (`audit_pruned`).

Run by the owner of the tables, in one transaction. Tiles and checkpoints stay, so every proof about other records still
verifies. A `system` record says which positions were pruned and under which policy. Whole partitions are pruned, from
the oldest on.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from service.errors import LogDamaged
from service.log.insert import insert_records
from service.log.packing import IS_PACKED, stored_leaf
from service.log.partitions import list_partitions
from service.log.record import Kind, Record
from service.log.tiles import WIDTH

if TYPE_CHECKING:
    from uuid import UUID

    from service.database import Connection

# The clocks of Postgres, which dated the records, and of this machine: the earlier of the two.
EARLIER_CLOCK = "SELECT least(clock_timestamp(), $1::timestamptz)"

# Wait for a transaction that is setting a hold.
HOLDS_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('legal_hold', 0))"

# Of a partition: how many records, whether any time of one is too young or missing, how many are unsealed, and the last
# position.
PARTITION = """
    SELECT count(*) AS records, coalesce(bool_or(coalesce(greatest(r.at, r.decided_at) >= $1, true)), false) AS young,
           count(*) FILTER (WHERE p.position IS NULL) AS unsealed, max(p.position) AS last
    FROM {name} r LEFT JOIN audit_position p ON p.record_id = r.id
"""

# The hash that was sealed at the position `p`.
SEALED = "substr(t.hashes, (p.position % 256)::integer * 32 + 1, 32)"

# The positions from $1 up to and including $2 whose stored hash is not what was sealed there, in order, with the bytes
# of packed records, whose stored hash is never the leaf.
MISMATCHES = f"""
    SELECT p.position, {SEALED} AS sealed, r.stored_hash, r.body
    FROM generate_series($1::bigint, $2::bigint) AS p (position)
    LEFT JOIN (audit_position a JOIN {{name}} r ON r.id = a.record_id) ON a.position = p.position
    LEFT JOIN tile t ON t.level = 0 AND t.index = p.position / 256
    WHERE r.stored_hash IS DISTINCT FROM {SEALED} ORDER BY p.position
"""
MAX_POSITIONS_PER_CHECK = 10_000

# The first position whose body is kept.
FIRST_KEPT = "SELECT coalesce(max(position) + 1, 0) FROM audit_pruned"

# A legal hold in force that concerns a record of the partition. A hold on a person concerns every id of that person.
# Some records name a delegator, a member or a lead in their bytes alone; such a record is not packed. However many
# holds there are, the partition is read once: each record is compared with all of their ids.
HELD = f"""
    WITH held AS MATERIALIZED (
        SELECT h.id AS hold, theirs.id, theirs.id::text AS text, convert_to(theirs.id::text, 'UTF8') AS bytes
        FROM legal_hold h CROSS JOIN unnest(ids_of_person(h.about)) AS theirs (id)
        WHERE h.until IS NULL AND h.about IS NOT NULL)
    SELECT coalesce(
        (SELECT id FROM legal_hold WHERE until IS NULL AND what = 'all' ORDER BY id LIMIT 1),
        (SELECT concerning.hold FROM {{name}} r CROSS JOIN LATERAL (
             SELECT hold FROM held
             WHERE r.person_id = held.id OR r.owner_id = held.id OR r.resource_id = held.text
                 OR held.id = ANY (r.returned) OR (NOT {IS_PACKED} AND position(held.bytes IN r.body) > 0)
             ORDER BY hold LIMIT 1) AS concerning
         WHERE EXISTS (SELECT FROM held) LIMIT 1))
"""

# Keep position, id, uid and leaf of each record, which was compared with the tile.
KEEP = f"""
    INSERT INTO audit_pruned (position, record_id, uid, leaf, at)
    SELECT p.position, r.id, r.uid, {SEALED}, r.at FROM {{name}} r JOIN audit_position p ON p.record_id = r.id
    JOIN tile t ON t.level = 0 AND t.index = p.position / 256
"""

# Delete the texts of the records, with their salts.
DELETE_TEXTS = "DELETE FROM audit_text USING {name} r WHERE record_uid = r.uid"


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was pruned: how many `records` and `partitions`, all below the position `upto`. `held` is the legal hold
    that stopped it, if one did; `unarchived`: the archive did that."""

    records: int
    upto: int
    partitions: int
    held: UUID | None
    unarchived: bool = False


async def time_ago(connection: Connection, age: timedelta) -> datetime:
    """The time `age` ago, by the clock of Postgres or of this machine, whichever is earlier: to a clock that is ahead,
    young records are old."""
    now: datetime = await connection.fetchval(EARLIER_CLOCK, datetime.now(UTC))
    return now - age


async def prune(
    connection: Connection, before: datetime, policy: str, *, archived: int | None = None, dry_run: bool = False
) -> Pruned:
    """Drop the oldest partitions whose records were all decided and stored before a time. `policy` is that age as the
    operator wrote it, such as `36mo`. Stops at the first partition with a younger or unsealed record, under a legal
    hold, or with a record that an archive of the first `archived` records lacks. Raises LogDamaged, and drops nothing,
    if a record is not the one that was sealed."""
    async with connection.transaction():
        await connection.execute(HOLDS_LOCK)
        records = upto = dropped = 0
        held: UUID | None = None
        unarchived = False
        for partition in (await list_partitions(connection))[:-1]:
            counts = await connection.fetchrow(PARTITION.format(name=partition.name), before)
            if counts is None or counts["unsealed"] or counts["young"]:
                break
            held = await connection.fetchval(HELD.format(name=partition.name))
            if held is not None:
                break
            # The archive must have the whole bundle of the last record, or it could never get the rest of it.
            unarchived = archived is not None and counts["records"] > 0 and archived < _end_of_bundle(counts["last"])
            if unarchived:
                break
            start = max(upto, await connection.fetchval(FIRST_KEPT))
            await _check_sealed(connection, partition.name, start, counts["last"])
            records, dropped = records + counts["records"], dropped + 1
            upto = max(upto, (counts["last"] if counts["last"] is not None else -1) + 1)
            if not dry_run:
                await _drop(connection, partition.name)
        if records and not dry_run:
            pruned = {
                "decided_at": datetime.now(UTC),
                "event": "log.pruned",
                "pruned_to": upto,
                "records": records,
                "older_than": before,
                "retention": policy,
            }
            await insert_records(connection, [Record.make(Kind.SYSTEM, pruned)])
    return Pruned(records, upto, dropped, held, unarchived)


def _end_of_bundle(position: int) -> int:
    return (position // WIDTH + 1) * WIDTH


async def _check_sealed(connection: Connection, name: str, first: int, last: int | None) -> None:
    """Raise LogDamaged if a record was removed or altered: that must be investigated before evidence is dropped."""
    for start in range(first, first if last is None else last + 1, MAX_POSITIONS_PER_CHECK):
        end = min(start + MAX_POSITIONS_PER_CHECK - 1, last or 0)
        for row in await connection.fetch(MISMATCHES.format(name=name), start, end):
            if row["body"] is None or stored_leaf(row["body"], row["stored_hash"]) != row["sealed"]:
                raise LogDamaged(
                    f"The record at position {row['position']} is not the one that was sealed there: investigate with"
                    " a proof bundle and timewarden-verify before anything is dropped"
                )


async def _drop(connection: Connection, name: str) -> None:
    for statement in (KEEP, DELETE_TEXTS, "ALTER TABLE audit_record DETACH PARTITION {name}", "DROP TABLE {name}"):
        await connection.execute(statement.format(name=name))
    # Searches skip the partition from now on.
    await connection.execute("DELETE FROM audit_partition WHERE name = $1", name)
