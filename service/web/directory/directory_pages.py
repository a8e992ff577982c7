"""One page of a listing of the directory, and the cursor of the next. Pure: owns no state."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from service.authorization.enforcement.changes import Answer
    from service.directory.recorded_change import Listed
    from service.web.http.paging import Cursors
    from service.web.http.parameters import CurrentCaller


async def page_of(
    load: Callable[..., Awaitable[Answer[Listed[Any]]]],
    cursors: Cursors,
    listing: str,
    caller: CurrentCaller,
    cursor: str | None,
    limit: int,
    wanted: Mapping[str, object] = MappingProxyType({}),
    *,
    key: Callable[[str], UUID | str] = UUID,
) -> tuple[Answer[Listed[Any]], str | None]:
    """What `load` gives behind the cursor, and the next cursor, None on the last page. `wanted` are the filters that
    the cursor belongs to; `key` makes the listing's key of what stands in a cursor. Raises InvalidField."""
    place = cursors.read(listing, wanted, cursor)
    answer = await load(caller, after=key(place[0]) if place else None, limit=limit)
    after = answer.value.after
    return answer, cursors.make(listing, wanted, [after]) if after else None
