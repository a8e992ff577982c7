"""Search in the log. Reads only; owns no state.

The filters use the search copies; what is shown comes from the record's own bytes. Pages go by (decided_at, id), which
also holds for records that are not sealed yet. A time is read as text: whatever somebody wrote there breaks no page.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from service.log.record import readable_body
from service.log.record_query import DECISIONS, RecordFilters, RecordQuery, custom_plans
from service.log.sql_times import epoch_seconds, sort_key, time_text
from service.log.windows import EVERYTHING, Window, find_windows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    import asyncpg

    from service.database import Connection
    from service.log.record import Kind
    from service.log.sql_times import TimeOrder

    Place = tuple[str | None, int]

COPIED = "r.id, r.uid, r.kind, r.at, r.decided_at, r.leaf, r.body"
SHOWN = f"""
    SELECT r.id, r.uid, r.kind, {time_text("r.at")} AS at, r.decided_at::text AS moment,
           {epoch_seconds("r.decided_at")} AS seconds, r.leaf, r.body, p.position
"""
PLACED = "LEFT JOIN audit_position p ON p.record_id = r.id"

# The free texts of records that are not erased.
TEXTS = "SELECT record_uid, field, value FROM audit_text WHERE record_uid = ANY($1)"


@dataclass(frozen=True, slots=True)
class Logged:
    """A record as the log holds it. `position` is None until it is sealed; `at` is when Postgres took it, which nothing
    proves; `place` is where it stands among the others, the time as Postgres writes it and the id, and `order` the same
    for comparing; `leaf` is hex; `texts` is filled where it is said."""

    id: int
    uid: UUID
    kind: str
    at: str
    place: Place
    order: tuple[TimeOrder, int]
    position: int | None
    leaf: str
    body: dict[str, object]
    texts: Mapping[str, str] = field(default_factory=dict)


async def records(
    connection: Connection,
    filters: RecordFilters,
    *,
    kinds: Sequence[Kind] = (),
    behind: Place | None = None,
    limit: int = 50,
    oldest_first: bool = False,
) -> list[Logged]:
    """Records of any of `kinds` (all when empty), newest first. Raises QueryTooBroad."""
    since, until = (one.isoformat() if one else None for one in (filters.since, filters.until))
    if behind is not None and behind[0] is not None:
        since, until = (behind[0], until) if oldest_first else (since, behind[0])
    found: list[Logged] = []
    async with custom_plans(connection):
        for window in await find_windows(connection, since, until, oldest_first=oldest_first):
            statement, values = page(filters, kinds, behind, limit, oldest_first=oldest_first, window=window)
            found += [_logged(row) for row in await connection.fetch(statement, *values)]
            found = sorted(found, key=lambda one: one.order, reverse=not oldest_first)[:limit]
            if _whole(found, limit, window, oldest_first=oldest_first):
                break
    return found


async def with_texts(connection: Connection, found: Sequence[Logged]) -> list[Logged]:
    """The same records with those of their texts that are not erased."""
    texts: dict[UUID, dict[str, str]] = {}
    for row in await connection.fetch(TEXTS, [one.uid for one in found]):
        texts.setdefault(row["record_uid"], {})[row["field"]] = row["value"]
    return [replace(one, texts=texts.get(one.uid, {})) for one in found]


async def decision(connection: Connection, uid: UUID) -> Logged | None:
    """One decision by its id, with its texts; None when there is none."""
    found = await record(connection, uid)
    return found if found and found.kind in DECISIONS else None


async def record(connection: Connection, uid: UUID) -> Logged | None:
    """One record by its uid, with its texts."""
    # The one of that uid that was sealed first: a uid is unique by its generator, and nobody can add one before it.
    row = await connection.fetchrow(
        f"{SHOWN} FROM audit_record r {PLACED} WHERE r.uid = $1 ORDER BY p.position, r.id LIMIT 1",
        uid,
    )
    return None if row is None else (await with_texts(connection, [_logged(row)]))[0]


async def pruned_position(connection: Connection, uid: UUID) -> int | None:
    """Where a record stood whose body retention has dropped; None when no such record was dropped."""
    # By the index on uid.
    found: int | None = await connection.fetchval("SELECT position FROM audit_pruned WHERE uid = $1 LIMIT 1", uid)
    return found


def page(
    filters: RecordFilters,
    kinds: Sequence[Kind],
    behind: Place | None,
    limit: int,
    *,
    oldest_first: bool = False,
    window: Window = EVERYTHING,
) -> tuple[str, list[object]]:
    """The statement of one page within a window, and its parameters."""
    query = RecordQuery(filters, kinds, window)
    way = "ASC" if oldest_first else "DESC"
    bound = f"ORDER BY r.decided_at {way}, r.id {way} LIMIT {query.add_parameter(limit)}"
    # One page of each alternative, each by its own index, and the first of all of them.
    pages = " UNION ALL ".join(
        f"(SELECT {COPIED} FROM audit_record r {query.where([*terms, *further])} {bound})"
        for terms in query.alternatives
        for further in _further(query, behind, oldest_first=oldest_first)
    )
    # What is shown of one page, and where each record is sealed.
    return f"{SHOWN} FROM (SELECT * FROM ({pages}) AS r {bound}) AS r {PLACED} {bound}", query.values


def _further(query: RecordQuery, behind: Place | None, *, oldest_first: bool) -> list[list[str]]:
    """What stands behind a place, as alternatives. Records whose time somebody took away are the latest of all."""
    if behind is None:
        return [[]]
    time, number = behind[0], query.add_parameter(behind[1])
    if time is None:
        later = ["r.decided_at IS NULL", f"r.id > {number}"]
        return [later] if oldest_first else [[f"(r.decided_at IS NOT NULL OR r.id < {number})"]]
    moment = f"{query.add_parameter(time)}::text::timestamptz"
    if oldest_first:
        return [[f"(r.decided_at, r.id) > ({moment}, {number})"], ["r.decided_at IS NULL"]]
    return [[f"(r.decided_at, r.id) < ({moment}, {number})"]]


def _whole(found: Sequence[Logged], limit: int, window: Window, *, oldest_first: bool) -> bool:
    """Whether nothing behind this window can stand before the end of the page."""
    if window.beyond is None:
        return True
    if len(found) < limit:
        return False
    end = found[-1].order[0]
    return end < window.beyond if oldest_first else end >= window.beyond


def _logged(row: asyncpg.Record) -> Logged:
    return Logged(
        id=row["id"],
        uid=row["uid"],
        kind=row["kind"],
        at=row["at"],
        place=(row["moment"], row["id"]),
        order=(sort_key(row["seconds"]), row["id"]),
        position=row["position"],
        leaf=(row["leaf"] or b"").hex(),
        body=readable_body(row["body"] or b""),
    )
