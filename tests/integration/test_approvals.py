"""What waits, and batches of it, over HTTP: all or nothing, item by item, one decision and one change record each."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from service.directory.entities import Part
from service.directory.people import People
from service.log.packing import stored_leaf
from service.log.record import read_body
from tests.integration.api import InProcess, api
from tests.integration.house import MONDAY, at, speaking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2

    from service.timesheets.timesheet import Timesheet
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
SCOPE = "read:timesheets approve:timesheets"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
async def running(house: House, issuer: str) -> AsyncIterator[InProcess]:
    lea = await People(house.requests, house.log).person_for(speaking(issuer, "auth0|lea"))
    house.people["lea"] = lea
    await house.directory.add_membership(house.administrator(), lea, house.teams["east"], Part.LEAD)
    async with api(house, issuer) as started:
        yield started


@pytest.fixture
async def sheets(house: House, running: InProcess) -> list[Timesheet]:
    """Handed in by ana and ben, in this order; and carl's, whom lea does not lead."""
    weeks = [(name, MONDAY + timedelta(days=7 * week)) for week in (1, 0) for name in ("ana", "ben", "carl")]
    return [await house.submit_week(name, monday) for name, monday in weeks]


async def leaf_of(house: House, uid: str) -> str:
    """The leaf hash of a stored record."""
    row = await house.owner.fetchrow("SELECT body, stored_hash FROM audit_record WHERE uid = $1::text::uuid", uid)
    assert row is not None
    return stored_leaf(row["body"], row["stored_hash"]).hex()


async def lea(running: InProcess, method: str, path: str, body: object = None, **headers: str) -> httpx2.Response:
    token = running.token(sub="auth0|lea", scope=SCOPE)
    return await running.send(method, path, token, body=body, headers=headers)


def items(*sheets: Timesheet, **changed: Any) -> list[dict[str, Any]]:
    return [{"id": str(sheet.id), "version": sheet.version, **changed} for sheet in sheets]


def mine(sheets: list[Timesheet]) -> list[Timesheet]:
    return [sheets[0], sheets[1], sheets[3], sheets[4]]


async def states(house: House) -> list[str]:
    return [row["state"] for row in await house.owner.fetch("SELECT state FROM timesheet ORDER BY created_at, id")]


async def test_what_waits_is_listed_longest_first_with_the_reason_why_it_is_yours(
    running: InProcess, sheets: list[Timesheet]
) -> None:
    answer = await lea(running, "GET", "/v1/approvals")
    assert answer.status_code == 200, answer.text
    found = answer.json()["items"]
    assert [approval["timesheet"]["id"] for approval in found] == [str(sheet.id) for sheet in mine(sheets)]
    assert {(*approval["as"], *approval["rules"]) for approval in found} == {("manager", "approve-team")}
    assert "Link" not in answer.headers


async def test_viewing_what_waits_is_no_approval_in_the_log(
    house: House, running: InProcess, sheets: list[Timesheet]
) -> None:
    listed = [await lea(running, "GET", "/v1/approvals") for _ in range(3)]
    stranger = running.token(sub="auth0|lea", scope="read:timesheets")
    refused = await running.send("GET", "/v1/approvals", stranger)
    assert refused.status_code == 403
    version = f'"{sheets[0].version}"'
    await lea(running, "POST", f"/v1/timesheets/{sheets[0].id}/approve", **{"If-Match": version})

    auditor = running.token(sub="auth0|audrey", scope="read:audit", roles=["auditor"])

    async def list_pending(query: str) -> list[str]:
        answer = await running.send("GET", f"/v1/decisions?{query}", auditor)
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["items"]]

    assert len(await list_pending("action=approve")) == len(await list_pending("action=approve&applied=true")) == 1
    views = await list_pending("action=list-approvals&outcome=allow")
    assert len(views) == 3
    assert listed[-1].headers["Decision-Id"] == views[0]
    assert await list_pending("action=list-approvals&outcome=deny") == [refused.headers["Decision-Id"]]
    counted = (await running.send("GET", "/v1/decisions/summary", auditor)).json()
    assert counted["action"].items() >= {"approve": 1, "list-approvals": 4}.items()
    assert counted["applied"]["true"] >= 1
    # Why it was allowed is still told: by the rules for approving.
    why = (await running.send("GET", f"/v1/decisions/{views[0]}/explanation", auditor)).json()
    rules = ["approve-team", "approve-as-fallback", "approve-as-temporary-approver"]
    assert [rule["rule"] for rule in why["rules"]] == rules


