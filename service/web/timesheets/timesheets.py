"""Routes that change timesheets and entries. Each handler calls one use case."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from litestar import Response, delete, patch, post, put
from litestar.params import BodyKwarg, FromPath, JSONBody
from litestar.types import Scope  # noqa: TC002 — Litestar reads handler signatures
from msgspec import Meta

from service.errors import InvalidField
from service.places import FieldError
from service.timesheets.entry import Amendment, Hours, WeekHours
from service.timesheets.timesheet import MAX_ENTRIES_AT_ONCE, Timesheet
from service.web.http.direct_routes import DIRECT
from service.web.http.operations import BODY, CHANGE, COMMON, operation
from service.web.http.parameters import CurrentCaller, SheetId, parse_uuid
from service.web.http.preconditions import MERGE_PATCH, read_if_match
from service.web.http.responses import Activity, Note, Tags, make_response
from service.web.timesheets.timesheet_shapes import Comment, ProjectCode, SheetBody, sheet_body, unversioned_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from service.authorization.enforcement.changes import Answer, Expect
    from service.timesheets.actions import Timesheets

PATH = "/v1/timesheets"
TAG = "Timesheets"
Day = Annotated[date, Meta(description="A calendar day, YYYY-MM-DD", examples=["2026-11-23"])]
DayNotes = Annotated[dict[date, Note], Meta(max_length=7, examples=[{"2026-11-23": "Trade fair"}])]


class EntryFields(msgspec.Struct, forbid_unknown_fields=True):
    """A day's minutes on a project."""

    day: Day
    project: ProjectCode
    minutes: Annotated[int, Meta(description="Whole minutes", ge=1, le=1440, examples=[450])]
    note: Annotated[Note | None, Meta(description="A note on the hours")] = None
    activity: Annotated[Activity | None, Meta(description="An activity of the project", examples=[None])] = None
    billable: Annotated[
        bool | None,
        Meta(description="Whether the hours are billed; null: as before on the same project, or as the project says"),
    ] = None
    tags: Annotated[Tags, Meta(description="Tags")] = []


class NewSheet(msgspec.Struct, forbid_unknown_fields=True):
    """A timesheet to create. The owner is the person of the token."""

    period_start: Annotated[Day, Meta(description="The first day of the week, a Monday")]
    time_zone: Annotated[
        Annotated[str, Meta(max_length=64, examples=["Europe/Berlin"])] | None,
        Meta(description="The IANA time zone of the days; default: that of the copied week, or UTC"),
    ] = None
    entries: Annotated[
        list[EntryFields],
        Meta(description="The first entries; you must also be allowed to edit it", max_length=MAX_ENTRIES_AT_ONCE),
    ] = []
    day_notes: Annotated[DayNotes, Meta(description="Notes on days, by day")] = msgspec.field(default_factory=dict)
    copy_from: Annotated[
        Day | None,
        Meta(
            description="The Monday of a week of yours: its entries, without their notes, become the first entries",
            examples=[None],
        ),
    ] = None


class EntryInList(EntryFields):
    """An entry of a list that replaces all entries of a timesheet."""

    id: Annotated[
        Annotated[str, Meta(max_length=64)] | None,
        Meta(
            description="The entry to change. Without it, an entry with the same hours is kept, or a new one is added",
            examples=["0198c0de-4f2a-7000-8000-00000000002b"],
        ),
    ] = None


class EntryList(msgspec.Struct, forbid_unknown_fields=True):
    """All entries of a timesheet."""

    entries: Annotated[
        list[EntryInList],
        Meta(description="The entries; those that it leaves out are removed", max_length=MAX_ENTRIES_AT_ONCE),
    ]
    day_notes: Annotated[
        DayNotes | None, Meta(description="All notes on days, by day; null: they stay as they are")
    ] = None


class SheetPatch(msgspec.Struct, forbid_unknown_fields=True):
    """A JSON Merge Patch (RFC 7396) of a timesheet: a missing field keeps its value."""

    day_notes: Annotated[
        dict[date, Note | None],
        Meta(
            description="Notes on days, by day; null removes a note",
            max_length=7,
            examples=[{"2026-11-23": "Trade fair", "2026-11-24": None}],
        ),
    ] = msgspec.field(default_factory=dict)


