"""Queries of the log over HTTP: people, names, histories of sheets, pages, and the records of accesses."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import UUID

import pytest

from service.directory.entities import Link
from service.errors import NotFound
from service.log.packing import unpack
from tests.integration.api import InProcess, api
from tests.integration.house import EIGHT_HOURS, MONDAY, at

if TYPE_CHECKING:
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]


async def get_json(running: InProcess, path: str, status: int = 200) -> Any:
    token = running.token(sub="auth0|audrey", scope="read:audit", roles=["auditor"])
    answer = await running.send("GET", path, token)
    assert answer.status_code == status, answer.text
    return answer.json()


async def get_ids(running: InProcess, path: str) -> list[str]:
    return [item["id"] for item in (await get_json(running, path))["items"]]


async def test_a_person_is_found_by_id_subject_or_address(house: House, running: InProcess) -> None:
    person = (
        await house.directory.add_person(
            house.administrator(), "Eve", "Eve@example.com", [Link(running.issuer, "auth0|eve")]
        )
    ).value
    await running.send("GET", "/v1/me", running.token(sub="auth0|eve"))
    wanted = await get_ids(running, f"/v1/decisions?person={person.id}")
    assert len(wanted) == 1
    link = f"issuer={quote(running.issuer)}&subject={quote('auth0|eve')}"
    assert await get_ids(running, f"/v1/decisions?{link}") == wanted
    assert await get_ids(running, "/v1/decisions?email=eve@example.COM") == wanted
    (found,) = (await get_json(running, f"/v1/decisions?person={person.id}&names=true"))["items"]
    assert found["names"] == {str(person.id): "Eve"}


@pytest.mark.usefixtures("house")
async def test_the_records_of_a_request_are_found_whoever_made_its_id(running: InProcess) -> None:
    token = running.token(sub="auth0|audrey", scope="read:audit", roles=["auditor"])
    made = [(await running.send("GET", "/v1/me", token)).headers for _ in range(20)]
    chosen = ["7f1c0a52-9d3e-4b6a-8f00-5c2d1e9a4b77", "018f0000-0000-7000-8000-00000000000b"]
    made += [(await running.send("GET", "/v1/me", token, headers={"X-Request-Id": uid})).headers for uid in chosen]
    for headers in made:
        assert await get_ids(running, f"/v1/decisions?request_id={headers['X-Request-Id']}") == [headers["Decision-Id"]]
    # Their ids begin alike unless a quarter of a second ends in between, so the index of request ids leaves them out.
    assert sum(headers["X-Request-Id"][:11] == headers["Decision-Id"][:11] for headers in made) > 10


NOBODY = "018f0000-0000-7000-8000-00000000000a"


@pytest.mark.parametrize(
    ("query", "field", "hint"),
    [
        ("email=evee@example.com", "query.email", "is not a person's address; did you mean 'eve@example.com'?"),
        ("email=zz@far.example", "query.email", "is not a person's address; "),
        (f"person={NOBODY}", "query.person", "is not a person's id in the directory or in a record"),
        (f"owner={NOBODY}", "query.owner", "is not a person's id in the directory or in a record"),
        (f"on_behalf_of={NOBODY}", "query.on_behalf_of", "is not a person's id in the directory or in a record"),
        ("person=evee@example.com", "query.person", "is not a person's address; did you mean 'eve@example.com'?"),
        ("owner={issuer}%23auth0|evee", "query.owner", "is not a person's subject at the issuer {issuer}; "),
        ("person=Adam Stranger", "query.person", "is not the name of a person in the directory; "),
        ("owner=E", "query.owner", "names several people; give an id: Eve ("),
        ("owner=eve@example.com&week=2026-03-04", "query.week", "has no timesheet of this person, and had none"),
        ("issuer={issuer}&subject=auth0|evee", "query.subject", "is not a person's subject at the issuer {issuer}; "),
        ("issuer={issuer}x&subject=auth0|eve", "query.issuer", "is not a known issuer; did you mean '{issuer}'?"),
        ("rule=aprove-team", "query.rule", "is not a rule of any version; did you mean 'approve-team'?"),
        ("client=hours-ap", "query.client", "is not a client of any record; did you mean 'hours-app'?"),
        ("policy_version=7", "query.policy_version", "is not a version; the newest is 1"),
    ],
)
async def test_a_filter_with_an_unknown_value_is_refused(
    house: House, running: InProcess, query: str, field: str, hint: str
) -> None:
    eve = [Link(running.issuer, "auth0|eve")]
    await house.directory.add_person(house.administrator(), "Eve", "Eve@example.com", eve)
    await house.directory.add_person(house.administrator(), "Evelyn Stone", None)
    await house.timesheets.create(house.caller("ana"), MONDAY, "UTC")
    query, hint = query.format(issuer=running.issuer), hint.format(issuer=running.issuer)
    for path in ("decisions", "audit/records", "decisions/summary"):
        problem = await get_json(running, f"/v1/{path}?{quote(query, safe='=&%')}", 422)
        assert [item["field"] for item in problem["fields"]] == [field]
        assert problem["fields"][0]["message"].startswith(hint)
        # Callers who may not read the log do not learn who is known.
        stranger = running.token(sub="auth0|eve", scope="read:audit")
        answer = await running.send("GET", f"/v1/{path}?{quote(query, safe='=&%')}", stranger)
        assert answer.status_code == 403
        assert "did you mean" not in answer.text


async def test_people_are_named_in_every_way_and_a_sheet_by_its_owner_and_week(
    house: House, running: InProcess
) -> None:
    admin, ana = house.administrator(), house.people["ana"]
    await house.directory.amend_person(admin, ana, {"display_name": "Ana Lima", "email": "ana@example.com"})
    await house.directory.link_person(admin, ana, [Link(running.issuer, "auth0|ana-2")])
    await house.directory.add_person(admin, "Ana Lima-Santos", None)
    caller, weeks = house.caller("ana"), [MONDAY + timedelta(days=7 * week) for week in range(2)]
    sheets = [(await house.timesheets.create(caller, week, "UTC")).value for week in weeks]
    gone = (await house.timesheets.create(caller, weeks[1] + timedelta(days=7), "UTC")).value
    await house.timesheets.delete(caller, gone.id, at(1))
    # An exact name wins over one that begins with it.
    for given in (str(ana), "ana@EXAMPLE.com", f"{running.issuer}#auth0|ana-2", "ana lima"):
        for parameter in ("owner", "person"):
            found = await get_ids(running, f"/v1/audit/records?{parameter}={quote(given)}&kind=change")
            assert len(found) == 4
        for sheet, records in ((sheets[0], 1), (sheets[1], 1), (gone, 2)):
            day = sheet.period_start + timedelta(days=3)
            query = f"owner={quote(given)}&week={day}&kind=change"
            page = (await get_json(running, f"/v1/audit/records?{query}"))["items"]
            assert {record["record"]["resource"]["id"] for record in page} == {str(sheet.id)}
            assert len(page) == records
    problem = await get_json(running, "/v1/decisions?week=2026-03-02", 422)
    assert problem["fields"][0]["field"] == "query.owner"
    # Neither names nor addresses are recorded, but whom the search was about.
    accesses = [
        unpack(row["body"]) for row in await house.owner.fetch("SELECT body FROM audit_record WHERE kind = 'access'")
    ]
    assert not any(word in body.lower() for body in accesses for word in (b"lima", b"example.com", b"auth0"))
    questions = [json.loads(body)["question"] for body in accesses]
    assert {question.get("owner_by") for question in questions} == {None, "email", "subject", "name"}
    assert all(str(sheets[0].id) in str(body) for body in accesses if b'"week":"2026-03-02"' in body)


async def test_people_rules_and_clients_without_records_are_known(house: House, running: InProcess) -> None:
    person = (await house.directory.add_person(house.administrator(), "Eve", "eve@example.com")).value.id
    await house.owner.execute(
        "INSERT INTO importer_grant (id, client_id, team_id, valid_from)"
        " VALUES (gen_random_uuid(), 'new-job', $1, now())",
        house.teams["west"],
    )
    for query in (f"person={person}", "email=eve@example.com", "rule=unlock-payroll", "client=new-job"):
        assert await get_ids(running, f"/v1/decisions?{query}") == []
    await house.erasure.erase(house.administrator(), person)
    assert await get_ids(running, f"/v1/decisions?person={person}") == []


async def test_addresses_and_subjects_in_queries_are_not_recorded(house: House, running: InProcess) -> None:
    link = [Link(running.issuer, "auth0|eve")]
    person = (await house.directory.add_person(house.administrator(), "Eve", "eve@example.com", link)).value
    await get_json(running, "/v1/decisions?email=eve@example.com")
    await get_json(running, f"/v1/decisions?issuer={quote(running.issuer)}&subject=auth0|eve")
    # Neither are addresses and subjects that no person has.
    await get_json(running, "/v1/decisions?email=evee@example.com", 422)
    await get_json(running, f"/v1/decisions?issuer={quote(running.issuer)}&subject=auth0|evee", 422)
    bodies = [
        unpack(row["body"]) for row in await house.owner.fetch("SELECT body FROM audit_record WHERE kind = 'access'")
    ]
    assert len(bodies) == 4
    assert not any(b"eve" in body for body in bodies)
    found = await get_json(running, f"/v1/audit/records?resource={person.id}&kind=access")
    assert len(found["items"]) == 2


async def test_a_search_records_its_query_and_commits_to_free_text(house: House, running: InProcess) -> None:
    ana = str(house.people["ana"])
    described = {"display_name": "Ana", "email": "ana@example.com"}
    await house.directory.amend_person(house.administrator(), house.people["ana"], described)
    await get_json(
        running, f"/v1/audit/records?person={ana}&action=approve&request_id=Ana+Lima&kind=decision&applied=true"
    )
    await get_json(running, "/v1/decisions/summary?email=ana@example.com&outcome=deny")
    rows = await house.owner.fetch("SELECT uid, body FROM audit_record WHERE kind = 'access' ORDER BY id")
    first, second = (json.loads(unpack(row["body"])) for row in rows)
    assert first["question"] == {"person": ana, "action": "approve", "applied": True, "kinds": ["decision"]}
    assert second["question"].items() >= {"person_by": "email", "outcome": "deny"}.items()
    assert set(second["question"]) == {"person_by", "outcome", "kinds", "since", "until"}
    assert not any(word in unpack(row["body"]) for row in rows for word in (b"Lima", b"example.com"))
    shown = await get_json(running, f"/v1/audit/records/{rows[0]['uid']}")
    assert shown["texts"] == {"request_id": "Ana Lima"}


@pytest.mark.parametrize(
    ("query", "field", "hint"),
    [
        ("action=aprove", "query.action", "is not an action; did you mean 'approve'?"),
        ("resource_kind=timesheets", "query.resource_kind", "is not a resource kind; did you mean 'timesheet'?"),
        ("reason=norule", "query.reason", "is not a reason; did you mean 'no-rule'?"),
        ("kind=changes", "query.kind", "must be one of decision, change, policy, directory, access, system"),
        ("action=xyzzy", "query.action", "is not an action"),
    ],
)
async def test_a_misspelt_word_is_refused_with_a_suggestion(
    common: InProcess, query: str, field: str, hint: str
) -> None:
    (found,) = (await get_json(common, f"/v1/audit/records?{query}", 422))["fields"]
    assert (found["field"], found["message"]) == (field, hint)


async def test_the_history_of_a_deleted_sheet_is_kept(house: House, running: InProcess) -> None:
    ana, mia = house.caller("ana"), house.caller("mia")
    sheet = (await house.timesheets.create(ana, MONDAY, "UTC")).value.id
    edited = (await house.timesheets.add_entry(ana, sheet, at(1), EIGHT_HOURS)).value.sheet
    await house.timesheets.submit(ana, sheet, at(edited.version))
    await house.timesheets.reject(mia, sheet, at(3), "Friday is missing")
    await house.timesheets.delete(ana, sheet, at(4))
    path = f"/v1/timesheets/{sheet}/history"
    story = (await get_json(running, path))["items"]
    changes = [record for record in story if record["kind"] == "change"]
    actions = [change["record"]["action"] for change in changes]
    assert actions == ["create", "edit", "submit", "reject", "delete"]
    assert len(story) == 10
    assert changes[3]["texts"] == {"reason": "Friday is missing"}
    assert (changes[2]["record"]["change"]["from"]["state"], changes[2]["record"]["change"]["to"]["state"]) == (
        "draft",
        "submitted",
    )
    backwards = await get_ids(running, f"{path}?order=newest")
    assert backwards == [record["id"] for record in reversed(story)]
    only = (await get_json(running, f"{path}?kind=change&limit=2"))["items"]
    assert [record["id"] for record in only] == [change["id"] for change in changes[:2]]
    seen = (await get_json(running, f"/v1/audit/records?resource={sheet}&kind=access"))["items"]
    assert [item["record"]["request"]["route"] for item in seen] == ["/v1/timesheets/{timesheet_id}/history"] * 3


async def test_a_history_without_records_is_not_found(house: House, running: InProcess) -> None:
    sheet = (await house.timesheets.create(house.caller("ana"), MONDAY, "UTC")).value.id
    assert len(await get_ids(running, f"/v1/timesheets/{sheet}/history?kind=change")) == 1
    problem = await get_json(running, f"/v1/timesheets/{NOBODY}/history", 404)
    assert problem["detail"].startswith("No record of this timesheet")
    # After the first request the log has a record of that access, but no change of the sheet.
    with pytest.raises(NotFound):
        await house.timesheets.read(house.caller("ana"), UUID(NOBODY))
    assert len(await get_ids(running, f"/v1/timesheets/{NOBODY}/history")) == 1
    assert await get_ids(running, f"/v1/timesheets/{NOBODY}/history?kind=change") == []


async def test_pages_continue_where_the_last_one_ended(house: House, running: InProcess) -> None:
    wanted = await get_ids(running, "/v1/audit/records?kind=directory&limit=200")
    found: list[str] = []
    following: str | None = ""
    while following is not None:
        page = await get_json(running, f"/v1/audit/records?kind=directory&limit=4{following and '&cursor='}{following}")
        found += [item["id"] for item in page["items"]]
        following = page["next_cursor"]
    assert found == wanted
    assert len(found) > 10


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("decisions?issuer=x", "query.subject"),
        ("decisions?subject=ana", "query.issuer"),
        ("decisions?person=ana", "query.person"),
        ("decisions?email=a@b.c&person=018f0000-0000-7000-8000-00000000000a", "query.email"),
        ("decisions?owner=ana", "query.owner"),
        ("decisions?applied=perhaps", "query.applied"),
        ("decisions?kind=change", "query.kind"),
        ("decisions?colour=red", "query.colour"),
        ("decisions?asked=x", "query.asked"),
        ("decisions?client=%00", "query.client"),
        ("decisions?since=2026-03-02T00:00:00Z&until=2026-03-02T00:00:00Z", "query.until"),
        ("decisions?person=018f0000-0000-7000-8000-00000000000a&person=x", "query.person"),
        ("decisions/summary?since=2026-01-01T00:00:00Z&until=2026-06-01T00:00:00Z", "query.since"),
        ("decisions/summary?since=2999-01-01T00:00:00Z", "query.since"),
        ("audit/records?kind=gossip", "query.kind"),
        ("audit/records?kind=policy&after_approval=true", "query.kind"),
        ("audit/records?cursor=AAAA", "query.cursor"),
        ("timesheets/018f0000-0000-7000-8000-00000000000a/history?order=best", "query.order"),
        ("timesheets/018f0000-0000-7000-8000-00000000000a/history?kind=policy", "query.kind"),
        ("timesheets/7/history", "path.timesheet_id"),
        ("audit/records/7", "path.record_id"),
    ],
)
async def test_an_invalid_query_names_the_field(common: InProcess, query: str, field: str) -> None:
    problem = await get_json(common, f"/v1/{query}", 422)
    assert problem["type"] == "urn:timewarden:problem:invalid-field"
    assert [item["field"] for item in problem["fields"]] == [field]


async def test_a_cursor_belongs_to_its_query(running: InProcess) -> None:
    cursor = (await get_json(running, "/v1/audit/records?limit=1"))["next_cursor"]
    forged = cursor[:-2] + ("AA" if cursor[-2:] != "AA" else "BB")
    for path in (
        f"/v1/audit/records?limit=1&kind=access&cursor={cursor}",
        f"/v1/audit/records?limit=1&client=x&cursor={cursor}",
        f"/v1/decisions?limit=1&cursor={cursor}",
        f"/v1/audit/records?limit=1&cursor={forged}",
    ):
        problem = await get_json(running, path, 422)
        assert [field["field"] for field in problem["fields"]] == ["query.cursor"]


async def test_counting_is_recorded_as_an_access(house: House, running: InProcess) -> None:
    await running.send("GET", "/v1/me", running.token())
    since = quote((datetime.now(UTC) - timedelta(hours=1)).isoformat())
    before = await house.count("audit_record WHERE kind = 'access'")
    counted = await get_json(running, f"/v1/decisions/summary?since={since}")
    assert counted["total"] == sum(counted["outcome"].values()) > 0
    assert await house.count("audit_record WHERE kind = 'access'") == before + 1
    missing = await get_json(running, f"/v1/audit/records/{house.people['ana']}", 404)
    assert await house.count("audit_record WHERE kind = 'access'") == before + 2
    assert missing["decision_id"]


async def test_a_period_before_the_year_1_is_refused(running: InProcess) -> None:
    assert (await get_json(running, "/v1/decisions/summary?until=0001-01-02T00:00:00Z"))["total"] == 0


async def test_a_query_that_takes_too_long_says_how_to_narrow_it(house: House, issuer: str) -> None:
    async with api(house, issuer, database_timeout=1.5) as hurried, house.owner.transaction():
        # Reads of the log wait for this lock until the statement timeout.
        await house.owner.execute("LOCK TABLE audit_position IN ACCESS EXCLUSIVE MODE")
        token = hurried.token(sub="auth0|audrey", scope="read:audit", roles=["auditor"])
        answer = await hurried.send("GET", "/v1/decisions", token)
    assert answer.status_code == 422, answer.text
    assert answer.json()["type"] == "urn:timewarden:problem:query-too-broad"
    assert answer.headers["Decision-Id"]


async def test_a_search_by_week_finds_the_request_that_created_the_timesheet_as_its_history_does(
    house: House, running: InProcess
) -> None:
    caller, ana = house.caller("ana"), house.people["ana"]
    sheet = (await house.timesheets.create(caller, MONDAY, "UTC")).value
    await house.timesheets.create(caller, MONDAY + timedelta(days=7), "UTC")
    history = await get_ids(running, f"/v1/timesheets/{sheet.id}/history?kind=decision")
    found = await get_ids(running, f"/v1/decisions?owner={ana}&week={MONDAY}&action=create")
    assert len(found) == 1
    assert set(found) <= set(history)
    assert (await get_json(running, f"/v1/decisions/summary?owner={ana}&week={MONDAY}&action=create"))["total"] == 1


async def test_a_record_about_two_timesheets_of_a_week_is_found_once(house: House, running: InProcess) -> None:
    caller, ana = house.caller("ana"), house.people["ana"]
    gone = (await house.timesheets.create(caller, MONDAY, "UTC")).value
    await house.timesheets.delete(caller, gone.id, at(1))
    await house.timesheets.create(caller, MONDAY, "UTC")
    query = f"owner={ana}&week={MONDAY}"
    # The record of each search names both.
    for _ in range(2):
        await get_ids(running, f"/v1/decisions?{query}")
    for path in ("decisions", "audit/records"):
        found: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = await get_json(running, f"/v1/{path}?{query}&limit=3{cursor}")
            found += [item["id"] for item in page["items"]]
            cursor = None if page["next_cursor"] is None else f"&cursor={page['next_cursor']}"
        assert len(found) == len(set(found))
        assert len(found) >= 3
    totals = [(await get_json(running, f"/v1/decisions/summary?{query}"))["total"] for _ in range(2)]
    # The second summary counts the first.
    assert totals[1] == totals[0] + 1
