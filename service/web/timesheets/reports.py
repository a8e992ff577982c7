"""GET /v1/reports/hours: totals in minutes, as JSON or as CSV that no spreadsheet takes for formulas."""

from __future__ import annotations

import csv
import io
import re
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from litestar import Request, Response, get
from litestar.params import Parameter, QueryParameter

from service.csv_cells import harmless
from service.timesheets.reports_store import By, Span
from service.timesheets.timesheet import State  # noqa: TC001 — Litestar reads handler signatures
from service.web.http.answers import answered
from service.web.http.operations import COMMON, operation
from service.web.http.parameters import Asking, optional_uuid

if TYPE_CHECKING:
    from service.timesheets.reports import Report, Reports

CSV: Final = "text/csv"
_QUALITY: Final = re.compile(r"q=([01](?:\.[0-9]{0,3})?)")


class TotalBody(msgspec.Struct):
    """The minutes under one key: a person's or team's id, a project's code, a week's Monday. Null are those who belong
    to no team. `sheets`: of how many timesheets. Somebody in two teams counts in both."""

    key: str | None
    name: str | None
    minutes: int
    sheets: int


class HoursReport(msgspec.Struct):
    """Totals of the days from `since` to `until`, of the timesheets that you may read. `minutes` and `sheets` are those
    of the whole, each counted once."""

    by: str
    since: date
    until: date
    minutes: int
    sheets: int
    items: list[TotalBody]


def report_routes(reports: Reports) -> list[Any]:
    """The handler, bound to its use case."""

    @get("/v1/reports/hours", **operation("Add hours up", scope="read:timesheets", problems=COMMON, tag="Reports"))
    async def report_hours(
        ask: Asking,
        request: Request[Any, Any, Any],
        by: Annotated[By, Parameter(description="What the totals are of")],
        since: Annotated[date, Parameter(description="The first day")],
        until: Annotated[date, Parameter(description="The last day, less than 366 days later")],
        sheet_state: Annotated[State | None, QueryParameter(name="state", description="Only in this state")] = None,
        owner: Annotated[str | None, Parameter(max_length=64, description="Only this person's")] = None,
        form: Annotated[
            Literal["json", "csv"] | None,
            QueryParameter(name="format", description="`csv` answers with text/csv, as does `Accept: text/csv`"),
        ] = None,
    ) -> Response[HoursReport]:
        span = Span(since, until, sheet_state, optional_uuid(owner, "query.owner"))
        answer = await reports.hours(ask, by, span)
        report = answer.value
        wanted = CSV if form is None and _prefers_csv(request.headers.get("accept", "")) else form
        if wanted in {CSV, "csv"}:
            text: Response[Any] = answered(_csv(by, report), answer.receipt)
            text.media_type = CSV
            text.headers["Content-Disposition"] = f'attachment; filename="hours-by-{by}-{since}-{until}.csv"'
            return text
        items = [TotalBody(one.key, one.name, one.minutes, one.sheets) for one in report.totals]
        return answered(HoursReport(by, since, until, report.minutes, report.sheets, items), answer.receipt)

    return [report_hours]


def _prefers_csv(accept: str) -> bool:
    """Whether an Accept header (RFC 9110 section 12.5.1) wants CSV more than JSON, or names it where it does not name
    JSON."""
    weights: dict[str, float] = {}
    for one in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in one.split(";"))
        quality = next((found[1] for part in parameters if (found := _QUALITY.fullmatch(part))), "1")
        weights[kind] = float(quality)

    def wish(kind: str) -> tuple[float, bool]:
        ranges = (kind, f"{kind.partition('/')[0]}/*", "*/*")
        weight = next((weights[one] for one in ranges if one in weights), 0.0)
        return weight, kind in weights and weight > 0

    return wish(CSV) > wish("application/json")


def _csv(by: By, report: Report) -> str:
    """RFC 4180, with a line of names first."""
    text = io.StringIO()
    writer = csv.writer(text)
    named = by == "team"
    writer.writerow([by, *(["name"] if named else []), "minutes", "sheets"])
    for one in report.totals:
        cells = [one.key or "", *([one.name or ""] if named else [])]
        writer.writerow([*map(harmless, cells), one.minutes, one.sheets])
    return text.getvalue()
