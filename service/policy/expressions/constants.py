"""Constants of time as CEL writes them: `timestamp("2026-01-31T00:00:00Z")` and `duration("48h")`.

Both are exact to the microsecond, as Postgres and the attributes are.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from service.policy.attributes import EARLIEST, LATEST

LONGEST_DURATION: Final = timedelta(days=36_500)
EXAMPLES: Final = {
    "timestamp": f'write timestamp("2026-01-31T00:00:00Z"), a time from {EARLIEST.year} to {LATEST.year - 1}',
    "duration": f'write duration("48h") or duration("1h30m"), at most {LONGEST_DURATION.days} days',
}
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[-+]\d\d:\d\d)", re.ASCII)
_PART = r"(\d{1,12})(?:\.(\d{1,6}))?(h|ms|us|m|s)"
_DURATION = re.compile(rf"(-?)((?:{_PART})+)", re.ASCII)
_MICROSECONDS: Final = {"h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000, "us": 1}


def parse_timestamp(text: str) -> datetime | None:
    """A time in UTC, or None for a text that is none or is out of range."""
    if not _TIMESTAMP.fullmatch(text):
        return None
    try:
        value = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return value if EARLIEST <= value < LATEST else None


def parse_duration(text: str) -> timedelta | None:
    """A duration, or None for a text that is none, is finer than a microsecond or is too long."""
    found = _DURATION.fullmatch(text)
    if found is None:
        return None
    total = 0
    for whole, fraction, unit in re.findall(_PART, found[2]):
        scale = 10 ** len(fraction)
        count, rest = divmod(int(whole + fraction) * _MICROSECONDS[unit], scale)
        if rest:
            return None
        total += count
    if total > LONGEST_DURATION // timedelta(microseconds=1):
        return None
    return timedelta(microseconds=-total if found[1] else total)
