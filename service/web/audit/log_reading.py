"""Access to the log: authorized, and recorded as ACCESS with the ids that were returned, even if there are none.

Owns no state. `read_log`, or for records `read_records`, serves every route; `answer_search` serves one page of a
search.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from service.audit import search
from service.authorization.enforcement.changes import Answer, refused_under
from service.errors import InvalidField, NotFound, NotSealed, QueryTooBroad
from service.log.record import Kind
from service.web.audit.log_query import NO_FILTERS
from service.web.audit.shapes import record_page
from service.web.http.responses import make_response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from litestar import Response

    from service.audit.search import LoggedRecord, NewestRecords, Place
    from service.authorization.enforcement.changes import Caller, Reading
    from service.authorization.enforcement.decision_record import Positions, RecordedQuery
    from service.authorization.enforcement.gate import Gate
    from service.database import Connection, Database
    from service.web.audit.log_query import LogQuery
    from service.web.audit.shapes import RecordPage
    from service.web.http.paging import Cursors

T = TypeVar("T")
READ_LOG = ("log", "read")


async def read_log(
    gate: Gate,
    caller: Caller,
    load: Callable[[Connection], Awaitable[tuple[T, Sequence[str] | Positions]]],
    *,
    query: RecordedQuery | None = None,
    replica: Database | None = None,
) -> Answer[T]:
    """Return the value of `load` once the access is recorded with the ids that `load` returns, and with the
    `query`. `load` reads the `replica` if there is one.

    If `load` raises NotFound, NotSealed, QueryTooBroad or InvalidField, an access that returned nothing is recorded
    before the error is raised. Raises Denied, TryLater.
    """

    async def load_connected(reading: Reading) -> tuple[T, Sequence[str] | Positions]:
        async with reading.connect() as connection:
            return await load(connection)

    return await _read(gate, caller, load_connected, query, replica)


async def read_records(
    gate: Gate,
    caller: Caller,
    load: Callable[[Connection], Awaitable[tuple[Sequence[LoggedRecord], Sequence[str]]]],
    *,
    with_names: bool,
    query: RecordedQuery | None = None,
    replica: Database | None = None,
    asked: tuple[str, str] = READ_LOG,
    load_newest: Callable[[], Awaitable[tuple[Sequence[LoggedRecord], Sequence[str]] | None]] | None = None,
) -> Answer[Sequence[LoggedRecord]]:
    """As `read_log`, for records: with the names in them, if they are asked for. Without names, `load_newest` may find
    them; None if only `load` can. `asked`: the kind and action to decide on."""

    async def load_named(reading: Reading) -> tuple[Sequence[LoggedRecord], Sequence[str]]:
        newest = await load_newest() if load_newest is not None and not with_names else None
        if newest is not None:
            return newest
        async with reading.connect() as reading.connection:
            found, returned = await load(reading.connection)
            return await search.add_names(reading, found) if with_names else found, returned

    return await _read(gate, caller, load_named, query, replica, asked)


async def _read(
    gate: Gate,
    caller: Caller,
    load: Callable[[Reading], Awaitable[tuple[T, Sequence[str] | Positions]]],
    query: RecordedQuery | None,
    replica: Database | None,
    asked: tuple[str, str] = READ_LOG,
) -> Answer[T]:
    value: T | NotFound | NotSealed | QueryTooBroad | InvalidField
    async with gate.read_unconnected(caller, *asked, query=query, replica=replica) as reading:
        try:
            value, reading.returned = await load(reading)
        except (NotFound, NotSealed, QueryTooBroad, InvalidField) as error:
            value = error
    if isinstance(value, NotFound | NotSealed | QueryTooBroad | InvalidField):
        with refused_under(reading.receipt):
            raise value
    return reading.answer(value)


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A page of a listing. `key` is the filters that its cursors are valid for."""

    cursors: Cursors
    listing: str
    key: Mapping[str, object]
    cursor: str | None
    limit: int

    def place(self) -> Place | None:
        """The place after which the page begins. Raises InvalidField."""
        after = self.cursors.read(self.listing, self.key, self.cursor)
        return (after[0], int(after[1])) if after else None

    def next_cursor(self, found: Sequence[LoggedRecord]) -> str | None:
        """The cursor of the next page, if `found` holds a record more than this page."""
        if len(found) <= self.limit:
            return None
        return self.cursors.make(self.listing, self.key, found[self.limit - 1].place)


async def answer_search(
    gate: Gate,
    caller: Caller,
    query: LogQuery,
    page: PageRequest,
    kinds: Sequence[Kind],
    replica: Database | None,
    newest: NewestRecords | None,
    *,
    with_names: bool,
    fields: frozenset[str] | None,
    after_approval: bool = False,
) -> Response[RecordPage]:
    """A page of records of these kinds, newest first, with all members or these `fields`. The record of this access
    names them, and the people searched for. `newest` reads it if nothing is filtered and most records are of these
    kinds."""
    after = page.place()
    is_plain = query == NO_FILTERS and not after_approval and Kind.DECISION in (kinds or Kind)

    async def load_newest() -> tuple[list[LoggedRecord], list[str]] | None:
        found = None if newest is None else await newest.read(kinds, after, page.limit + 1)
        return None if found is None else (found, [str(record.uid) for record in found[: page.limit]])

    async def load(connection: Connection) -> tuple[list[LoggedRecord], list[str]]:
        filters = replace(await query.resolve(connection), after_approval=after_approval)
        found = await search.search_records(connection, filters, kinds=kinds, after=after, limit=page.limit + 1)
        ids = [str(record.uid) for record in found[: page.limit]]
        return found, ids + [str(uid) for uid in query.found_by(filters)]

    recorded = query.to_record(kinds=kinds, after_approval=after_approval)
    answer = await read_records(
        gate,
        caller,
        load,
        with_names=with_names,
        query=recorded,
        replica=replica,
        load_newest=load_newest if is_plain else None,
    )
    found = answer.value
    return make_response(record_page(found[: page.limit], page.next_cursor(found), fields), answer.receipt)
