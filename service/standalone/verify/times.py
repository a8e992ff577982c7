"""Times and ages in the formats of the log. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

# As `timewarden audit retain` counts: months and years are rounded up.
DAYS = {"d": 1, "mo": 31, "y": 366}
# Longer than a service is switched off, or a keeper stopped.
LONG = timedelta(days=31)
# How far the clocks of log, witness and auditor may differ.
AHEAD = timedelta(days=1)
# A running service writes a heartbeat at least once a day.
SILENCE = timedelta(days=2)


def parse_age(text: str) -> timedelta:
    """Parse a number of days, months or years, such as `90d`, `36mo` or `10y`. Raises ValueError."""
    found = re.fullmatch(r"([1-9][0-9]{0,3})(d|mo|y)", text)
    if not found:
        raise ValueError(f"{text!r} is not an age such as 90d, 36mo or 10y")
    return timedelta(days=int(found[1]) * DAYS[found[2]])


def parse_time(text: str) -> datetime:
    """Parse a time of the log. Raises ValueError, also for a time without a time zone."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return found.astimezone(UTC)


def parse_given_time(text: str) -> datetime:
    """Parse an RFC 3339 time with an offset as `timewarden audit export` does, which reads a space as `+`. Raises
    ValueError."""
    try:
        found = parse_time(text.replace(" ", "+"))
    except (ValueError, OverflowError):
        found = None
    if found is None or "T" not in text.upper():
        raise ValueError(f"{text!r} is not an RFC 3339 time with an offset, such as 2026-11-23T09:00:00Z")
    return found


def format_time(time: datetime) -> str:
    """A time in the format of the log."""
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def subtract(time: datetime, by: timedelta) -> datetime:
    """`time - by`, but not before the year 1."""
    floor = datetime.min.replace(tzinfo=UTC)
    return time - by if time - floor > by else floor


def format_days(span: timedelta) -> str:
    """A time span in days, for people."""
    return f"{span / timedelta(days=1):,.1f} days"


def format_span(span: timedelta) -> str:
    """A time span in hours, or from two days on in days, for people."""
    return format_days(span) if span >= SILENCE else f"{span / timedelta(hours=1):,.1f} hours"
