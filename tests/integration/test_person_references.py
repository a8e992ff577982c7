"""People in requests by `me`, e-mail address or issuer and subject; people found by name."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from service.authorization.enforcement.team_references import find_team
from service.directory.entities import Part
from service.directory.people import People
from service.errors import InvalidField
from tests.integration.api import InProcess, api
from tests.integration.house import MONDAY, speaking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    import httpx2

    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
READ = "read:timesheets create:timesheets approve:timesheets"
UNKNOWN = ("nobody@example.com", "https://elsewhere.example/#auth0|nobody")


@pytest.fixture
async def running(house: House, issuer: str) -> AsyncIterator[InProcess]:
    """Ana and lea, who leads east, speak by tokens of their own."""
    for name, part in (("ana", Part.MEMBER), ("lea", Part.LEAD)):
        house.people[name] = await People(house.requests, house.log).person_for(speaking(issuer, f"auth0|{name}"))
        admin, described = (
            house.administrator(),
            {"display_name": f"{name.title()} Lima", "email": f"{name}@example.com"},
        )
        await house.directory.amend_person(admin, house.people[name], described)
        await house.directory.add_membership(admin, house.people[name], house.teams["east"], part)
    async with api(house, issuer) as started:
        yield started


def references(house: House, running: InProcess, name: str) -> list[str]:
    return [str(house.people[name]), f"{name.upper()}@example.com", f"{running.issuer}#auth0|{name}"]


async def ask(
    running: InProcess, name: str, method: str, path: str, body: object = None, **claims: Any
) -> httpx2.Response:
    token = running.token(sub=f"auth0|{name}", **{"scope": READ, **claims})
    return await running.send(method, path, token, body=body)


async def administer(running: InProcess, method: str, path: str, body: object = None) -> httpx2.Response:
    return await ask(running, "adam", method, path, body, scope="manage:directory", roles=["administrator"])


async def list_sheets(running: InProcess, name: str, owner: str, more: str = "") -> list[str]:
    answer = await ask(running, name, "GET", f"/v1/timesheets?owner={quote(owner)}{more}")
    assert answer.status_code == 200, answer.text
    return [sheet["id"] for sheet in answer.json()["items"]]


async def test_lists_and_reports_take_every_way_to_name_a_person(house: House, running: InProcess) -> None:
    anas = [str((await house.submit_week("ana", MONDAY + timedelta(days=7 * week))).id) for week in (1, 0)]
    await house.submit_week("ben")
    for owner in references(house, running, "ana"):
        assert await list_sheets(running, "lea", owner) == anas
        span = f"since={MONDAY}&until={MONDAY + timedelta(days=13)}"
        report = await ask(running, "lea", "GET", f"/v1/reports/hours?by=person&{span}&owner={quote(owner)}")
        assert [total["key"] for total in report.json()["items"]] == [str(house.people["ana"])]
    assert await list_sheets(running, "ana", "me") == anas
    assert await list_sheets(running, "lea", "me") == []


@pytest.mark.parametrize("owner", UNKNOWN)
async def test_a_list_tells_only_readers_of_the_directory_that_there_is_no_such_person(
    house: House, running: InProcess, owner: str
) -> None:
    await house.owner.execute("UPDATE person SET email = 'carl@example.com' WHERE id = $1", house.people["carl"])
    await house.submit_week("carl")
    # For lea, carl's sheets and nobody's are alike, whether she is remembered or not.
    for name in ("lea", "lea", "ana"):
        assert await list_sheets(running, name, owner) == await list_sheets(running, name, "carl@example.com") == []
    told = await ask(running, "lea", "GET", f"/v1/timesheets?owner={quote(owner)}", roles=["manager"])
    assert told.status_code == 422
    assert told.json()["fields"] == [{"field": "query.owner", "message": "names no person in the directory"}]
    # It was decided and recorded, and nothing was given out.
    recorded = f"uid = '{told.headers['Decision-Id']}' AND action = 'read' AND outcome = 'allow'"
    assert await house.count(f"audit_record WHERE {recorded} AND coalesce(cardinality(returned), 0) = 0") == 1


@pytest.mark.parametrize(
    "owner", ["Ana Lima", "ana", "", "https://issuer.example", "#auth0|ana", "nul\x00@example.com"]
)
async def test_what_names_nobody_in_any_way_is_a_wrong_field(running: InProcess, owner: str) -> None:
    answer = await ask(running, "lea", "GET", f"/v1/timesheets?owner={quote(owner)}")
    assert answer.status_code == 422
    assert answer.json()["fields"][0]["field"] == "query.owner"


async def test_changes_of_the_directory_take_references_in_texts_and_objects(house: House, running: InProcess) -> None:
    await house.groups.add(house.administrator(), "works-council")
    ana = str(house.people["ana"])
    ways: list[object] = [*references(house, running, "ana"), {"email": "ana@example.com"}]
    ways.append({"issuer": running.issuer, "subject": "auth0|ana"})
    for place, person in enumerate(ways):
        year = {"valid_from": f"20{place + 10}-01-01T00:00:00Z", "valid_to": f"20{place + 10}-12-01T00:00:00Z"}
        for path, body in (
            ("/v1/memberships", {"team": str(house.teams["west"]), "part": "member"}),
            ("/v1/groups/works-council/members", {}),
            ("/v1/projects/zeus/leads", {}),
            ("/v1/fallback-approvers", {}),
        ):
            answer = await administer(running, "POST", path, {"person": person, **body, **year})
            assert (answer.status_code, answer.json().get("person")) == (201, ana), answer.text
    for wrong, message in (
        ("nobody@example.com", "names no person in the directory"),
        ({"email": "ana@example.com", "issuer": "x"}, "must have either email, or issuer and subject"),
        ({}, "must have either email, or issuer and subject"),
        ({"mail": "ana@example.com"}, "is not a field of this body; did you mean 'email'?"),
        (7, None),
    ):
        answer = await administer(running, "POST", "/v1/fallback-approvers", {"person": wrong})
        assert answer.status_code == 422, answer.text
        assert answer.json()["fields"][0]["field"].startswith("person")
        assert message in {None, answer.json()["fields"][0]["message"]}


async def test_a_manager_names_a_delegate_by_address_only_if_they_may_read_the_directory(
    house: House, running: InProcess
) -> None:
    body = {"delegate": "ana@example.com"}
    granted = await ask(running, "lea", "POST", "/v1/delegations", body, roles=["manager"])
    assert granted.json()["delegate"] == str(house.people["ana"]), granted.text
    for delegate in ("ana@example.com", "nobody@example.com"):
        refused = await ask(running, "lea", "POST", "/v1/delegations", {"delegate": delegate})
        assert refused.json()["fields"][0]["message"].startswith("names no person that you may see")
    own = await ask(running, "lea", "POST", "/v1/delegations", {"delegate": "lea@example.com"}, roles=["manager"])
    assert own.json()["fields"] == [{"field": "delegate", "message": "must not be the delegator"}]


async def test_the_import_job_needs_no_ids(house: House, running: InProcess) -> None:
    await house.directory.grant_importer(house.administrator(), "payroll-import", house.teams["east"])
    token = running.token(sub="payroll-import", client_id="payroll-import", scope="batch:upload")
    ways: list[object] = [*references(house, running, "ana"), {"email": "ana@example.com"}]

    def row(owner: object, place: int) -> dict[str, object]:
        return {"owner": owner, "day": str(MONDAY), "project": "apollo", "minutes": 60, "external_ref": f"row-{place}"}

    rows = [row(owner, place) for place, owner in enumerate(ways)]
    answer = await running.send("POST", "/v1/uploads", token, body={"rows": rows})
    assert answer.status_code == 200, answer.text
    # One sheet of one person, so one decision.
    assert (answer.json()["counts"]["created"], len(answer.json()["decisions"])) == (4, 1)
    again = await running.send("POST", "/v1/uploads", token, body={"rows": rows})
    assert again.json()["counts"]["unchanged"] == 4
    text = f"owner,day,project,minutes,external_ref\nana@example.com,{MONDAY},apollo,30,csv-1\n"
    loaded = await running.send(
        "POST", "/v1/uploads", token, content=text.encode(), headers={"Content-Type": "text/csv"}
    )
    assert loaded.json()["counts"]["created"] == 1, loaded.text
    for client_self in ("me", {"email": None}):
        refused = await running.send("POST", "/v1/uploads", token, body={"rows": [row(client_self, 9)]})
        assert refused.json()["fields"][0]["field"].startswith("rows[0].owner"), refused.text


async def test_an_upload_does_not_tell_who_is_in_the_directory(house: House, running: InProcess) -> None:
    await house.directory.grant_importer(house.administrator(), "payroll-import", house.teams["east"])
    await house.owner.execute("UPDATE person SET email = $2 WHERE id = $1", house.people["dora"], "dora@example.com")
    token = running.token(sub="payroll-import", client_id="payroll-import", scope="batch:upload")
    answers = []
    for owner in ("dora@example.com", *UNKNOWN):
        rows = [{"owner": owner, "day": str(MONDAY), "project": "apollo", "minutes": 60, "external_ref": "1"}]
        answer = await running.send("POST", "/v1/uploads", token, body={"rows": rows})
        found = answer.json()
        assert "Decision-Id" in answer.headers
        answers.append(
            (
                answer.status_code,
                {name: found[name] for name in found.keys() - {"request_id", "decision_id", "decision_leaf"}},
            )
        )
    assert answers[0][0] == 403
    assert answers[0] == answers[1] == answers[2]


async def test_a_client_is_nobody_and_a_shared_address_names_several(house: House, running: InProcess) -> None:
    machine = running.token(
        sub="payroll-import", client_id="payroll-import", scope="read:timesheets", roles=["payroll"]
    )
    answer = await running.send("GET", "/v1/timesheets?owner=me", machine)
    assert answer.json()["fields"] == [
        {"field": "query.owner", "message": "`me` is a person, and a client that acts for itself is none"}
    ]
    for name in ("carl", "ben"):
        await house.owner.execute("UPDATE person SET email = 'shared@example.com' WHERE id = $1", house.people[name])
    answer = await administer(running, "POST", "/v1/fallback-approvers", {"person": "shared@example.com"})
    assert answer.json()["fields"] == [{"field": "person", "message": "names 2 people; give the id of one of them"}]
    assert await list_sheets(running, "lea", "shared@example.com") == []


async def test_paths_take_a_person_by_address_and_me_and_records_have_the_id(house: House, running: InProcess) -> None:
    ana, lea = str(house.people["ana"]), str(house.people["lea"])
    scopes = {"scope": "manage:directory", "roles": ["administrator"]}
    for person, tag in ((ana, '"2"'), ("ANA@example.com", f'"2-{house.people["ana"].int}"')):
        path = f"/v1/people/{quote(person)}"
        read = await administer(running, "GET", path)
        assert (read.json()["id"], read.headers["ETag"]) == (ana, tag), read.text
        given = await administer(running, "POST", f"{path}/roles", {"role": f"auditor-{len(person)}"})
        assert (given.status_code, given.json()["person"]) == (201, ana), given.text
        linked = await administer(running, "POST", f"{path}/links", {"links": [{"issuer": "x", "subject": person}]})
        assert linked.json()["id"] == ana, linked.text
        taken = await administer(running, "DELETE", f"{path}/roles/auditor-{len(person)}")
        assert taken.json()["person"] == ana, taken.text
        listed = await administer(running, "GET", f"{path}/roles")
        assert {role["person"] for role in listed.json()["items"]} == {ana}
        for answer in (given, linked, taken):
            recorded = f"uid = '{answer.headers['Decision-Id']}' AND resource_id = '{ana}'"
            assert await house.count(f"audit_record WHERE {recorded}") == 1
        for answer in (read, listed):
            recorded = f"uid = '{answer.headers['Decision-Id']}' AND returned = '{{{ana}}}'"
            assert await house.count(f"audit_record WHERE {recorded}") == 1
    assert (await ask(running, "lea", "GET", "/v1/people/me", **scopes)).json()["id"] == lea
    token = running.token(sub="auth0|lea", **scopes)
    headers = {"If-Match": '"2"', "Content-Type": "application/merge-patch+json"}
    changed = await running.send("PATCH", "/v1/people/me", token, body={"display_name": "Lea Berg"}, headers=headers)
    assert (changed.json()["id"], changed.json()["display_name"]) == (lea, "Lea Berg"), changed.text
    log = await ask(running, "lea", "GET", "/v1/audit/records?limit=200", scope="read:audit", roles=["auditor"])
    assert ana in log.text
    assert "@example.com" not in log.text.lower()


@pytest.mark.parametrize("place", ["people/me", "people/shared@example.com", "teams/Shared"])
async def test_a_caller_who_has_another_person_or_team_of_an_address_is_sent_the_present_one(
    house: House, running: InProcess, place: str
) -> None:
    rows = {"people": ("person", "email", "ana", "lea"), "teams": ("team", "name", "east", "west")}
    kind, _, text = place.partition("/")
    table, column, *names = rows[kind]
    tag = '"0"'
    for name in names:
        known = (house.people | house.teams)[name]
        if text != "me":
            # Both get it as their first change, so they have the same version in turn.
            await house.owner.execute(f"UPDATE {table} SET {column} = id::text WHERE {column} = $1", text)
            await house.owner.execute(f"UPDATE {table} SET {column} = $2 WHERE id = $1", known, text)
        token = running.token(sub=f"auth0|{name}", scope="manage:directory", roles=["administrator"])
        read = await running.send("GET", f"/v1/{place}", token, headers={"If-None-Match": tag})
        assert (read.status_code, read.json().get("id")) == (200, str(known)), read.text
        tag = read.headers["ETag"]
        assert (await running.send("GET", f"/v1/{place}", token, headers={"If-None-Match": tag})).status_code == 304
        # If-Match asks for the version.
        assert tag.startswith(f'"{await house.owner.fetchval(f"SELECT version FROM {table} WHERE id = $1", known)}-')


async def test_a_stored_response_is_about_the_person_whom_the_path_named(house: House, running: InProcess) -> None:
    token = running.token(sub="auth0|adam", scope="manage:directory", roles=["administrator"])
    headers = {"If-Match": '"2"', "Content-Type": "application/merge-patch+json", "Idempotency-Key": "once"}
    for replayed in (False, True):
        answer = await running.send("PATCH", "/v1/people/ana@example.com", token, body={}, headers=headers)
        assert (answer.status_code, "Idempotent-Replayed" in answer.headers) == (200, replayed), answer.text
    assert await house.owner.fetchval("SELECT resources FROM kept_answer") == [house.people["ana"]]


async def test_a_path_that_names_nobody_names_the_field_after_the_decision(house: House, running: InProcess) -> None:
    unknown = "/v1/people/nobody@example.com"
    for method, path, body in (
        ("GET", unknown, None),
        ("GET", f"{unknown}/roles", None),
        ("POST", f"{unknown}/roles", {"role": "auditor"}),
        ("POST", f"{unknown}/links", {"links": [{"issuer": "x", "subject": "y"}]}),
        ("POST", f"{unknown}/merge", {"into": str(house.people["ana"])}),
        ("DELETE", f"{unknown}/roles/auditor", None),
    ):
        answer = await administer(running, method, path, body)
        assert answer.json()["fields"] == [{"field": "path.person_id", "message": "names no person in the directory"}]
        assert answer.json()["decision_id"] == answer.headers["Decision-Id"]
        # Callers who may not read the directory are refused alike, about any person.
        refused = [
            await ask(
                running, "lea", method, path.replace("nobody@example.com", person), body, scope="manage:directory"
            )
            for person in ("nobody@example.com", "ana@example.com")
        ]
        assert [answer.status_code for answer in refused] == [403, 403]
    machine = running.token(sub="job", client_id="job", scope="manage:directory", roles=["administrator"])
    answer = await running.send("GET", "/v1/people/me", machine)
    assert answer.json()["fields"][0]["message"].startswith("`me` is a person"), answer.text
    answer = await administer(running, "GET", "/v1/people/Ana")
    assert answer.json()["fields"][0]["field"] == "path.person_id"


async def test_a_merge_a_delegation_and_a_revocation_take_references(house: House, running: InProcess) -> None:
    ana, lea = str(house.people["ana"]), str(house.people["lea"])
    made = await administer(running, "POST", "/v1/people", {"display_name": "Ana, again", "email": "ana2@example.com"})
    same = await administer(running, "POST", "/v1/people/ana@example.com/merge", {"into": {"email": "Ana@example.com"}})
    assert same.json()["fields"] == [{"field": "into", "message": "must be another person"}]
    nobody = await administer(running, "POST", "/v1/people/ana2@example.com/merge", {"into": "nobody@example.com"})
    assert nobody.json()["fields"] == [{"field": "into", "message": "names no person in the directory"}]
    merged = await administer(running, "POST", "/v1/people/ana2@example.com/merge", {"into": "ana@example.com"})
    assert merged.json()["id"] == ana, merged.text
    old = await administer(running, "GET", f"/v1/people/{made.json()['id']}?names=true")
    assert (old.json()["merged_into"], old.json()["names"]) == (ana, {ana: "Ana Lima"})

    for delegator in ("me", "lea@example.com", lea, {"email": "lea@example.com"}):
        body = {"delegate": "ana@example.com", "delegator": delegator}
        granted = await ask(running, "lea", "POST", "/v1/delegations", body, roles=["manager"])
        assert (granted.json()["delegator"], granted.json()["delegate"]) == (lea, ana), granted.text
        ended = await ask(running, "lea", "POST", f"/v1/delegations/{granted.json()['id']}/end", {}, roles=["manager"])
        assert ended.status_code == 200, ended.text
    # Nobody learns by whose name they may not grant a delegation who is in the directory.
    others = [
        await ask(running, "lea", "POST", "/v1/delegations", {"delegate": lea, "delegator": who})
        for who in ("ana@example.com", "nobody@example.com", str(uuid4()))
    ]
    assert len({(answer.status_code, answer.json()["detail"]) for answer in others}) == 1, others[0].text

    for person in ("ana@example.com", {"email": "ana@example.com"}):
        for scope, status in (("manage:tokens", 422), ("manage:tokens manage:directory", 201)):
            claims = {"scope": scope, "roles": ["administrator"]}
            revoked = await ask(running, "adam", "POST", "/v1/revocations", {"person": person}, **claims)
            assert revoked.status_code == status, revoked.text
            if status == 201:
                assert revoked.json()["person"] == ana
            else:
                message = "must be an id, because you may not read the directory"
                assert revoked.json()["fields"] == [{"field": "person", "message": message}]


async def test_teams_are_named_by_id_or_name_everywhere(house: House, running: InProcess) -> None:
    east, west = str(house.teams["east"]), str(house.teams["west"])
    sheet = await house.submit_week("ana")
    span = f"since={MONDAY}&until={MONDAY + timedelta(days=6)}"
    for team in (east, "east", "division"):
        assert await list_sheets(running, "lea", "ana@example.com", f"&team={team}") == [str(sheet.id)]
        report = await ask(running, "lea", "GET", f"/v1/reports/hours?by=day&{span}&team={team}")
        assert report.json()["sheets"] == 1, report.text
    assert await list_sheets(running, "lea", "ana@example.com", "&team=west") == []
    members = await administer(running, "GET", "/v1/memberships?team=east&names=true")
    assert {item["names"][item["team"]] for item in members.json()["items"]} == {"east"}

    joined = await administer(
        running, "POST", "/v1/memberships", {"person": "ana@example.com", "team": "west", "part": "lead"}
    )
    assert joined.json()["team"] == west, joined.text
    moved = await administer(running, "POST", f"/v1/memberships/{joined.json()['id']}/move", {"team": "east"})
    assert moved.json()["team"] == east, moved.text
    for path, body in (
        ("/v1/importer-grants", {"client": "job", "team": "west"}),
        ("/v1/fallback-approvers", {"person": "ana@example.com", "team": "west"}),
    ):
        assert (await administer(running, "POST", path, body)).json()["team"] == west
    made = await administer(running, "POST", "/v1/teams?names=true", {"name": "west/coast", "parent": "west"})
    assert (made.json()["parent"], made.json()["names"]) == (west, {west: "west"}), made.text
    read = await administer(running, "GET", "/v1/teams/west?names=true")
    assert read.json()["names"] == {str(house.teams["division"]): "division"}
    token = running.token(sub="auth0|adam", scope="manage:directory", roles=["administrator"])
    renamed = await running.send(
        "PUT",
        "/v1/teams/west",
        token,
        body={"name": "West", "parent": "east"},
        headers={"If-Match": read.headers["ETag"]},
    )
    assert (renamed.json()["id"], renamed.json()["parent"]) == (west, east), renamed.text
    recorded = f"uid = '{renamed.headers['Decision-Id']}' AND resource_id = '{west}'"
    assert await house.count(f"audit_record WHERE {recorded}") == 1
    listed = await administer(running, "GET", "/v1/teams?names=true&fields=parent")
    assert {"parent": west, "names": {west: "West"}} in listed.json()["items"]


async def test_an_unknown_team_is_named_with_the_nearest_to_readers_of_the_directory_alone(
    house: House, running: InProcess
) -> None:
    wrong = [{"field": "query.team", "message": "names no team in the directory; did you mean 'west'?"}]
    told = await ask(running, "lea", "GET", "/v1/timesheets?team=wset", roles=["manager"])
    assert told.json()["fields"] == wrong
    await house.submit_week("carl")
    for name in ("lea", "lea", "ana"):
        for team in ("wset", "west", str(uuid4())):
            found = await ask(running, name, "GET", f"/v1/timesheets?team={team}")
            assert (found.status_code, found.json()["items"]) == (200, []), found.text
    for method, path, body, field in (
        ("GET", "/v1/memberships?team=wset", None, "query.team"),
        ("GET", "/v1/teams/wset", None, "path.team_id"),
        ("POST", "/v1/memberships", {"person": "me", "team": "wset", "part": "lead"}, "team"),
        ("POST", "/v1/importer-grants", {"client": "job", "team": "wset"}, "team"),
        ("POST", "/v1/fallback-approvers", {"person": "me", "team": "wset"}, "team"),
        ("POST", "/v1/teams", {"name": "new", "parent": "wset"}, "parent"),
    ):
        answer = await administer(running, method, path, body)
        assert answer.json()["fields"] == [{**wrong[0], "field": field}], answer.text


async def test_a_name_of_a_team_filters_only_for_callers_who_may_know_the_team(
    house: House, running: InProcess
) -> None:
    """To everybody else, it is a name that no team has. An id goes on to filter the sheets that they may read."""
    admin = house.administrator()
    inner = (await house.directory.add_team(admin, "inner", house.teams["east"])).value.id
    await house.directory.add_membership(admin, house.people["lea"], inner, Part.MEMBER)
    for name, team in (("pia", None), ("dora", None), ("bob", inner), ("gus", house.teams["west"])):
        signed_in = await People(house.requests, house.log).person_for(speaking(running.issuer, f"auth0|{name}"))
        house.people[name] = signed_in
        if team is not None:
            await house.directory.add_membership(admin, signed_in, team, Part.MEMBER)
    lead = (await house.directory.add_membership(admin, house.people["dora"], house.teams["division"], Part.LEAD)).value
    teams = {**house.teams, "inner": inner}
    for name in ("ana", "carl", "lea"):
        sheet = await house.submit_week(name)
        await house.owner.execute("UPDATE timesheet SET state = 'approved' WHERE id = $1", sheet.id)
    by_id = {"division": 3, "east": 2, "west": 1, "inner": 1}
    span = f"since={MONDAY}&until={MONDAY}"

    async def find(who: str, team: object, **claims: Any) -> tuple[int, int, int]:
        """The sheets of a list, of its totals, and of a report."""
        listed = await ask(running, who, "GET", f"/v1/timesheets?totals=true&team={team}", **claims)
        report = await ask(running, who, "GET", f"/v1/reports/hours?by=week&{span}&team={team}", **claims)
        assert (listed.status_code, report.status_code) == (200, 200), listed.text
        return len(listed.json()["items"]), listed.json()["totals"]["sheets"], report.json()["sheets"]

    # All of them read every approved sheet, by the role of payroll.
    for who, known in (
        ("pia", set()),
        ("ana", {"east", "division"}),
        ("bob", {"inner", "east", "division"}),
        ("gus", {"west", "division"}),
        ("dora", {"division", "east", "west", "inner"}),
    ):
        for name, sheets in by_id.items():
            # Again, once the caller is remembered.
            for _ in range(2):
                assert await find(who, teams[name], roles=["payroll"]) == (sheets,) * 3
                expected = sheets if name in known else 0
                assert await find(who, name, roles=["payroll"]) == (expected,) * 3, (who, name)
        assert await find(who, "Nowhere", roles=["payroll"]) == (0, 0, 0)
    # Readers of the directory may know every team.
    assert await find("pia", "west", roles=["payroll", "manager"]) == (1, 1, 1)
    await house.directory.end_membership(admin, lead.id)
    assert await find("dora", "division", roles=["payroll"]) == (0, 0, 0)


async def test_people_are_found_by_the_beginnings_of_the_words_of_their_names(house: House, running: InProcess) -> None:
    admin = house.administrator()
    made: dict[str, UUID] = {}
    for name in ("Zoë Ünal", "Zora O'Brien-Müller", "Brienna Zett", "100% Sure_Thing"):
        made[name] = (await house.directory.add_person(admin, name, None)).value.id
    for query, expected in (
        ("zo", {"Zoë Ünal", "Zora O'Brien-Müller"}),
        ("ÜNAL zoë", {"Zoë Ünal"}),
        ("brien z", {"Zora O'Brien-Müller", "Brienna Zett"}),
        ("o'brien müll", {"Zora O'Brien-Müller"}),
        ("unal", set()),
        ("' | 'zora", {"Zora O'Brien-Müller"}),
        ("zo:*", {"Zoë Ünal", "Zora O'Brien-Müller"}),
        ("100%", {"100% Sure_Thing"}),
    ):
        answer = await administer(running, "GET", f"/v1/people?name={quote(query)}")
        assert {person["display_name"] for person in answer.json()["items"]} == expected, query
        assert {person["id"] for person in answer.json()["items"]} == {str(made[name]) for name in expected}
    for wrong in ("", "%&|", " ".join("abcdefghijk"), "x\x00"):
        answer = await administer(running, "GET", f"/v1/people?name={quote(wrong)}")
        assert answer.json()["fields"][0]["field"] == "query.name", answer.text
    refused = await ask(running, "ana", "GET", "/v1/people?name=zo")
    assert refused.status_code == 403


async def test_a_team_is_found_by_an_index_and_suggested_only_where_teams_are_few(house: House) -> None:
    await house.owner.execute(
        "INSERT INTO team (id, name) SELECT gen_random_uuid(), 'Team ' || n FROM generate_series(1, 5000) AS n"
    )
    await house.owner.execute("ANALYZE team")
    plan = await house.owner.fetch("EXPLAIN SELECT id FROM team WHERE name = $1", "Team 77")
    assert any("team_name_key" in row[0] for row in plan)
    assert await find_team(house.owner, "Team 77", "team") is not None
    with pytest.raises(InvalidField) as wrong:
        await find_team(house.owner, "Taem 77", "team")
    assert [(field.field, field.message) for field in wrong.value.fields] == [
        ("team", "names no team in the directory")
    ]


async def test_a_search_by_name_reads_an_index(house: House) -> None:
    await house.owner.execute(
        "INSERT INTO person (id, display_name) SELECT gen_random_uuid(), 'Name' || n || ' Family' || n % 97"
        " FROM generate_series(1, 5000) AS n"
    )
    await house.owner.execute("ANALYZE person")
    plan = await house.owner.fetch(
        "EXPLAIN SELECT id FROM (SELECT * FROM person WHERE display_name IS NOT NULL AND"
        " to_tsvector('simple', display_name) @@ to_tsquery('simple', $1)) AS r ORDER BY id LIMIT 51",
        "'name77':* & 'family':*",
    )
    assert any("person_name" in row[0] for row in plan)
