"""Counts decisions by facet: day, denied by day, action, outcome, applied, reason. Reads only; owns no state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.log.record_query import DECISIONS, RecordFilters, RecordQuery, custom_plans
from service.log.windows import covering_window

if TYPE_CHECKING:
    from datetime import datetime

    from service.database import Connection

FACETS = ("day", "action", "outcome", "applied", "reason")
DENIED = "denied"
# To count a decision, Postgres reads its row: these take some 0.2 seconds, and a month of ten million would take two.
MAX_COUNTED = 200_000


@dataclass(frozen=True, slots=True)
class Summary:
    """How many decisions in total, and for each facet how many of each value. A day is a UTC date. `denied` counts the
    denials of each day. Days are sorted by date, other values by frequency. Reads and lists have no value of `applied`.
    `since` is the time of the oldest that was counted, if earlier ones were left out; otherwise None."""

    total: int
    facets: dict[str, dict[str, int]]
    since: datetime | None


async def summarize_decisions(connection: Connection, filters: RecordFilters, *, most: int = MAX_COUNTED) -> Summary:
    """Count the newest decisions, at most `most`. Raises QueryTooBroad when that exceeds the statement timeout."""
    since, until = (time.isoformat() if time else None for time in (filters.since, filters.until))
    query = RecordQuery(filters, DECISIONS, await covering_window(connection, since, until))
    async with custom_plans(connection):
        rows = await connection.fetch(summary_statement(query, most), *query.values)
    found: dict[str, list[tuple[str, int]]] = {name: [] for name in (*FACETS, DENIED)}
    total, oldest = 0, None
    for row in rows:
        grouped = [name for name in FACETS if row[f"of_{name}"]]
        if not grouped:
            total, oldest = row["times"] or 0, row["oldest"]
        elif grouped == ["day", "outcome"]:
            found[DENIED] += [(row["day"], row["times"])] if row["outcome"] == "deny" else []
        elif row[grouped[0]] is not None:
            found[grouped[0]].append((str(row[grouped[0]]), row["times"]))
    facets = {name: dict(_sort_counts(name, counts)) for name, counts in found.items()}
    return Summary(total, facets, oldest if total == most else None)


def summary_statement(query: RecordQuery, most: int) -> str:
    """The SQL that counts. Its parameters are those of the query."""
    # Of each alternative the newest, each by its own index; the newest of all of them are counted.
    bound = f"ORDER BY decided_at DESC LIMIT {most}"
    columns = "r.decided_at, r.action, r.outcome, r.applied, r.reason"
    newest = " UNION ALL ".join(f"(SELECT {columns} {query.source(terms)} {bound})" for terms in query.alternatives)
    # Equal decisions of a day are counted first, so that the many rows are grouped once and not by each facet.
    return f"""
        WITH counted AS (
            SELECT (decided_at AT TIME ZONE 'UTC')::date AS day, action, outcome, applied, reason,
                   count(*) AS times, min(decided_at) AS oldest
            FROM (SELECT * FROM ({newest}) AS r {bound}) AS r GROUP BY 1, 2, 3, 4, 5)
        SELECT day::text, action, outcome, applied::text, reason, sum(times)::bigint AS times, min(oldest) AS oldest,
               grouping(day) = 0 AS of_day, grouping(action) = 0 AS of_action, grouping(outcome) = 0 AS of_outcome,
               grouping(applied) = 0 AS of_applied, grouping(reason) = 0 AS of_reason
        FROM counted
        GROUP BY GROUPING SETS ((), (day), (day, outcome), (action), (outcome), (applied), (reason))
    """


def _sort_counts(facet: str, counts: list[tuple[str, int]]) -> list[tuple[str, int]]:
    return sorted(counts) if facet in {"day", DENIED} else sorted(counts, key=lambda count: (-count[1], count[0]))
