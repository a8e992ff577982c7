"""One page of the log: its place, the cursor of the next, and the answer to a search. Owns no state."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from service.audit import people, search
from service.web.audit.log_reading import read_log
from service.web.audit.log_shapes import record_page
from service.web.http.responses import make_response

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from litestar import Response

    from service.audit.search import Logged, Place
    from service.authorization.enforcement.decision_record import Caller
    from service.authorization.enforcement.gate import Gate
    from service.database import Connection
    from service.log.record import Kind
    from service.web.audit.log_questions import LogQuery
    from service.web.audit.log_shapes import RecordPage
    from service.web.http.paging import Cursors


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which page of which listing: `bound` is what its cursors belong to."""

    cursors: Cursors
    listing: str
    bound: Mapping[str, object]
    cursor: str | None
    limit: int

    def place(self) -> Place | None:
        """The place behind which the page begins. Raises InvalidField."""
        after = self.cursors.read(self.listing, self.bound, self.cursor)
        return (after[0], int(after[1])) if after else None

    def following(self, found: Sequence[Logged]) -> str | None:
        """The cursor of the next page; `found` holds one record more than the page if there is one."""
        if len(found) <= self.limit:
            return None
        return self.cursors.make(self.listing, self.bound, found[self.limit - 1].place)


async def answer_search(
    gate: Gate,
    caller: Caller,
    asked: LogQuery,
    wanted: PageRequest,
    kinds: Sequence[Kind],
    *,
    after_approval: bool = False,
) -> Response[RecordPage]:
    """The page of records of these kinds, newest first. Its own record names them, and the people asked about."""
    behind = wanted.place()

    async def load(connection: Connection) -> tuple[tuple[list[Logged], dict[str, str]], list[str]]:
        filters = replace(await asked.resolved(connection), after_approval=after_approval)
        found = await search.records(connection, filters, kinds=kinds, behind=behind, limit=wanted.limit + 1)
        shown = found[: wanted.limit]
        ids = [str(one.uid) for one in shown] + [str(person) for person in filters.persons or ()]
        return (found, await people.names(connection, shown)), ids

    put = asked.put(kinds=kinds, after_approval=after_approval)
    answer = await read_log(gate, caller, load, put=put)
    found, names = answer.value
    return make_response(record_page(found[: wanted.limit], names, wanted.following(found)), answer.receipt)
