"""The pages for auditors: search, a decision, the story of a timesheet, the check in the browser, and the export.

Everything comes from the API, which records each look. The check trusts nothing of it: `static/check.js` hashes the
record itself, and compares the result with a root that the log's key has signed.
"""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from litestar import MediaType, Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.response import Stream

from service.console.form_values import with_times
from service.console.protection import is_head
from service.console.rooms import NavigationLink, Room
from service.console.story import RecordWithTexts, tell
from service.console.visits import ListPage, TheVisit, Visit
from service.standalone.client import ApiResult, Invalid, NotFound, Problem

PAGE = 50
DECISIONS = "/v1/decisions"
# The filters of the form, in its order; the others stand in the address when a page links here.
FIELDS = (
    "person",
    "action",
    "outcome",
    "resource",
    "since",
    "until",
    "client",
    "rule",
    "reason",
    "applied",
    "owner",
    "week",
)
HIDDEN = ("resource_kind", "request_id", "policy_version", "actor", "on_behalf_of")
OCTETS = "application/octet-stream"
TILE = re.compile(r"(?:entries|[0-9]{1,2})(?:/x?[0-9]{3})+(?:\.p/[0-9]{1,3})?")
# Of a facet; more would not fit into its card.
MOST_WORDS = 6
FORMATS = {
    "bundle": ("jsonl", "Bundle", "Everything that timewarden-verify needs to prove that nothing is missing."),
    "jsonl": ("jsonl", "JSON Lines", "A record a line, with its exact bytes."),
    "csv": ("csv", "CSV", "The columns of a search, safe for spreadsheets."),
    "parquet": ("parquet", "Parquet", "Columns for data tools."),
    "ocsf": ("ocsf.jsonl", "OCSF", "Events in the Open Cybersecurity Schema, for a SIEM."),
}


@dataclass(frozen=True, slots=True)
class Bar:
    """The decisions of a day in the chart; `highest` are those of the fullest day."""

    day: date
    allowed: int
    denied: int
    highest: int


@dataclass(frozen=True, slots=True)
class Facet:
    """Words that narrow a search, each with its count and the address of the narrower search."""

    name: str
    words: list[tuple[str, int, str]]


class DecisionCounts(ApiResult):
    """Counts of decisions."""

    since: datetime
    until: datetime
    total: int
    day: dict[str, int]
    denied: dict[str, int]
    action: dict[str, int]
    outcome: dict[str, int]
    applied: dict[str, int]
    reason: dict[str, int]


@get("/decisions")
async def search_decisions(visit: TheVisit) -> Response[str]:
    """Search decisions. The address holds the filters, so a search can be kept and sent to others."""
    given = _read_filters(visit)
    cursor = visit.request.query_params.get("cursor") or None
    query = {**_query_of(given), "limit": PAGE, "cursor": cursor, "names": True}
    problem: Problem | None = None
    page = ListPage[RecordWithTexts]([], None)
    try:
        page = await visit.api.call(ListPage[RecordWithTexts], "GET", DECISIONS, query=query)
    except (Invalid, NotFound) as found:
        problem = found
    counted = await _count(visit, given) if visit.request.query_params.get("counts") else None
    following = f"/decisions?{urlencode({**given, 'cursor': page.next_cursor})}" if page.next_cursor else None
    return visit.render(
        "decisions.html",
        problem.receipt.status if problem else 200,
        page=page,
        given={name: given.get(name, "") for name in FIELDS},
        narrowed=bool(given),
        hidden={name: given[name] for name in HIDDEN if name in given},
        problem=problem,
        following=following,
        first=f"/decisions?{urlencode(given)}" if cursor else None,
        counts=f"/decisions/counts?{urlencode(given)}",
        # Without JavaScript, by a link.
        with_counts=f"/decisions?{urlencode({**given, 'counts': 'yes'})}",
        counted=counted is not None,
        **(counted or {}),
    )


@get("/decisions/counts")
async def count_decisions(visit: TheVisit) -> Response[str]:
    """The day chart and the facets of a search, for htmx. In a long log they come some time after the list."""
    return visit.render("decision_counts.html", **await _count(visit, _read_filters(visit)))


@get("/decisions/{decision:uuid}")
async def show_decision(visit: TheVisit, decision: FromPath[UUID]) -> Response[str]:
    """One decision: who, through which app, what, and why."""
    record, why = await asyncio.gather(
        visit.api.call(RecordWithTexts, "GET", f"{DECISIONS}/{decision}", query={"names": True}),
        visit.api.explanation(str(decision)),
        return_exceptions=True,
    )
    if isinstance(record, BaseException):
        raise record
    if isinstance(why, BaseException) and not isinstance(why, Problem):
        raise why
    return visit.render("decision.html", record=record, why=None if isinstance(why, Problem) else why)


@get("/timesheets/{sheet:uuid}/story")
async def tell_story(visit: TheVisit, sheet: FromPath[UUID]) -> Response[str]:
    """Every decision and change of a timesheet in order, even if it was deleted."""
    cursor = visit.request.query_params.get("cursor") or None
    query = {"names": True, "limit": PAGE, "cursor": cursor}
    page = await visit.api.call(ListPage[RecordWithTexts], "GET", f"/v1/timesheets/{sheet}/history", query=query)
    owner, week = _whose_week(page.items)
    return visit.render(
        "story.html",
        sheet=sheet,
        owner=owner,
        week=week,
        steps=tell(page.items),
        names={key: name for record in page.items for key, name in (record.names or {}).items()},
        following=f"?{urlencode({'cursor': page.next_cursor})}" if page.next_cursor else None,
        continued=cursor is not None,
    )


