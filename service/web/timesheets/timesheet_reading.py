"""Routes that read timesheets and entries; `include=actions` adds the allowed actions, `names=true` names."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

from litestar import Response, get
from litestar.params import FromPath, Parameter, QueryParameter

from service.errors import InvalidField
from service.pacing import pace_page
from service.places import FieldError
from service.timesheets.actions import Details
from service.timesheets.listing import Filters
from service.timesheets.timesheet import State  # noqa: TC001 — Litestar reads handler signatures
from service.web.http.direct_routes import DIRECT
from service.web.http.operations import COMMON, ROW, operation
from service.web.http.paging import DEFAULT_LIMIT
from service.web.http.parameters import (
    MAX_PERSON_CHARS,
    PERSON_IN_QUERY,
    CurrentCaller,
    Cursor,
    Limit,
    SheetId,
    WithNames,
    parse_optional_person,
    parse_uuid,
)
from service.web.http.responses import make_response
from service.web.timesheets.timesheet_shapes import (
    EntryBody,
    SheetBody,
    SheetPage,
    entry_body,
    listed_sheet_bodies,
    sheet_body,
)

if TYPE_CHECKING:
    from service.timesheets.actions import Timesheets
    from service.web.http.paging import Cursors

PATH = "/v1/timesheets"
PLAIN = Details()
LISTING = "timesheets"
TAG = "Timesheets"
Include = Annotated[
    Literal["actions"] | None,
    Parameter(description="Adds the actions that this token may take on each sheet now, for buttons"),
]


def timesheet_reading_routes(timesheets: Timesheets, cursors: Cursors) -> list[Any]:
    """The handlers, bound to the use cases."""

    @get(PATH, **operation("List timesheets", scope="read:timesheets", problems=COMMON, tag=TAG))
    async def list_timesheets(
        caller: CurrentCaller,
        owner: Annotated[
            str | None, Parameter(max_length=MAX_PERSON_CHARS, description=f"Only sheets of {PERSON_IN_QUERY}")
        ] = None,
        sheet_state: Annotated[
            State | None, QueryParameter(name="state", description="Only sheets in this state")
        ] = None,
        since: Annotated[date | None, Parameter(description="Only weeks with a day on or after this day")] = None,
        until: Annotated[date | None, Parameter(description="Only weeks with a day on or before this day")] = None,
        include: Include = None,
        names: WithNames = False,  # noqa: FBT002 — a query parameter
        cursor: Cursor = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response[SheetPage]:
        filters = Filters(
            owner=parse_optional_person(owner, "query.owner"), state=sheet_state, since=since, until=until
        )
        if since and until and since > until:
            raise InvalidField(FieldError("query.until", "must not be before since"))
        bound = {"owner": owner, "state": sheet_state, "since": since, "until": until}
        place = cursors.read(LISTING, bound, cursor)
        after = (date.fromisoformat(place[0]), UUID(place[1])) if place else None
        details = Details(actions=include is not None, names=names)
        if details == PLAIN:
            plain = await timesheets.list(caller, filters, after=after, limit=limit)
            items = await listed_sheet_bodies(plain.value.rows)
            following, receipt = plain.value.after, plain.receipt
        else:
            shown = await timesheets.list_with_details(caller, filters, details, after=after, limit=limit)
            items = [sheet_body(item.sheet, item.actions, item.names) async for item in pace_page(shown.value.items)]
            following, receipt = shown.value.after, shown.receipt
        more = cursors.make(LISTING, bound, [str(following[0]), str(following[1])]) if following else None
        return make_response(SheetPage(items, more), receipt)

    @get(
        PATH + "/{timesheet_id:str}",
        opt=DIRECT,
        **operation("Read a timesheet", scope="read:timesheets", problems=ROW, tag=TAG, etag=True),
    )
    async def read_timesheet(
        caller: CurrentCaller,
        timesheet_id: SheetId,
        include: Include = None,
        names: WithNames = False,  # noqa: FBT002 — a query parameter
    ) -> Response[SheetBody]:
        sheet_id = parse_uuid(timesheet_id, "path.timesheet_id")
        if include is None and not names:
            plain = await timesheets.read(caller, sheet_id)
            return make_response(sheet_body(plain.value), plain.receipt, version=plain.value.version)
        shown = await timesheets.read_with_details(caller, sheet_id, Details(actions=include is not None, names=names))
        sheet = shown.value.sheet
        body = sheet_body(sheet, shown.value.actions, shown.value.names)
        return make_response(body, shown.receipt, version=sheet.version)

    @get(
        PATH + "/{timesheet_id:str}/entries/{entry_id:str}",
        **operation("Read an entry", scope="read:timesheets", problems=ROW, tag=TAG, etag=True),
    )
    async def read_entry(caller: CurrentCaller, timesheet_id: SheetId, entry_id: FromPath[str]) -> Response[EntryBody]:
        entry = parse_uuid(entry_id, "path.entry_id")
        answer = await timesheets.read_entry(caller, parse_uuid(timesheet_id, "path.timesheet_id"), entry)
        return make_response(entry_body(answer.value.entry), answer.receipt, version=answer.value.sheet.version)

    return [list_timesheets, read_timesheet, read_entry]
