"""The nightly job's part of the story: a client uploads hours for itself, and a repeated upload changes nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from service.development.demo.cast import must
from service.development.demo.hours import APP, free_week
from service.ids import make_id
from service.standalone.client import UploadRow

if TYPE_CHECKING:
    from service.development.demo.cast import Stage
    from service.standalone.client import Uploaded


async def payroll_uploads(stage: Stage) -> None:
    """The same rows twice: first created, then unchanged. Rows that include another team: all are refused."""
    stage.transcript.step("A machine uploads a contractor's hours; sent again, nothing changes")
    carl = await stage.person("carl", APP)
    monday, job = await free_week(carl), str(make_id())
    importer = stage.client("payroll-import")

    def row(owner: str, number: int) -> UploadRow:
        day = monday + timedelta(days=number)
        return UploadRow(owner=owner, day=day, project="ATLAS", minutes=480, external_ref=f"{job}/{number}")

    rows = [row(carl.id, 0), row(carl.id, 1)]
    for outcome in ("created", "unchanged"):
        done = await importer.does(importer.api.upload(rows), tell=_outcomes)
        must([row.outcome for row in done.rows] == [outcome] * 2, f"Both rows must be {outcome}", done)
    stage.transcript.step("All or nothing: one row is for a person outside the contractors' team")
    await importer.is_refused(403, importer.api.upload([row(carl.id, 2), row(stage.people["ben"], 2)]))
    sheets = await carl.lists(carl.api.timesheets(since=monday))
    week = next(sheet for sheet in sheets if sheet.period_start == monday)
    must(week.minutes == 960, "Carl's week must have only the first two rows", week)  # noqa: PLR2004 — 2 x 480
    stage.transcript.say(f"Carl's week still has {week.minutes} minutes.")


def _outcomes(done: Uploaded) -> str:
    return "; ".join(f"row {row.row}: {row.outcome}" for row in done.rows)
