"""What consumers get follows the published schemas: changes of the directory, and what else is easily forgotten."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from events.envelope import serialize
from events.stream import BEFORE_ALL
from service.log.feed import ChangeFeed
from tests.event_schemas import check_event
from tests.integration.log_trees import seal_all

if TYPE_CHECKING:
    from tests.integration.api import InProcess
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
ORGANISATION = (
    b"record,email,name,team,parent\nteam,,,Cetus,\nteam,,,Mira,Cetus\nperson,vera@example.com,Vera,,\n"
    b"member,vera@example.com,,Mira,\n"
)


async def test_every_change_of_the_directory_says_what_changed_as_its_schema_wants(
    house: House, running: InProcess
) -> None:
    # The first use of this token adds a person, without a decision.
    token = running.token(sub="auth0|new", roles=["administrator"], scope="manage:directory manage:tokens")

    async def send(method: str, path: str, body: object = None, **headers: str) -> dict[str, Any]:
        answer = await running.send(method, path, token, body=body, headers=headers)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    east = str(house.teams["east"])
    ana = str(house.people["ana"])
    team = await send("POST", "/v1/teams", {"name": "Below", "parent": east})
    await send("PUT", f"/v1/teams/{team['id']}", {"name": "Top", "parent": None}, **{"If-Match": '"1"'})
    await send("POST", "/v1/projects", {"code": "NEWSITE", "name": "New site"})
    await send("PUT", "/v1/projects/NEWSITE", {"name": "New site", "active": False}, **{"If-Match": '"1"'})
    await send("POST", f"/v1/people/{ana}/roles", {"role": "auditor"})
    await send("DELETE", f"/v1/people/{ana}/roles/auditor")
    await send("POST", "/v1/importer-grants", {"client": "night-job", "team": east})
    await send("POST", "/v1/groups", {"name": "night"})
    await send("POST", "/v1/groups/night/members", {"person": ana})
    await send("POST", "/v1/projects/NEWSITE/leads", {"person": ana})
    await send("POST", "/v1/revocations", {"person": ana})
    imported = await running.send(
        "POST", "/v1/directory/import", token, headers={"Content-Type": "text/csv"}, content=ORGANISATION
    )
    assert imported.status_code == 200, imported.text
    await house.submit_week("ben")
    await send("POST", "/v1/approvals/reminders", {"waiting_days": 0})

    published = await publish(house)
    for event in published:
        check_event(event)
    said = [(event["type"].split(".", 2)[2], event["data"]["to"].get("what")) for event in published]
    assert {what for type_, what in said if type_ == "directory.changed"} >= {
        "person.created",
        "team.created",
        "team.changed",
        "project.created",
        "project.changed",
        "role.given",
        "role.taken",
        "importer.granted",
        "group.created",
        "group.joined",
        "project-lead.named",
        "membership.created",
    }
    assert ("token.revoked", "person") in said
    [reminded] = [event for event in published if event["type"].endswith("timesheet.reminded")]
    assert reminded["data"]["to"]["approvers"]


async def publish(house: House) -> list[dict[str, Any]]:
    keeper = await house.log_database.open("keeper")
    await seal_all(keeper)
    changes = await ChangeFeed(keeper).read_changes(BEFORE_ALL, 1_000)
    return [json.loads(serialize(change, "https://timewarden.example")) for change in changes]
