"""SQL expressions that read stored times without failing on any value. Pure: SQL and strings.

Postgres can hold times that Python cannot: `infinity`, the year 20000, years before Christ. Only an altered record has
such a time; it is returned as text, so that it does not break the reading of other records.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypeAlias

# A sort key for times: seconds, with null after every number.
TimeOrder: TypeAlias = tuple[bool, float]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_text(column: str) -> str:
    """SQL: the time as records write it; outside the years 1 to 9999, as Postgres writes it."""
    usual = f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
    return f"CASE WHEN {_within(column)} THEN {usual} ELSE {column}::text END"


def time_or_null(column: str) -> str:
    """SQL: the time, or null if Python cannot hold it."""
    return f"CASE WHEN {_within(column)} THEN {column} END"


def epoch_seconds(column: str) -> str:
    """SQL: the time as a number of seconds, which may be infinite. Until the year 2106, times that differ have numbers
    that differ. As a numeric, 50 would take longer to decode than the rest of a page."""
    return f"date_part('epoch', {column})"


def sort_key(number: float | None) -> TimeOrder:
    """The sort key of a time, in the order of Postgres: null comes last."""
    return number is None, number or 0.0


def _within(column: str) -> str:
    return f"{column} >= '0001-01-01 00:00:00+00' AND {column} < '10000-01-01 00:00:00+00'"