@get("/check/{record_id:uuid}")
async def show_check(visit: TheVisit, record_id: FromPath[UUID]) -> Response[str]:
    """The page on which the browser checks a record."""
    record = await visit.api.call(RecordWithTexts, "GET", f"/v1/audit/records/{record_id}", query={"names": True})
    return visit.render("check.html", record=record)


@get("/log/checkpoint")
async def pass_checkpoint(visit: TheVisit) -> Response[bytes]:
    """The newest checkpoint, as the API sends it."""
    answer = await visit.api.send("GET", "/v1/log/checkpoint")
    return Response(answer.content, media_type=MediaType.TEXT)


@get("/log/tile/{path:path}")
async def pass_tile(visit: TheVisit, path: FromPath[str]) -> Response[bytes]:
    """A tile of hashes, or `entries/...` for a bundle of records."""
    if not TILE.fullmatch(path.lstrip("/")):
        raise NotFoundException
    answer = await visit.api.send("GET", f"/v1/log/tile/{path.lstrip('/')}")
    return Response(answer.content, media_type=OCTETS)


@get("/export")
async def show_export(visit: TheVisit) -> Response[str]:
    """The form for a download of records."""
    return visit.render("export.html", formats=FORMATS)


@get("/export/file")
async def export_records(visit: TheVisit) -> Response[Any]:
    """The download. Bytes are passed on as they come, and never held as a whole."""
    asked = visit.request.query_params
    form = asked.get("format", "")
    if form not in FORMATS:
        raise NotFoundException
    file = f"timewarden-{datetime.now(UTC):%Y%m%d-%H%M}.{FORMATS[form][0]}"
    headers = {"Content-Disposition": f'attachment; filename="{file}"'}
    # Nothing is exported, and so nothing recorded. The API itself refuses those who may not.
    if is_head(visit.request) and visit.may("log", "read"):
        return Response(b"", media_type=OCTETS, headers=headers)
    query = with_times({name: asked[name].strip() for name in ("since", "until") if asked.get(name, "").strip()}, UTC)
    path = "/v1/audit/bundle" if form == "bundle" else "/v1/audit/export"
    closing = AsyncExitStack()
    answer = await closing.enter_async_context(
        visit.api.stream(path, query=query if form == "bundle" else {"format": form, **query})
    )

    async def chunks() -> AsyncIterator[bytes]:
        async with closing:
            async for chunk in answer.aiter_bytes():
                yield chunk

    headers["Audit-Positions"] = answer.headers.get("Audit-Positions", "")
    return Stream(chunks(), media_type=OCTETS, headers=headers)


async def _count(visit: Visit, given: Mapping[str, str]) -> dict[str, Any]:
    """The day chart and the facets, for their template."""
    problem: Problem | None = None
    counts: DecisionCounts | None = None
    try:
        counts = await visit.api.call(DecisionCounts, "GET", f"{DECISIONS}/summary", query=_query_of(given))
    except (Invalid, NotFound) as found:
        problem = found
    return {"chart": _chart(counts), "facets": _facets(counts, given), "uncounted": problem}


def _whose_week(records: Iterable[RecordWithTexts]) -> tuple[str | None, date | None]:
    """The owner of a timesheet, and the first day of its week, as far as its records say."""
    owner = week = None
    for record in records:
        members = record.record
        owner = owner or (members.get("resource") or {}).get("owner")
        begin = (members.get("attributes") or {}).get("resource.period_start")
        begin = begin or ((members.get("change") or {}).get("to") or {}).get("period_start")
        week = week or (date.fromisoformat(begin[:10]) if isinstance(begin, str) else None)
    return owner, week


def _read_filters(visit: Visit) -> dict[str, str]:
    """The filters in the address."""
    given = visit.request.query_params.items()
    return {name: value.strip() for name, value in given if name in {*FIELDS, *HIDDEN} and value.strip()}


def _query_of(given: Mapping[str, str]) -> dict[str, str]:
    """The filters as the API has them: a person by address or id, and days as times."""
    query = dict(given)
    person = query.pop("person", "")
    if person:
        query["email" if "@" in person else "person"] = person
    return with_times(query, UTC)


def _chart(counts: DecisionCounts | None) -> list[Bar]:
    """A bar for each day of the period, with heights as shares of the highest."""
    if counts is None:
        return []
    first, last = counts.since.date(), (counts.until - timedelta(microseconds=1)).date()
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    highest = max(counts.day.values(), default=0) or 1
    totals = [(day, counts.day.get(str(day), 0), counts.denied.get(str(day), 0)) for day in days]
    return [Bar(day, total - denied, denied, highest) for day, total, denied in totals]


def _facets(counts: DecisionCounts | None, given: Mapping[str, str]) -> list[Facet]:
    """The words that narrow the search, most frequent first."""
    facets: list[Facet] = []
    for name in ("action", "outcome", "applied", "reason"):
        links = [
            (word, count, f"/decisions?{urlencode({**given, name: word})}")
            for word, count in Counter(getattr(counts, name, {})).most_common(MOST_WORDS)
        ]
        if len(links) > 1 and name not in given:
            facets.append(Facet(name, links))
    return facets


ROOM = Room(
    "Audit",
    (
        NavigationLink("Decisions", "/decisions", "log", ("read",)),
        NavigationLink("Export", "/export", "log", ("read",)),
    ),
    (
        search_decisions,
        count_decisions,
        show_decision,
        tell_story,
        show_check,
        pass_checkpoint,
        pass_tile,
        show_export,
        export_records,
    ),
)
