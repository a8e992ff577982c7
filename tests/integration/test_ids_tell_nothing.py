"""No answer tells a caller who may not see a thing whether its id exists: neither status, words nor headers differ."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from service.directory.entities import Part, WantedAccess
from service.errors import NotFound
from tests.integration.house import EIGHT_HOURS, MONDAY, at
from tests.openapi_document import document

if TYPE_CHECKING:
    import httpx2

    from tests.integration.api import InProcess
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
pytestmark = pytest.mark.usefixtures("linked")

SCOPES = (
    "read:timesheets create:timesheets delete:timesheets approve:timesheets batch:upload read:audit read:policies"
    " write:policies manage:directory manage:tokens"
)
ENTRY = {"day": str(MONDAY), "project": "ATLAS", "minutes": 60}
WHY, END = {"reason": "why"}, {"at": None}
ACCESS = {"until": (datetime.now(UTC) + timedelta(days=1)).isoformat(), **WHY}
SIMULATED = {"subject": {"client": "x"}, "action": "read"}
BATCH = {"items": [{"id": "{sheet}", "version": 2}]}
# Method, path and body of every request that names something by its id; other ids in it are of things that exist.
ASKED: list[tuple[str, str, Any]] = [
    *(("GET", f"/v1/timesheets/{{sheet}}{more}", None) for more in ("", "/history", "/access", "/entries/{entry}")),
    ("DELETE", "/v1/timesheets/{sheet}", None),
    ("POST", "/v1/timesheets/{sheet}/entries", ENTRY),
    ("PUT", "/v1/timesheets/{sheet}/entries", {"entries": [ENTRY]}),
    ("POST", "/v1/timesheets/{sheet}/entries/batch", {"entries": [ENTRY]}),
    ("PUT", "/v1/timesheets/{sheet}/entries/{entry}", ENTRY),
    ("PATCH", "/v1/timesheets/{sheet}/entries/{entry}", {"minutes": 60}),
    ("DELETE", "/v1/timesheets/{sheet}/entries/{entry}", None),
    *(("POST", f"/v1/timesheets/{{sheet}}/{step}", None) for step in ("submit", "withdraw", "approve")),
    *(("POST", f"/v1/timesheets/{{sheet}}/{step}", WHY) for step in ("reject", "reopen", "lock", "unlock")),
    ("POST", "/v1/timesheets/batch-approve", BATCH),
    *(("POST", f"/v1/timesheets/batch-{step}", {**BATCH, **WHY}) for step in ("reject", "lock", "unlock")),
    ("GET", "/v1/timesheets?owner={person}", None),
    ("GET", "/v1/reports/hours?by=owner&owner={person}", None),
    ("GET", "/v1/decisions?person={person}", None),
    ("GET", "/v1/decisions/{decision}", None),
    ("GET", "/v1/decisions/{decision}/explanation", None),
    ("GET", "/v1/me/decisions/{decision}", None),
    ("GET", "/v1/audit/records/{decision}", None),
    ("GET", "/v1/audit/records/{decision}/proof", None),
    ("POST", "/v1/uploads", {"rows": [{"owner": "{person}", **ENTRY, "external_ref": "1"}]}),
    ("POST", "/v1/policies/simulate", {**SIMULATED, "resource": {"kind": "timesheet", "id": "{sheet}"}}),
    (
        "POST",
        "/v1/policies/simulate",
        {**SIMULATED, "subject": {"client": "x", "person": "{person}"}, "resource": {"kind": "timesheet"}},
    ),
    ("GET", "/v1/people/{person}", None),
    ("PATCH", "/v1/people/{person}", {"display_name": "x"}),
    ("POST", "/v1/people/{person}/links", {"links": [{"issuer": "https://issuer.example/", "subject": "x"}]}),
    ("POST", "/v1/people/{person}/merge", {"into": "{other}"}),
    ("POST", "/v1/people/{other}/merge", {"into": "{person}"}),
    ("GET", "/v1/people/{person}/roles", None),
    ("POST", "/v1/people/{person}/roles", {"role": "auditor"}),
    ("DELETE", "/v1/people/{person}/roles/auditor", None),
    ("POST", "/v1/people/{person}/erase", {}),
    ("GET", "/v1/teams/{team}", None),
    ("PUT", "/v1/teams/{team}", {"name": "x"}),
    ("POST", "/v1/teams", {"name": "x", "parent": "{team}"}),
    ("POST", "/v1/memberships", {"person": "{person}", "team": "{other_team}", "part": "lead"}),
    ("POST", "/v1/memberships", {"person": "{other}", "team": "{team}", "part": "lead"}),
    ("GET", "/v1/memberships?person={person}", None),
    ("GET", "/v1/memberships?team={team}", None),
    ("POST", "/v1/memberships/{membership}/end", END),
    ("POST", "/v1/memberships/{membership}/move", {"team": "{other_team}"}),
    ("POST", "/v1/importer-grants", {"client": "x", "team": "{team}"}),
    ("POST", "/v1/importer-grants/{importer}/end", END),
    ("POST", "/v1/delegations", {"delegate": "{person}"}),
    ("POST", "/v1/delegations", {"delegate": "{other}", "delegator": "{person}"}),
    ("POST", "/v1/delegations/{delegation}/end", END),
    ("POST", "/v1/fallback-approvers", {"person": "{person}"}),
    ("POST", "/v1/fallback-approvers", {"person": "{other}", "team": "{team}"}),
    ("POST", "/v1/fallback-approvers/{fallback}/end", END),
    ("POST", "/v1/access-requests", {**ACCESS, "relation": "temporary_approver", "team": "{team}"}),
    ("POST", "/v1/access-requests", {**ACCESS, "decision": "{decision}"}),
    ("POST", "/v1/access-requests", {**ACCESS, "decision": "{refusal}"}),
    ("POST", "/v1/access-requests", {**ACCESS, "decision": "{refusal}", "team": "{team}"}),
    ("GET", "/v1/access-requests/{access}", None),
    *(("POST", f"/v1/access-requests/{{access}}/{step}", None) for step in ("grant", "withdraw", "end")),
    ("POST", "/v1/access-requests/{access}/decline", WHY),
    ("GET", "/v1/groups?person={person}", None),
    ("POST", "/v1/groups/{group}/members", {"person": "{person}"}),
    ("POST", "/v1/groups/{group}/members/{member}/end", END),
    ("POST", "/v1/projects/{project}/leads", {"person": "{person}"}),
    ("POST", "/v1/projects/{project}/leads/{project_lead}/end", END),
    ("POST", "/v1/revocations", {"person": "{person}"}),
    ("POST", "/v1/audit/holds", {"what": "person", "about": "{person}", **WHY}),
    ("POST", "/v1/audit/holds/{hold}/lift", None),
]
# Named by a number, a code or a name. Replays are asked in test_replays.
OTHERS = {
    "/v1/log/tile/{level}/{index}",
    "/v1/log/tile/entries/{index}",
    "/v1/projects/{code}",
    "/v1/projects/{code}/leads",
    "/v1/groups/{name}/members",
    *(f"/v1/policies/versions/{{number}}{more}" for more in ("", "/activate", "/diff")),
    *(f"/v1/replays/{{replay_id}}{more}" for more in ("", "/cancel")),
}
# Without a role, as a lead of others, as a person who may simulate; the client may upload for another team.
CALLERS: dict[str, dict[str, Any]] = {
    "nobody": {"sub": "carl"},
    "lead": {"sub": "mia"},
    "author": {"sub": "carl", "roles": ["policy-author"]},
    "importer": {"sub": "payroll-import", "client_id": "payroll-import"},
}


async def things(house: House) -> dict[str, str]:
    """Ids of what none of the callers may see."""
    admin, dora = house.administrator(), house.caller("dora")
    sheet = (await house.timesheets.create(dora, MONDAY, "UTC")).value
    added = await house.timesheets.add_entry(dora, sheet.id, at(1), EIGHT_HOURS)
    person, team = house.people["dora"], house.teams["division"]
    joined = (await house.directory.add_membership(admin, person, team, Part.MEMBER)).value
    named = (await house.fallbacks.name(admin, person)).value
    granted = (await house.directory.grant_importer(admin, "another", team)).value
    delegation = (await house.delegations.grant(admin, person, house.people["ben"])).value
    await house.directory.give_role(admin, person, "auditor")
    await house.groups.add(admin, "board")
    member = (await house.members.add(admin, "board", person)).value
    lead = (await house.project_leads.add(admin, "apollo", person)).value
    until = datetime.now(UTC) + timedelta(days=1)
    wanted = WantedAccess("temporary_approver", house.teams["division"], None, until, "why")
    access = (await house.access_requests.request(dora, wanted)).value
    with pytest.raises(NotFound) as refused:
        await house.timesheets.read(house.caller("carl"), sheet.id)
    assert refused.value.decision is not None
    return {
        "member": str(member.id),
        "project_lead": str(lead.id),
        "sheet": str(sheet.id),
        "entry": str(added.value.entry.id),
        "person": str(person),
        "team": str(team),
        "decision": str(added.receipt.uid),
        "membership": str(joined.id),
        "importer": str(granted.id),
        "delegation": str(delegation.id),
        "fallback": str(named.id),
        "access": str(access.id),
        # Carl's own refusal of what he may not see.
        "refusal": refused.value.decision[0],
        "hold": str(uuid4()),
    }


def fill(node: Any, names: dict[str, str]) -> Any:
    if isinstance(node, str):
        return re.sub(r"\{(\w+)\}", lambda match: names[match[1]], node)
    if isinstance(node, dict):
        return {name: fill(value, names) for name, value in node.items()}
    return [fill(value, names) for value in node] if isinstance(node, list) else node


def comparable(answer: httpx2.Response, names: dict[str, str]) -> tuple[Any, ...]:
    """The content of an answer, without the ids that were sent and those that are new in every answer."""
    text = answer.text
    for name, value in names.items():
        text = text.replace(value, name)
    for fresh in ("id", "decided_at", "resource", "decision_id", "request_id", "instance"):
        text = re.sub(rf'"{fresh}":"[^"]*"', f'"{fresh}":""', text)
    headers = {name: answer.headers.get(name) for name in ("etag", "www-authenticate", "location", "content-type")}
    return answer.status_code, text, sorted(answer.headers), headers


@pytest.mark.parametrize("caller", CALLERS)
async def test_an_unknown_id_and_one_that_the_caller_may_not_see_are_answered_alike(
    running: InProcess, house: House, caller: str
) -> None:
    there = {
        "other": str(house.people["max"]),
        "other_team": str(house.teams["west"]),
        "group": "board",
        "project": "apollo",
    }
    known = {**await things(house), **there}
    unknown = {**{name: str(uuid4()) for name in known}, **there}
    token = running.token(scope=SCOPES, **CALLERS[caller])
    for method, path, body in ASKED:
        headers = {"If-Match": '"2"'} if "/v1/" in path and method != "GET" else {}
        if method == "PATCH":
            headers["Content-Type"] = "application/merge-patch+json"
        found = []
        for names in (known, unknown):
            answer = await running.send(method, fill(path, names), token, headers=headers, body=fill(body, names))
            # Nor does what is told of the request later.
            told = await running.send("GET", "/v1/me/decisions?limit=1&names=true", token)
            found.append((*comparable(answer, names), comparable(told, names)[1].partition('"next_cursor"')[0]))
        assert found[0] == found[1], (method, path, body)
        assert found[0][0] in {200, 400, 401, 403, 404, 422}


def test_every_route_that_names_something_by_its_id_is_asked() -> None:
    asked = {re.sub(r"\{\w+\}", "{}", path.partition("?")[0]) for _, path, _ in ASKED}
    there = {path for path in document()["paths"] if "{" in path} - OTHERS
    assert {re.sub(r"\{\w+\}", "{}", path).replace("/roles/{}", "/roles/auditor") for path in there} <= asked
