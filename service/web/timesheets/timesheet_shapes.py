"""JSON shapes of timesheets and entries in responses. Pure: owns no state."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Annotated, Final
from zlib import crc32

import msgspec
from msgspec import Meta

from service.pacing import pace_page
from service.policy.known_words import ACTIONS
from service.timesheets.store import read_approvals, read_approvals_needed, read_day_notes
from service.timesheets.timesheet import State
from service.web.http.responses import EXAMPLE_PERSON, Id, Names, NextCursor, PersonId, SheetId, Time, names_body

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import asyncpg

    from service.timesheets.entry import Entry
    from service.timesheets.timesheet import GivenApproval, Timesheet

CHANGED: Final = "2026-11-30T09:00:00.125000Z"


class EntryBody(msgspec.Struct):
    """An entry of a timesheet."""

    id: Annotated[Id, Meta(description="The entry's id", examples=["0198c0de-4f2a-7000-8000-00000000002b"])]
    day: Annotated[date, Meta(description="The calendar day in the sheet's time zone", examples=["2026-11-23"])]
    project: Annotated[str, Meta(description="The project's code", examples=["ATLAS"])]
    minutes: Annotated[int, Meta(description="Whole minutes of the day", ge=1, le=1440, examples=[450])]
    note: Annotated[str | None, Meta(description="A note on the hours; null: none", examples=["Design"])]
    external_ref: Annotated[
        str | None,
        Meta(description="The importing client's own key for the entry; null: entered by a person", examples=[None]),
    ]
    activity: Annotated[str | None, Meta(description="An activity of the project; null: none", examples=["design"])]
    billable: Annotated[bool, Meta(description="Whether the hours are billed", examples=[False])]
    tags: Annotated[list[str], Meta(description="Tags", examples=[["on site"]])]


class GivenApprovalBody(msgspec.Struct):
    """An approval of a timesheet."""

    by: Annotated[str, Meta(description="The id of the person or client who approved", examples=[EXAMPLE_PERSON])]
    at: Annotated[Time, Meta(description="When", examples=[CHANGED])]


ProjectCode = Annotated[str, Meta(description="The project's code", max_length=40, examples=["ATLAS"])]
# In the filter of a list or report.
MAX_PROJECTS: Final = 20
Comment = Annotated[str, Meta(min_length=1, max_length=1000, examples=["Thank you"])]
ApprovalCount = Annotated[int, Meta(ge=0)]
ApprovalsNeeded = Annotated[
    ApprovalCount | None,
    Meta(
        description="How many approvals the timesheet needs in all, under the active policy; once it is approved, how"
        " many it has. null: unknown, because a value that the policy asks for is missing",
        examples=[1],
    ),
]


class SheetBody(msgspec.Struct):
    """A person's week."""

    id: SheetId
    owner: Annotated[PersonId, Meta(description="The id of the person whose hours these are")]
    period_start: Annotated[date, Meta(description="The first day, a Monday", examples=["2026-11-23"])]
    period_end: Annotated[date, Meta(description="The last day, a Sunday", examples=["2026-11-29"])]
    time_zone: Annotated[str, Meta(description="The IANA time zone of the days", examples=["Europe/Berlin"])]
    state: Annotated[State, Meta(description="The state of the timesheet", examples=["submitted"])]
    version: Annotated[int, Meta(description="Grows with every change; also in the ETag", ge=1, examples=[3])]
    minutes: Annotated[int, Meta(description="The sum of all entries", ge=0, examples=[450])]
    reason: Annotated[
        str | None,
        Meta(
            description="The reason of the last step, if that was reject, reopen, lock or unlock, or the comment of"
            " an approval; null: none",
            examples=[None],
        ),
    ]
    created_at: Annotated[Time, Meta(description="When it was created", examples=["2026-11-23T09:00:00.250000Z"])]
    updated_at: Annotated[Time, Meta(description="When it was last changed", examples=[CHANGED])]
    submitted_at: Annotated[
        Time | None, Meta(description="When it was last submitted; null in a draft", examples=[CHANGED])
    ]
    decided_at: Annotated[
        Time | None, Meta(description="When it was last approved or rejected; null: it is not decided", examples=[None])
    ]
    decided_by: Annotated[
        str | None,
        Meta(description="The id of the person or client who decided; null: it is not decided", examples=[None]),
    ]
    approvals: Annotated[
        list[GivenApprovalBody],
        Meta(description="The approvals since it was last submitted, oldest first; one for each human", examples=[[]]),
    ]
    approvals_given: Annotated[ApprovalCount, Meta(description="How many approvals it has", examples=[0])]
    approvals_needed: ApprovalsNeeded
    day_notes: Annotated[
        dict[date, str], Meta(description="The notes on days, by day", examples=[{"2026-11-23": "Trade fair"}])
    ]
    entries: Annotated[list[EntryBody], Meta(description="The entries, by day")]
    actions: Annotated[
        list[Annotated[str, Meta(extra_json_schema={"enum": sorted(ACTIONS["timesheet"])})]] | msgspec.UnsetType,
        Meta(description="Only with `include=actions`: the actions that this token may take now"),
    ] = msgspec.UNSET
    names: Names = msgspec.UNSET


