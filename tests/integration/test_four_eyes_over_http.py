"""Nobody approves hours in which they had a hand, on any path: alone, in a batch, as delegate, with a second account,
as the importing client, as administrator. Rows are added that would allow more, so that only the laws forbid it."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.integration.four_eyes import ENTRY, PAYROLL, Site
from tests.integration.house import activate_unread
from tests.policy_forge import without_rule

pytest_plugins = [
    "tests.integration.log_fixtures",
    "tests.integration.house_fixtures",
    "tests.integration.four_eyes_fixtures",
]


async def test_an_owner_who_leads_a_team_does_not_approve_their_own_sheet(site: Site) -> None:
    path = await site.make_draft("max")
    await site.handed_in("max", path)
    await site.nobody_but("dora", "max", "max", path)


async def test_a_second_account_of_the_owner_is_the_owner(site: Site) -> None:
    await site.house.owner.execute(
        "INSERT INTO person_link VALUES ($1, 'max-at-night', $2)", site.running.issuer, site.house.people["max"]
    )
    path = await site.make_draft("max")
    await site.handed_in("max", path)
    await site.nobody_but("dora", "max-at-night", "max", path)


async def test_a_manager_who_entered_hours_for_the_owner_does_not_approve_them(site: Site) -> None:
    path = await site.make_draft("carl")
    assert (await site.send("max", "POST", f"{path}/entries", ENTRY, 2)).status_code == 201
    await site.handed_in("carl", path)
    await site.nobody_but("dora", "max", "carl", path)


async def test_a_hand_is_remembered_when_what_it_wrote_is_gone(site: Site) -> None:
    path = await site.make_draft("carl")
    entry = (await site.send("carl", "GET", path)).json()["entries"][0]["id"]
    assert (await site.send("max", "PATCH", f"{path}/entries/{entry}", {"minutes": 90}, 2)).status_code == 200
    assert (await site.send("carl", "DELETE", f"{path}/entries/{entry}", None, 3)).status_code == 200
    assert (await site.send("carl", "POST", f"{path}/entries", ENTRY, 4)).status_code == 201
    version = await site.handed_in("carl", path)
    assert (await site.send("dora", "POST", f"{path}/reject", {"reason": "again"}, version)).status_code == 200
    await site.handed_in("carl", path)
    await site.nobody_but("dora", "max", "carl", path)


async def test_a_manager_who_handed_it_in_for_the_owner_does_not_approve_it(site: Site) -> None:
    path = await site.make_draft("carl")
    await site.handed_in("carl", path, by="max")
    await site.nobody_but("dora", "max", "carl", path)


async def test_a_client_that_uploaded_hours_does_not_approve_them_and_another_client_may(site: Site) -> None:
    path = await site.make_draft("carl")
    row = {**ENTRY, "owner": str(site.house.people["carl"]), "external_ref": "1"}
    assert (await site.send("payroll-import", "POST", "/v1/uploads", {"rows": [row]})).status_code == 200
    await site.handed_in("carl", path)
    await site.nobody_but("robot", "payroll-import", "carl", path)


async def test_nobody_approves_through_the_client_that_uploaded_the_hours_and_the_same_person_may_with_another_app(
    site: Site,
) -> None:
    path = await site.make_draft("carl")
    row = {**ENTRY, "owner": str(site.house.people["carl"]), "external_ref": "1"}
    assert (await site.send("payroll-import", "POST", "/v1/uploads", {"rows": [row]})).status_code == 200
    await site.handed_in("carl", path)
    through: dict[str, Any] = {"client_id": "payroll-import"}
    await site.expect_refusals("max", "carl", path, **through)
    waiting = await site.send("max", "GET", "/v1/approvals", **through)
    assert waiting.json()["items"] == []
    shown = await site.send("max", "GET", f"{path}?include=actions", **through)
    assert "approve" not in shown.json()["actions"]
    version = await site.version("carl", path)
    refused = await site.send("max", "POST", f"{path}/approve", None, version, **through)
    assert refused.json()["rules"] == ["never-for-owner"]
    assert len((await site.send("max", "GET", "/v1/approvals")).json()["items"]) == 1
    assert await site.approve("max", path, version, "alone") == 200


async def test_an_app_in_which_the_owner_wrote_their_own_hours_keeps_nobody_from_approving_with_it(site: Site) -> None:
    """Only what a client uploads for itself acts for a person."""
    path = await site.make_draft("carl")
    version = await site.handed_in("carl", path)
    assert await site.approve("max", path, version, "alone") == 200


async def test_no_role_approves_by_itself(site: Site) -> None:
    path = await site.make_draft("carl")
    await site.handed_in("carl", path)
    for role in ("administrator", "payroll", "auditor", "manager"):
        await site.expect_refusals("adam", "carl", path, roles=[role])


async def grant_delegation(site: Site, manager: str, delegate: str) -> None:
    body = {"delegate": str(site.house.people[delegate])}
    answer = await site.send(manager, "POST", "/v1/delegations", body, roles=["manager"])
    assert answer.status_code == 201, answer.text


async def test_a_delegate_approves_for_the_manager_but_not_what_they_wrote_themselves(site: Site) -> None:
    await grant_delegation(site, "max", "ben")
    path = await site.make_draft("carl")
    assert (await site.send("ben", "POST", f"{path}/entries", ENTRY, 2)).status_code == 201
    await site.handed_in("carl", path)
    await site.nobody_but("max", "ben", "carl", path)
    await site.send("max", "POST", f"{path}/reopen", {"reason": "again"}, 5)
    assert (await site.send("carl", "DELETE", path, None, 6)).status_code == 204
    fresh = await site.make_draft("carl")
    assert await site.approve("ben", fresh, await site.handed_in("carl", fresh), "alone") == 200


async def test_a_delegate_approves_neither_their_own_sheet_nor_that_of_their_delegator(site: Site) -> None:
    await grant_delegation(site, "mia", "ben")
    await grant_delegation(site, "max", "ben")
    for owner in ("ben", "max"):
        path = await site.make_draft(owner)
        await site.handed_in(owner, path)
        await site.expect_refusals("ben", owner, path)
        await site.expect_refusals(owner, owner, path)


async def test_a_delegate_of_a_delegate_has_nothing(site: Site) -> None:
    await grant_delegation(site, "max", "mia")
    await grant_delegation(site, "mia", "ana")
    path = await site.make_draft("carl")
    await site.handed_in("carl", path)
    await site.nobody_but("mia", "ana", "carl", path)


async def test_of_approvals_that_race_one_is_done_and_the_others_hear_that_they_are_late(site: Site) -> None:
    path = await site.make_draft("carl")
    version = await site.handed_in("carl", path)
    answers = await asyncio.gather(
        *(site.send(name, "POST", f"{path}/approve", None, version) for name in ("max", "dora", "max", "dora"))
    )
    found = sorted(answer.status_code for answer in answers)
    assert found[0] == 200
    assert set(found[1:]) <= {409, 412}
    assert await site.house.count("audit_record WHERE kind = 'change' AND action = 'approve'") == 1


async def test_approving_races_with_withdrawing_and_only_one_of_them_is_done(site: Site) -> None:
    path = await site.make_draft("carl")
    version = await site.handed_in("carl", path)
    approved, withdrawn = await asyncio.gather(
        site.send("max", "POST", f"{path}/approve", None, version),
        site.send("carl", "POST", f"{path}/withdraw", None, version),
    )
    assert min(approved.status_code, withdrawn.status_code) == 200
    assert max(approved.status_code, withdrawn.status_code) in {409, 412}
    state = (await site.send("carl", "GET", path)).json()["state"]
    assert state == ("approved" if approved.status_code == 200 else "draft")


async def test_payroll_locks_and_another_of_payroll_unlocks(site: Site) -> None:
    path = await site.make_draft("carl")
    version = await site.handed_in("carl", path)
    assert (await site.send("ana", "GET", path, **PAYROLL)).status_code == 404
    assert (await site.send("max", "POST", f"{path}/approve", None, version)).status_code == 200
    why = {"reason": "the run of March"}
    assert (await site.send("max", "POST", f"{path}/lock", why, version + 1)).status_code == 403
    assert (await site.send("ana", "POST", f"{path}/lock", why, None, **PAYROLL)).status_code == 428
    assert (await site.send("ana", "POST", f"{path}/lock", why, version, **PAYROLL)).status_code == 412
    without = await site.send("ana", "POST", f"{path}/lock", {}, version + 1, **PAYROLL)
    assert (without.status_code, without.json()["fields"][0]["field"]) == (422, "reason")
    locked = await site.send("ana", "POST", f"{path}/lock", why, version + 1, **PAYROLL)
    assert (locked.status_code, locked.json()["state"], locked.json()["reason"]) == (200, "locked", why["reason"])
    again = await site.send("ben", "POST", f"{path}/lock", why, version + 2, **PAYROLL)
    assert (again.status_code, again.json()["type"]) == (409, "urn:timewarden:problem:wrong-state")
    assert (await site.send("max", "POST", f"{path}/reopen", why, version + 2)).status_code == 409
    assert (await site.send("carl", "POST", f"{path}/entries", ENTRY, version + 2)).status_code == 409
    own = await site.send("ana", "POST", f"{path}/unlock", why, version + 2, **PAYROLL)
    assert own.status_code == 403
    assert "you locked this timesheet yourself" in own.text
    unlocked = await site.send("ben", "POST", f"{path}/unlock", why, version + 2, **PAYROLL)
    assert (unlocked.status_code, unlocked.json()["state"]) == (200, "approved")
    assert (await site.send("max", "POST", f"{path}/reopen", why, version + 3)).json()["state"] == "draft"


async def test_a_person_who_judges_a_sheet_names_exactly_one_version(site: Site) -> None:
    path, why = await site.make_draft("carl"), {"reason": "why"}
    version = await site.handed_in("carl", path)
    for name, step, body in (
        ("max", "reject", why),
        ("max", "approve", None),
        ("ana", "lock", why),
        ("ben", "unlock", why),
        ("max", "reopen", why),
    ):
        claims = PAYROLL if name in {"ana", "ben"} else {}
        for names_none_or_many in ("*", f'"1", "{version}"', f'"{version}", "{version + 1}"'):
            headers = {"If-Match": names_none_or_many}
            answer = await site.running.send(
                "POST", f"{path}/{step}", site.token(name, **claims), headers=headers, body=body
            )
            assert (answer.status_code, answer.json()["type"]) == (428, "urn:timewarden:problem:precondition-required")
            assert "exactly one ETag" in answer.json()["detail"]
        assert (await site.send(name, "POST", f"{path}/{step}", body, version, **claims)).status_code == 200
        version += 1
        if step == "reject":
            version = await site.handed_in("carl", path)


async def test_whoever_locked_does_not_unlock_though_no_row_forbids_it(site: Site) -> None:
    await activate_unread(site.house, without_rule("never-unlock-own-lock"))
    path, why = await site.make_draft("carl"), {"reason": "why"}
    version = await site.handed_in("carl", path)
    assert (await site.send("max", "POST", f"{path}/approve", None, version)).status_code == 200
    assert (await site.send("ana", "POST", f"{path}/lock", why, version + 1, **PAYROLL)).status_code == 200
    refused = await site.send("ana", "POST", f"{path}/unlock", why, version + 2, **PAYROLL)
    assert refused.status_code == 403
    record = await site.house.owner.fetchrow("SELECT outcome, applied FROM audit_record ORDER BY id DESC LIMIT 1")
    assert record is not None
    assert (record["outcome"], record["applied"]) == ("deny", False)
    assert (await site.send("ben", "POST", f"{path}/unlock", why, version + 2, **PAYROLL)).status_code == 200