class NewEntries(msgspec.Struct, forbid_unknown_fields=True):
    """Entries to add."""

    entries: Annotated[list[EntryFields], Meta(description="The entries", min_length=1, max_length=MAX_ENTRIES_AT_ONCE)]


class EntryPatch(msgspec.Struct, forbid_unknown_fields=True):
    """A JSON Merge Patch (RFC 7396) of an entry: a missing field keeps its value."""

    day: Day | msgspec.UnsetType = msgspec.UNSET
    project: ProjectCode | msgspec.UnsetType = msgspec.UNSET
    minutes: Annotated[int, Meta(description="Whole minutes", ge=1, le=1440, examples=[390])] | msgspec.UnsetType = (
        msgspec.UNSET
    )
    note: Annotated[Note | msgspec.UnsetType | None, Meta(description="A note on the hours; null removes it")] = (
        msgspec.UNSET
    )
    activity: Annotated[
        Activity | msgspec.UnsetType | None,
        Meta(description="An activity of the project; null removes it", examples=[None]),
    ] = msgspec.UNSET
    billable: Annotated[bool | msgspec.UnsetType, Meta(description="Whether the hours are billed")] = msgspec.UNSET
    tags: Annotated[Tags | msgspec.UnsetType, Meta(description="Tags")] = msgspec.UNSET


class ReasonBody(msgspec.Struct, forbid_unknown_fields=True):
    """The reason of a step."""

    reason: Annotated[
        str,
        Meta(description="Why; the owner reads it", min_length=1, max_length=1000, examples=["Friday is missing"]),
    ]


