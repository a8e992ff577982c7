"""The first part of the story: an app gets what its user grants, and a week goes from draft to approved."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from service.development.demo.cast import must
from service.standalone.client import Timesheet

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from service.development.demo.cast import Actor, Stage
    from service.standalone.client import Timewarden

APP = "hours-app"
WEEK = timedelta(days=7)


async def ana_grants_little(stage: Stage) -> None:
    """An app that may only read cannot create, although its user could."""
    stage.transcript.step("Ana lets a third-party app read her hours, and nothing else")
    stage.transcript.say(
        "Hours App requests all its scopes. On the consent page Ana leaves only read:timesheets ticked."
    )
    ana = await stage.person("ana", APP, granted=["read:timesheets"])
    stage.transcript.say(f"The scopes of her token: {' '.join(ana.scopes)}")
    refused = await ana.is_refused(403, ana.api.open_week(await free_week(ana)))
    must(refused.required_scope == ["create:timesheets"], "The problem must name the missing scope", refused)


async def ana_submits_a_week(stage: Stage) -> tuple[Actor, Timesheet]:
    """A draft, two entries, submitted."""
    stage.transcript.step("Ana signs in again, grants more, and submits a week")
    ana = await stage.person("ana", APP)
    stage.transcript.say(f"The scopes of her token: {' '.join(ana.scopes)}")
    return ana, await _submit_week(ana, (("ATLAS", 450, "Design"), ("ATLAS", 480, "Review")))


async def the_wrong_people_do_not_approve(stage: Stage, ana: Actor, sheet: Timesheet) -> None:
    """A manager of another team, who does not even learn that it exists, and the owner."""
    stage.transcript.step("Max leads another team and may not see this week")
    max_ = await stage.person("max", APP)
    unseen = await max_.is_refused(404, max_.api.approve(sheet))
    must("reasons" not in unseen.members, "Max must learn nothing", unseen)
    stage.transcript.step("Ana does not approve her own week: her token lacks the scope")
    refused = await ana.is_refused(403, ana.api.approve(sheet))
    must(refused.required_scope == ["approve:timesheets"], "The problem must name the missing scope", refused)


async def mia_approves(stage: Stage, sheet: Timesheet) -> None:
    """A manager approves her team's week, but not her own, although her token has the scope."""
    stage.transcript.step("Mia is a manager with the scope, but nobody approves their own hours")
    mia = await stage.person("mia", APP)
    own = await _submit_week(mia, (("ATLAS", 420, "Planning"),))
    refused = await mia.is_refused(403, mia.api.approve(own))
    must(refused.rules == ["never-own-hours"], "never-own-hours must refuse", refused)
    stage.transcript.step("Mia leads Ana's team and approves Ana's week, in the version that she has read")
    stale = await mia.is_refused(412, _approve_version(mia.api, sheet, 1))
    must(stale.slug == "precondition-failed", "An old version must not be approved", stale)
    done = await mia.does(_approve_version(mia.api, sheet, sheet.version), tell=_describe)
    must(done.state == "approved", "The week must be approved", done)


def _approve_version(api: Timewarden, sheet: Timesheet, version: int) -> Awaitable[Timesheet]:
    """Approve this version of a sheet. The client's `approve` reads the sheet again if it has changed."""
    return api.call(Timesheet, "POST", f"/v1/timesheets/{sheet.id}/approve", version=version)


async def free_week(person: Actor) -> date:
    """The newest Monday, not after today, of a week for which this person has no timesheet."""
    taken = {sheet.period_start for sheet in await person.lists(person.api.timesheets(owner=person.id))}
    today = datetime.now(UTC).date()
    monday = today - timedelta(days=today.weekday())
    while monday in taken:
        monday -= WEEK
    return monday


async def _submit_week(person: Actor, hours: tuple[tuple[str, int, str], ...]) -> Timesheet:
    monday = await free_week(person)
    sheet = await person.does(person.api.open_week(monday), tell=_describe)
    for number, (project, minutes, note) in enumerate(hours):
        day = monday + timedelta(days=number)
        sheet = await person.does(person.api.add_entry(sheet, day, project, minutes, note), tell=_describe)
        must(len(sheet.entries) == number + 1, "The entry must be added", sheet)
    done = await person.does(person.api.submit(sheet), tell=_describe)
    must(done.state == "submitted", "The week must be submitted", done)
    return done


def _describe(sheet: Timesheet) -> str:
    return f"week of {sheet.period_start}: {sheet.state}, {sheet.minutes} minutes"
