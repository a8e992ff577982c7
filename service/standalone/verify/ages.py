"""Moments and ages as the log writes them. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

# As `timewarden audit retain` counts: long rather than short.
DAYS = {"d": 1, "mo": 31, "y": 366}
# Longer than anything that runs is switched off, and than any keeper stands still.
LONG = timedelta(days=31)
# A log that runs writes a heartbeat a day at least.
SILENCE = timedelta(days=2)


def age(text: str) -> timedelta:
    """A number of days, months or years, such as `90d`, `36mo` or `10y`. Raises ValueError."""
    found = re.fullmatch(r"([1-9][0-9]{0,3})(d|mo|y)", text)
    if not found:
        raise ValueError(f"{text!r} is no age: say for example 90d, 36mo or 10y")
    return timedelta(days=int(found[1]) * DAYS[found[2]])


def moment(text: str) -> datetime:
    """A time of the log. Raises ValueError for one without its zone."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return found.astimezone(UTC)


def written(time: datetime) -> str:
    """As the log writes it."""
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def earlier(time: datetime, by: timedelta) -> datetime:
    """So much before, or the beginning of time."""
    floor = datetime.min.replace(tzinfo=UTC)
    return time - by if time - floor > by else floor


def days(span: timedelta) -> str:
    """For people."""
    return f"{span / timedelta(days=1):,.1f} days"
