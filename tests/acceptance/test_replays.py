"""A policy author replays a version against recorded requests; an auditor reproduces every recorded verdict."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from uuid_utils.compat import uuid7

from tests.acceptance.caller import SHEETS, problem, submit_week
from tests.acceptance.policy_author import VERSIONS, propose
from tests.policy_forge import read_shipped
from tests.until import PATIENCE_SECONDS

if TYPE_CHECKING:
    from tests.acceptance.caller import Caller, Callers
    from tests.acceptance.running_service import RunningService

REPLAYS = "/v1/replays"


async def wait_for_end(caller: Caller, where: str) -> dict[str, Any]:
    """The job after a keeper has run it."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (job := (await caller.get(where)).json())["state"] in {"queued", "running"}:  # noqa: ASYNC110 — over HTTP
            await asyncio.sleep(0.2)
    found: dict[str, Any] = job
    return found


async def command(service: RunningService, *words: str) -> tuple[int, str]:
    """`timewarden WORDS` beside the running service: its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "service",
        *words,
        env={**os.environ, "TIMEWARDEN_STATE": str(service.state)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, complaints = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    return process.returncode or 0, printed.decode() + ("" if process.returncode == 0 else complaints.decode())


async def test_an_author_sees_what_a_version_would_have_changed(callers: Callers, service: RunningService) -> None:
    ana, paula = await callers("ana"), await callers("paula")
    await submit_week(ana)
    text = read_shipped()
    rules = "\n".join(line for line in text.rules.splitlines() if not line.endswith(" submit-own")) + "\n"
    cases = {name: case for name, case in text.cases.items() if "submit-own" not in case}
    number = await propose(paula, replace(text, rules=rules, cases=cases))

    answer = await paula.post(REPLAYS, {"version": number, "action": "submit", "kind": "timesheet"})

    assert answer.status_code == 202, answer.text
    where = answer.headers["Location"]
    assert where == f"{REPLAYS}/{answer.json()['id']}"
    job = await wait_for_end(paula, where)
    assert job["state"] == "done"
    assert job["progress"] == 1
    result = job["result"]
    assert result["allow_to_deny"] >= 1
    assert result["deny_to_allow"] == 0
    assert {"change": "allow_to_deny", "by": "rule", "word": "submit-own", "count": result["allow_to_deny"]} in result[
        "groups"
    ]
    code, printed = await command(service, "policy", "replay", str(number), "--since", "1d", "--as", "paula")
    assert code == 0, printed
    assert "allowed, would be denied" in printed
    assert "submit-own" in printed


async def test_an_auditor_replays_the_log_and_every_verdict_is_reproduced(
    callers: Callers, service: RunningService
) -> None:
    audrey = await callers("audrey")

    answer = await audrey.post(REPLAYS, {})

    assert answer.status_code == 202, answer.text
    job = await wait_for_end(audrey, answer.headers["Location"])
    result = job["result"]
    assert result["decided"] == result["same"] > 0, job
    code, printed = await command(service, "audit", "replay", "--since", "1h", "--json", "--as", "audrey")
    assert code == 0, printed
    assert json.loads(printed)["version"] is None
    code, printed = await command(service, "audit", "replay", "--as", "audrey")
    assert code == 0, printed
    assert "Every verdict, reason and rule is reproduced." in printed


async def test_replays_need_permission(callers: Callers) -> None:
    ana, paula, audrey = await callers("ana"), await callers("paula"), await callers("audrey")

    problem(await ana.post(REPLAYS, {"version": 1}), 403, "insufficient-scope")
    problem(await paula.post(REPLAYS, {}), 403, "forbidden")
    problem(await paula.post(REPLAYS, {"version": 99999}), 404, "not-found")
    problem(await paula.get(f"{REPLAYS}/{uuid7()}"), 404, "not-found")
    problem(await audrey.get(f"{REPLAYS}/{uuid7()}"), 404, "not-found")
    problem(await paula.post(f"{REPLAYS}/{uuid7()}/cancel"), 404, "not-found")
    problem(await audrey.post(f"{REPLAYS}/{uuid7()}/cancel"), 404, "not-found")


async def test_a_replay_is_cancelled_or_has_ended(callers: Callers) -> None:
    """The keeper of the running service may be quicker than the cancellation."""
    audrey = await callers("audrey")
    where = (await audrey.post(REPLAYS, {})).headers["Location"]

    answer = await audrey.post(f"{where}/cancel")

    job = await wait_for_end(audrey, where)
    assert (answer.status_code, job["state"]) in {(200, "cancelled"), (409, "done")}
    problem(await audrey.post(f"{where}/cancel"), 409, "conflict")


async def test_bad_filters_are_named(callers: Callers) -> None:
    paula = await callers("paula")
    for body, field in (
        ({"since": "yesterday"}, "since"),
        ({"since": "2026-11-02T00:00:00"}, "since"),
        ({"since": "2026-11-02T00:00:00Z", "until": "2026-11-01T00:00:00Z"}, "until"),
        ({"since": "0001-01-01T00:00:00+14:00"}, "since"),
        ({"until": "9999-12-31T23:59:59-14:00"}, "until"),
        ({"action": ""}, "action"),
        ({"kind": "x\x00"}, "kind"),
        ({"kind": "timeshet"}, "kind"),
        ({"action": "aprove"}, "action"),
        ({"kind": "log", "action": "approve"}, "action"),
        ({"subject": "ana"}, "subject"),
    ):
        document = problem(await paula.post(REPLAYS, {"version": 1, **body}), 422, "invalid-field")
        assert [item["field"] for item in document["fields"]] == [field]
    problem(await paula.post(REPLAYS, {"version": "none"}), 422, "invalid-field")


async def test_a_refusal_is_explained_to_the_caller_and_in_full_to_an_auditor(callers: Callers) -> None:
    ana, mia, audrey = await callers("ana"), await callers("mia"), await callers("audrey")
    sheet = (await submit_week(ana)).json()["id"]

    refused = await mia.delete(f"{SHEETS}/{sheet}", if_match="*")

    told = problem(refused, 403, "forbidden")
    [near] = told["near_misses"]
    assert near["rule"] == "delete-own"
    assert [condition["condition"] for condition in near["missing"]] == ["who", "state"]
    assert told["reasons"] == ["; ".join(condition["sentence"] for condition in near["missing"])]
    why = await audrey.get(f"/v1/decisions/{told['decision_id']}/explanation")
    assert why.status_code == 200, why.text
    body = why.json()
    assert body["decision"] == told["decision_id"]
    assert body["outcome"] == "deny"
    assert body["reason"] == "no-rule"
    assert [near_miss["rule"] for near_miss in body["near_misses"]] == ["delete-own"]
    of_caller = body["near_misses"][0]["missing"]
    assert [(item["condition"], item["wanted"]) for item in of_caller] == [
        (condition["condition"], condition["wanted"]) for condition in near["missing"]
    ]
    assert near["missing"][0]["sentence"] == "this is not your own timesheet"
    assert of_caller[0]["sentence"] == "the caller was not owner of the timesheet"
    assert body["near_misses"][0]["line"] > 0
    problem(await ana.get(f"/v1/decisions/{told['decision_id']}/explanation"), 403, "insufficient-scope")
    problem(await audrey.get(f"/v1/decisions/{uuid7()}/explanation"), 404, "not-found")

    # An auditor's own decision is explained in sentences to them.
    mine = (await audrey.post(f"{VERSIONS}/1/activate", {"expected_active": 1})).json()
    assert mine["status"] == 403
    about_me = (await audrey.get(f"/v1/decisions/{mine['decision_id']}/explanation")).json()
    told_me = [lack["sentence"] for miss in about_me["near_misses"] for lack in miss["missing"]]
    assert told_me
    assert not [value for value in told_me if "the caller" in value or "the token did not" in value]
