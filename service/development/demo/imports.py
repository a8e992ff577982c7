"""The nightly job's part of the story: a client acts for itself, and doing it twice is doing it once."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from uuid_utils.compat import uuid7

from service.development.demo.hours import APP, free_week

if TYPE_CHECKING:
    from service.development.demo.cast import Stage

PATH = "/v1/uploads"


async def payroll_uploads(stage: Stage) -> None:
    """The same rows twice: first created, then unchanged. Rows for another team: none of them."""
    stage.transcript.step("A machine uploads a contractor's hours; sent again, nothing changes")
    carl = await stage.person("carl", APP)
    monday, job = await free_week(carl), str(uuid7())
    importer = await stage.client("payroll-import")

    def row(owner: str, number: int) -> dict[str, object]:
        day = str(monday + timedelta(days=number))
        return {"owner": owner, "day": day, "project": "ATLAS", "minutes": 480, "external_ref": f"{job}/{number}"}

    rows = [row(carl.id, 0), row(carl.id, 1)]
    for outcome in ("created", "unchanged"):
        answer = await importer.ask("POST", PATH, 200, body={"rows": rows}, tell=_outcomes)
        answer.must([one["outcome"] for one in answer.body["rows"]] == [outcome] * 2, f"Both rows were to be {outcome}")
    stage.transcript.step("All or nothing: one row is for somebody outside the contractors' team")
    mixed = {"rows": [row(carl.id, 2), row(stage.people["ben"], 2)]}
    await importer.ask("POST", PATH, 403, body=mixed)
    read = await carl.ask("GET", "/v1/timesheets", 200, query={"since": str(monday), "limit": "200"}, quietly=True)
    week = next(one for one in read.body["items"] if one["period_start"] == str(monday))
    read.must(week["minutes"] == 960, "Carl's week was to hold the two rows of before")  # noqa: PLR2004 — 2 x 480
    stage.transcript.say(f"Carl's week still has {week['minutes']} minutes.")


def _outcomes(body: Any) -> str:
    return "; ".join(f"row {one['row']}: {one['outcome']}" for one in body["rows"])
