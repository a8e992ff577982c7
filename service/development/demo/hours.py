"""The first part of the story: an app gets what its user grants, and a week goes from draft to approved."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from service.development.demo.cast import Actor, Stage

APP = "hours-app"
SHEETS = "/v1/timesheets"
A_WEEK = timedelta(days=7)


async def ana_grants_little(stage: Stage) -> None:
    """An app that may only read cannot create, whatever its user could do herself."""
    stage.transcript.step("Ana lets a third-party app read her hours, and nothing else")
    stage.transcript.say(
        "Hours App asks for all its scopes. On the consent page Ana unticks every box but read:timesheets."
    )
    ana = await stage.person("ana", APP, granted=["read:timesheets"])
    stage.transcript.say(f"Her token says: {' '.join(ana.scopes)}")
    week = await free_week(ana)
    refused = await ana.ask("POST", SHEETS, 403, body={"period_start": str(week)})
    refused.must(refused.body.get("required_scope") == ["create:timesheets"], "The missing scope was to be named")


async def ana_hands_in_a_week(stage: Stage) -> tuple[Actor, str, str]:
    """A draft, two entries, handed in. Returns Ana, the sheet's id and its ETag."""
    stage.transcript.step("Ana signs in again, grants more, and hands in a week")
    ana = await stage.person("ana", APP)
    stage.transcript.say(f"Her token says: {' '.join(ana.scopes)}")
    sheet, seen = await _handed_in(ana, (("ATLAS", 450, "Design"), ("ATLAS", 480, "Review")))
    return ana, sheet, seen


async def the_wrong_people_do_not_approve(stage: Stage, ana: Actor, sheet: str, seen: str) -> None:
    """Neither a manager of another team, who does not even learn of it, nor the owner."""
    stage.transcript.step("Max leads another team: for him there is no such week")
    max_ = await stage.person("max", APP)
    unseen = await max_.ask("POST", f"{SHEETS}/{sheet}/approve", 404, seen=seen)
    unseen.must("reasons" not in unseen.body, "Max was to learn nothing")
    stage.transcript.step("Ana does not approve her own week: her token lacks the scope")
    refused = await ana.ask("POST", f"{SHEETS}/{sheet}/approve", 403, seen=seen)
    refused.must(refused.body.get("required_scope") == ["approve:timesheets"], "The missing scope was to be named")


async def mia_approves(stage: Stage, sheet: str, seen: str) -> None:
    """A manager approves her team's week, and never her own, although her token would do."""
    stage.transcript.step("Mia is a manager and has the scope, yet nobody approves their own hours")
    mia = await stage.person("mia", APP)
    own, own_seen = await _handed_in(mia, (("ATLAS", 420, "Planning"),))
    refused = await mia.ask("POST", f"{SHEETS}/{own}/approve", 403, seen=own_seen)
    refused.must(refused.body.get("rules") == ["never-own-hours"], "never-own-hours was to refuse")
    stage.transcript.step("Mia leads Ana's team: she approves Ana's week, as she has seen it")
    stale = await mia.ask("POST", f"{SHEETS}/{sheet}/approve", 412, seen='"1"')
    stale.must(stale.body["type"].endswith(":precondition-failed"), "An old version was not to be approved")
    done = await mia.ask("POST", f"{SHEETS}/{sheet}/approve", 200, seen=seen, tell=_sheet)
    done.must(done.body["state"] == "approved", "The week was to be approved")


async def free_week(person: Actor) -> date:
    """The newest Monday, not after today, of a week that this person has no sheet for."""
    query = {"owner": person.id, "limit": "200"}
    taken: set[str] = set()
    while True:
        page = await person.ask("GET", SHEETS, 200, query=query, quietly=True)
        taken |= {one["period_start"] for one in page.body["items"]}
        if not page.body["next_cursor"]:
            break
        query["cursor"] = page.body["next_cursor"]
    today = datetime.now(UTC).date()
    monday = today - timedelta(days=today.weekday())
    while str(monday) in taken:
        monday -= A_WEEK
    return monday


async def _handed_in(person: Actor, hours: tuple[tuple[str, int, str], ...]) -> tuple[str, str]:
    monday = await free_week(person)
    made = await person.ask("POST", SHEETS, 201, body={"period_start": str(monday)}, tell=_sheet)
    sheet, seen = made.body["id"], made.etag
    for number, (project, minutes, note) in enumerate(hours):
        entry = {"day": str(monday + timedelta(days=number)), "project": project, "minutes": minutes, "note": note}
        added = await person.ask("POST", f"{SHEETS}/{sheet}/entries", 201, body=entry, seen=seen, tell=_sheet)
        added.must(len(added.body["entries"]) == number + 1, "The entry was to be added")
        seen = added.etag
    done = await person.ask("POST", f"{SHEETS}/{sheet}/submit", 200, seen=seen, tell=_sheet)
    done.must(done.body["state"] == "submitted", "The week was to be handed in")
    return sheet, done.etag


def _sheet(body: Any) -> str:
    return f"week of {body['period_start']}: {body['state']}, {body['minutes']} minutes"
