"""Weeks for the pages to show: Ana's and Ben's, in every state, with notes that try to be more than text."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from service.standalone.client import Timesheet, Timewarden
    from tests.acceptance.caller import Callers

# A Monday whose weeks no other test touches; the weeks before it are those of the story.
THIS_WEEK = date(2026, 3, 16)
HOSTILE = "<img src=x onerror=alert(1)><svg onload=alert(2)>{{ 7 * 7 }} \u202egnp.exe"


@dataclass(frozen=True, slots=True)
class Weeks:
    """Mondays of Ana's weeks by state, and the sheet of Ben that is submitted."""

    draft: date
    submitted: date
    rejected: date
    approved: date
    empty: date


async def fill_weeks(callers: Callers) -> Weeks:
    """Make the weeks of the story, as the people themselves would."""
    ana, mia = (await callers("ana")).api, (await callers("mia")).api
    mondays = [THIS_WEEK - timedelta(weeks=number) for number in range(4)]
    await fill_week(ana, mondays[0], days=3, note="Design review with the client")
    await ana.submit(await fill_week(ana, mondays[1], note="Design review with the client"))
    rejected = await ana.submit(await fill_week(ana, mondays[2]))
    await mia.reject(await mia.timesheet(rejected.id), "Friday is missing: were you on site? " + HOSTILE)
    approved = await ana.submit(await fill_week(ana, mondays[3]))
    await mia.approve(await mia.timesheet(approved.id))
    draft, submitted, was_rejected, was_approved = mondays
    return Weeks(draft, submitted, was_rejected, was_approved, THIS_WEEK + timedelta(weeks=1))


async def find_week(api: Timewarden, monday: date) -> Timesheet:
    """The caller's own sheet of a week."""
    return await anext(api.timesheets(owner=(await api.me()).person, since=monday, until=monday))


async def fill_week(
    api: Timewarden, monday: date, *, days: int = 5, note: str = f"Design review {HOSTILE}"
) -> Timesheet:
    """A week with hours on two projects; the first entry has the note."""
    sheet = await api.open_week(monday, "Europe/Berlin")
    for number in range(days):
        day = monday + timedelta(days=number)
        sheet = await api.add_entry(sheet, day, "ATLAS", 300 + 30 * number, note if number == 0 else None)
        if number % 2 == 0:
            sheet = await api.add_entry(sheet, day, "SITE", 120)
    return sheet
