"""GET /v1/me/decisions: a person learns what was done in their name and with what is theirs, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from service.directory.entities import Link
from service.directory.merging import Merging
from service.log.anchor import Anchor
from service.log.packing import unpack
from service.log.record import read_body
from service.log.signing import CheckpointSigner
from service.standalone.verify.findings import INTACT
from tests.bundle_forge import verify_bundle
from tests.integration.house import MONDAY, at
from tests.integration.mutated_log import SIGNER, VKEY, StoredLog

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.api import InProcess
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
pytestmark = pytest.mark.usefixtures("linked")
OWN = "/v1/me/decisions"


async def ask(running: InProcess, name: str, path: str = OWN, status: int = 200, **claims: Any) -> Any:
    answer = await running.send("GET", path, running.token(sub=name, **claims))
    assert answer.status_code == status, answer.text
    return answer.json()


def list_steps(items: list[dict[str, Any]]) -> list[tuple[str, str, bool]]:
    """Action, outcome and whether it was in one's own name, oldest first."""
    return [(item["action"], item["outcome"], item["by_you"]) for item in reversed(items)]


async def test_a_person_sees_what_was_done_in_their_name_and_by_others_with_their_sheet(
    house: House, running: InProcess
) -> None:
    sheet = await house.submit_week("ana")
    await house.timesheets.approve(house.caller("mia"), sheet.id, at(3))
    # Carl may not read it: ana learns that he tried, not why he was refused.
    refused = await running.send("GET", f"/v1/timesheets/{sheet.id}", running.token(sub="carl"))
    assert refused.status_code == 404
    items = (await ask(running, "ana", f"{OWN}?names=true&kind=timesheet"))["items"]
    assert list_steps(items)[-4:] == [
        ("edit", "allow", True),
        ("submit", "allow", True),
        ("approve", "allow", False),
        ("read", "deny", False),
    ]
    denied, approved = items[:2]
    assert (denied["reason"], denied["rules"], denied["state"]) == (None, [], "approved")
    assert (approved["reason"], approved["rules"], approved["applied"]) == ("allowed", ["approve-team"], True)
    assert (approved["person"], approved["client"]) == (str(house.people["mia"]), "hours-app")
    assert approved["owner"] == str(house.people["ana"])
    by_others = (await ask(running, "ana", f"{OWN}?by=others"))["items"]
    assert [item["id"] for item in by_others] == [denied["id"], approved["id"]]
    assert all(item["by_you"] for item in (await ask(running, "ana", f"{OWN}?by=me"))["items"])


async def test_every_part_is_a_page_of_the_same_list(house: House, running: InProcess) -> None:
    sheet = await house.submit_week("ana")
    await house.timesheets.approve(house.caller("mia"), sheet.id, at(3))
    whole = (await ask(running, "ana", f"{OWN}?limit=200"))["items"]
    path, found = f"{OWN}?limit=2", list[dict[str, Any]]()
    while path:
        page = await ask(running, "ana", path)
        found += page["items"]
        path = page["next_cursor"] and f"{OWN}?limit=2&cursor={page['next_cursor']}"
    # Pages are newest first, and these readings themselves came after the first page.
    assert found[1:] == whole or found[1:] == [item for item in whole if item in found]
    assert len({item["id"] for item in found}) == len(found)
    # A cursor is its owner's.
    cursor = (await ask(running, "ana", f"{OWN}?limit=1"))["next_cursor"]
    await ask(running, "ben", f"{OWN}?limit=1&cursor={cursor}", 422)


