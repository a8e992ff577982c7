"""Several approvals over HTTP: repeated requests, batches, events, and the client."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from events.envelope import serialize
from service.directory.entities import Part
from service.directory.merging import Merging
from service.directory.people import People
from service.log.feed import ChangeFeed
from service.standalone.client import shapes
from tests.event_schemas import validator
from tests.integration.api import api
from tests.integration.house import at, speaking
from tests.integration.log_trees import seal_all
from tests.integration.test_several_approvals import FOUR_EYES, activate, submit_hours

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2

    from tests.integration.api import InProcess
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
SCOPE = "read:timesheets approve:timesheets"


@pytest.fixture
async def running(house: House, issuer: str) -> AsyncIterator[InProcess]:
    """Lea and leo lead ana's team."""
    for name in ("lea", "leo"):
        house.people[name] = await People(house.requests, house.log).person_for(speaking(issuer, f"auth0|{name}"))
        await house.directory.add_membership(house.administrator(), house.people[name], house.teams["east"], Part.LEAD)
    await activate(house, FOUR_EYES)
    async with api(house, issuer) as started:
        yield started


async def send(
    running: InProcess, name: str, path: str, body: object = None, method: str = "POST", **headers: str
) -> httpx2.Response:
    token = running.token(sub=f"auth0|{name}", scope=SCOPE, jti=name)
    return await running.send(method, path, token, body=body, headers=headers)


def tell(answer: httpx2.Response) -> tuple[str, int, int | None]:
    told = answer.json()
    return told["state"], told["approvals_given"], told["approvals_needed"]


async def test_an_approval_that_is_sent_twice_with_a_key_is_given_once(house: House, running: InProcess) -> None:
    sheet = await submit_hours(house, "ana", 43)
    path = f"/v1/timesheets/{sheet.id}/approve"
    given = {"If-Match": f'"{sheet.version}"', "Idempotency-Key": "yes-1"}
    first, again = [await send(running, "lea", path, **given) for _ in range(2)]
    assert (first.status_code, again.status_code, again.json()) == (200, 200, first.json())
    assert again.headers["Idempotent-Replayed"] == "true"
    assert tell(first) == ("submitted", 1, 2)
    assert [approval["by"] for approval in first.json()["approvals"]] == [str(house.people["lea"])]
    # Without the key it is another request.
    version = first.headers["ETag"]
    refused = await send(running, "lea", path, **{"If-Match": version})
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:timewarden:problem:conflict")
    assert "You have approved this timesheet already" in refused.json()["detail"]
    stale = await send(running, "leo", path, **{"If-Match": given["If-Match"]})
    assert stale.status_code == 412
    last = await send(running, "leo", path, **{"If-Match": version, "Idempotency-Key": "yes-1"})
    assert tell(last) == ("approved", 2, 2)


async def test_a_caller_who_has_the_version_is_sent_other_numbers_of_approvals(
    house: House, running: InProcess
) -> None:
    sheet = await submit_hours(house, "ana", 43)
    path = f"/v1/timesheets/{sheet.id}"
    before = await send(running, "lea", path, method="GET")
    tag = before.headers["ETag"]
    assert (tell(before), tag) == (("submitted", 0, 2), f'"{sheet.version}-0-2"')
    assert (await send(running, "lea", path, method="GET", **{"If-None-Match": tag})).status_code == 304
    await activate(house, "size(resource.approvals) >= 1")
    after = await send(running, "lea", path, method="GET", **{"If-None-Match": tag})
    assert (tell(after), after.headers["ETag"]) == (("submitted", 0, 1), f'"{sheet.version}"')
    # The version is the same, and so is what If-Match asks for.
    assert (await send(running, "lea", f"{path}/approve", **{"If-Match": tag})).status_code == 200


async def test_the_tag_of_a_change_is_that_of_a_read(house: House, running: InProcess) -> None:
    sheet = await submit_hours(house, "ana", 43)
    path = f"/v1/timesheets/{sheet.id}"
    given = await send(running, "lea", f"{path}/approve", **{"If-Match": f'"{sheet.version}"'})
    tag = given.headers["ETag"]
    assert (tell(given), tag) == (("submitted", 1, 2), (await send(running, "lea", path, method="GET")).headers["ETag"])
    await activate(house, "size(resource.approvals) >= 1")
    after = await send(running, "lea", path, method="GET", **{"If-None-Match": tag})
    assert tell(after) == ("submitted", 1, 1)


async def test_a_caller_who_has_the_version_is_sent_who_approved_after_a_merge(
    house: House, running: InProcess
) -> None:
    sheet = await submit_hours(house, "ana", 43)
    path = f"/v1/timesheets/{sheet.id}"
    tag = f'"{sheet.version}"'
    for name in ("lea", "leo"):
        tag = (await send(running, name, f"{path}/approve", **{"If-Match": tag})).headers["ETag"]
    assert (await send(running, "lea", path, method="GET", **{"If-None-Match": tag})).status_code == 304
    await Merging(house.gate).merge(house.administrator(), house.people["leo"], house.people["max"])
    after = await send(running, "lea", path, method="GET", **{"If-None-Match": tag})
    assert [approval["by"] for approval in after.json()["approvals"]] == [
        str(house.people[name]) for name in ("lea", "max")
    ]


