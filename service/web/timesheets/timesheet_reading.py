"""Routes that read timesheets and entries; `include=actions` adds the allowed actions, `names=true` names, and `fields`
leaves out all other members."""

from __future__ import annotations

from datetime import date  # noqa: TC003 — Litestar reads handler signatures
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from litestar import Response, get
from litestar.params import FromPath, Parameter, QueryParameter

from service.pacing import pace_page
from service.timesheets.actions import Details
from service.timesheets.listing import MAX_DAYS_OF_TEXT, MAX_SORTED_SHEETS, Filters, Sort, check_filters
from service.timesheets.timesheet import State  # noqa: TC001 — Litestar reads handler signatures
from service.web.http.direct_routes import DIRECT
from service.web.http.operations import COMMON, ROW, operation
from service.web.http.paging import DEFAULT_LIMIT
from service.web.http.parameters import (
    MAX_PERSON_CHARS,
    MAX_TEAM_CHARS,
    PERSON_IN_QUERY,
    CurrentCaller,
    Cursor,
    Limit,
    SheetId,
    WithNames,
    fields_parameter,
    parse_fields,
    parse_optional_person,
    parse_optional_team,
    parse_optional_text,
    parse_texts,
    parse_uuid,
    pick_fields,
)
from service.web.http.responses import make_response
from service.web.timesheets.timesheet_shapes import (
    MAX_PROJECTS,
    EntryBody,
    ListTotalsBody,
    ProjectCode,
    SheetBody,
    SheetPage,
    entry_body,
    listed_sheet_bodies,
    sheet_body,
    stored_sheet_body,
    unversioned_of,
)

if TYPE_CHECKING:
    from service.authorization.enforcement.changes import Answer
    from service.timesheets.actions import Timesheets
    from service.timesheets.store import StoredSheet
    from service.web.http.paging import Cursors

PATH = "/v1/timesheets"
LISTING = "timesheets"
TAG = "Timesheets"
Include = Annotated[
    Literal["actions"] | None,
    Parameter(description="Adds the actions that this token may take on each sheet now, for buttons"),
]
Fields = Annotated[list[str] | None, fields_parameter(SheetBody)]
WithTotals = Annotated[
    bool, Parameter(description="Adds the number of sheets and minutes of all pages, up to 10,000 sheets")
]


