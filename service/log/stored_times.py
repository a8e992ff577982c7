"""Times as they are stored, read so that no stored value can stop the reading of others. Pure: SQL and strings.

Postgres holds times that Python cannot: `infinity`, the year 20000, years before Christ. Only somebody who altered a
record writes them, so they are told as they stand and never decoded.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeAlias

# A place in time for comparing: seconds, and behind every number those that have none.
Order: TypeAlias = tuple[bool, Decimal]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def written(column: str) -> str:
    """SQL: the time as every record writes it, or in Postgres's own words where it lies outside the years 1 to 9999."""
    usual = f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
    return f"CASE WHEN {_within(column)} THEN {usual} ELSE {column}::text END"


def readable(column: str) -> str:
    """SQL: the time where Python can hold it, otherwise null."""
    return f"CASE WHEN {_within(column)} THEN {column} END"


def seconds(column: str) -> str:
    """SQL: the time as an exact number, which may be infinite."""
    return f"extract(epoch FROM {column})"


def order(number: Decimal | None) -> Order:
    """Where a time stands among others, as Postgres sorts them: nothing comes last."""
    return number is None, number or Decimal(0)


def _within(column: str) -> str:
    return f"{column} >= '0001-01-01 00:00:00+00' AND {column} < '10000-01-01 00:00:00+00'"
