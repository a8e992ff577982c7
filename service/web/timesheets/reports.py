"""GET /v1/reports/hours: totals in minutes, as JSON or CSV. A spreadsheet runs no cell of the CSV as a formula."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from litestar import Request, Response, get
from litestar.params import Parameter, QueryParameter
from msgspec import Meta

from service.csv_cells import escape_formula
from service.timesheets.reports_store import GroupBy, Span
from service.timesheets.timesheet import State  # noqa: TC001 — Litestar reads handler signatures
from service.web.http.operations import COMMON, operation
from service.web.http.parameters import (
    MAX_PERSON_CHARS,
    MAX_TEAM_CHARS,
    PERSON_IN_QUERY,
    CurrentCaller,
    WithNames,
    parse_optional_person,
    parse_optional_team,
    parse_texts,
)
from service.web.http.responses import make_response
from service.web.timesheets.timesheet_shapes import MAX_PROJECTS, ApprovalCount, ProjectCode

if TYPE_CHECKING:
    from service.timesheets.reports import Report, Reports
    from service.timesheets.reports_store import Total

CSV: Final = "text/csv"
EAST: Final = "0198c0de-0000-7000-8000-000000000007"
_QUALITY: Final = re.compile(r"q=([01](?:\.[0-9]{0,3})?)")


ApprovalsGiven = Annotated[int, Meta(description="How many approvals these timesheets have", ge=0, examples=[1])]
ApprovalsOfAll = Annotated[
    ApprovalCount | None,
    Meta(description="How many they need in all; null: unknown of one of them", examples=[2]),
]


BillableMinutes = Annotated[int, Meta(description="The part of the minutes that is billable", ge=0, examples=[450])]
AbsenceMinutes = Annotated[int, Meta(description="The part of the minutes that is absence", ge=0, examples=[0])]


class TotalBody(msgspec.Struct):
    """The minutes of one key. Hours of a person in two teams count in both."""

    key: Annotated[
        str | None,
        Meta(
            description="A person's or team's id, a project's or activity's code, a day, or a week's Monday; null:"
            " people without a team, or hours without an activity",
            examples=["ATLAS"],
        ),
    ]
    name: Annotated[
        str | None,
        Meta(
            description="The name of the team; with `names=true`, of the person or project. null: it has none, or you"
            " may not see it",
            examples=["Atlas, the map"],
        ),
    ]
    minutes: Annotated[int, Meta(description="The sum of the minutes", ge=0, examples=[930])]
    sheets: Annotated[int, Meta(description="The number of timesheets", ge=0, examples=[2])]
    approvals_given: ApprovalsGiven
    approvals_needed: ApprovalsOfAll
    billable_minutes: BillableMinutes
    absence_minutes: AbsenceMinutes
    then: Annotated[
        str | None, Meta(description="The second key, as `key`; null: `then` was not given", examples=[None])
    ]
    then_name: Annotated[
        str | None, Meta(description="The name of the second key, as `name`; null: it has none", examples=[None])
    ]


class HoursReport(msgspec.Struct):
    """Totals over the timesheets that you may read."""

    by: Annotated[GroupBy, Meta(description="How the totals are grouped", examples=["project"])]
    since: Annotated[date, Meta(description="The first day", examples=["2026-11-23"])]
    until: Annotated[date, Meta(description="The last day", examples=["2026-11-29"])]
    minutes: Annotated[int, Meta(description="The sum of all entries, each counted once", ge=0, examples=[930])]
    sheets: Annotated[int, Meta(description="The number of timesheets", ge=0, examples=[2])]
    approvals_given: ApprovalsGiven
    approvals_needed: ApprovalsOfAll
    billable_minutes: BillableMinutes
    absence_minutes: AbsenceMinutes
    then: Annotated[GroupBy | None, Meta(description="The second grouping; null: none", examples=[None])]
    items: Annotated[list[TotalBody], Meta(description="The totals by key")]


def report_routes(reports: Reports) -> list[Any]:
    """The handler, bound to its use case."""

    @get(
        "/v1/reports/hours",
        **operation(
            "Sum up hours",
            scope="read:timesheets",
            problems=COMMON,
            tag="Reports",
            files={
                CSV: "team,name,minutes,sheets,approvals_given,approvals_needed,billable_minutes,absence_minutes\r\n"
                f"{EAST},Atlas,930,2,1,2,450,0\r\n,,420,1,0,1,0,420\r\n"
            },
            more=("Content-Disposition",),
        ),
    )
    async def report_hours(
        caller: CurrentCaller,
        request: Request[Any, Any, Any],
        by: Annotated[GroupBy, Parameter(description="How to group the totals")],
        since: Annotated[date, Parameter(description="The first day")],
        until: Annotated[date, Parameter(description="The last day, less than 366 days after the first")],
        then: Annotated[GroupBy | None, Parameter(description="How to group each of these totals once more")] = None,
        states: Annotated[
            list[State] | None,
            QueryParameter(name="state", description="Only timesheets in this state, or in one of these"),
        ] = None,
        projects: Annotated[
            list[ProjectCode] | None,
            QueryParameter(
                name="project", max_items=MAX_PROJECTS, description="Only hours on this project, or on one of these"
            ),
        ] = None,
        owner: Annotated[
            str | None, Parameter(max_length=MAX_PERSON_CHARS, description=f"Only timesheets of {PERSON_IN_QUERY}")
        ] = None,
        team: Annotated[
            str | None,
            Parameter(
                max_length=MAX_TEAM_CHARS,
                description="Only timesheets of present members of this team, by id or name, or of teams below",
            ),
        ] = None,
        sort: Annotated[
            Literal["key", "minutes", "-minutes"],
            Parameter(description="The order of the totals; `-minutes`: the greatest first"),
        ] = "key",
        form: Annotated[
            Literal["json", "csv"] | None,
            QueryParameter(name="format", description="`csv` returns text/csv, as does `Accept: text/csv`"),
        ] = None,
        names: WithNames = False,  # noqa: FBT002 — a query parameter
    ) -> Response[HoursReport]:
        person = parse_optional_person(owner, "query.owner")
        below = parse_optional_team(team, "query.team")
        span = Span(since, until, tuple(states or ()), person, parse_texts(projects, "query.project"), below)
        answer = await reports.hours(caller, by, span, then=then, with_names=names)
        report = answer.value
        if sort != "key":
            ordered = sorted(report.totals, key=lambda total: total.minutes, reverse=sort == "-minutes")
            report = replace(report, totals=tuple(ordered))
        wanted = CSV if form is None and _prefers_csv(request.headers.get("accept", "")) else form
        if wanted in {CSV, "csv"}:
            text: Response[Any] = make_response(_format_csv(by, then, report, with_names=names), answer.receipt)
            text.media_type = CSV
            text.headers["Content-Disposition"] = f'attachment; filename="hours-by-{by}-{since}-{until}.csv"'
            return text
        items = [
            TotalBody(total.key, total.name, *_numbers(total), total.then, total.then_name) for total in report.totals
        ]
        return make_response(HoursReport(by, since, until, *_numbers(report.whole), then, items), answer.receipt)

    return [report_hours]


def _numbers(total: Total) -> tuple[int, int, int, int | None, int, int]:
    return (
        total.minutes,
        total.sheets,
        total.approvals_given,
        total.approvals_needed,
        total.billable,
        total.absence,
    )


def _prefers_csv(accept: str) -> bool:
    """Whether an Accept header (RFC 9110 section 12.5.1) prefers CSV to JSON; of equal weights, a type that it names
    wins over a range."""
    weights: dict[str, float] = {}
    for choice in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in choice.split(";"))
        quality = next((found[1] for part in parameters if (found := _QUALITY.fullmatch(part))), "1")
        weights[kind] = float(quality)

    def preference(kind: str) -> tuple[float, bool]:
        ranges = (kind, f"{kind.partition('/')[0]}/*", "*/*")
        weight = next((weights[accepted] for accepted in ranges if accepted in weights), 0.0)
        return weight, kind in weights and weight > 0

    return preference(CSV) > preference("application/json")


def _format_csv(by: GroupBy, then: GroupBy | None, report: Report, *, with_names: bool) -> str:
    """CSV (RFC 4180) with a header line."""
    text = io.StringIO()
    writer = csv.writer(text)
    numbers = ["minutes", "sheets", "approvals_given", "approvals_needed", "billable_minutes", "absence_minutes"]
    # Whether each key has a column for its name.
    groups = {group: with_names or group == "team" for group in (by, then) if group is not None}
    header = [
        column
        for group, named in groups.items()
        for column in (group, "name" if group == by else f"{group}_name")[: 1 + named]
    ]
    writer.writerow([*header, *numbers])
    for total in report.totals:
        keys = {by: (total.key, total.name), then: (total.then, total.then_name)}
        cells = [cell or "" for group, named in groups.items() for cell in keys[group][: 1 + named]]
        writer.writerow([*map(escape_formula, cells), *_numbers(total)])
    return text.getvalue()
