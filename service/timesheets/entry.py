"""Hours, entries, and the grammar of what people write into them. Pure: owns no state.

Minutes are integers: hours with decimals cannot be added up without rounding somebody's time away.
"""

from __future__ import annotations

import functools
import re
import zoneinfo
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from service.errors import InvalidField
from service.fields import Fields
from service.places import FieldError

if TYPE_CHECKING:
    from uuid import UUID

MAX_MINUTES = 1440
LONGEST_NOTE = 500
LONGEST_REASON = 1000
LONGEST_REFERENCE = 100
WEEK = timedelta(days=7)
FIRST_WEEK, LAST_WEEK = date(2000, 1, 3), date(2099, 12, 28)
# Names in time zone databases that mean no place: whatever this machine is set to, and that nobody has set it.
NO_PLACES = frozenset({"localtime", "Factory"})
PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


@dataclass(frozen=True, slots=True)
class Hours:
    """What somebody says about a day: 1 to 1440 `minutes` on `project` (a code), with a note if they like."""

    day: date
    project: str
    minutes: int
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(Hours):
    """Hours in a sheet. `external_ref` is an importing job's own name for them, `uploader` that client."""

    id: UUID
    external_ref: str | None = None
    uploader: str | None = None

    @classmethod
    def of(cls, hours: Hours, entry_id: UUID, *, external_ref: str | None = None, uploader: str | None = None) -> Entry:
        return cls(
            hours.day,
            hours.project,
            hours.minutes,
            hours.note,
            id=entry_id,
            external_ref=external_ref,
            uploader=uploader,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Amendment:
    """Other values for some fields of hours; None leaves a field as it is. `no_note` takes the note away."""

    day: date | None = None
    project: str | None = None
    minutes: int | None = None
    note: str | None = None
    no_note: bool = False

    def of(self, hours: Hours) -> Hours:
        """These hours, amended."""
        return Hours(
            hours.day if self.day is None else self.day,
            hours.project if self.project is None else self.project,
            hours.minutes if self.minutes is None else self.minutes,
            None if self.no_note else hours.note if self.note is None else self.note,
        )


def check_amendment(amendment: Amendment) -> None:
    """As `check_hours`, of what an amendment sets."""
    check_hours(amendment.of(Hours(FIRST_WEEK, "any", 1)))


def check_hours(hours: Hours) -> None:
    """Raise InvalidField naming every wrong field. Whether the day fits a sheet is the sheet's to judge."""
    fields = Fields()
    judge_hours(hours, fields)
    fields.refuse()


def judge_hours(hours: Hours, fields: Fields, prefix: str = "") -> None:
    """Put every wrong field of `hours` into `fields`, its name behind `prefix`."""
    if not FIRST_WEEK <= hours.day < LAST_WEEK + WEEK:
        fields.wrong(f"{prefix}day", f"must be between {FIRST_WEEK} and {LAST_WEEK + WEEK - timedelta(days=1)}")
    if not PROJECT.fullmatch(hours.project):
        fields.wrong(
            f"{prefix}project", "must be 1 to 40 of the characters A-Z a-z 0-9 . _ -, the first a letter or digit"
        )
    if isinstance(hours.minutes, bool) or not 1 <= hours.minutes <= MAX_MINUTES:
        fields.wrong(f"{prefix}minutes", f"must be a whole number from 1 to {MAX_MINUTES}")
    if hours.note is not None:
        fields.text(f"{prefix}note", hours.note, LONGEST_NOTE)


def check_reason(reason: str) -> None:
    """Raise InvalidField unless this can stand as the reason of a step that needs one."""
    fields = Fields()
    fields.text("reason", reason, LONGEST_REASON)
    fields.refuse()


def check_week(period_start: date, time_zone: str) -> None:
    """Raise InvalidField unless a sheet can begin on this day, in a zone that the IANA database names."""
    fields = Fields()
    if period_start.weekday() != 0 or not FIRST_WEEK <= period_start <= LAST_WEEK:
        fields.wrong("period_start", f"must be a Monday between {FIRST_WEEK} and {LAST_WEEK}")
    judge_zone(time_zone, fields, "time_zone")
    fields.refuse()


def judge_zone(time_zone: str, fields: Fields, name: str) -> None:
    """Put a complaint into `fields` unless `time_zone` is a name of the IANA database."""
    if time_zone not in _zones():
        fields.wrong(name, "must be an IANA time zone, such as Europe/Berlin or UTC")


def week_of(day: date) -> date:
    """The Monday of the week that `day` lies in."""
    return day - timedelta(days=day.weekday())


def wrong(name: str, message: str) -> InvalidField:
    """The error for one wrong field."""
    return InvalidField(FieldError(name, message))


@functools.cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones()) - NO_PLACES