@pytest.mark.parametrize(
    ("query", "actions"),
    [
        ("action=submit", {"submit"}),
        ("outcome=deny", {"approve"}),
        ("reads=false", {"create", "edit", "submit", "approve"}),
        ("client=another-app", set()),
        ("actor=*", set()),
        ("until=2020-01-01T00:00:00Z", set()),
        ("kind=me", {"review"}),
    ],
)
async def test_filters_narrow_the_list(house: House, running: InProcess, query: str, actions: set[str]) -> None:
    sheet = await house.submit_week("ana")
    await running.send("GET", f"/v1/timesheets/{sheet.id}", running.token(sub="ana"))
    refused = await running.send(
        "POST",
        f"/v1/timesheets/{sheet.id}/approve",
        running.token(sub="ana", scope="read:timesheets approve:timesheets"),
        headers={"If-Match": f'"{sheet.version}"'},
    )
    assert refused.status_code == 403
    await ask(running, "ana")
    assert {item["action"] for item in (await ask(running, "ana", f"{OWN}?{query}"))["items"]} == actions


async def test_an_agent_is_named_and_found(house: House, running: InProcess) -> None:
    await house.submit_week("ana")
    token = running.token(sub="ana", act={"client_id": "helper", "sub": "helper"})
    await running.send("GET", "/v1/timesheets", token)
    (item,) = (await ask(running, "ana", f"{OWN}?actor=*"))["items"]
    assert len(item["actors"]) == 1
    (same,) = (await ask(running, "ana", f"{OWN}?actor={item['actors'][0]}"))["items"]
    assert same == item


async def test_merged_selves_and_all_accounts_are_one_person(house: House, running: InProcess) -> None:
    admin = house.administrator()
    other = (await house.directory.add_person(admin, None, None, [Link(running.issuer, "ana-2")])).value
    house.people["ana-2"] = other.id
    first = await house.timesheets.create(house.caller("ana-2"), MONDAY, "UTC")
    await Merging(house.gate).merge(admin, other.id, house.people["ana"])
    for name in ("ana", "ana-2"):
        items = (await ask(running, name, f"{OWN}?action=create"))["items"]
        assert [(item["resource"] or item["id"], item["by_you"]) for item in items] == [(str(first.receipt.uid), True)]


async def test_an_explanation_is_for_the_person_whom_it_concerns(house: House, running: InProcess) -> None:
    sheet = await house.submit_week("ana")
    approved = await house.timesheets.approve(house.caller("mia"), sheet.id, at(3))
    found = await ask(running, "ana", f"{OWN}/{approved.receipt.uid}")
    assert found["because"] == "A rule of the policy allowed this, and none denied it"
    assert (found["rules"], found["missing"]) == (["approve-team"], [])
    assert (await ask(running, "mia", f"{OWN}/{approved.receipt.uid}"))["by_you"] is True
    for uid in (approved.receipt.uid, uuid4()):
        assert (await ask(running, "ben", f"{OWN}/{uid}", 404))["type"].endswith(":not-found")
    refused = await running.send("GET", "/v1/decisions", running.token(sub="ana", scope="read:audit"))
    mine = await ask(running, "ana", f"{OWN}/{refused.headers['decision-id']}")
    assert (mine["because"], mine["missing"]) == (
        "No rule of the policy allowed this",
        ["you do not have the role auditor"],
    )


async def test_why_somebody_was_refused_is_told_only_to_themselves_and_if_they_may_see_what_it_was(
    house: House, running: InProcess
) -> None:
    sheet = await house.submit_week("ana")
    refused = await running.send("GET", f"/v1/timesheets/{sheet.id}", running.token(sub="carl"))
    decision = refused.headers["decision-id"]
    to_owner, to_caller = [await ask(running, name, f"{OWN}/{decision}?names=true") for name in ("ana", "carl")]
    assert (to_owner["because"], to_owner["missing"]) == (
        "Another caller was refused this. The reason is not shown, because it is about them",
        [],
    )
    assert to_caller["because"].startswith("You were refused this")
    assert (to_caller["owner"], to_caller["state"], to_caller["reason"], to_caller["missing"]) == (None, None, None, [])


