"""Shapes of uploads: a row as JSON, and what became of it. Pure."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated

import msgspec

from service.timesheets.upload_rows import Row
from service.web.http.parameters import uuid_of

if TYPE_CHECKING:
    from service.timesheets.upload_results import RowResult

# In a JSON body, which is read as a whole; files take more.
MOST_ROWS_OF_JSON = 100


class UploadRow(msgspec.Struct, forbid_unknown_fields=True):
    """A day's minutes of the person `owner`. (owner, day, project, external_ref) names the row: sent again, it changes
    nothing. `time_zone` is for a sheet that has to be made, UTC if none is given."""

    owner: Annotated[
        str, msgspec.Meta(max_length=64, description="A person's id", examples=["0198c0de-0000-7000-8000-000000000001"])
    ]
    day: Annotated[date, msgspec.Meta(examples=["2026-11-23"])]
    project: Annotated[str, msgspec.Meta(max_length=40, examples=["ATLAS"])]
    minutes: Annotated[int, msgspec.Meta(ge=1, le=1440, examples=[480])]
    external_ref: Annotated[str, msgspec.Meta(min_length=1, max_length=100, examples=["job-7/row-12"])]
    note: Annotated[str, msgspec.Meta(max_length=500)] | None = None
    time_zone: Annotated[str, msgspec.Meta(max_length=64)] | None = None


class Upload(msgspec.Struct, forbid_unknown_fields=True):
    """Rows to import together or not at all."""

    rows: Annotated[list[UploadRow], msgspec.Meta(min_length=1, max_length=MOST_ROWS_OF_JSON)]


class RowProblem(msgspec.Struct, omit_defaults=True):
    """Why a row was refused: the slug of the problem, a sentence, and the field if one is to blame."""

    problem: str
    reason: str
    field: str | None = None


class RowOutcome(msgspec.Struct, omit_defaults=True):
    """What became of the row with this index, from 0: `created`, `updated`, `unchanged` or `refused`. `line` is where
    it begins in a file. In a dry run, what would be made has no id."""

    row: int
    outcome: str
    line: int | None = None
    timesheet: str | None = None
    entry: str | None = None
    problems: list[RowProblem] = msgspec.field(default_factory=list)


class Counts(msgspec.Struct):
    """How many rows had each outcome."""

    created: int
    updated: int
    unchanged: int
    refused: int


class Uploaded(msgspec.Struct):
    """The rows' outcomes, and the ids of the decisions, one for each sheet that was touched, with the leaf hash of each
    in the same order. Of a dry run, what the same upload would do now. `counts` counts every row. `rows` has every row
    that was not refused, and the first refused ones, until their problems are 100: a row that is not in it was
    refused."""

    dry_run: bool
    counts: Counts
    decisions: list[str]
    leaves: list[str]
    rows: list[RowOutcome]


def row_of(one: UploadRow) -> Row:
    """The row as the use case takes it. Raises InvalidField for an owner that is no id."""
    return Row(
        owner=uuid_of(one.owner, "owner"),
        day=one.day,
        project=one.project,
        minutes=one.minutes,
        external_ref=one.external_ref,
        note=one.note,
        time_zone=one.time_zone,
    )


def outcome_of(result: RowResult) -> RowOutcome:
    """A row's result as it is answered."""
    return RowOutcome(
        result.row,
        result.outcome,
        result.line,
        str(result.timesheet) if result.timesheet else None,
        str(result.entry) if result.entry else None,
        [RowProblem(one.slug, one.reason, one.field) for one in result.faults],
    )
