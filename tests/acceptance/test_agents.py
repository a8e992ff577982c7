"""An agent works for a manager: it finds the API, exchanges a token, reads, does not approve, and is on record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from service.development.authorization_server import sign_in
from service.development.people import CLIENTS
from tests.acceptance.caller import SHEETS, fields, problem, submit_week
from tests.acceptance.test_audit_commands import command
from tests.acceptance.test_replays import command as run_beside

if TYPE_CHECKING:
    import httpx2

    from tests.acceptance.caller import Callers
    from tests.acceptance.running_service import RunningService

AGENT = CLIENTS["assistant"]


@pytest.mark.parametrize("opaque", [False, True])
async def test_an_agent_prepares_and_the_person_approves(
    service: RunningService, http: httpx2.AsyncClient, callers: Callers, *, opaque: bool
) -> None:
    # As an MCP client does: the API's challenge leads to its metadata, and these to the authorization server.
    challenge = (await callers.nobody().get(SHEETS)).headers["WWW-Authenticate"]
    metadata = (await http.get(challenge.partition('resource_metadata="')[2].partition('"')[0])).json()
    [issuer] = metadata["authorization_servers"]
    assert issuer == service.addresses.issuer
    mia, audrey = await callers("mia"), await callers("audrey")
    scopes = ("read:timesheets", "approve:timesheets")
    exchanged = await sign_in.exchanged_token(
        issuer, AGENT.client_id, AGENT.secret or "", mia.token or "", scopes, opaque=opaque
    )
    agent = callers.bearer_of(exchanged.access_token)
    me = (await agent.get("/v1/me")).json()
    assert (me["person"], me["client"], me["actors"], me["agent"]) == (await mia.me(), "assistant", ["assistant"], True)
    assert next(may["may"] for may in me["may"] if (may["kind"], may["action"]) == ("timesheet", "approve")) == "never"

    handed = await submit_week(await callers("ana"))
    path, tag = f"{SHEETS}/{handed.json()['id']}", handed.headers["ETag"]
    read = await agent.get(path, include="actions")
    assert (read.status_code, "approve" in read.json()["actions"]) == (200, False)
    refused = await agent.post(f"{path}/approve", if_match=tag)
    assert "you act through an agent" in str(problem(refused, 403, "forbidden"))
    assert (await mia.post(f"{path}/approve", if_match=tag)).status_code == 200

    # An auditor sees both, and finds what the agent did in a person's name.
    decision = (await audrey.decision(refused))["record"]
    assert (decision["principal"]["person"], decision["principal"]["actors"]) == (await mia.me(), ["assistant"])
    assert (decision["rules"], decision["facts"]["agent"]) == (["agents-never-approve"], True)
    found = await audrey.get("/v1/audit/records", actor="assistant", person=await mia.me(), outcome="deny")
    assert refused.headers["Decision-Id"] in [record["id"] for record in found.json()["items"]]
    any_actor = await audrey.get("/v1/audit/records", actor="*", resource=handed.json()["id"])
    assert {record["record"]["principal"]["client"] for record in any_actor.json()["items"]} == {"assistant"}
    explained = (await audrey.get(f"/v1/decisions/{refused.headers['Decision-Id']}/explanation")).json()
    assert explained["actors"] == ["assistant"]
    assert fields(await audrey.get("/v1/audit/records", actor="asistant")) == ["query.actor"]
    decision_id = refused.headers["Decision-Id"]
    assert decision_id in (await command(callers, "audrey", "audit", "search", "--actor", "assistant", "--all")).output
    told = (await command(callers, "audrey", "audit", "explain", decision_id)).output
    assert "acting for the caller: assistant" in told


async def test_the_change_of_an_agent_names_it(service: RunningService, callers: Callers) -> None:
    ana, audrey = await callers("ana"), await callers("audrey")
    handed = await submit_week(ana)
    exchanged = await sign_in.exchanged_token(
        service.addresses.issuer, AGENT.client_id, AGENT.secret or "", ana.token or ""
    )
    path = f"{SHEETS}/{handed.json()['id']}"
    withdrawn = await callers.bearer_of(exchanged.access_token).post(
        f"{path}/withdraw", if_match=handed.headers["ETag"]
    )
    assert withdrawn.status_code == 200, withdrawn.text
    found = await audrey.get("/v1/audit/records", actor="assistant", resource=handed.json()["id"], kind="change")
    assert [item["record"]["principal"]["actors"] for item in found.json()["items"]] == [["assistant"]]


async def test_the_command_line_gets_a_token_of_an_agent(service: RunningService, callers: Callers) -> None:
    for asked in (["--agent"], ["--agent", "--opaque"], ["--agent", "--scope", "read:timesheets"]):
        exit_code, token = await run_beside(service, "token", "get", "mia", *asked)
        assert exit_code == 0, token
        me = (await callers.bearer_of(token.strip()).get("/v1/me")).json()
        assert (me["actors"], me["agent"]) == (["assistant"], True)
        assert "read:timesheets" in me["scopes"]
    for wrong, says in (
        (["payroll-import"], "An agent acts for people"),
        (["paula"], "The authorization server refuses"),
    ):
        exit_code, output = await run_beside(service, "token", "get", *wrong, "--agent")
        assert (exit_code, says in output) == (2, True), output
