"""/v1/timesheets: weekly sheets and their entries, from draft to approved. Each handler calls one use case."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, delete, get, post, put
from litestar.params import FromPath, JSONBody, Parameter, PathParameter, QueryParameter

from service.errors import InvalidField
from service.places import FieldError
from service.timesheets.entry import Entry, Hours
from service.timesheets.listing import Filters
from service.timesheets.timesheet import State, Timesheet  # noqa: TC001 — Litestar reads handler signatures
from service.web.answers import answered
from service.web.operations import BODY, CHANGE, COMMON, ROW, operation
from service.web.paging import DEFAULT_LIMIT, MOST
from service.web.parameters import Asking, optional_uuid, uuid_of
from service.web.preconditions import if_match

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from service.authorization.changes import Answer
    from service.authorization.enforcement import Expect
    from service.timesheets.actions import Timesheets
    from service.web.paging import Cursors

PATH = "/v1/timesheets"
LISTING = "timesheets"
TAG = "Timesheets"
Day = Annotated[date, msgspec.Meta(description="A calendar day, YYYY-MM-DD", examples=["2026-11-23"])]
Id = Annotated[str, PathParameter(description="The timesheet's id", max_length=64)]


class NewSheet(msgspec.Struct, forbid_unknown_fields=True):
    """A week to open. The owner is the person of the token. `period_start` is a Monday, `time_zone` an IANA name."""

    period_start: Day
    time_zone: Annotated[str, msgspec.Meta(max_length=64, examples=["Europe/Berlin"])] = "UTC"


class EntryFields(msgspec.Struct, forbid_unknown_fields=True):
    """A day's minutes on a project: whole minutes, 1 to 1440."""

    day: Day
    project: Annotated[str, msgspec.Meta(max_length=40, examples=["ATLAS"])]
    minutes: Annotated[int, msgspec.Meta(ge=1, le=1440, examples=[450])]
    note: Annotated[str, msgspec.Meta(max_length=500)] | None = None


class Reason(msgspec.Struct, forbid_unknown_fields=True):
    """Why; the owner reads it."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=1000, examples=["Friday is missing"])]


class OptionalReason(msgspec.Struct, forbid_unknown_fields=True):
    """Why, if you like to say."""

    reason: (
        Annotated[str, msgspec.Meta(min_length=1, max_length=1000, examples=["Booked on the wrong project"])] | None
    ) = None


class EntryBody(msgspec.Struct):
    """An entry of a sheet. `external_ref` is an importing job's own name for it."""

    id: str
    day: date
    project: str
    minutes: int
    note: str | None
    external_ref: str | None


class SheetBody(msgspec.Struct):
    """A person's week. `version` is also the ETag; `reason` is why it was last rejected or reopened."""

    id: str
    owner: str
    period_start: date
    period_end: date
    time_zone: str
    state: str
    version: int
    minutes: int
    reason: str | None
    entries: list[EntryBody]


class SheetPage(msgspec.Struct):
    """Sheets, newest week first. `next_cursor` is null on the last page."""

    items: list[SheetBody]
    next_cursor: str | None


def timesheet_routes(timesheets: Timesheets, cursors: Cursors) -> list[Any]:
    """The handlers, bound to their use cases."""
    return [
        *_reading(timesheets, cursors),
        *_entries(timesheets),
        *_transitions(timesheets),
    ]


