"""The sealer: gives every committed record its place, gapless from 0, and its leaf in the tree. Durable:
audit_position, log_head and tile, in one transaction; signing comes after its commit (`signing`).

Any number may run; the lock on log_head's one row makes one of them lead for a step. Positions follow `id`, which a
writer draws after locking what it changes and holds to its commit, so two changes of one sheet are never inverted.
`low_xid` only bounds the scan for unsealed rows; a dump that was restored into another cluster, which counts
transactions anew, is noticed and looked through once. A log that an older release sealed without a tree is caught up
before anything else is sealed.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import asyncpg

from service.errors import LogDamaged, TryLater
from service.log.keeper_status import MAX_LAG_SECONDS, KeeperStatus
from service.log.tree import StoredTree, grow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.database import Connection, Database

SMALLEST = 50
FIRST_LOOK, LONGEST_LOOK = 5.0, 600.0

# Lead: wait for the one row. Whatever was sealed must be flushed, so asynchronous commit is not for this transaction;
# and the plan must see the bound on xid, or a large table would be read from its beginning.
LEAD = """
    SELECT size, low_xid::text::bigint AS low_xid, cluster, settled, tree_size, edge, root,
           set_config('plan_cache_mode', 'force_custom_plan', true),
           set_config('synchronous_commit', CASE current_setting('synchronous_commit')
               WHEN 'off' THEN 'on' WHEN 'local' THEN 'on' ELSE current_setting('synchronous_commit') END, true)
    FROM log_head FOR UPDATE
"""

# A look at many unsealed records takes its time, however few of them are claimed.
PATIENCE = "SELECT set_config('statement_timeout', $1, true)"

# Claim: the lowest ids among the committed rows without a position, and below which xid the next scan need not look:
# neither running transactions nor rows that this step leaves behind are below it. One statement, so one snapshot. The
# position is looked up row by row, since a join would read all positions of a long log, and `+ 0` keeps the planner to
# the index on xid, also in a table without statistics.
CLAIM = """
    WITH unsealed AS MATERIALIZED (
        SELECT r.id, r.xid, row_number() OVER (ORDER BY r.id) AS nth FROM audit_record r
        WHERE r.xid >= $1::bigint::text::xid8 AND r.id + 0 >= $3
          AND (SELECT p.position FROM audit_position p WHERE p.record_id = r.id) IS NULL
    )
    SELECT coalesce(array_agg(id ORDER BY id) FILTER (WHERE nth <= $2), '{}') AS ids,
           least(pg_snapshot_xmin(pg_current_snapshot()), min(xid) FILTER (WHERE nth > $2))::text::bigint AS low_xid,
           count(*) > $2 AS more
    FROM unsealed
"""

# Whether transactions are counted in another cluster than when the log was sealed last: a dump was restored. In a
# statement of its own, since the row may have been waited for.
ELSEWHERE = """
    SELECT $1 IS DISTINCT FROM this_cluster() OR $2 > pg_snapshot_xmax(pg_current_snapshot())::text::bigint
"""

# Behind the last record that was certainly made elsewhere: its transaction was not begun here.
FOREIGN = """
    SELECT coalesce(max(id) + 1, 0) FROM audit_record WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())
"""

# Everything that came from elsewhere is sealed; from here on this cluster counts.
SETTLE = """
    UPDATE log_head
    SET cluster = this_cluster(), settled = greatest(settled, $1::bigint), low_xid = $2::bigint::text::xid8
"""

# Give the claimed records the next positions, in their order.
PLACE = """
    INSERT INTO audit_position (position, record_id)
    SELECT $1 + nth - 1, id FROM unnest($2::bigint[]) WITH ORDINALITY AS claimed (id, nth)
