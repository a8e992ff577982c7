"""Search the log. Reads only; owns no state.

Filters use the search columns; results come from the record's bytes. Pages are ordered by (decided_at, id), which also
works for records that are not sealed yet. Times are read as text, so that an altered one does not break a page.
`NewestRecords` owns a reserved connection for pages without filters, and the reads that wait for it.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import asyncpg

from service.authorization.enforcement.names import load_names_of_row, select_names
from service.connectivity import Connectivity
from service.database import ReservedConnection, Turns
from service.errors import DatabaseUnavailable, QueryTooBroad, TryLater
from service.log.packing import unpack_with_leaf
from service.log.record import readable_body
from service.log.record_query import DECISIONS, RecordFilters, RecordQuery, custom_plans
from service.log.sql_times import epoch_seconds, sort_key, time_text
from service.log.windows import EVERYTHING, Window, find_windows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from service.authorization.enforcement.changes import Reading
    from service.authorization.enforcement.names import Names
    from service.database import Connection, Database
    from service.log.record import Kind
    from service.log.sql_times import TimeOrder

    Place = tuple[str | None, int]
    # The kinds, the place after which it begins, and how many records.
    Page = tuple[tuple[Kind, ...], Place | None, int]

# How many records that were read are kept, of some 3 kB each, 200 kB at most.
MAX_RECORDS_KEPT = 512
# How long a partition that was closed meanwhile is read as a part of the open one.
MAX_WINDOW_AGE_SECONDS = 60.0
# Pages without filters are read in the order of the index on (decided_at, id), and what belongs to their records by its
# key. So planning anew, sequential scans and sorting are never right, whatever the statistics say.
SETTINGS = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_sort": "off",
    "jit": "off",
}
SELECTED = "r.id, r.uid, r.kind, r.at, r.decided_at, r.stored_hash, r.body"
# Ids in a record, and the codes of projects.
NAMEABLE = re.compile(rb'"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"|"project":"([^"\\]*)"')

SHOWN = f"""
    SELECT r.id, r.uid, r.kind, {time_text("r.at")} AS at, r.decided_at::text AS moment,
           {epoch_seconds("r.decided_at")} AS seconds, r.stored_hash, r.body, p.position
