"""No decision, no answer: walks the route table of the running service. Nothing but the public list goes unguarded."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from uuid_utils.compat import uuid7

from service.web.http.authentication import PUBLIC_ROUTES
from tests.acceptance.caller import problem
from tests.openapi_document import app, document
from tests.until import PATIENCE_SECONDS

if TYPE_CHECKING:
    import httpx2

    from tests.acceptance.caller import Caller, Callers

METHODS = {"get", "post", "put", "delete", "patch"}
DOCUMENT: dict[str, Any] = document()
OPERATIONS = [
    (method.upper(), path, operation)
    for path, operations in sorted(DOCUMENT["paths"].items())
    for method, operation in sorted(operations.items())
    if method in METHODS
]
GUARDED = [pytest.param(*entry, id=f"{entry[0]} {entry[1]}") for entry in OPERATIONS if entry[1] not in PUBLIC_ROUTES]
# What of the log is public: hashes alone.
LOG = {"/v1/log/checkpoint", "/v1/log/tile/{level}/{index}"}
TOMORROW = (datetime.now(UTC) + timedelta(days=1)).isoformat()
MONDAY, NOBODY = "2026-11-23", "0198c0de-0000-7000-8000-00000000dead"
# A well-formed body for each shape, so that it is the policy that refuses and not the shape.
BODIES: dict[str, object] = {
    "NewSheet": {"period_start": MONDAY},
    "NewLinks": {"links": [{"issuer": "https://issuer.example/", "subject": "guarded"}]},
    "EntryFields": {"day": MONDAY, "project": "ATLAS", "minutes": 60},
    "ApprovalComment": {"comment": "Thank you"},
    "SheetPatch": {"day_notes": {MONDAY: "Trade fair"}},
    "EntryList": {"entries": [{"day": MONDAY, "project": "ATLAS", "minutes": 60}]},
    "NewEntries": {"entries": [{"day": MONDAY, "project": "ATLAS", "minutes": 60}]},
    "ReasonBody": {"reason": "Friday is missing"},
    "EntryPatch": {"minutes": 60},
    "ReminderRequest": {"waiting_days": 3},
    "BatchApproval": {"items": [{"id": NOBODY, "version": 1}]},
    "PersonPatch": {"display_name": "Ana Lima"},
    "MergeTarget": {"into": NOBODY},
    "BatchStep": {"items": [{"id": NOBODY, "version": 1}], "reason": "Payroll of November"},
    "BatchRejection": {"items": [{"id": NOBODY, "version": 1}], "reason": "Friday is missing"},
    "Upload": {
        "rows": [{"owner": NOBODY, "day": MONDAY, "project": "ATLAS", "minutes": 60, "external_ref": "guarded/1"}]
    },
    "Proposal": {"message": "why", "model": "m", "rules": "r", "vocabulary": "v", "cases": {}},
    "SimulatedQuestion": {"subject": {"client": "x"}, "action": "read", "resource": {"kind": "timesheet"}},
    "Activation": {"expected_active": 1},
    "ReplayRequest": {},
    "NewPerson": {},
    "ErasureRequest": {},
    "NewHold": {"what": "person", "about": NOBODY, "reason": "guarded"},
    "NewRole": {"role": "auditor"},
    "NewTeam": {"name": "Nobody's"},
    "NewGrant": {"client": "nobody", "team": NOBODY},
    "NewMembership": {"person": NOBODY, "team": NOBODY, "part": "lead"},
    "NewProject": {"code": "GUARDED", "name": "Guarded"},
    "ProjectChange": {"name": "Guarded", "active": False},
    "NewGroup": {"name": "guarded"},
    "NewGroupMember": {"person": NOBODY},
    "NewProjectLead": {"person": NOBODY},
    "NewDelegation": {"delegate": NOBODY, "delegator": "0198c0de-0000-7000-8000-00000000beef"},
    "NewAccessRequest": {"relation": "temporary_approver", "team": NOBODY, "until": TOMORROW, "reason": "guarded"},
    "AccessGrant": {},
    "AccessRefusal": {"reason": "guarded"},
    "EndTime": {},
    "TeamChange": {"name": "Nobody's", "parent": None},
    "MembershipMove": {"team": NOBODY},
    "NewFallback": {"person": NOBODY},
    "NewRevocation": {"token_id": "nobody's", "issuer": "https://nobody.example"},
}


# Query parameters that a route requires.
QUERY: dict[str, str] = {"by": "person", "since": MONDAY, "until": MONDAY, "from": "1"}


async def send(caller: Caller, method: str, path: str, operation: dict[str, Any]) -> httpx2.Response:
    """The operation with well-formed ids, body and If-Match."""
    concrete = path.replace("{number}", "1").replace("{role}", "auditor").replace("{index}", "000.p/1")
    concrete = re.sub(r"\{[a-z_]+\}", lambda _: str(uuid7()), concrete)
    body = operation.get("requestBody")
    schema = next(iter(body["content"].values()))["schema"] if body else {}
    shape = schema["$ref"].rsplit("/", 1)[1] if "$ref" in schema else None
    needed = [
        parameter
        for parameter in operation.get("parameters", [])
        if parameter["in"] == "query" and parameter.get("required")
    ]
    needs_version = any(parameter.get("name") == "If-Match" for parameter in operation.get("parameters", []))
    return await caller.send(
        method,
        concrete,
        body=BODIES[shape] if shape else None,
        content=schema["examples"][0].encode() if schema and not shape else None,
        if_match='"1"' if needs_version else None,
        params={parameter["name"]: QUERY[parameter["name"]] for parameter in needed},
        headers={"Content-Type": next(iter(body["content"]))} if body else None,
    )


def test_the_public_routes_are_exactly_those_that_are_listed() -> None:
    registered = {route.path_format for route in app().routes}

    assert {path for path in registered if not path.startswith("/v1/")} == PUBLIC_ROUTES - LOG
    assert {path for _, path, operation in OPERATIONS if not operation.get("security")} <= PUBLIC_ROUTES
    assert registered >= LOG
    assert {path for path in registered if path.startswith("/v1/")} == {
        path for _, path, _ in OPERATIONS if path.startswith("/v1/")
    }


async def test_the_document_that_is_served_is_the_one_that_is_walked_here(callers: Callers) -> None:
    served = (await callers.nobody().get("/openapi.json")).json()

    assert served["paths"].keys() == DOCUMENT["paths"].keys()


@pytest.mark.parametrize("path", sorted(PUBLIC_ROUTES))
async def test_a_public_route_answers_without_a_token(callers: Callers, path: str) -> None:
    concrete = path.format(level=0, index="000.p/1")
    async with asyncio.timeout(PATIENCE_SECONDS):
        # A log that has just begun is signed a moment later.
        while (answer := await callers.nobody().get(concrete)).status_code == 503:
            problem(answer, 503, "not-sealed")
            await asyncio.sleep(0.2)

    assert answer.status_code in {200, 302, 303, 307}
    assert "Decision-Id" not in answer.headers
    assert answer.headers["X-Request-Id"]


@pytest.mark.parametrize(("method", "path", "operation"), GUARDED)
async def test_without_a_token_there_is_a_challenge(
    callers: Callers, method: str, path: str, operation: dict[str, Any]
) -> None:
    answer = await send(callers.nobody(), method, path, operation)

    problem(answer, 401, "missing-token")
    challenge = answer.headers["WWW-Authenticate"]
    assert challenge.startswith("Bearer ")
    assert "error" not in challenge  # RFC 6750 section 3.1
    well_known = f"{callers.addresses.api}/.well-known/oauth-protected-resource/timesheets"
    assert f'resource_metadata="{well_known}"' in challenge  # RFC 9728 section 5.1
    assert "Decision-Id" not in answer.headers


@pytest.mark.parametrize(("method", "path", "operation"), GUARDED)
async def test_an_invalid_token_is_refused(callers: Callers, method: str, path: str, operation: dict[str, Any]) -> None:
    answer = await send(callers.bearer_of("abc.def.ghi"), method, path, operation)

    problem(answer, 401, "invalid-token")
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    assert "Decision-Id" not in answer.headers


@pytest.mark.parametrize(("method", "path", "operation"), GUARDED)
async def test_a_token_without_rights_is_refused_and_the_refusal_is_in_the_log(
    callers: Callers, method: str, path: str, operation: dict[str, Any]
) -> None:
    """payroll-import may upload, and nothing else; ana may do what an employee may, which is not to upload."""
    machine = path != "/v1/uploads"
    caller = await callers("payroll-import" if machine else "ana")
    answer = await send(caller, method, path, operation)
    if path == "/v1/me":
        assert answer.status_code == 200
        assert (await (await callers("audrey")).decision(answer))["record"]["outcome"] == "allow"
        return
    assert answer.status_code in {403, 404}, answer.text
    if operation["security"][0]["oauth"] and answer.status_code == 403 and "insufficient-scope" in answer.text:
        challenge = answer.headers["WWW-Authenticate"]
        assert 'error="insufficient_scope"' in challenge
        assert answer.json()["required_scope"]
    logged = await (await callers("audrey")).decision(answer)
    assert logged["leaf"] == answer.headers["Decision-Leaf"]
    assert logged["record"]["outcome"] == "deny"
    assert logged["record"]["request"] == {
        "id": answer.headers["X-Request-Id"],
        "method": method,
        "route": path,
    }
    assert logged["record"]["principal"]["client"] == ("payroll-import" if machine else "timesheets-cli")
    assert answer.json()["decision_id"] == answer.headers["Decision-Id"]


@pytest.mark.parametrize(
    ("who", "path"),
    [
        ("ana", "/v1/me"),
        ("ana", "/v1/timesheets"),
        ("audrey", "/v1/decisions"),
        ("paula", "/v1/policies/versions"),
        ("adam", "/v1/people"),
        ("adam", "/v1/teams"),
        ("adam", "/v1/memberships"),
    ],
)
async def test_what_is_allowed_is_recorded_before_it_is_answered(callers: Callers, who: str, path: str) -> None:
    caller = await callers(who)
    answer = await caller.get(path)

    assert answer.status_code == 200
    logged = await (await callers("audrey")).decision(answer)
    assert logged["leaf"] == answer.headers["Decision-Leaf"]
    assert logged["record"]["outcome"] == "allow"
    assert logged["record"]["principal"]["person"] == await caller.me()


async def test_an_unknown_path_is_no_route_and_no_decision(callers: Callers) -> None:
    answer = await (await callers("ana")).get("/v1/secrets")

    problem(answer, 404, "no-such-route")
    assert "Decision-Id" not in answer.headers