async def test_a_caller_who_has_the_version_is_sent_who_gave_the_only_approval(
    house: House, running: InProcess
) -> None:
    """Each merge changes the body and nothing else."""
    sheet = await submit_hours(house, "ana", 43)
    path = f"/v1/timesheets/{sheet.id}"
    tags = [(await send(running, "leo", f"{path}/approve", **{"If-Match": f'"{sheet.version}"'})).headers["ETag"]]

    async def read_anew(by: list[str]) -> None:
        after = await send(running, "lea", path, method="GET", **{"If-None-Match": ", ".join(tags)})
        assert after.status_code == 200
        assert [approval["by"] for approval in after.json()["approvals"]] == [str(house.people[name]) for name in by]
        tags.append(after.headers["ETag"])

    await Merging(house.gate).merge(house.administrator(), house.people["leo"], house.people["max"])
    await read_anew(["max"])
    # Under a policy that asks for one approval too.
    await activate(house, "size(resource.approvals) >= 1")
    await read_anew(["max"])
    await Merging(house.gate).merge(house.administrator(), house.people["max"], house.people["carl"])
    await read_anew(["carl"])
    await Merging(house.gate).merge(house.administrator(), house.people["carl"], house.people["ana"])
    await read_anew([])


async def test_a_batch_tells_how_far_each_sheet_is(house: House, running: InProcess) -> None:
    sheets = [await submit_hours(house, "ana", 8), await submit_hours(house, "ben", 43)]
    items: list[dict[str, Any]] = [{"id": str(sheet.id), "version": sheet.version} for sheet in sheets]
    body = {"items": items, "mode": "per-item"}
    told = (await send(running, "lea", "/v1/timesheets/batch-approve", body)).json()
    assert told["changed"] == 2
    assert [(item["state"], item["approvals_given"], item["approvals_needed"]) for item in told["items"]] == [
        ("approved", 1, 1),
        ("submitted", 1, 2),
    ]
    items[1]["version"] += 1
    told = (await send(running, "lea", "/v1/timesheets/batch-approve", {"items": items[1:], "mode": "per-item"})).json()
    [item] = told["items"]
    assert (told["changed"], item["status"], item["approvals_given"], item["approvals_needed"]) == (0, 409, None, None)
    assert "already" in item["problem"]["detail"]
    inbox = {
        name: (await send(running, name, "/v1/approvals", method="GET")).json()["items"] for name in ("lea", "leo")
    }
    assert inbox["lea"] == []
    assert [(item["timesheet"]["approvals_given"], item["waiting_since"]) for item in inbox["leo"]] == [
        (1, inbox["leo"][0]["timesheet"]["submitted_at"])
    ]


async def test_events_tell_an_approval_that_needs_another_from_the_last(house: House, running: InProcess) -> None:
    sheet = await submit_hours(house, "ana", 43)
    for place, name in enumerate(("lea", "leo")):
        version = f'"{sheet.version + place}"'
        await send(running, name, f"/v1/timesheets/{sheet.id}/approve", **{"If-Match": version})
    await seal_all(await house.log_database.open("keeper"))
    changes = await ChangeFeed(house.requests).read_changes(-1, 1_000)
    *_, submitted, given, approved = [change for change in changes if change.subject == str(sheet.id)]
    lea, leo = str(house.people["lea"]), str(house.people["leo"])
    assert (submitted.type, submitted.data["to"]["approvals_needed"]) == ("timesheet.submitted", 2)  # type: ignore[index]  # an object
    expected: list[tuple[str, dict[str, Any]]] = [
        ("timesheet.approval-given", {"state": "submitted", "approvals": [lea], "approvals_needed": 2}),
        ("timesheet.approved", {"state": "approved", "approvals": [lea, leo]}),
    ]
    for place, (change, (name, after)) in enumerate(zip((given, approved), expected, strict=True), start=1):
        assert (change.type, change.data["to"]) == (name, {**after, "version": sheet.version + place})
        validator(f"{name}.json").validate(json.loads(serialize(change, "https://timesheets.example")))


async def test_the_client_reads_the_approvals(house: House, running: InProcess) -> None:
    sheet = await submit_hours(house, "ana", 43)
    answer = await send(running, "lea", f"/v1/timesheets/{sheet.id}/approve", **{"If-Match": f'"{sheet.version}"'})
    read = msgspec.json.decode(answer.content, type=shapes.Timesheet)
    assert (read.state, read.approvals_given, read.approvals_needed) == ("submitted", 1, 2)
    assert read.approvals == [shapes.GivenApproval(str(house.people["lea"]), read.updated_at)]


async def test_a_change_between_two_approvals_is_no_change_of_approved_hours(house: House, running: InProcess) -> None:
    sheet = await submit_hours(house, "ana", 43)
    path, version = f"/v1/timesheets/{sheet.id}", sheet.version

    async def step(name: str, action: str, body: object = None) -> None:
        nonlocal version
        answer = await send(running, name, f"{path}/{action}", body, **{"If-Match": f'"{version}"'})
        assert answer.status_code == 200, answer.text
        version = answer.json()["version"]

    async def changes_of_approved_hours() -> list[str]:
        auditor = running.token(sub="auth0|audrey", scope="read:audit", roles=["auditor"])
        found = await running.send("GET", f"/v1/audit/records?after_approval=true&resource={sheet.id}", auditor)
        return [item["record"]["change"]["type"] for item in found.json()["items"]]

    await step("lea", "approve")
    await step("leo", "reject", {"reason": "Friday is missing"})
    await house.timesheets.submit(house.caller("ana"), sheet.id, at(version))
    version += 1
    await step("lea", "approve")
    await step("leo", "approve")
    assert await changes_of_approved_hours() == []
    await step("leo", "reopen", {"reason": "Friday is missing"})
    assert await changes_of_approved_hours() == ["timesheet.reopened"]