async def test_pages_link_to_the_next_one_and_end(running: InProcess, sheets: list[Timesheet]) -> None:
    path, found = "/v1/approvals?limit=3", []
    for wanted in (3, 1):
        answer = await lea(running, "GET", path)
        found += [item["timesheet"]["id"] for item in answer.json()["items"]]
        assert len(answer.json()["items"]) == wanted
        assert "Next-Cursor" not in answer.headers
        if wanted == 3:
            path = answer.headers["Link"].removeprefix("<").removesuffix('>; rel="next"')
            assert path.startswith("/v1/approvals?limit=3&cursor=")
        else:
            assert "Link" not in answer.headers
    assert found == [str(sheet.id) for sheet in mine(sheets)]


async def test_a_link_keeps_the_filters_of_every_list(running: InProcess, sheets: list[Timesheet]) -> None:
    answer = await lea(running, "GET", f"/v1/timesheets?state=submitted&limit=1&owner={sheets[0].owner}")
    path = answer.headers["Link"].removeprefix("<").removesuffix('>; rel="next"')
    assert path.startswith(f"/v1/timesheets?state=submitted&limit=1&owner={sheets[0].owner}&cursor=")
    assert (await lea(running, "GET", path)).json()["items"][0]["owner"] == str(sheets[0].owner)


async def test_the_trace_of_a_caller_comes_back_and_stands_in_the_record(house: House, running: InProcess) -> None:
    answer = await lea(running, "GET", "/v1/approvals", traceparent=TRACE)
    assert answer.headers["traceparent"] == TRACE
    record = await house.owner.fetchval(
        "SELECT body FROM audit_record WHERE uid = $1::text::uuid", answer.headers["Decision-Id"]
    )
    assert read_body(record)["request"]["trace"] == TRACE  # type: ignore[index]  # an object
    for wrong in (TRACE.upper(), f"00-{'0' * 32}-00f067aa0ba902b7-01", "a name", TRACE + "-x"):
        assert "traceparent" not in (await lea(running, "GET", "/v1/approvals", traceparent=wrong)).headers


async def test_a_batch_is_approved_with_one_decision_and_one_change_for_each(
    house: House, running: InProcess, sheets: list[Timesheet]
) -> None:
    answer = await lea(running, "POST", "/v1/timesheets/batch-approve", {"items": items(*mine(sheets))})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["changed"] == 4
    assert [(item["id"], item["status"], item["state"]) for item in told["items"]] == [
        (str(sheet.id), 200, "approved") for sheet in mine(sheets)
    ]
    for item in told["items"]:
        for kind, column in (("decision", "uid"), ("change", "decision_uid")):
            condition = f"kind = '{kind}' AND {column} = '{item['decision_id']}' AND resource_id = '{item['id']}'"
            assert await house.count(f"audit_record WHERE {condition}") == 1
        assert await leaf_of(house, item["decision_id"]) == item["decision_leaf"]
    assert (await lea(running, "GET", "/v1/approvals")).json()["items"] == []


async def test_all_or_nothing_changes_nothing_when_one_is_refused_and_names_it(
    house: House, running: InProcess, sheets: list[Timesheet]
) -> None:
    stale = items(sheets[0]) + items(sheets[1], version=2)
    answer = await lea(running, "POST", "/v1/timesheets/batch-approve", {"items": stale})
    assert answer.status_code == 409, answer.text
    assert [(item["item"], item["problem"]) for item in answer.json()["items"]] == [(1, "precondition-failed")]
    strangers = items(sheets[0], sheets[2])
    unknown = [*items(sheets[0]), {"id": str(uuid4()), "version": 1}]
    for wanted in (strangers, unknown):
        answer = await lea(running, "POST", "/v1/timesheets/batch-approve", {"items": wanted})
        assert answer.status_code == 403
        assert [(item["item"], item["problem"]) for item in answer.json()["items"]] == [(1, "not-found")]
    assert set(await states(house)) == {"submitted"}
    assert await house.count("audit_record WHERE action = 'approve' AND applied") == 0


async def test_item_by_item_every_one_has_its_own_outcome(
    house: House, running: InProcess, sheets: list[Timesheet]
) -> None:
    batch = [*items(sheets[0], sheets[2]), *items(sheets[1], version=1), {"id": str(uuid4()), "version": 1}]
    body = {"items": batch, "mode": "per-item", "reason": "Friday is missing"}
    answer = await lea(running, "POST", "/v1/timesheets/batch-reject", body)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert [item["status"] for item in told["items"]] == [200, 404, 412, 404]
    assert told["changed"] == 1
    assert told["items"][2]["problem"]["type"] == "urn:timewarden:problem:precondition-failed"
    for item, applied in zip(told["items"], (True, False, False, False), strict=True):
        assert await leaf_of(house, item["decision_id"]) == item["decision_leaf"]
        condition = f"uid = '{item['decision_id']}' AND kind = 'decision' AND applied IS {applied}"
        assert await house.count(f"audit_record WHERE {condition}") == 1
    assert sorted(await states(house)) == ["rejected", *["submitted"] * 5]
    assert await house.count("audit_text WHERE value = 'Friday is missing'") == 1