# The entries of a row, as Postgres writes them.
_ENTRIES: Final = msgspec.json.Decoder(list[EntryBody])
_SIX_DAYS: Final = timedelta(days=6)
_STATES: Final = {state.value: state for state in State}


class ListTotalsBody(msgspec.Struct):
    """The totals of all pages of a list."""

    sheets: Annotated[int, Meta(description="The number of timesheets", ge=0, examples=[12])]
    minutes: Annotated[int, Meta(description="The sum of their entries", ge=0, examples=[27600])]


class SheetPage(msgspec.Struct):
    """Timesheets, newest week first."""

    items: Annotated[list[SheetBody], Meta(description="The timesheets of this page")]
    next_cursor: NextCursor
    totals: Annotated[
        ListTotalsBody | msgspec.UnsetType, Meta(description="Only with `totals=true`: the totals of all pages")
    ] = msgspec.UNSET


def sheet_body(
    sheet: Timesheet, actions: Sequence[str] | None = None, names: Mapping[str, str] | None = None
) -> SheetBody:
    """The JSON of a timesheet."""
    return SheetBody(
        id=str(sheet.id),
        owner=str(sheet.owner),
        period_start=sheet.period_start,
        period_end=sheet.period_end,
        time_zone=sheet.time_zone,
        state=sheet.state,
        version=sheet.version,
        minutes=sheet.minutes,
        reason=sheet.reason,
        created_at=sheet.created_at,
        updated_at=sheet.updated_at,
        submitted_at=sheet.submitted_at,
        decided_at=sheet.decided_at,
        decided_by=None if sheet.decided_by is None else str(sheet.decided_by.person or sheet.decided_by.client),
        approvals=_approval_bodies(sheet.approvals),
        approvals_given=len(sheet.approvals),
        approvals_needed=sheet.approvals_needed,
        day_notes=dict(sheet.day_notes),
        entries=[entry_body(entry) for entry in sheet.entries],
        actions=msgspec.UNSET if actions is None else list(actions),
        names=names_body(names),
    )


async def listed_sheet_bodies(rows: Sequence[asyncpg.Record]) -> list[SheetBody]:
    """The JSON of the rows of a list, with the columns of `sheet_columns.ROW`; three times as fast as by way of
    Timesheets."""
    return [_listed_sheet_body(row) async for row in pace_page(rows)]


def _listed_sheet_body(row: asyncpg.Record) -> SheetBody:
    approvals = read_approvals(row)
    return stored_sheet_body(row, approvals, read_approvals_needed(row, approvals))


def stored_sheet_body(row: asyncpg.Record, approvals: Sequence[GivenApproval], needed: int | None) -> SheetBody:
    """The JSON of such a row, of a sheet that has these approvals and needs so many."""
    entries = _ENTRIES.decode(row["entries"])
    decider = row["decided_by"] or row["decided_by_client"]
    return SheetBody(
        id=str(row["id"]),
        owner=str(row["owner_id"]),
        period_start=row["period_start"],
        period_end=row["period_start"] + _SIX_DAYS,
        time_zone=row["time_zone"],
        state=_STATES[row["state"]],
        version=row["version"],
        minutes=sum([entry.minutes for entry in entries]) if entries else 0,
        reason=row["reason"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        submitted_at=row["submitted_at"],
        decided_at=row["decided_at"],
        decided_by=None if decider is None else str(decider),
        approvals=_approval_bodies(approvals) if approvals else [],
        approvals_given=len(approvals),
        approvals_needed=needed,
        day_notes=dict(read_day_notes(row)),
        entries=entries,
    )


def unversioned_of(body: SheetBody) -> tuple[int, ...]:
    """The numbers that the ETag covers beside the version; none for a sheet that needs one approval and has none, or
    has that of who decided. The active policy says how many are needed. A merge of two people can take one away, and
    changes who gave it."""
    given, needed = body.approvals_given, body.approvals_needed
    # A stored decision names who decided, also after a merge.
    if needed == 1 and (not given or (given == 1 and body.approvals[0].by == body.decided_by)):
        return ()
    by = (crc32(",".join(approval.by for approval in body.approvals).encode()),) if given else ()
    return given, needed or 0, *by


def _approval_bodies(approvals: Iterable[GivenApproval]) -> list[GivenApprovalBody]:
    return [GivenApprovalBody(given.name, given.at) for given in approvals]


def entry_body(entry: Entry) -> EntryBody:
    """The JSON of an entry."""
    return EntryBody(
        str(entry.id),
        entry.day,
        entry.project,
        entry.minutes,
        entry.note,
        entry.external_ref,
        entry.activity,
        bool(entry.billable),
        list(entry.tags),
    )