"""

# The log is longer now.
ADVANCE = "UPDATE log_head SET size = $1, low_xid = $2::bigint::text::xid8"


@dataclass(frozen=True, slots=True)
class _Claim:
    """Records in id order, the bound for the next scan, and whether more are left."""

    ids: Sequence[int]
    low_xid: int
    more: bool


class Sealer:
    """Seals in steps of at most `batch` records. `database` is the keeper's."""

    def __init__(self, database: Database, *, batch: int = 20_000, longest_pause: float = 5.0) -> None:
        self._database = database
        self._batch = batch
        self._longest_pause = longest_pause
        self._status = KeeperStatus(database, "sealer")
        self._doing = "sealing"
        # Seconds that a look for unsealed records may take; None for as long as any statement.
        self._look: float | None = None

    async def seal(self, limit: int | None = None) -> int:
        """One step: returns how many records got a position and a leaf, or, in a log without its whole tree, a leaf
        alone; they are durable then.

        Raises DatabaseUnavailable, also when another sealer held the lead longer than the lock timeout; nothing has
        happened then, or the step is whole. Raises LogDamaged when what is stored contradicts itself.
        """
        try:
            async with self._database.transaction() as connection:
                return await self._step(connection, limit or self._batch)
        except (asyncpg.IntegrityConstraintViolationError, asyncpg.InsufficientPrivilegeError) as error:
            # Something stands where only we write, for example a position beyond the log's end.
            raise LogDamaged(f"The stored log is damaged: Postgres refuses the next step ({error})") from error

    async def run(self, stop: asyncio.Event, interval: float = 0.1) -> None:
        """Seal until `stop` is set, looking every `interval` seconds, longer while the database does not answer, and
        then in smaller steps with more time to look: very large records may be what it had no time for, or very many,
        after a day without a sealer."""
        pause, most = interval, self._batch
        self._status.within = MAX_LAG_SECONDS + 2 * interval
        while not stop.is_set():
            try:
                sealed = await self.seal(most)
            except TryLater as error:
                pause, most = min(max(pause, interval) * 2, self._longest_pause), max(most // 4, min(most, SMALLEST))
                self._look = min((self._look or FIRST_LOOK) * 2, LONGEST_LOOK)
                await self._status.report(ready=False, detail=f"cannot seal: {error.cause}")
            except LogDamaged as error:
                pause = self._longest_pause
                await self._status.report(ready=False, detail=error.public)
            else:
                pause = interval if sealed < most else 0.0
                most = min(most * 2, self._batch)
                self._look = self._look if sealed else None
                await self._status.report(ready=True, detail=self._doing)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await stop.wait()

    async def _step(self, connection: Connection, most: int) -> int:
        head = await connection.fetchrow(LEAD)
        if head is None:
            return 0
        if behind := head["size"] - head["tree_size"]:
            return await self._catch_up(connection, head, min(behind, most))
        if await connection.fetchval(ELSEWHERE, head["cluster"], head["low_xid"]):
            return await self._settle(connection, head, most)
        claim = await _claim(connection, head["low_xid"], most, self._look, settled=head["settled"])
        if claim.ids:
            await self._place(connection, head, claim)
        return len(claim.ids)

    async def _place(self, connection: Connection, head: asyncpg.Record, claim: _Claim) -> None:
        """All that one step writes."""
        size = head["size"] + len(claim.ids)
        await connection.execute(PLACE, head["size"], claim.ids)
        await connection.execute(ADVANCE, size, claim.low_xid)
        await grow(connection, _tree(head), size)
        self._doing = "sealing"

    async def _settle(self, connection: Connection, head: asyncpg.Record, most: int) -> int:
        """Seal what a restored dump holds, whatever its transactions were called; once all is sealed, go on as ever."""
        patience = self._look or LONGEST_LOOK
        claim = await _claim(connection, 0, most, patience)
        if claim.ids:
            # The old bound stays for as long as anything is left, so that the next step looks through everything too.
            await self._place(connection, head, replace(claim, low_xid=head["low_xid"]))
        if not claim.more:
            foreign = await connection.fetchval(FOREIGN, timeout=patience + 1)
            await connection.execute(SETTLE, foreign, claim.low_xid)
        self._doing = "sealing a log that was restored into another cluster"
        return len(claim.ids)

    async def _catch_up(self, connection: Connection, head: asyncpg.Record, count: int) -> int:
        """Leaves for records that have positions already."""
        size = head["tree_size"] + count
        await grow(connection, _tree(head), size)
        self._doing = f"growing the tree of older records: {size} of {head['size']}"
        return count


def _tree(head: asyncpg.Record) -> StoredTree:
    return StoredTree(head["tree_size"], head["edge"], head["root"])


async def _claim(
    connection: Connection, low_xid: int, limit: int, patience: float | None, *, settled: int = 0
) -> _Claim:
    if patience is None:
        row = await connection.fetchrow(CLAIM, low_xid, limit, settled)
    else:
        await connection.execute(PATIENCE, str(int(patience * 1000)))
        row = await connection.fetchrow(CLAIM, low_xid, limit, settled, timeout=patience + 1)
    return _Claim(row["ids"], row["low_xid"], row["more"]) if row else _Claim([], low_xid, more=False)
