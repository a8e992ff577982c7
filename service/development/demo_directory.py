"""Fills the directory with the demo people and teams, through the API, as the administrator would.

    Example Ltd (led by dora) ── Atlas (led by mia; ana) ── Contractors (carl; payroll-import may upload)
                              └─ Borealis (led by max; ben)
    max is the fallback approver of people without a lead: of dora.

When everything is created, `demo.json` in the state directory says so; an interrupted start is completed by the next
one. If the sign-in has moved to another port, its tokens are linked to the same people. Only the rows that the API
created are durable.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx2

from service.development.authorization_server import sign_in
from service.development.people import PEOPLE
from service.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TEAMS = (("Example Ltd", None), ("Atlas", "Example Ltd"), ("Borealis", "Example Ltd"), ("Contractors", "Atlas"))
MEMBERSHIPS = (
    ("dora", "Example Ltd", "lead"),
    ("mia", "Atlas", "lead"),
    ("ana", "Atlas", "member"),
    ("max", "Borealis", "lead"),
    ("ben", "Borealis", "member"),
    ("carl", "Contractors", "member"),
)
PROJECTS = (("ATLAS", "Atlas, the new site"), ("BOREALIS", "Borealis, the old one"), ("SITE", "Work on site"))


async def fill(api: str, issuer: str, state: Path, say: Callable[[str], None]) -> bool:
    """Create people, teams, memberships and the importer's grant, unless that was done for this issuer. Returns whether
    it created or linked any."""
    file = state / "demo.json"
    known: dict[str, Any] = (
        json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"issuer": "", "people": {}}
    )
    if known["issuer"] == issuer:
        return False
    say("linking the sign-in at its new address" if known["people"] else "creating the demo people and teams")
    adam = PEOPLE["adam"]
    answer = await sign_in.authorization_code_token(issuer, adam.login, adam.password, "timesheets-cli")
    headers = {"Authorization": f"Bearer {answer.access_token}"}
    async with httpx2.AsyncClient(base_url=api, headers=headers, timeout=20, trust_env=False) as http:
        if known["people"]:
            for login, person in known["people"].items():
                await _create(http, f"/v1/people/{person}/links", {"links": _links(issuer, login)})
            file.write_text(json.dumps({**known, "issuer": issuer}, indent=2), encoding="utf-8")
            return True
        for code, name in PROJECTS:
            await _create(http, "/v1/projects", {"code": code, "name": name})
        people = {login: await _person(http, issuer, login) for login in PEOPLE}
        teams: dict[str, str] = await _known_teams(http)
        for name, parent in TEAMS:
            if name not in teams:
                body: dict[str, object] = {"name": name, "parent": teams[parent] if parent else None}
                teams[name] = (await _create(http, "/v1/teams", body))["id"]
        for login, team, part in MEMBERSHIPS:
            await _create(http, "/v1/memberships", {"person": people[login], "team": teams[team], "part": part})
        await _create(http, "/v1/fallback-approvers", {"person": people["max"]})
        await _create(http, "/v1/importer-grants", {"client": "payroll-import", "team": teams["Contractors"]})
    file.write_text(json.dumps({"issuer": issuer, "people": people, "teams": teams}, indent=2), encoding="utf-8")
    return True


async def _person(http: httpx2.AsyncClient, issuer: str, login: str) -> str:
    """The id of a demo person, created if needed. A 409 names the person to whom these tokens are linked already: adam,
    who was created by his first request, without a name."""
    described = {"display_name": PEOPLE[login].name, "email": f"{login}@example.com"}
    created = await _create(http, "/v1/people", {**described, "links": _links(issuer, login)})
    if "id" in created:
        return created["id"]
    headers = {"If-Match": "*", "Content-Type": "application/merge-patch+json"}
    answer = await http.patch(f"/v1/people/{created['person']}", content=json.dumps(described), headers=headers)
    answer.raise_for_status()
    return created["person"]


def _links(issuer: str, login: str) -> list[dict[str, str]]:
    return [{"issuer": issuer, "subject": PEOPLE[login].subject}]


async def _known_teams(http: httpx2.AsyncClient) -> dict[str, str]:
    answer = await http.get("/v1/teams", params={"limit": "200"})
    answer.raise_for_status()
    return {item["name"]: item["id"] for item in answer.json()["items"]}


async def _create(http: httpx2.AsyncClient, path: str, body: dict[str, object]) -> dict[str, str]:
    """The created item, or the problem if it exists already. Raises Misconfigured for any other answer."""
    answer = await http.post(path, json=body)
    if answer.status_code not in {201, 409}:
        raise Misconfigured(f"The demo data could not be created: {path} answered {answer.status_code}: {answer.text}")
    created: dict[str, str] = answer.json()
    return created