"""
PLACED = "LEFT JOIN audit_position p ON p.record_id = r.id"

# The free texts of records that are not erased.
TEXTS = "SELECT record_uid, field, value FROM audit_text WHERE record_uid = ANY($1)"


# Pages share it, so it is never changed. Frozen, it would take three times as long to make.
@dataclass(slots=True)
class LoggedRecord:
    """A record of the log. `position` is None until it is sealed. `at` is when Postgres stored it, which is not proved.
    `place` is its place in the order of pages: the time as text, and the id; `order` is the same as a sort key. `leaf`
    is hex. `json` is its bytes as people can read them; `committed` names the texts that they commit to. `texts` is
    empty until `add_texts` or `load_record` fills it; `names`, the present names by id, which are not proved, are None
    until `add_names` fills them."""

    id: int
    uid: UUID
    kind: str
    at: str
    place: Place
    order: tuple[TimeOrder, int]
    position: int | None
    leaf: str
    json: bytes
    committed: frozenset[str]
    texts: Mapping[str, str] = field(default_factory=dict)
    names: Names | None = None


async def search_records(
    connection: Connection,
    filters: RecordFilters,
    *,
    kinds: Sequence[Kind] = (),
    after: Place | None = None,
    limit: int = 50,
    oldest_first: bool = False,
) -> list[LoggedRecord]:
    """One page of records of any of `kinds` (all if empty), newest first, after the place `after`. Raises
    QueryTooBroad."""
    since, until = (time.isoformat() if time else None for time in (filters.since, filters.until))
    if after is not None and after[0] is not None:
        since, until = (after[0], until) if oldest_first else (since, after[0])
    found: list[LoggedRecord] = []
    async with custom_plans(connection, in_order=filters == RecordFilters()):
        for window in await find_windows(connection, since, until, oldest_first=oldest_first):
            statement, values = page_statement(filters, kinds, after, limit, oldest_first=oldest_first, window=window)
            found += [_build_record(row) for row in await connection.fetch(statement, *values)]
            found = sorted(found, key=lambda record: record.order, reverse=not oldest_first)[:limit]
            if _is_complete(found, limit, window, oldest_first=oldest_first):
                break
    return found


class NewestRecords:
    """Reads pages without filters, newest first, from the open partition. Postgres keeps their plans, since planning
    takes longer than running one. Pages are read one after the other; requests that wait for the same page share its
    statement, which starts after they came. `timeout` in seconds bounds the wait for another page to be read."""

    def __init__(self, database: Database, *, timeout: float) -> None:
        self._database = database
        self._connection = ReservedConnection(database, SETTINGS, self._forget)
        self._turns = Turns(
            1,
            timeout=timeout,
            full="Too many requests are reading the log; send this one again in a moment",
            keeps_slot=True,
        )
        # The reads that wait for their turn. One that has begun is not among them.
        self._waiting: dict[Page, asyncio.Task[list[LoggedRecord] | TryLater | None]] = {}
        self._open_window: Window | None = None
        self._known_until = 0.0

    async def read(self, kinds: Sequence[Kind], after: Place | None, limit: int) -> list[LoggedRecord] | None:
        """A page as `search_records` returns it; None if it may reach into a closed partition, or if a pooler does not
        pass SETTINGS on. Raises QueryTooBroad, TryLater."""
        if self._database.way is not Connectivity.DIRECT:
            return None
        page = (tuple(kinds), after, limit)
        if (waiting := self._waiting.get(page)) is None:
            waiting = self._waiting[page] = asyncio.create_task(self._read_in_turn(page))
        # A request that ends does not end the read of the others.
        found = await asyncio.shield(waiting)
        if isinstance(found, TryLater):
            # A new error for each request, because an error names the decision of its request.
            if isinstance(found.__cause__, asyncpg.QueryCanceledError):
                raise QueryTooBroad(cause="a query exceeded the statement timeout") from found
            if isinstance(found, DatabaseUnavailable):
                raise DatabaseUnavailable(cause=found.cause) from found
            raise TryLater(found.public, cause=found.cause) from found
        return found

    async def _read_in_turn(self, page: Page) -> list[LoggedRecord] | TryLater | None:
        try:
            async with self._turns.take():
                del self._waiting[page]
                return await self._read(page)
        except TryLater as error:
            return error
        finally:
            if self._waiting.get(page) is asyncio.current_task():
                del self._waiting[page]

    async def _read(self, page: Page) -> list[LoggedRecord] | None:
        kinds, after, limit = page
        window = await self._find_window()
        statement, values = page_statement(RecordFilters(), kinds, after, limit, window=window)
        found = [_build_record(row) for row in await self._connection.fetch(statement, *values)]
        return found if _is_complete(found, limit, window, oldest_first=False) else None

    async def _find_window(self) -> Window:
        """The open partition, or with it one that was closed a moment ago: a closed partition never changes."""
        if self._open_window is None or time.monotonic() >= self._known_until:
            self._open_window = (await find_windows(self._connection, None, None))[0]
            self._known_until = time.monotonic() + MAX_WINDOW_AGE_SECONDS
        return self._open_window

    def _forget(self) -> None:
        """Another database may answer on the next connection, such as a restored one."""
        self._open_window = None


async def add_texts(connection: Connection, found: Sequence[LoggedRecord]) -> list[LoggedRecord]:
    """The same records with their texts that are not erased."""
    texts: dict[UUID, dict[str, str]] = {}
    for row in await connection.fetch(TEXTS, [record.uid for record in found]):
        texts.setdefault(row["record_uid"], {})[row["field"]] = row["value"]
    return [replace(record, texts=texts.get(record.uid, {})) for record in found]


async def add_names(reading: Reading, found: Sequence[LoggedRecord]) -> list[LoggedRecord]:
    """The same records with the names of the people, teams and projects in them, as far as the caller may see them."""
    ids = [{(uid or project).decode() for uid, project in NAMEABLE.findall(record.json)} for record in found]
    names = await load_names_of_row(reading, frozenset().union(*ids))
    return [replace(record, names=select_names(names, given)) for record, given in zip(found, ids, strict=True)]


async def load_decision(connection: Connection, uid: UUID) -> LoggedRecord | None:
    """A decision by its id, with its texts; None if there is none."""
    found = await load_record(connection, uid)
    return found if found and found.kind in DECISIONS else None


async def load_record(connection: Connection, uid: UUID) -> LoggedRecord | None:
    """A record by its uid, with its texts; None if there is none."""
    # If a record was forged with the same uid, the one that was sealed first is the genuine one.
    row = await connection.fetchrow(
        f"{SHOWN} FROM audit_record r {PLACED} WHERE r.uid = $1 ORDER BY p.position, r.id LIMIT 1",
        uid,
    )
    return None if row is None else (await add_texts(connection, [_build_record(row)]))[0]


async def pruned_position(connection: Connection, uid: UUID) -> int | None:
    """The position of a pruned record; None if no record with this uid was pruned."""
    # By the index on uid.
    found: int | None = await connection.fetchval("SELECT position FROM audit_pruned WHERE uid = $1 LIMIT 1", uid)
    return found


def page_statement(
    filters: RecordFilters,
    kinds: Sequence[Kind],
    after: Place | None,
    limit: int,
    *,
    oldest_first: bool = False,
    window: Window = EVERYTHING,
) -> tuple[str, list[object]]:
    """The SQL of a page within a window, and its parameters."""
    query = RecordQuery(filters, kinds, window)
    direction = "ASC" if oldest_first else "DESC"
    bound = f"ORDER BY r.decided_at {direction}, r.id {direction} LIMIT {limit}"
    # A page of each alternative, each by its own index; the page is the first rows of all of them.
    pages = " UNION ALL ".join(
        f"(SELECT {SELECTED} {query.source([*terms, *further])} {bound})"
        for terms in query.alternatives
        for further in _after_place(query, after, oldest_first=oldest_first)
    )
    # Only for the rows of the page, read the remaining columns and the position.
    return f"{SHOWN} FROM (SELECT * FROM ({pages}) AS r {bound}) AS r {PLACED} {bound}", query.values


def _after_place(query: RecordQuery, after: Place | None, *, oldest_first: bool) -> list[list[str]]:
    """The conditions for records after a place, as alternatives. Records whose time was removed sort as the newest."""
    if after is None:
        return [[]]
    time, number = after[0], query.add_parameter(after[1])
    if time is None:
        later = ["r.decided_at IS NULL", f"r.id > {number}"]
        return [later] if oldest_first else [[f"(r.decided_at IS NOT NULL OR r.id < {number})"]]
    moment = f"{query.add_parameter(time)}::text::timestamptz"
    if oldest_first:
        return [[f"(r.decided_at, r.id) > ({moment}, {number})"], ["r.decided_at IS NULL"]]
    return [[f"(r.decided_at, r.id) < ({moment}, {number})"]]


def _is_complete(found: Sequence[LoggedRecord], limit: int, window: Window, *, oldest_first: bool) -> bool:
    """Whether no later window can hold a record that belongs on this page."""
    if window.beyond is None:
        return True
    if len(found) < limit:
        return False
    end = found[-1].order[0]
    return end < window.beyond if oldest_first else end >= window.beyond


@lru_cache(maxsize=MAX_RECORDS_KEPT)
def _build_record(row: asyncpg.Record) -> LoggedRecord:
    """Kept by the stored values themselves, since the newest records are read again and again; an altered record has
    others."""
    body, leaf = unpack_with_leaf(row["body"] or b"", row["stored_hash"] or b"")
    json, committed = readable_body(body)
    return LoggedRecord(
        id=row["id"],
        uid=row["uid"],
        kind=row["kind"],
        at=row["at"],
        place=(row["moment"], row["id"]),
        order=(sort_key(row["seconds"]), row["id"]),
        position=row["position"],
        leaf=leaf.hex(),
        json=json,
        committed=committed,
    )