@pytest.mark.parametrize("mode", ["all-or-nothing", "per-item"])
async def test_nobody_approves_their_own_hours_in_a_batch(
    house: House, running: InProcess, sheets: list[Timesheet], mode: str
) -> None:
    await house.owner.execute("UPDATE timesheet SET owner_id = $1 WHERE id = $2", house.people["lea"], sheets[0].id)
    await house.owner.execute(
        "UPDATE timesheet SET editors = ARRAY[$1::uuid] WHERE id = $2", house.people["lea"], sheets[1].id
    )
    body = {"items": items(sheets[0], sheets[1], sheets[3]), "mode": mode}
    answer = await lea(running, "POST", "/v1/timesheets/batch-approve", body)
    waits = [item["timesheet"]["id"] for item in (await lea(running, "GET", "/v1/approvals")).json()["items"]]
    assert str(sheets[0].id) not in waits
    assert str(sheets[1].id) not in waits
    if mode == "per-item":
        assert [item["status"] for item in answer.json()["items"]] == [403, 403, 200]
    else:
        assert answer.status_code == 403
        assert [item["item"] for item in answer.json()["items"]] == [0, 1]
        assert set(await states(house)) == {"submitted"}


async def test_payroll_locks_many_sheets_at_once_and_somebody_else_unlocks_them(
    house: House, running: InProcess, sheets: list[Timesheet]
) -> None:
    await house.owner.execute("UPDATE timesheet SET state = 'approved' WHERE owner_id <> $1", house.people["carl"])
    tokens = [running.token(sub=name, scope=SCOPE, roles=["payroll"], jti=name) for name in ("pat", "pam")]

    async def step(token: str, action: str, *wanted: Timesheet, version: int, **more: str) -> httpx2.Response:
        body = {"items": items(*wanted, version=version), "reason": "November", **more}
        return await running.send("POST", f"/v1/timesheets/batch-{action}", token, body=body)

    seen = sheets[0].version
    # Payroll does not see sheets that are not approved yet.
    assert (await step(tokens[0], "lock", *sheets[:3], version=seen)).status_code == 403
    assert "locked" not in await states(house)
    some = await step(tokens[0], "lock", *sheets[:3], version=seen, mode="per-item")
    assert [item["status"] for item in some.json()["items"]] == [200, 200, 404]
    assert (await step(tokens[0], "unlock", *sheets[:2], version=seen + 1)).status_code == 403
    done = await step(tokens[1], "unlock", *sheets[:2], version=seen + 1)
    assert (done.status_code, done.json()["changed"]) == (200, 2)
    for action in ("lock", "unlock"):
        assert await house.count(f"audit_record WHERE kind = 'change' AND action = '{action}'") == 2
    blank = await step(tokens[1], "lock", sheets[0], version=seen + 2, reason="\u200b")
    assert blank.json()["fields"][0]["field"] == "reason"


async def test_whoever_lacks_the_scope_is_refused_once(
    house: House, running: InProcess, sheets: list[Timesheet]
) -> None:
    token = running.token(sub="auth0|lea", scope="read:timesheets")
    for mode in ("all-or-nothing", "per-item"):
        before = await house.count("audit_record")
        body = {"items": items(*mine(sheets)), "mode": mode}
        answer = await running.send("POST", "/v1/timesheets/batch-approve", token, body=body)
        assert (answer.status_code, answer.json()["required_scope"]) == (403, ["approve:timesheets"])
        assert await house.count("audit_record") == before + 1


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"items": []}, "items"),
        ({"items": [{"id": "x", "version": 1}]}, "items[0].id"),
        ({"items": [{"id": str(UUID(int=1)), "version": 0}]}, "items[0].version"),
        ({"items": [{"id": str(UUID(int=1)), "version": 1}] * 2}, "items[1].id"),
        ({"items": [{"id": str(UUID(int=n)), "version": 1} for n in range(101)]}, "items"),
        ({"items": [{"id": str(UUID(int=1))}]}, "items[0].version"),
        ({"items": [{"id": str(UUID(int=1)), "version": 1}], "mode": "some"}, "mode"),
    ],
)
async def test_a_batch_that_is_none_names_the_field(running: InProcess, wrong: dict[str, Any], field: str) -> None:
    answer = await lea(running, "POST", "/v1/timesheets/batch-approve", wrong)
    assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, field), answer.text