def _reading(timesheets: Timesheets, cursors: Cursors) -> list[Any]:
    @get(PATH, **operation("List timesheets", scope="read:timesheets", problems=COMMON, tag=TAG))
    async def list_timesheets(
        ask: Asking,
        owner: Annotated[str | None, Parameter(max_length=64, description="Only this person's")] = None,
        sheet_state: Annotated[State | None, QueryParameter(name="state", description="Only in this state")] = None,
        since: Annotated[date | None, Parameter(description="Only weeks with a day on or after this")] = None,
        until: Annotated[date | None, Parameter(description="Only weeks with a day on or before this")] = None,
        cursor: Annotated[str | None, Parameter(max_length=600)] = None,
        limit: Annotated[int, Parameter(ge=1, le=MOST)] = DEFAULT_LIMIT,
    ) -> Response[SheetPage]:
        filters = Filters(owner=optional_uuid(owner, "query.owner"), state=sheet_state, since=since, until=until)
        if since and until and since > until:
            raise InvalidField(FieldError("query.until", "must not be before since"))
        bound = {"owner": owner, "state": sheet_state, "since": since, "until": until}
        place = cursors.read(LISTING, bound, cursor)
        after = (date_of(place[0]), UUID(place[1])) if place else None
        answer = await timesheets.list(ask, filters, after=after, limit=limit)
        page = answer.value
        following = cursors.make(LISTING, bound, [str(page.after[0]), str(page.after[1])]) if page.after else None
        return answered(SheetPage([_body(one) for one in page.items], following), answer.receipt)

    @post(
        PATH,
        **operation(
            "Open a week", scope="create:timesheets", problems=(*COMMON, *BODY, 409), tag=TAG, etag=True, location=True
        ),
    )
    async def create_timesheet(ask: Asking, data: JSONBody[NewSheet]) -> Response[SheetBody]:
        answer = await timesheets.create(ask, data.period_start, data.time_zone)
        location = f"{PATH}/{answer.value.id}"
        return answered(
            _body(answer.value), answer.receipt, status=201, version=answer.value.version, location=location
        )

    @get(
        PATH + "/{timesheet_id:str}",
        **operation("Read a timesheet", scope="read:timesheets", problems=ROW, tag=TAG, etag=True),
    )
    async def read_timesheet(ask: Asking, timesheet_id: Id) -> Response[SheetBody]:
        return _sheet(await timesheets.read(ask, _id(timesheet_id)))

    @delete(
        PATH + "/{timesheet_id:str}",
        **operation("Delete a draft", scope="delete:timesheets", problems=CHANGE, tag=TAG, conditional=True),
    )
    async def delete_timesheet(ask: Asking, timesheet_id: Id, request: Request[Any, Any, Any]) -> Response[None]:
        answer = await timesheets.delete(ask, _id(timesheet_id), _expect(request))
        return answered(None, answer.receipt, status=204)

    return [list_timesheets, create_timesheet, read_timesheet, delete_timesheet]


def _entries(timesheets: Timesheets) -> list[Any]:
    changes: dict[str, Any] = {
        "scope": "create:timesheets",
        "problems": (*CHANGE, *BODY),
        "tag": TAG,
        "conditional": True,
    }

    @post(PATH + "/{timesheet_id:str}/entries", **operation("Add an entry", location=True, **changes))
    async def add_entry(
        ask: Asking, timesheet_id: Id, data: JSONBody[EntryFields], request: Request[Any, Any, Any]
    ) -> Response[SheetBody]:
        answer = await timesheets.add_entry(ask, _id(timesheet_id), _expect(request), _hours(data))
        sheet = answer.value.sheet
        location = f"{PATH}/{sheet.id}/entries/{answer.value.entry.id}"
        return answered(_body(sheet), answer.receipt, status=201, version=sheet.version, location=location)

    @put(PATH + "/{timesheet_id:str}/entries/{entry_id:str}", **operation("Replace an entry", **changes))
    async def replace_entry(
        ask: Asking,
        timesheet_id: Id,
        entry_id: FromPath[str],
        data: JSONBody[EntryFields],
        request: Request[Any, Any, Any],
    ) -> Response[SheetBody]:
        entry = uuid_of(entry_id, "path.entry_id")
        answer = await timesheets.replace_entry(ask, _id(timesheet_id), _expect(request), entry, _hours(data))
        sheet = answer.value.sheet
        return answered(_body(sheet), answer.receipt, version=sheet.version)

    @delete(
        PATH + "/{timesheet_id:str}/entries/{entry_id:str}", status_code=200, **operation("Remove an entry", **changes)
    )
    async def remove_entry(
        ask: Asking, timesheet_id: Id, entry_id: FromPath[str], request: Request[Any, Any, Any]
    ) -> Response[SheetBody]:
        entry = uuid_of(entry_id, "path.entry_id")
        return _sheet(await timesheets.remove_entry(ask, _id(timesheet_id), _expect(request), entry))

    return [add_entry, replace_entry, remove_entry]


