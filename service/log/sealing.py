"""The sealer: gives every committed record its position, gapless from 0, and its leaf in the tree. Durable:
audit_position, log_head and tile, in one transaction. Signing follows after its commit (`signing`).

Any number of sealers may run; the row lock on log_head lets one of them work at a time. Positions follow `id`, which a
writer draws while it holds the lock on what it changes, so two changes of one sheet are never out of order. `low_xid`
only bounds the scan for unsealed rows. A dump restored into another cluster, which counts transactions anew, is
detected and scanned once in full. A log that an older release sealed without a tree first gets its tree.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import asyncpg

from service.database import LIMIT_STATEMENTS
from service.errors import LogDamaged, TryLater
from service.log.keeper_status import MAX_LAG_SECONDS, KeeperStatus
from service.log.tree import StoredTree, grow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.database import Connection, Database

MIN_RECORDS_PER_STEP = 50
# How often an idle sealer looks for new records between its steps.
LOOK_SECONDS = 0.02
FIRST_SCAN_SECONDS, MAX_SCAN_SECONDS = 5.0, 600.0

# Lock the row of log_head, waiting for another sealer. A sealed record must be flushed, so this transaction does not
# commit asynchronously; custom plans let Postgres use the bound on xid instead of scanning a large table.
LOCK_HEAD = """
    SELECT size, low_xid::text::bigint AS low_xid, cluster, settled, tree_size, edge, root,
           set_config('plan_cache_mode', 'force_custom_plan', true),
           set_config('synchronous_commit', CASE current_setting('synchronous_commit')
               WHEN 'off' THEN 'on' WHEN 'local' THEN 'on' ELSE current_setting('synchronous_commit') END, true)
    FROM log_head FOR UPDATE
"""

# The newest record. A record with a smaller id may still commit: the next step finds it, changed or not.
NEWEST = "SELECT max(id) FROM audit_record"

# Claim the lowest ids among the committed rows without a position. `low_xid` is the bound for the next scan: no running
# transaction and no row that this step leaves unsealed is below it. One statement, so one snapshot. Positions are
# looked up row by row, since a join would read all positions of a long log; `+ 0` makes the planner use the index on
# xid, also in a table without statistics.
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

# Whether the log was last sealed in another cluster, which means that a dump was restored. A statement of its own, with
# a snapshot taken after the wait for the row.
IS_RESTORED = """
    SELECT $1 IS DISTINCT FROM this_cluster() OR $2 > pg_snapshot_xmax(pg_current_snapshot())::text::bigint
"""

# The id after the last record that was certainly written in another cluster: its transaction never began in this one.
FOREIGN = """
    SELECT coalesce(max(id) + 1, 0) FROM audit_record WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())
"""

# All restored records are sealed: from now on the transaction ids of this cluster apply.
SETTLE = """
    UPDATE log_head
    SET cluster = this_cluster(), settled = greatest(settled, $1::bigint), low_xid = $2::bigint::text::xid8
"""

# Give the claimed records the next positions, in their order.
PLACE = """
    INSERT INTO audit_position (position, record_id)
    SELECT $1 + nth - 1, id FROM unnest($2::bigint[]) WITH ORDINALITY AS claimed (id, nth)