async def test_batches_that_race_do_not_block_each_other_and_every_sheet_is_approved_once(
    house: House, running: InProcess, sheets: list[Timesheet]
) -> None:
    orders = [mine(sheets), mine(sheets)[::-1]] * 3
    answers = await asyncio.gather(
        *(
            lea(running, "POST", "/v1/timesheets/batch-approve", {"items": items(*order), "mode": "per-item"})
            for order in orders
        )
    )
    assert {answer.status_code for answer in answers} == {200}
    assert sum(answer.json()["changed"] for answer in answers) == 4
    assert await house.count("audit_record WHERE kind = 'change' AND action = 'approve'") == 4


@pytest.mark.parametrize("mode", ["all-or-nothing", "per-item"])
async def test_a_batch_with_a_key_is_done_once(
    house: House, running: InProcess, sheets: list[Timesheet], mode: str
) -> None:
    body = {"items": items(*mine(sheets)), "mode": mode}
    first = await lea(running, "POST", "/v1/timesheets/batch-approve", body, **{"Idempotency-Key": "batch-1"})
    again = await lea(running, "POST", "/v1/timesheets/batch-approve", body, **{"Idempotency-Key": "batch-1"})
    assert (first.status_code, again.status_code) == (200, 200), again.text
    assert again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert await house.count("audit_record WHERE kind = 'change' AND action = 'approve'") == 4
    record = await house.owner.fetchval(
        "SELECT body FROM audit_record WHERE uid = $1::text::uuid", again.headers["Decision-Id"]
    )
    assert read_body(record)["returned"] == [str(sheet.id) for sheet in mine(sheets)]
    await house.owner.execute(
        "UPDATE membership SET valid_to = clock_timestamp() WHERE person_id = $1", house.people["ben"]
    )
    gone = await lea(running, "POST", "/v1/timesheets/batch-approve", body, **{"Idempotency-Key": "batch-1"})
    assert gone.status_code == 404


async def test_an_approval_has_a_comment_that_the_owner_reads_and_the_log_commits_to(
    house: House, running: InProcess, sheets: list[Timesheet]
) -> None:
    sheet = sheets[0]
    path, mia = f"/v1/timesheets/{sheet.id}", house.caller("mia")
    comment = "Thank you, well done"
    wrong = await lea(running, "POST", f"{path}/approve", {"comment": "a\x07"}, **{"If-Match": f'"{sheet.version}"'})
    assert (wrong.status_code, wrong.json()["fields"][0]["field"]) == (422, "comment")
    answer = await lea(running, "POST", f"{path}/approve", {"comment": comment}, **{"If-Match": f'"{sheet.version}"'})
    assert (answer.status_code, answer.json()["reason"], answer.json()["state"]) == (200, comment, "approved")
    assert (await house.timesheets.read(house.caller("ana"), sheet.id)).value.reason == comment
    assert await house.count_records_with(comment) == 0
    texts = "audit_text WHERE field = 'reason' AND value"
    assert await house.count(f"{texts} = '{comment}'") == 1
    # The same words of another step are a text of their own, and an approval without a comment has no reason.
    await house.timesheets.reopen(mia, sheet.id, at(sheet.version + 1), comment)
    assert await house.count(f"{texts} = '{comment}'") == 2
    await house.timesheets.submit(house.caller("ana"), sheet.id, at(sheet.version + 2))
    plain = await lea(running, "POST", f"{path}/approve", **{"If-Match": f'"{sheet.version + 3}"'})
    assert (plain.status_code, plain.json()["reason"]) == (200, None)


@pytest.mark.parametrize("mode", ["all-or-nothing", "per-item"])
async def test_a_batch_is_approved_with_one_comment(
    house: House, running: InProcess, sheets: list[Timesheet], mode: str
) -> None:
    body = {"items": items(*mine(sheets)), "mode": mode, "comment": "Payroll may begin"}
    answer = await lea(running, "POST", "/v1/timesheets/batch-approve", body)
    assert (answer.status_code, answer.json()["changed"]) == (200, 4), answer.text
    reasons = await house.owner.fetch("SELECT reason FROM timesheet WHERE state = 'approved'")
    assert {row["reason"] for row in reasons} == {"Payroll may begin"}
    wrong = await lea(running, "POST", "/v1/timesheets/batch-approve", {**body, "comment": ""})
    assert (wrong.status_code, wrong.json()["fields"][0]["field"]) == (422, "comment")