def _transitions(timesheets: Timesheets) -> list[Any]:
    def plain(action: str, summary: str, scope: str, move: Move) -> Any:
        @post(
            f"{PATH}/{{timesheet_id:str}}/{action}",
            status_code=200,
            operation_id=f"{action}_timesheet",
            **operation(summary, scope=scope, problems=CHANGE, tag=TAG, conditional=True),
        )
        async def transition(ask: Asking, timesheet_id: Id, request: Request[Any, Any, Any]) -> Response[SheetBody]:
            return _sheet(await move(ask, _id(timesheet_id), _expect(request)))

        return transition

    @post(
        PATH + "/{timesheet_id:str}/reject",
        status_code=200,
        **operation("Send back", scope="approve:timesheets", problems=(*CHANGE, *BODY), tag=TAG, conditional=True),
    )
    async def reject_timesheet(
        ask: Asking, timesheet_id: Id, data: JSONBody[Reason], request: Request[Any, Any, Any]
    ) -> Response[SheetBody]:
        return _sheet(await timesheets.reject(ask, _id(timesheet_id), _expect(request), data.reason))

    @post(
        PATH + "/{timesheet_id:str}/reopen",
        status_code=200,
        **operation(
            "Take an approval back", scope="approve:timesheets", problems=(*CHANGE, *BODY), tag=TAG, conditional=True
        ),
    )
    async def reopen_timesheet(
        ask: Asking, timesheet_id: Id, data: JSONBody[OptionalReason], request: Request[Any, Any, Any]
    ) -> Response[SheetBody]:
        return _sheet(await timesheets.reopen(ask, _id(timesheet_id), _expect(request), data.reason))

    return [
        plain("submit", "Hand a week in", "create:timesheets", timesheets.submit),
        plain("withdraw", "Take a submitted week back", "create:timesheets", timesheets.withdraw),
        plain("approve", "Approve a week", "approve:timesheets", timesheets.approve),
        reject_timesheet,
        reopen_timesheet,
    ]


if TYPE_CHECKING:
    Move = Callable[[Asking, UUID, Expect], Awaitable[Answer[Timesheet]]]


def date_of(text: str) -> date:
    """A day that stood in one of our own cursors."""
    return date.fromisoformat(text)


def _expect(request: Request[Any, Any, Any]) -> Expect:
    return if_match(request.headers.getall("if-match", []))


def _id(text: str) -> UUID:
    return uuid_of(text, "path.timesheet_id")


def _hours(data: EntryFields) -> Hours:
    return Hours(day=data.day, project=data.project, minutes=data.minutes, note=data.note)


def _sheet(answer: Answer[Timesheet]) -> Response[SheetBody]:
    return answered(_body(answer.value), answer.receipt, version=answer.value.version)


def _body(sheet: Timesheet) -> SheetBody:
    return SheetBody(
        id=str(sheet.id),
        owner=str(sheet.owner),
        period_start=sheet.period_start,
        period_end=sheet.period_end,
        time_zone=sheet.time_zone,
        state=str(sheet.state),
        version=sheet.version,
        minutes=sheet.minutes,
        reason=sheet.reason,
        entries=[_entry(one) for one in sheet.entries],
    )


def _entry(one: Entry) -> EntryBody:
    return EntryBody(str(one.id), one.day, one.project, one.minutes, one.note, one.external_ref)
