"""POST /v1/uploads: a machine client imports contractors' hours, up to 100 rows, all or nothing, repeatable."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from litestar import Response, post
from litestar.params import JSONBody  # noqa: TC002 — Litestar reads handler signatures

from service.timesheets.upload import MOST_ROWS, Row
from service.web.answers import answered
from service.web.operations import BODY, COMMON, operation
from service.web.parameters import Asking, uuid_of

if TYPE_CHECKING:
    from service.timesheets.upload import Uploads


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

    rows: Annotated[list[UploadRow], msgspec.Meta(min_length=1, max_length=MOST_ROWS)]


class RowOutcome(msgspec.Struct):
    """What became of the row with this index: `created`, `updated` or `unchanged`."""

    row: int
    outcome: str
    timesheet: str
    entry: str


class Uploaded(msgspec.Struct):
    """Every row's outcome, and the ids of the decisions, one for each sheet that was touched."""

    rows: list[RowOutcome]
    decisions: list[str]


def upload_routes(uploads: Uploads) -> list[Any]:
    """The handler, bound to its use case."""

    @post(
        "/v1/uploads",
        status_code=200,
        **operation("Upload hours", scope="batch:upload", problems=(*COMMON, *BODY, 409), tag="Uploads"),
    )
    async def upload_hours(ask: Asking, data: JSONBody[Upload]) -> Response[Uploaded]:
        rows = [
            Row(
                owner=uuid_of(one.owner, f"rows[{index}].owner"),
                day=one.day,
                project=one.project,
                minutes=one.minutes,
                external_ref=one.external_ref,
                note=one.note,
                time_zone=one.time_zone,
            )
            for index, one in enumerate(data.rows)
        ]
        answer = await uploads.upload(ask, rows)
        outcomes = [RowOutcome(one.row, one.outcome, str(one.timesheet), str(one.entry)) for one in answer.value]
        return answered(Uploaded(outcomes, [str(one.uid) for one in answer.receipts]), answer.receipts[0])

    return [upload_hours]