def timesheet_reading_routes(timesheets: Timesheets, cursors: Cursors) -> list[Any]:
    """The handlers, bound to the use cases."""

    @get(PATH, opt=DIRECT, **operation("List timesheets", scope="read:timesheets", problems=COMMON, tag=TAG))
    async def list_timesheets(
        caller: CurrentCaller,
        owner: Annotated[
            str | None, Parameter(max_length=MAX_PERSON_CHARS, description=f"Only sheets of {PERSON_IN_QUERY}")
        ] = None,
        states: Annotated[
            list[State] | None,
            QueryParameter(name="state", description="Only sheets in this state, or in one of these"),
        ] = None,
        projects: Annotated[
            list[ProjectCode] | None,
            QueryParameter(
                name="project",
                max_items=MAX_PROJECTS,
                description="Only sheets with hours on this project, or on one of these",
            ),
        ] = None,
        team: Annotated[
            str | None,
            Parameter(
                max_length=MAX_TEAM_CHARS,
                description="Only sheets of present members of this team, by id or name, or of teams below",
            ),
        ] = None,
        text: Annotated[
            str | None,
            Parameter(
                min_length=2,
                max_length=100,
                description="Only sheets with an entry whose note contains this text. Needs `owner`, or `since` and"
                f" `until` with at most {MAX_DAYS_OF_TEXT} days",
            ),
        ] = None,
        since: Annotated[date | None, Parameter(description="Only weeks with a day on or after this day")] = None,
        until: Annotated[date | None, Parameter(description="Only weeks with a day on or before this day")] = None,
        include: Include = None,
        names: WithNames = False,  # noqa: FBT002 — a query parameter
        totals: WithTotals = False,  # noqa: FBT002 — a query parameter
        sort: Annotated[
            Sort,
            Parameter(
                description="The order; `-`: the greatest or newest first. By anything but `period_start`, a list has"
                f" at most {MAX_SORTED_SHEETS:,} timesheets, because each page is sorted anew. A draft counts as"
                " submitted before all others, and a name that you may not see as empty; of a long name, the first 60"
                " characters count"
            ),
        ] = "-period_start",
        fields: Fields = None,
        cursor: Cursor = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response[SheetPage]:
        filters = Filters(
            parse_optional_person(owner, "query.owner"),
            tuple(dict.fromkeys(states or ())),
            since,
            until,
            parse_texts(projects, "query.project"),
            parse_optional_team(team, "query.team"),
            parse_optional_text(text, "query.text"),
            sort,
        )
        check_filters(filters)
        bound: dict[str, Any] = {"owner": owner, "state": states, "since": since, "until": until}
        bound |= {"project": projects, "team": team, "text": text, "sort": sort}
        place = cursors.read(LISTING, bound, cursor)
        after = filters.parse_place(*place) if place else None
        wanted = parse_fields(fields, SheetBody)
        details = Details(actions=include is not None, names=names, totals=totals, fields=wanted)
        if not (details.actions or details.names or details.totals):
            plain = await timesheets.list(caller, filters, after=after, limit=limit, with_entries=details.with_entries)
            items = await listed_sheet_bodies(plain.value.rows)
            following, receipt, summed = plain.value.after, plain.receipt, None
        else:
            shown = await timesheets.list_with_details(caller, filters, details, after=after, limit=limit)
            items = [sheet_body(item.sheet, item.actions, item.names) async for item in pace_page(shown.value.items)]
            following, receipt, summed = shown.value.after, shown.receipt, shown.value.totals
        more = cursors.make(LISTING, bound, [str(following[0]), str(following[1])]) if following else None
        of_all = msgspec.UNSET if summed is None else ListTotalsBody(len(summed.ids), summed.minutes)
        return make_response(SheetPage(pick_fields(items, wanted), more, of_all), receipt)

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
        fields: Fields = None,
    ) -> Response[SheetBody]:
        sheet_id = parse_uuid(timesheet_id, "path.timesheet_id")
        if include is None and not names and fields is None:
            return await timesheets.read_stored(caller, sheet_id, _respond)
        wanted = parse_fields(fields, SheetBody)
        details = Details(actions=include is not None, names=names, fields=wanted)
        shown = await timesheets.read_with_details(caller, sheet_id, details)
        sheet = shown.value.sheet
        whole = sheet_body(sheet, shown.value.actions, shown.value.names)
        [body] = pick_fields([whole], wanted)
        return make_response(body, shown.receipt, version=sheet.version, unversioned=unversioned_of(whole))

    @get(
        PATH + "/{timesheet_id:str}/entries/{entry_id:str}",
        **operation("Read an entry", scope="read:timesheets", problems=ROW, tag=TAG, etag=True),
    )
    async def read_entry(caller: CurrentCaller, timesheet_id: SheetId, entry_id: FromPath[str]) -> Response[EntryBody]:
        entry = parse_uuid(entry_id, "path.entry_id")
        answer = await timesheets.read_entry(caller, parse_uuid(timesheet_id, "path.timesheet_id"), entry)
        return make_response(entry_body(answer.value.entry), answer.receipt, version=answer.value.sheet.version)

    return [list_timesheets, read_timesheet, read_entry]


def _respond(answer: Answer[StoredSheet]) -> Response[SheetBody]:
    """The response with a stored sheet, whose body is encoded already."""
    stored = answer.value
    body = stored_sheet_body(stored.row, stored.approvals, stored.approvals_needed)
    encoded: Any = msgspec.Raw(msgspec.json.encode(body))
    return make_response(encoded, answer.receipt, version=body.version, unversioned=unversioned_of(body))
