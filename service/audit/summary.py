"""Counts decisions by facet: day, action, outcome, applied, reason. Reads only; owns no state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.log.record_query import DECISIONS, RecordFilters, RecordQuery, custom_plans
from service.log.windows import covering_window

if TYPE_CHECKING:
    from service.database import Connection

FACETS = ("day", "action", "outcome", "applied", "reason")


@dataclass(frozen=True, slots=True)
class Summary:
    """How many decisions in total, and for each facet how many of each value. A day is a UTC date. Days are sorted by
    date, other values by frequency. Reads and lists have no value of `applied`."""

    total: int
    facets: dict[str, dict[str, int]]


async def summarize_decisions(connection: Connection, filters: RecordFilters) -> Summary:
    """Count decisions. Raises QueryTooBroad when that exceeds the statement timeout."""
    since, until = (time.isoformat() if time else None for time in (filters.since, filters.until))
    query = RecordQuery(filters, DECISIONS, await covering_window(connection, since, until))
    counted = " UNION ALL ".join(
        f"SELECT r.decided_at, r.action, r.outcome, r.applied, r.reason FROM audit_record r {query.where(terms)}"
        for terms in query.alternatives
    )
    # Read the matching records once, and count them in total and by each facet.
    statement = f"""
        WITH matching AS (
            SELECT (decided_at AT TIME ZONE 'UTC')::date::text AS day, action, outcome, applied::text, reason
                     FROM ({counted}) AS r)
        SELECT day, action, outcome, applied, reason, count(*) AS times,
               grouping(day) = 0 AS of_day, grouping(action) = 0 AS of_action, grouping(outcome) = 0 AS of_outcome,
               grouping(applied) = 0 AS of_applied, grouping(reason) = 0 AS of_reason
        FROM matching GROUP BY GROUPING SETS ((), (day), (action), (outcome), (applied), (reason))
    """
    async with custom_plans(connection):
        rows = await connection.fetch(statement, *query.values)
    found: dict[str, list[tuple[str, int]]] = {name: [] for name in FACETS}
    total = 0
    for row in rows:
        facet = next((name for name in FACETS if row[f"of_{name}"]), None)
        if facet is None:
            total = row["times"]
        elif row[facet] is not None:
            found[facet].append((str(row[facet]), row["times"]))
    return Summary(total, {name: dict(_sort_counts(name, counts)) for name, counts in found.items()})


def _sort_counts(facet: str, counts: list[tuple[str, int]]) -> list[tuple[str, int]]:
    return sorted(counts) if facet == "day" else sorted(counts, key=lambda count: (-count[1], count[0]))