"""

# Record the new size of the log.
ADVANCE = "UPDATE log_head SET size = $1, low_xid = $2::bigint::text::xid8"


@dataclass(frozen=True, slots=True)
class _Claim:
    """Ids of unsealed records in order, the bound for the next scan, and whether more are left."""

    ids: Sequence[int]
    low_xid: int
    more: bool


class Sealer:
    """Seals in steps of at most `batch` records. `database` is the keeper's. A step that sealed records sets
    `sealed`."""

    def __init__(
        self,
        database: Database,
        *,
        batch: int = 20_000,
        longest_pause: float = 5.0,
        sealed: asyncio.Event | None = None,
    ) -> None:
        self._database = database
        self._sealed = sealed or asyncio.Event()
        self._newest: int | None = None
        self._batch = batch
        self._longest_pause = longest_pause
        self._status = KeeperStatus(database, "sealer")
        self._doing = "sealing"
        # Seconds that a scan for unsealed records may take; None for the usual statement timeout.
        self._scan_seconds: float | None = None

    async def seal(self, limit: int | None = None) -> int:
        """Do one step. Returns how many records got a position and a leaf (a leaf alone, in a log whose tree is
        incomplete); they are durable.

        Raises DatabaseUnavailable, also when another sealer held the lock longer than the lock timeout; the step is
        then done completely or not at all. Raises LogDamaged when the stored log is inconsistent.
        """
        try:
            async with self._database.transaction() as connection:
                return await self._step(connection, limit or self._batch)
        except (asyncpg.IntegrityConstraintViolationError, asyncpg.InsufficientPrivilegeError) as error:
            # There is a row that only a sealer could have written, for example a position beyond the log's end.
            raise LogDamaged(f"The stored log is damaged: Postgres refuses the next step ({error})") from error

    async def run(self, stop: asyncio.Event, interval: float = 0.1) -> None:
        """Seal until `stop` is set: every `interval` seconds, and as soon as there is a new record. While the database
        does not answer, wait longer, take smaller steps and allow longer scans: there may be very large records, or
        very many after a day without a sealer."""
        pause, most = interval, self._batch
        self._status.within = MAX_LAG_SECONDS + 2 * interval
        while not stop.is_set():
            try:
                sealed = await self.seal(most)
            except TryLater as error:
                pause, most = (
                    min(max(pause, interval) * 2, self._longest_pause),
                    max(most // 4, min(most, MIN_RECORDS_PER_STEP)),
                )
                self._scan_seconds = min((self._scan_seconds or FIRST_SCAN_SECONDS) * 2, MAX_SCAN_SECONDS)
                await self._status.report(ready=False, detail=f"cannot seal: {error.cause}")
            except LogDamaged as error:
                pause = self._longest_pause
                await self._status.report(ready=False, detail=error.public)
            else:
                pause = interval if sealed < most else 0.0
                most = min(most * 2, self._batch)
                self._scan_seconds = self._scan_seconds if sealed else None
                if sealed:
                    self._sealed.set()
                await self._status.report(ready=True, detail=self._doing)
                pause = await self._wait_for_records(stop, pause)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await stop.wait()

    async def _wait_for_records(self, stop: asyncio.Event, seconds: float) -> float:
        """Wait until there is a new record or `stop` is set, for up to `seconds`. Returns how long is left to wait: a
        look costs one statement and no lock, a step several and a commit."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while (left := end - loop.time()) > LOOK_SECONDS and not stop.is_set():
            await asyncio.sleep(LOOK_SECONDS)
            try:
                async with self._database.connection() as connection:
                    newest = await connection.fetchval(NEWEST)
            except TryLater:
                return left
            if newest != self._newest:
                self._newest = newest
                return 0.0
        return max(0.0, left)

    async def _step(self, connection: Connection, most: int) -> int:
        head = await connection.fetchrow(LOCK_HEAD)
        if head is None:
            return 0
        if behind := head["size"] - head["tree_size"]:
            return await self._catch_up(connection, head, min(behind, most))
        if await connection.fetchval(IS_RESTORED, head["cluster"], head["low_xid"]):
            return await self._settle(connection, head, most)
        claim = await _claim(connection, head["low_xid"], most, self._scan_seconds, settled=head["settled"])
        if claim.ids:
            await self._place(connection, head, claim)
        return len(claim.ids)

    async def _place(self, connection: Connection, head: asyncpg.Record, claim: _Claim) -> None:
        """Write positions, head and tree of one step."""
        size = head["size"] + len(claim.ids)
        await connection.execute(PLACE, head["size"], claim.ids)
        await connection.execute(ADVANCE, size, claim.low_xid)
        await grow(connection, _stored_tree(head), size)
        self._doing = "sealing"

    async def _settle(self, connection: Connection, head: asyncpg.Record, most: int) -> int:
        """Seal the records of a restored dump, regardless of their transaction ids."""
        patience = self._scan_seconds or MAX_SCAN_SECONDS
        claim = await _claim(connection, 0, most, patience)
        if claim.ids:
            # Keep the old bound while records are left, so that the next step scans everything as well.
            await self._place(connection, head, replace(claim, low_xid=head["low_xid"]))
        if not claim.more:
            foreign = await connection.fetchval(FOREIGN, timeout=patience + 1)
            await connection.execute(SETTLE, foreign, claim.low_xid)
        self._doing = "sealing a log that was restored into another cluster"
        return len(claim.ids)

    async def _catch_up(self, connection: Connection, head: asyncpg.Record, count: int) -> int:
        """Add leaves for records that already have positions."""
        size = head["tree_size"] + count
        await grow(connection, _stored_tree(head), size)
        self._doing = f"growing the tree of older records: {size} of {head['size']}"
        return count


def _stored_tree(head: asyncpg.Record) -> StoredTree:
    return StoredTree(head["tree_size"], head["edge"], head["root"])


async def _claim(
    connection: Connection, low_xid: int, limit: int, patience: float | None, *, settled: int = 0
) -> _Claim:
    if patience is None:
        row = await connection.fetchrow(CLAIM, low_xid, limit, settled)
    else:
        # A scan of many unsealed records takes long, however few of them are claimed.
        await connection.execute(LIMIT_STATEMENTS, str(int(patience * 1000)))
        row = await connection.fetchrow(CLAIM, low_xid, limit, settled, timeout=patience + 1)
    return _Claim(row["ids"], row["low_xid"], row["more"]) if row else _Claim([], low_xid, more=False)
