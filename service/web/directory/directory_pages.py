"""Loads a page of a list of the directory, and makes the cursor of the next. Pure: owns no state."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from service.authorization.enforcement.changes import Answer
    from service.directory.recorded_change import DirectoryPage
    from service.web.http.paging import Cursors
    from service.web.http.parameters import CurrentCaller


async def load_page(
    load: Callable[..., Awaitable[Answer[DirectoryPage[Any]]]],
    cursors: Cursors,
    listing: str,
    caller: CurrentCaller,
    cursor: str | None,
    limit: int,
    filters: Mapping[str, object] = MappingProxyType({}),
    *,
    key: Callable[[str], UUID | str] = UUID,
) -> tuple[Answer[DirectoryPage[Any]], str | None]:
    """The page of `load` at the cursor, and the next cursor, None on the last page. The cursor is bound to `filters`;
    `key` parses the key in a cursor. Raises InvalidField."""
    place = cursors.read(listing, filters, cursor)
    answer = await load(caller, after=key(place[0]) if place else None, limit=limit)
    after = answer.value.after
    return answer, cursors.make(listing, filters, [after]) if after else None
