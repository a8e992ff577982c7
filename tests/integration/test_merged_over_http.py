"""Two accounts that were both seen turn out to be one person's: from the merge on, four eyes are two people's again."""

from __future__ import annotations

from uuid import UUID

import pytest

from service.directory.entities import Part
from service.errors import Denied, Forbidden
from service.timesheets import timesheet
from service.timesheets.timesheet import Actor, State, Timesheet
from tests.integration.four_eyes import ENTRY, PAYROLL, Site
from tests.integration.house import MONDAY, activate_unread, at
from tests.policy_forge import without_rule

pytest_plugins = [
    "tests.integration.log_fixtures",
    "tests.integration.house_fixtures",
    "tests.integration.four_eyes_fixtures",
]


async def merge(site: Site, name: str, into: str) -> None:
    """The account `name`, which was seen already, turns out to be this person's."""
    found = [(await site.send(person, "GET", "/v1/me")).json()["person"] for person in (name, into)]
    administrator = site.running.token(sub="adam", scope="manage:directory", roles=["administrator"])
    taken = await site.running.send(
        "POST",
        f"/v1/people/{found[1]}/links",
        administrator,
        body={"links": [{"issuer": site.running.issuer, "subject": name}]},
    )
    assert (taken.status_code, taken.json()["person"]) == (409, found[0])
    answer = await site.running.send("POST", f"/v1/people/{found[0]}/merge", administrator, body={"into": found[1]})
    assert (answer.status_code, answer.json()["id"]) == (200, found[1]), answer.text


async def leading(site: Site, name: str, team: str) -> None:
    person = (await site.send(name, "GET", "/v1/me")).json()["person"]
    admin = site.house.administrator()
    await site.house.directory.add_membership(admin, UUID(person), site.house.teams[team], Part.LEAD)


async def test_two_accounts_that_were_both_seen_are_one_person_from_the_merge_on(site: Site) -> None:
    await leading(site, "carl-at-night", "west")
    day, night = await site.make_draft("carl"), await site.make_draft("carl-at-night")
    await site.handed_in("carl", day)
    await site.handed_in("carl-at-night", night)
    await merge(site, "carl-at-night", "carl")
    for path in (day, night):
        for name in ("carl", "carl-at-night"):
            assert "approve" not in (await site.send(name, "GET", f"{path}?include=actions")).json()["actions"]
            await site.expect_refusals(name, "carl", path)
    waiting = (await site.send("carl-at-night", "GET", "/v1/approvals")).json()["items"]
    assert waiting == []
    for path in (day, night):
        version = await site.version("carl-at-night", path)
        assert await site.approve("dora", path, version, "alone") == 200


async def test_what_an_account_did_to_a_sheet_counts_for_both_from_the_merge_on(site: Site) -> None:
    await leading(site, "max-at-night", "west")
    path = await site.make_draft("carl")
    assert (await site.send("max-at-night", "POST", f"{path}/entries", ENTRY, 2)).status_code == 201
    await site.handed_in("carl", path)
    await merge(site, "max-at-night", "max")
    await site.expect_refusals("max-at-night", "carl", path)
    await site.nobody_but("dora", "max", "carl", path)


async def test_a_request_that_was_let_in_before_a_merge_is_decided_after_it(site: Site) -> None:
    """A token was found to speak for the one who is gone, and nothing was decided yet."""
    await leading(site, "carl-at-night", "west")
    path = await site.make_draft("carl")
    version = await site.handed_in("carl", path)
    gone = UUID((await site.send("carl-at-night", "GET", "/v1/me")).json()["person"])
    await merge(site, "carl-at-night", "carl")
    site.house.people["gone"] = gone
    caller = site.house.caller("gone")
    with pytest.raises(Denied):
        await site.house.timesheets.approve(caller, UUID(path.rsplit("/", 1)[1]), at(version))
    with pytest.raises(Forbidden):
        timesheet.approve(
            Timesheet(id=gone, owner=gone, period_start=MONDAY, time_zone="UTC", state=State.SUBMITTED),
            Actor(site.house.people["carl"], None, frozenset({gone, site.house.people["carl"]})),
        )


async def test_who_locked_a_sheet_with_one_account_does_not_unlock_it_with_another(site: Site) -> None:
    path, why = await site.make_draft("carl"), {"reason": "why"}
    version = await site.handed_in("carl", path)
    assert (await site.send("max", "POST", f"{path}/approve", None, version)).status_code == 200
    assert (await site.send("pat-at-night", "POST", f"{path}/lock", why, version + 1, **PAYROLL)).status_code == 200
    await merge(site, "pat-at-night", "ana")
    refused = await site.send("ana", "POST", f"{path}/unlock", why, version + 2, **PAYROLL)
    assert (refused.status_code, "you locked this timesheet yourself" in refused.text) == (403, True)
    await activate_unread(site.house, without_rule("never-unlock-own-lock"))
    for name in ("ana", "pat-at-night"):
        assert (await site.send(name, "POST", f"{path}/unlock", why, version + 2, **PAYROLL)).status_code == 403
    assert (await site.send("ben", "POST", f"{path}/unlock", why, version + 2, **PAYROLL)).status_code == 200
