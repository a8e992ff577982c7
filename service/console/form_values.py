"""Numbers and days as forms and addresses name them. Pure."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import tzinfo

MAX_NUMBER: Final = 2**31 - 1
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def number_of(text: str | None) -> int | None:
    """The number that a form or an address names; None for all else, also for one that no number of ours reaches."""
    if not text or not text.isascii() or not text.isdecimal() or len(text) > len(str(MAX_NUMBER)):
        return None
    return int(text) if int(text) <= MAX_NUMBER else None


def start_of(day: str | None, zone: tzinfo, *, after: int = 0) -> datetime:
    """The beginning of the day that a form names, or of a day some days `after` it. Raises ValueError."""
    if not _DAY.fullmatch(day or ""):
        raise ValueError(day)
    try:
        return datetime.combine(date.fromisoformat(day or "") + timedelta(days=after), time(), zone)
    except OverflowError as error:
        raise ValueError(day) from error


def with_times(given: Mapping[str, str], zone: tzinfo) -> dict[str, str]:
    """Filters with the days `since` and `until` as times, `until` with the whole of its day. Other texts stay as
    they are, for the API to read or to refuse."""
    found = dict(given)
    for name in ("since", "until"):
        with suppress(ValueError):
            found[name] = start_of(given.get(name), zone, after=int(name == "until")).isoformat()
    return found
