"""Renders the templates. Every value is escaped, and a missing value is an error. Pure."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from service.console.failures import describe_problem
from service.console.static_files import path_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import tzinfo

MAX_ZONE = 64  # characters; names are shorter
MIDNIGHT = "T00:00:00Z"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", re.ASCII)
STATES = {
    "draft": "Draft",
    "submitted": "Submitted",
    "approved": "Approved",
    "rejected": "Rejected",
    "locked": "Locked",
}


def format_hours(minutes: int) -> str:
    """Minutes as hours and minutes: `7:30`."""
    return f"{minutes // 60}:{minutes % 60:02}"


def format_day(value: date, style: str = "long") -> str:
    """A day: `Mon 23 Nov`, or with `long` `Monday 23 November 2026`, or with `plain` `23 November 2026`."""
    form = {"short": "%a {} %b", "long": "%A {} %B %Y", "plain": "{} %B %Y"}[style]
    return value.strftime(form).format(value.day)


def format_moment(value: datetime | str, zone: tzinfo, *, ends: bool = False) -> Markup:
    """A time, or its text in ISO 8601, in the viewer's zone, with UTC on hover. While that zone is not known, in UTC,
    which stands beside it. With `ends`, something holds until then; its last day, where that is at the end of a day."""
    read = datetime.fromisoformat(value) if isinstance(value, str) else value
    moment = read.astimezone(UTC)
    try:
        shown = read.astimezone(zone)
    except OverflowError:  # in the first or last year
        shown = moment
    text = f"{shown.day} {shown:%b %Y, %H:%M}"
    if ends and not (shown.hour or shown.minute or shown.second):
        last = shown - timedelta(days=1)
        text = f"{last.day} {last:%b %Y}"
    if zone is UTC:
        text += " UTC"
    return Markup('<time datetime="{0}" title="{1:%Y-%m-%d %H:%M:%S} UTC">{2}</time>').format(
        moment.isoformat(), moment, text
    )


def format_value(name: str, value: object, zone: tzinfo, names: Mapping[str, str]) -> str:
    """A recorded value as a reader has it: minutes as hours, times in their zone, the names of people and teams.

    `name` is the attribute's, such as `resource.minutes`."""
    if isinstance(value, list):
        return Markup(", ").join(format_value(name, item, zone, names) for item in value)
    if isinstance(value, dict):
        return Markup(", ").join(Markup("{} {}").format(key, item) for key, item in value.items())
    if isinstance(value, int) and not isinstance(value, bool) and name.endswith("minutes"):
        return format_hours(value)
    if isinstance(value, str) and value in names:
        return Markup('<bdi title="{}">{}</bdi>').format(value, names[value])
    if isinstance(value, str) and _TIME.fullmatch(value):
        # The first moment of a day stands for the day.
        return format_day(date.fromisoformat(value[:10]), "plain") if MIDNIGHT in value else format_moment(value, zone)
    return Markup("<bdi>{}</bdi>").format(value)


def zone_of(name: str) -> tzinfo:
    """The time zone with this name, or `datetime.UTC`, which stands for one that is not known."""
    try:
        return ZoneInfo(name) if name.isascii() and len(name) <= MAX_ZONE else UTC
    except (ValueError, OSError, KeyError):
        return UTC


_environment = Environment(
    loader=PackageLoader("service.console"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters.update(hours=format_hours, day=format_day)
_environment.globals.update(static=path_of, describe=describe_problem, STATES=STATES)


def render_template(name: str, zone: tzinfo, *, csrf: str = "", **context: Any) -> str:
    """The text of a template. `zone` is that of `moment(...)`; `csrf` the token that `csrf()` puts into a form."""
    return _environment.get_template(name).render(
        **context,
        csrf=lambda: Markup('<input type="hidden" name="csrf_token" value="{}">').format(csrf),
        moment=lambda value, ends=False: format_moment(value, zone, ends=ends),
        recorded=lambda name, value, names: format_value(name, value, zone, names),
        today=datetime.now(zone).date(),
    )