async def test_reads_of_the_log_about_a_person_are_the_auditors_own(house: House, running: InProcess) -> None:
    ana = house.people["ana"]
    await house.submit_week("ana")
    token = running.token(sub="ben", scope="read:audit", roles=["auditor"])
    assert (await running.send("GET", f"/v1/decisions?owner={ana}", token)).status_code == 200
    assert (await ask(running, "ana", f"{OWN}?by=others"))["items"] == []
    (own,) = (await ask(running, "ben", f"{OWN}?kind=log"))["items"]
    assert own["by_you"]


async def test_an_administrators_look_at_a_person_is_about_them(house: House, running: InProcess) -> None:
    await house.directory.amend_person(house.administrator(), house.people["ana"], {"display_name": "Ana"})
    (item,) = (await ask(running, "ana", f"{OWN}?by=others"))["items"]
    assert (item["kind"], item["resource"], item["action"]) == ("directory", str(house.people["ana"]), "manage")


async def test_the_reading_is_recorded_with_what_it_returned_and_needs_a_rule(house: House, running: InProcess) -> None:
    await house.submit_week("ana")
    page = await ask(running, "ana", f"{OWN}?limit=2&client=hours-app")
    row = await house.owner.fetchrow("SELECT body FROM audit_record WHERE action = 'review'")
    assert row is not None
    body = read_body(unpack(row["body"]))
    assert body["returned"] == [item["id"] for item in page["items"]]
    # The client is a text of the caller's, which the record only commits to.
    assert (body["kind"], body["question"], list(body["commitments"])) == ("decision", {}, ["client"])  # type: ignore[call-overload]
    await ask(running, "ana", OWN, 403, scope="create:timesheets")


async def test_what_a_person_typed_as_a_filter_is_erased_with_them(
    house: House, running: InProcess, tmp_path: Path
) -> None:
    ana = house.people["ana"]
    auditor: dict[str, Any] = {"scope": "read:audit", "roles": ["auditor"]}
    await ask(running, "ana", f"{OWN}?client=ana@example.com&actor=Ana+Lima")
    await ask(running, "ana", "/v1/decisions?request_id=Ana+Lima", **auditor)
    await ask(running, "ben", f"{OWN}?client=Ben+Okafor")
    await ask(running, "ben", "/v1/decisions?request_id=Ben+Okafor", **auditor)
    assert (await house.erasure.preview(house.administrator(), ana)).value.texts == 3
    assert (await house.erasure.erase(house.administrator(), ana)).value.texts == 3
    left = await house.owner.fetch("SELECT field, value FROM audit_text WHERE value ~ 'Ana|ana|Ben' ORDER BY field")
    assert [tuple(row) for row in left] == [("client", "Ben Okafor"), ("request_id", "Ben Okafor")]
    # The verifier accounts for them by the record of the erasure.
    keeper = await house.log_database.open("keeper")
    signing = CheckpointSigner(keeper, [SIGNER], Anchor(tmp_path / "anchor"))
    stored = StoredLog(house.log_database, house.requests, keeper, signing, "")
    await stored.seal_and_sign()
    report = verify_bundle(await stored.bundle(), key=VKEY)
    assert (report.verdict, report.findings, report.checked["erased"]) == (INTACT, [], 3)


async def test_a_client_that_acts_for_itself_has_no_such_list(running: InProcess) -> None:
    claims = {"client_id": "payroll-import", "scope": "read:timesheets"}
    problem = await ask(running, "payroll-import", OWN, 422, **claims)
    assert problem["fields"][0]["field"] == "header.Authorization"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("action=fly", "query.action"),
        ("kind=kite", "query.kind"),
        ("by=none", "query.by"),
        ("since=today", "query.since"),
        ("since=2026-03-02T00:00:00Z&until=2026-03-01T00:00:00Z", "query.until"),
        ("client=%00", "query.client"),
        ("cursor=x", "query.cursor"),
    ],
)
async def test_a_wrong_filter_is_named(running: InProcess, query: str, field: str) -> None:
    assert [item["field"] for item in (await ask(running, "ana", f"{OWN}?{query}", 422))["fields"]] == [field]
