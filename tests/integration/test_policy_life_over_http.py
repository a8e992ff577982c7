"""A version's life over HTTP: what callers see of it, four eyes on and off, a storm through the smallest pools."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from service.errors import DatabaseUnavailable
from service.standalone.client import Busy, Invalid, Timewarden
from service.web.http.problems import TYPE_PREFIX
from tests.acceptance.policy_author import VERSIONS, proposal
from tests.integration.api import InProcess, api
from tests.integration.house import MONDAY
from tests.integration.test_policy_life import before_states, with_rows
from tests.policy_forge import four_eyes_as_written, read_shipped
from tests.until import PATIENCE_SECONDS

if TYPE_CHECKING:
    from service.policy.policy_file import PolicyText
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]


def author(running: InProcess, name: str = "paula", **changes: Any) -> str:
    scopes = "read:policies write:policies"
    return running.token(sub=f"auth0|{name}", scope=scopes, roles=["policy-author"], **changes)


async def propose(running: InProcess, token: str, text: PolicyText) -> int:
    answer = await running.send("POST", VERSIONS, token, body=proposal(text))
    assert answer.status_code == 201, answer.text
    return int(answer.json()["number"])


async def activate(running: InProcess, token: str, number: int, expected: int) -> httpx2.Response:
    return await running.send("POST", f"{VERSIONS}/{number}/activate", token, body={"expected_active": expected})


async def roll_back(running: InProcess, token: str, expected: int) -> httpx2.Response:
    return await running.send("POST", "/v1/policies/rollback", token, body={"expected_active": expected})


def with_four_eyes() -> PolicyText:
    """The shipped policy, changed as policies/README.md says that four eyes are turned on, and in nothing else."""
    return four_eyes_as_written(read_shipped())


async def test_the_row_that_is_shipped_for_four_eyes_works_as_it_stands(running: InProcess) -> None:
    paula, quinn = author(running), author(running, "quinn")
    assert (await activate(running, paula, await propose(running, paula, with_four_eyes()), 1)).status_code == 200
    number = await propose(running, paula, with_four_eyes())

    refused = await activate(running, paula, number, 2)
    assert refused.status_code == 403
    assert refused.json()["rules"] == ["four-eyes"]
    assert refused.json()["reasons"] == ["you proposed this version"]
    done = await activate(running, quinn, number, 2)
    assert done.status_code == 200
    assert done.json()["activated_by"] != done.json()["author"]


async def test_as_shipped_four_eyes_are_off(running: InProcess) -> None:
    paula = author(running)
    assert (await activate(running, paula, await propose(running, paula, read_shipped()), 1)).status_code == 200


async def test_what_callers_see_of_a_life(running: InProcess) -> None:
    paula = author(running)
    number = await propose(running, paula, with_rows())
    seen = (await running.send("GET", f"{VERSIONS}/{number}", paula)).json()
    assert (seen["state"], seen["active"], seen["activated_at"]) == ("proposed", False, None)
    done = (await activate(running, paula, number, 1)).json()
    assert (done["state"], done["active"], done["activated_by"]) == ("active", True, seen["author"])
    active = (await running.send("GET", "/v1/policies/active", paula)).json()
    assert (active["number"], active["rules"], active["digest"]) == (number, with_rows().rules, with_rows().digest())
    listed = (await running.send("GET", VERSIONS, paula)).json()["items"]
    assert [(version["number"], version["state"]) for version in listed] == [(2, "active"), (1, "retired")]
    assert listed[1]["activated_by_client"] == "system"


async def test_a_rollback_is_one_call_and_says_what_is_wrong(running: InProcess) -> None:
    paula = author(running)
    unknown = await roll_back(running, paula, 99)
    assert (unknown.status_code, unknown.json()["type"]) == (409, "urn:timewarden:problem:stale-expectation")
    alone = await roll_back(running, paula, 1)
    assert (alone.status_code, alone.json()["type"]) == (409, "urn:timewarden:problem:conflict")
    await activate(running, paula, await propose(running, paula, with_rows()), 1)
    stale = await roll_back(running, paula, 1)
    assert (stale.status_code, stale.json()["type"]) == (409, "urn:timewarden:problem:stale-expectation")
    done = await roll_back(running, paula, 2)
    assert (done.status_code, done.json()["number"], done.json()["state"]) == (200, 1, "active")
    assert done.headers["Decision-Id"]
    wrong = await running.send("POST", "/v1/policies/rollback", paula, body={"expected_active": "two"})
    assert (wrong.status_code, wrong.json()["fields"][0]["field"]) == (422, "expected_active")


class LostCommit(httpx2.ASGITransport):
    """Carries out a change, and answers as the service does if the connection to Postgres breaks during its COMMIT."""

    def __init__(self, running: InProcess) -> None:
        application: Any = running.frame
        super().__init__(app=application, client=("192.0.2.1", 40000))
        self.changes = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = await super().handle_async_request(request)
        if request.method == "GET":
            return answer
        self.changes += 1
        error = DatabaseUnavailable()
        problem = {"type": f"{TYPE_PREFIX}{error.slug}", "status": 503, "detail": error.public}
        return httpx2.Response(503, json=problem, headers={"Retry-After": "0"})


async def test_the_client_sends_an_activation_once_if_its_outcome_is_unknown(running: InProcess) -> None:
    paula, lost = author(running), LostCommit(running)
    number = await propose(running, paula, with_rows())
    async with httpx2.AsyncClient(transport=lost) as http:
        client = Timewarden("http://127.0.0.1", paula, http=http)
        with pytest.raises(Busy, match="read the resource before you repeat a change"):
            await client.activate_policy(number, instead_of=1)
        assert ((await client.policy_version()).number, lost.changes) == (number, 1)
        # No version has this number; it does not stand for the active one.
        with pytest.raises(Invalid):
            await client.policy_version(0)


async def test_replicas_are_listed_for_those_who_read_the_policy(running: InProcess) -> None:
    listed = await running.send("GET", "/v1/policies/replicas", author(running))
    assert [(item["alive"], item["policy_version"] in {None, 1}) for item in listed.json()["items"]] == [(True, True)]
    stranger = running.token(scope="read:policies")
    assert (await running.send("GET", "/v1/policies/replicas", stranger)).status_code == 403


async def test_an_installation_whose_active_version_knows_no_states_can_still_change_it(running: InProcess) -> None:
    paula = author(running)
    old = await propose(running, paula, before_states())
    assert (await activate(running, paula, old, 1)).status_code == 200
    me = (await running.send("GET", "/v1/me", paula)).json()
    may = {capability["action"]: capability["may"] for capability in me["may"] if capability["kind"] == "policy"}
    assert may["activate"] == "always"
    newer = await propose(running, paula, read_shipped())
    assert (await activate(running, paula, newer, old)).status_code == 200
    assert (await roll_back(running, paula, newer)).json()["number"] == old


async def test_a_storm_through_pools_of_two_connections_ends(house: House, issuer: str, redis_url: str) -> None:
    """Reads, changes and activations all at once: nobody waits for a connection while holding one."""
    # On a busy machine a request waits long for its turn, which is not what this test is about.
    patient = {"database_timeout": 60.0, "lock_timeout": 60.0, "admission_timeout": 60.0}
    async with api(house, issuer, database_pool=2, redis_url=redis_url, **patient) as running:
        paula = author(running)
        numbers = [await propose(running, paula, with_rows(f"# {value}")) for value in range(2)]

        async def reads() -> list[int]:
            return [(await running.send("GET", path, running.token())).status_code for path in READS * 4]

        async def writes(person: int) -> list[int]:
            token = running.token(sub=f"auth0|storm-{person}")
            weeks = [(MONDAY + timedelta(weeks=number)).isoformat() for number in range(6)]
            sent = [running.send("POST", "/v1/timesheets", token, body={"period_start": week}) for week in weeks]
            return [(await request).status_code for request in sent]

        async def activates() -> list[int]:
            current, told = 1, []
            for number in (*numbers, *numbers):
                told.append((await activate(running, paula, number, current)).status_code)
                current = number
            return told

        async with asyncio.timeout(PATIENCE_SECONDS):
            told = await asyncio.gather(
                activates(), *(reads() for _ in range(6)), *(writes(value) for value in range(6))
            )
        assert [set(statuses) for statuses in told] == [{200}] * 7 + [{201}] * 6
        assert await house.count("audit_record WHERE kind = 'policy' AND action = 'activate'") == 4


READS = ("/v1/me", "/v1/timesheets")


async def test_a_whole_policy_of_the_size_that_the_document_promises_is_taken(running: InProcess) -> None:
    paula, text = author(running), read_shipped()
    padded = replace(text, rules=text.rules + "# a remark about a rule\n" * ((1_000_000 - len(text.rules)) // 24))
    assert await propose(running, paula, padded) == 2

    longer = await running.send("POST", VERSIONS, paula, body={**proposal(text), "message": "m" * 2_000_000})
    assert (longer.status_code, longer.json()["detail"]) == (413, "The request body must not exceed 2000000 bytes")
    other = await running.send("POST", f"{VERSIONS}/1/activate", paula, body={"expected_active": 1, "x": "m" * 262_144})
    assert (other.status_code, other.json()["detail"]) == (413, "The request body must not exceed 262144 bytes")
