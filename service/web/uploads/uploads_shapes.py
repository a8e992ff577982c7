"""JSON shapes of uploads: rows and their results. Pure."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from service.authorization.enforcement.person_references import ME, NO_PERSON
from service.errors import InvalidField
from service.places import FieldError
from service.timesheets.upload_results import OUTCOMES
from service.timesheets.upload_rows import Row
from service.web.http.parameters import GivenPerson, parse_person
from service.web.http.problem_documents import ProblemSlug
from service.web.http.responses import EXAMPLE_ID, Activity, DecisionId, Hex, Id, Note, SheetId, Tags

if TYPE_CHECKING:
    from uuid import UUID

    from service.timesheets.upload_results import RowResult
    from service.timesheets.upload_rows import Rows
    from service.web.http.parameters import PersonKey

# A JSON body is read as a whole, so it takes fewer rows than a file.
MAX_ROWS_OF_JSON = 100


class UploadRow(msgspec.Struct, forbid_unknown_fields=True):
    """The minutes of a person on one day and project. Sent again with the same owner, day, project and external_ref, it
    changes nothing."""

    owner: GivenPerson
    day: Annotated[date, Meta(description="The calendar day", examples=["2026-11-23"])]
    project: Annotated[str, Meta(description="The project's code", max_length=40, examples=["ATLAS"])]
    minutes: Annotated[int, Meta(description="Whole minutes", ge=1, le=1440, examples=[480])]
    external_ref: Annotated[
        str, Meta(description="Your own key for the row", min_length=1, max_length=100, examples=["job-7/row-12"])
    ]
    note: Annotated[Note | None, Meta(description="A note on the hours")] = None
    time_zone: Annotated[
        Annotated[str, Meta(max_length=64)] | None,
        Meta(description="The IANA time zone of a timesheet that has to be created; default: UTC"),
    ] = None
    activity: Annotated[Activity | None, Meta(description="An activity of the project", examples=[None])] = None
    billable: Annotated[
        bool | None, Meta(description="Whether the hours are billed; null: as before, or as the project says")
    ] = None
    tags: Annotated[Tags, Meta(description="Tags")] = []


class Upload(msgspec.Struct, forbid_unknown_fields=True):
    """Rows to import."""

    rows: Annotated[list[UploadRow], Meta(description="The rows", min_length=1, max_length=MAX_ROWS_OF_JSON)]


class RowProblem(msgspec.Struct):
    """Why a row was refused."""

    problem: ProblemSlug
    reason: Annotated[
        str, Meta(description="The problem in a sentence", examples=["must be a whole number from 1 to 1440"])
    ]
    field: Annotated[str | msgspec.UnsetType, Meta(description="The field at fault", examples=["minutes"])] = (
        msgspec.UNSET
    )


class RowOutcome(msgspec.Struct):
    """The result of a row. In a dry run, a timesheet or entry that would be created has no id."""

    row: Annotated[int, Meta(description="The index of the row, from 0", ge=0, examples=[0])]
    outcome: Annotated[
        str, Meta(description="The result", examples=["created"], extra_json_schema={"enum": list(OUTCOMES)})
    ]
    line: Annotated[
        int | msgspec.UnsetType, Meta(description="The line of the file where the row begins", examples=[2])
    ] = msgspec.UNSET
    timesheet: Annotated[SheetId | msgspec.UnsetType, Meta(description="The timesheet of the entry")] = msgspec.UNSET
    entry: Annotated[
        Id | msgspec.UnsetType,
        Meta(description="The entry of the row", examples=["0198c0de-4f2a-7000-8000-00000000002b"]),
    ] = msgspec.UNSET
    problems: Annotated[
        list[RowProblem] | msgspec.UnsetType, Meta(description="Why it was refused; missing if it was not")
    ] = msgspec.UNSET


class Counts(msgspec.Struct):
    """The number of rows with each outcome."""

    created: Annotated[int, Meta(description="Rows that created an entry", ge=0, examples=[1])]
    updated: Annotated[int, Meta(description="Rows that changed an entry", ge=0, examples=[0])]
    unchanged: Annotated[int, Meta(description="Rows that changed nothing", ge=0, examples=[0])]
    refused: Annotated[int, Meta(description="Rows that were refused", ge=0, examples=[1])]


class Uploaded(msgspec.Struct):
    """The result of an upload; of a dry run, what the same upload would do now."""

    dry_run: Annotated[bool, Meta(description="Whether this was a dry run, which changes nothing", examples=[False])]
    counts: Annotated[Counts, Meta(description="The number of rows with each outcome")]
    decisions: Annotated[list[DecisionId], Meta(description="One decision for each timesheet of the rows")]
    leaves: Annotated[list[Hex], Meta(description="The leaf hash of each decision, in the same order")]
    rows: Annotated[
        list[RowOutcome],
        Meta(
            description="The results of all rows that were not refused, and of the first refused rows, until they have"
            " 100 problems: a row that is not listed was refused",
            examples=[
                [
                    {"row": 0, "line": 2, "outcome": "created", "timesheet": EXAMPLE_ID, "entry": EXAMPLE_ID},
                    {
                        "row": 1,
                        "line": 3,
                        "outcome": "refused",
                        "problems": [
                            {"problem": "invalid-field", "reason": "must be a date", "field": "day"},
                        ],
                    },
                ]
            ],
        ),
    ]


def parse_owner(given: str | PersonKey, rows: Rows) -> UUID:
    """The owner of a row. Raises InvalidField for a text that names no person, and for the caller, a client."""
    person = parse_person(given, "owner")
    if person == ME:
        raise InvalidField(FieldError("owner", NO_PERSON))
    return rows.owner_of(person)


def row_of(upload_row: UploadRow, rows: Rows) -> Row:
    """The row for the use case, one of `rows`. Raises InvalidField as `parse_owner`."""
    return Row(
        owner=parse_owner(upload_row.owner, rows),
        day=upload_row.day,
        project=upload_row.project,
        minutes=upload_row.minutes,
        external_ref=upload_row.external_ref,
        note=upload_row.note,
        time_zone=upload_row.time_zone,
        activity=upload_row.activity,
        billable=upload_row.billable,
        tags=tuple(upload_row.tags),
    )


def outcome_of(result: RowResult) -> RowOutcome:
    """The JSON of a result."""
    return RowOutcome(
        result.row,
        result.outcome,
        msgspec.UNSET if result.line is None else result.line,
        str(result.timesheet) if result.timesheet else msgspec.UNSET,
        str(result.entry) if result.entry else msgspec.UNSET,
        [RowProblem(fault.slug, fault.reason, fault.field or msgspec.UNSET) for fault in result.faults]
        or msgspec.UNSET,
    )