class ApprovalComment(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A comment on an approval."""

    comment: Annotated[Comment | None, Meta(description="A comment; the owner reads it")] = None


NO_COMMENT = ApprovalComment()


def timesheet_routes(timesheets: Timesheets) -> list[Any]:
    """The handlers, bound to the use cases."""
    return [
        *_sheets(timesheets),
        *_entries(timesheets),
        *_transitions(timesheets),
    ]


def _sheets(timesheets: Timesheets) -> list[Any]:
    @post(
        PATH,
        **operation(
            "Create a timesheet",
            scope="create:timesheets",
            problems=(*COMMON, *BODY, 409),
            tag=TAG,
            etag=True,
            location=True,
            names=True,
        ),
    )
    async def create_timesheet(caller: CurrentCaller, data: JSONBody[NewSheet]) -> Response[SheetBody]:
        if data.entries and data.copy_from is not None:
            raise InvalidField(FieldError("copy_from", "cannot be combined with entries"))
        hours = list(map(_hours, data.entries))
        answer = await timesheets.create(
            caller, data.period_start, data.time_zone, hours, day_notes=data.day_notes, copy_from=data.copy_from
        )
        return _respond_sheet(answer.value, answer, status=201, location=f"{PATH}/{answer.value.id}")

    @delete(
        PATH + "/{timesheet_id:str}",
        **operation("Delete a timesheet", scope="delete:timesheets", problems=CHANGE, tag=TAG, conditional=True),
    )
    async def delete_timesheet(caller: CurrentCaller, timesheet_id: SheetId, scope: Scope) -> Response[None]:
        answer = await timesheets.delete(caller, _id(timesheet_id), read_if_match(scope))
        return make_response(None, answer.receipt, status=204)

    @patch(
        PATH + "/{timesheet_id:str}",
        opt={"media_types": (MERGE_PATCH,)},
        **operation(
            "Change the notes on days",
            scope="create:timesheets",
            problems=(*CHANGE, *BODY),
            tag=TAG,
            conditional=True,
            names=True,
        ),
    )
    async def amend_timesheet(
        caller: CurrentCaller,
        timesheet_id: SheetId,
        data: Annotated[SheetPatch, BodyKwarg(media_type=MERGE_PATCH)],
        scope: Scope,
    ) -> Response[SheetBody]:
        expect = read_if_match(scope)
        return _respond(await timesheets.amend_day_notes(caller, _id(timesheet_id), expect, data.day_notes))

    return [create_timesheet, amend_timesheet, delete_timesheet]


def _entries(timesheets: Timesheets) -> list[Any]:
    changes: dict[str, Any] = {
        "scope": "create:timesheets",
        "problems": (*CHANGE, *BODY),
        "tag": TAG,
        "conditional": True,
        "names": True,
    }

    @post(PATH + "/{timesheet_id:str}/entries", **operation("Add an entry", location=True, **changes))
    async def add_entry(
        caller: CurrentCaller, timesheet_id: SheetId, data: JSONBody[EntryFields], scope: Scope
    ) -> Response[SheetBody]:
        answer = await timesheets.add_entry(caller, _id(timesheet_id), read_if_match(scope), _hours(data))
        location = f"{PATH}/{answer.value.sheet.id}/entries/{answer.value.entry.id}"
        return _respond_sheet(answer.value.sheet, answer, status=201, location=location)

    @post(
        PATH + "/{timesheet_id:str}/entries/batch",
        status_code=201,
        **operation("Add many entries", **changes),
    )
    async def add_entries(
        caller: CurrentCaller, timesheet_id: SheetId, data: JSONBody[NewEntries], scope: Scope
    ) -> Response[SheetBody]:
        hours = list(map(_hours, data.entries))
        answer = await timesheets.add_entries(caller, _id(timesheet_id), read_if_match(scope), hours)
        return _respond(answer, status=201)

    @put(PATH + "/{timesheet_id:str}/entries", **operation("Replace all entries", **changes))
    async def replace_entries(
        caller: CurrentCaller, timesheet_id: SheetId, data: JSONBody[EntryList], scope: Scope
    ) -> Response[SheetBody]:
        hours = [_week_hours(place, entry) for place, entry in enumerate(data.entries)]
        expect = read_if_match(scope)
        return _respond(await timesheets.replace_entries(caller, _id(timesheet_id), expect, hours, data.day_notes))

    @put(PATH + "/{timesheet_id:str}/entries/{entry_id:str}", **operation("Replace an entry", **changes))
    async def replace_entry(
        caller: CurrentCaller,
        timesheet_id: SheetId,
        entry_id: FromPath[str],
        data: JSONBody[EntryFields],
        scope: Scope,
    ) -> Response[SheetBody]:
        entry = parse_uuid(entry_id, "path.entry_id")
        answer = await timesheets.replace_entry(caller, _id(timesheet_id), read_if_match(scope), entry, _hours(data))
        return _respond_sheet(answer.value.sheet, answer)

    @patch(
        PATH + "/{timesheet_id:str}/entries/{entry_id:str}",
        opt={"media_types": (MERGE_PATCH,)},
        **operation("Change some fields of an entry", **changes),
    )
    async def amend_entry(
        caller: CurrentCaller,
        timesheet_id: SheetId,
        entry_id: FromPath[str],
        data: Annotated[EntryPatch, BodyKwarg(media_type=MERGE_PATCH)],
        scope: Scope,
    ) -> Response[SheetBody]:
        entry = parse_uuid(entry_id, "path.entry_id")
        answer = await timesheets.amend_entry(caller, _id(timesheet_id), read_if_match(scope), entry, _amendment(data))
        return _respond_sheet(answer.value.sheet, answer)

    @delete(
        PATH + "/{timesheet_id:str}/entries/{entry_id:str}", status_code=200, **operation("Remove an entry", **changes)
    )
    async def remove_entry(
        caller: CurrentCaller, timesheet_id: SheetId, entry_id: FromPath[str], scope: Scope
    ) -> Response[SheetBody]:
        entry = parse_uuid(entry_id, "path.entry_id")
        return _respond(await timesheets.remove_entry(caller, _id(timesheet_id), read_if_match(scope), entry))

    return [add_entry, add_entries, replace_entries, replace_entry, amend_entry, remove_entry]


def _transitions(timesheets: Timesheets) -> list[Any]:
    def without_reason(action: str, summary: str, use_case: UseCase) -> Any:
        @post(
            f"{PATH}/{{timesheet_id:str}}/{action}",
            status_code=200,
            opt=DIRECT,
            operation_id=f"{action}_timesheet",
            **operation(summary, scope="create:timesheets", problems=CHANGE, tag=TAG, conditional=True, names=True),
        )
        async def transition(caller: CurrentCaller, timesheet_id: SheetId, scope: Scope) -> Response[SheetBody]:
            return _respond(await use_case(caller, _id(timesheet_id), read_if_match(scope)))

        return transition

    @post(
        f"{PATH}/{{timesheet_id:str}}/approve",
        status_code=200,
        opt=DIRECT,
        **operation(
            "Approve a timesheet",
            scope="approve:timesheets",
            problems=(*CHANGE, *BODY),
            tag=TAG,
            conditional=True,
            exact_version=True,
            optional_body=True,
            names=True,
        ),
    )
    async def approve_timesheet(
        caller: CurrentCaller,
        timesheet_id: SheetId,
        scope: Scope,
        data: JSONBody[ApprovalComment] = NO_COMMENT,
    ) -> Response[SheetBody]:
        expect = read_if_match(scope, exact_version=True)
        return _respond(await timesheets.approve(caller, _id(timesheet_id), expect, data.comment))

    def with_reason(action: str, summary: str, use_case: UseCaseWithReason) -> Any:
        @post(
            f"{PATH}/{{timesheet_id:str}}/{action}",
            status_code=200,
            operation_id=f"{action}_timesheet",
            **operation(
                summary,
                scope="approve:timesheets",
                problems=(*CHANGE, *BODY),
                tag=TAG,
                conditional=True,
                exact_version=True,
                names=True,
            ),
        )
        async def transition(
            caller: CurrentCaller, timesheet_id: SheetId, data: JSONBody[ReasonBody], scope: Scope
        ) -> Response[SheetBody]:
            return _respond(
                await use_case(caller, _id(timesheet_id), read_if_match(scope, exact_version=True), data.reason)
            )

        return transition

    return [
        without_reason("submit", "Submit a timesheet", timesheets.submit),
        without_reason("withdraw", "Withdraw a submitted timesheet", timesheets.withdraw),
        approve_timesheet,
        with_reason("reject", "Reject a timesheet", timesheets.reject),
        with_reason("reopen", "Reopen an approved timesheet", timesheets.reopen),
        with_reason("lock", "Lock an approved timesheet for payroll", timesheets.lock),
        with_reason("unlock", "Unlock a timesheet that another person locked", timesheets.unlock),
    ]


if TYPE_CHECKING:
    UseCase = Callable[[CurrentCaller, UUID, Expect], Awaitable[Answer[Timesheet]]]
    UseCaseWithReason = Callable[[CurrentCaller, UUID, Expect, str], Awaitable[Answer[Timesheet]]]


def _id(text: str) -> UUID:
    return parse_uuid(text, "path.timesheet_id")


def _hours(data: EntryFields) -> Hours:
    return Hours(data.day, data.project, data.minutes, data.note, data.activity, data.billable, tuple(data.tags))


def _week_hours(place: int, data: EntryInList) -> WeekHours:
    entry_id = None if data.id is None else parse_uuid(data.id, f"entries[{place}].id")
    return WeekHours(
        data.day, data.project, data.minutes, data.note, data.activity, data.billable, tuple(data.tags), id=entry_id
    )


def _amendment(data: EntryPatch) -> Amendment:
    given = {
        name: value for name in EntryPatch.__struct_fields__ if (value := getattr(data, name)) is not msgspec.UNSET
    }
    return Amendment({name: tuple(value) if name == "tags" else value for name, value in given.items()})


def _respond(answer: Answer[Timesheet], *, status: int = 200) -> Response[SheetBody]:
    return _respond_sheet(answer.value, answer, status=status)


def _respond_sheet(
    sheet: Timesheet, answer: Answer[Any], *, status: int = 200, location: str | None = None
) -> Response[SheetBody]:
    body = sheet_body(sheet, names=answer.names)
    return make_response(
        body,
        answer.receipt,
        status=status,
        version=sheet.version,
        unversioned=unversioned_of(body),
        location=location,
    )
