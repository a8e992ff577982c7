"""Hours and entries of a timesheet, and the checks of their fields. Pure: owns no state.

Minutes are integers: a sum of decimal hours would need rounding.
"""

from __future__ import annotations

import functools
import re
import zoneinfo
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from uuid import UUID  # noqa: TC003 — msgspec reads the types of entries

from service.errors import InvalidField
from service.fields import Fields
from service.places import FieldError

MAX_MINUTES = 1440
MAX_NOTE_LENGTH = 500
MAX_REASON_LENGTH = 1000
MAX_REFERENCE_LENGTH = 100
WEEK = timedelta(days=7)
FIRST_WEEK, LAST_WEEK = date(2000, 1, 3), date(2099, 12, 28)
# Names in time zone databases that are no places: the zone of this machine, and the placeholder for an unset zone.
NO_PLACES = frozenset({"localtime", "Factory"})
PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


@dataclass(frozen=True, slots=True)
class Hours:
    """Work on one day: 1 to 1440 `minutes` on `project` (a code), with an optional note."""

    day: date
    project: str
    minutes: int
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WeekHours(Hours):
    """Hours in a list that replaces all entries of a week. `id` names the entry that they change, if any."""

    id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(Hours):
    """Hours in a timesheet. `external_ref` is the importing client's own key for them, `uploader` that client."""

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

    def with_hours(self, hours: Hours) -> Entry:
        """The entry with other hours."""
        return Entry.of(hours, self.id, external_ref=self.external_ref, uploader=self.uploader)


@dataclass(frozen=True, slots=True, kw_only=True)
class Amendment:
    """New values for some fields of hours; None keeps a field. `no_note` removes the note."""

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


def hours_of(hours: Hours) -> Hours:
    """The hours alone, for comparison."""
    return Hours(hours.day, hours.project, hours.minutes, hours.note)


def check_amendment(amendment: Amendment) -> None:
    """Raise InvalidField naming every wrong field that the amendment sets."""
    check_hours(amendment.of(Hours(FIRST_WEEK, "any", 1)))


def check_hours(hours: Hours) -> None:
    """Raise InvalidField naming every wrong field. The timesheet checks whether the day lies in its week."""
    fields = Fields()
    validate_hours(hours, fields)
    fields.refuse()


def validate_hours(hours: Hours, fields: Fields, prefix: str = "") -> None:
    """Add every wrong field of `hours` to `fields`, with `prefix` before its name."""
    if not FIRST_WEEK <= hours.day < LAST_WEEK + WEEK:
        fields.wrong(f"{prefix}day", f"must be between {FIRST_WEEK} and {LAST_WEEK + WEEK - timedelta(days=1)}")
    if not PROJECT.fullmatch(hours.project):
        fields.wrong(
            f"{prefix}project", "must be 1 to 40 of the characters A-Z a-z 0-9 . _ -, the first a letter or digit"
        )
    if isinstance(hours.minutes, bool) or not 1 <= hours.minutes <= MAX_MINUTES:
        fields.wrong(f"{prefix}minutes", f"must be a whole number from 1 to {MAX_MINUTES}")
    if hours.note is not None:
        fields.text(f"{prefix}note", hours.note, MAX_NOTE_LENGTH)


def check_reason(reason: str, name: str = "reason") -> None:
    """Raise InvalidField for the field `name` unless `reason` is a valid text of 1 to 1,000 characters."""
    fields = Fields()
    fields.text(name, reason, MAX_REASON_LENGTH)
    fields.refuse()


def check_comment(comment: str | None) -> None:
    """Raise InvalidField unless an approval may have this comment."""
    if comment is not None:
        check_reason(comment, "comment")


def find_last_week(weeks_ahead: int | None) -> date:
    """The Monday of the last week that may have hours: so many weeks after this one."""
    if weeks_ahead is None:
        return LAST_WEEK
    # It is tomorrow already in some time zones.
    return min(LAST_WEEK, week_of(datetime.now(UTC).date() + timedelta(days=1)) + weeks_ahead * WEEK)


def check_week(period_start: date, time_zone: str, last_week: date = LAST_WEEK) -> None:
    """Raise InvalidField unless `period_start` is a Monday up to `last_week` and `time_zone` is an IANA time zone."""
    fields = Fields()
    if period_start.weekday() != 0 or not FIRST_WEEK <= period_start <= LAST_WEEK:
        fields.wrong("period_start", f"must be a Monday between {FIRST_WEEK} and {LAST_WEEK}")
    elif period_start > last_week:
        fields.wrong("period_start", f"is too far ahead; the last week is that of {last_week}")
    validate_time_zone(time_zone, fields, "time_zone")
    fields.refuse()


def validate_time_zone(time_zone: str, fields: Fields, name: str) -> None:
    """Add an error named `name` to `fields` unless `time_zone` is an IANA time zone."""
    if time_zone not in _zones():
        fields.wrong(name, "must be an IANA time zone, such as Europe/Berlin or UTC")


def week_of(day: date) -> date:
    """The Monday of the week of `day`."""
    return day - timedelta(days=day.weekday())


def invalid_field(name: str, message: str) -> InvalidField:
    """The error for one wrong field."""
    return InvalidField(FieldError(name, message))


@functools.cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones()) - NO_PLACES
