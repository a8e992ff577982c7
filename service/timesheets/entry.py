"""Hours and entries of a timesheet, and the checks of their fields. Pure: owns no state.

Minutes are integers: a sum of decimal hours would need rounding.
"""

from __future__ import annotations

import functools
import zoneinfo
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID  # noqa: TC003 — msgspec reads the types of entries

from service.errors import InvalidField
from service.fields import ACTIVITY, MAX_TAG_CHARS, MAX_TAGS, PROJECT, Fields
from service.places import FieldError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_MINUTES = 1440
MAX_NOTE_LENGTH = 500
MAX_REASON_LENGTH = 1000
MAX_REFERENCE_LENGTH = 100
WEEK = timedelta(days=7)
FIRST_WEEK, LAST_WEEK = date(2000, 1, 3), date(2099, 12, 28)
# Names in time zone databases that are no places: the zone of this machine, and the placeholder for an unset zone.
NO_PLACES = frozenset({"localtime", "Factory"})
ACTIVITY_FORM = "must be 1 to 20 of the characters A-Z a-z 0-9 . _ -, the first a letter or digit"
MAX_ACTIVITIES_NAMED = 10
# Between tags where they stand in one text, as in a file or beside the log; no tag has one of them.
TAG_SEPARATOR = ";"
NOT_IN_TAGS = frozenset({TAG_SEPARATOR, ","})


@dataclass(frozen=True, slots=True)
class Hours:
    """Work on one day: 1 to 1440 `minutes` on `project` (a code), with an optional note, one of the project's
    activities, and tags. `billable` is None in a request that leaves it to the project."""

    day: date
    project: str
    minutes: int
    note: str | None = None
    activity: str | None = None
    billable: bool | None = None
    tags: tuple[str, ...] = ()


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
    def of(
        cls,
        hours: Hours,
        entry_id: UUID,
        *,
        external_ref: str | None = None,
        uploader: str | None = None,
        billable: bool | None = None,
    ) -> Entry:
        """The entry of these hours; `billable` where they leave it open."""
        return cls(
            hours.day,
            hours.project,
            hours.minutes,
            hours.note,
            hours.activity,
            billable if hours.billable is None else hours.billable,
            hours.tags,
            id=entry_id,
            external_ref=external_ref,
            uploader=uploader,
        )

    def with_hours(self, hours: Hours) -> Entry:
        """The entry with other hours. It stays billable or not, if they leave that open and are on the same project."""
        billable = self.billable if hours.project == self.project else None
        return Entry.of(hours, self.id, external_ref=self.external_ref, uploader=self.uploader, billable=billable)


@dataclass(frozen=True, slots=True)
class Amendment:
    """New `values` for some fields of hours, by their names."""

    values: Mapping[str, Any] = field(default_factory=dict)

    def of(self, hours: Hours) -> Hours:
        """These hours, amended."""
        return replace(hours_of(hours), **self.values)


@dataclass(frozen=True, slots=True)
class ProjectTerms:
    """The rules of a project for hours on it. `closed` is the reason why it accepts no new ones, None if it does. Hours
    of absence are not billable, others are if `billable`, unless they say otherwise."""

    closed: str | None = None
    absence: bool = False
    billable: bool = False
    activities: frozenset[str] = frozenset()


def find_project_faults(hours: Hours, old: Hours | None, terms: ProjectTerms) -> list[FieldError]:
    """Errors for hours that the project does not accept. Values of the `old` hours on the same project may stay."""
    kept = old if old is not None and old.project == hours.project else None
    if terms.closed is not None and kept is None:
        return [FieldError("project", terms.closed)]
    found = []
    if hours.activity not in {None, kept and kept.activity} and hours.activity not in terms.activities:
        names = ", ".join(sorted(terms.activities)[:MAX_ACTIVITIES_NAMED])
        found.append(FieldError("activity", f"is no activity of this project; it has {names or 'none'}"))
    if hours.billable and terms.absence and not (kept and kept.billable):
        found.append(FieldError("billable", "must be false for absence"))
    return found


def hours_of(hours: Hours) -> Hours:
    """The hours alone, for comparison."""
    return Hours(hours.day, hours.project, hours.minutes, hours.note, hours.activity, hours.billable, hours.tags)


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
    if hours.activity is not None and not ACTIVITY.fullmatch(hours.activity):
        fields.wrong(f"{prefix}activity", ACTIVITY_FORM)
    if hours.tags:
        _validate_tags(hours.tags, fields, prefix)


def _validate_tags(tags: Sequence[str], fields: Fields, prefix: str) -> None:
    if len(tags) > MAX_TAGS:
        fields.wrong(f"{prefix}tags", f"must be at most {MAX_TAGS}")
    for place, tag in enumerate(tags):
        name = f"{prefix}tags[{place}]"
        fields.text(name, tag, MAX_TAG_CHARS)
        if NOT_IN_TAGS & set(tag) or tag != tag.strip():
            fields.wrong(name, "must have no comma or semicolon, and no space at its ends")
        elif tag in tags[:place]:
            fields.wrong(name, f"is the same as tags[{tags.index(tag)}]")


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
