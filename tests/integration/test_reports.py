"""Reports: over random organisations and random policies the totals are the sum of what single reads allow; over HTTP
they are bounded, recorded sheet by sheet, and as CSV harmless."""

from __future__ import annotations

import csv
import io
from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.authorization.enforcement import gate
from service.authorization.enforcement.decision_point import Resource, evaluate
from service.authorization.enforcement.visibility import visible
from service.directory.entities import Part
from service.directory.people import People
from service.identity.principal import PrincipalKind
from service.log.record import read_body
from service.timesheets import reports, reports_store
from service.timesheets.listing import Filters
from service.timesheets.relations import TIMESHEET_FACTS
from service.timesheets.reports_store import GroupBy, Span
from service.timesheets.timesheet import State
from tests.example_count import example_count
from tests.integration.api import InProcess, api
from tests.integration.house import MONDAY, principal, speaking
from tests.integration.random_organisation import settle
from tests.integration.test_list_law import Row, World, askers, expect_ids, policies, policy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    import httpx2

    from tests.integration.house import House
    from tests.integration.test_list_law import Asker

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
SINCE, UNTIL = date(2026, 3, 4), date(2026, 5, 1)
NUMBERS = ["minutes", "sheets", "approvals_given", "approvals_needed", "billable_minutes", "absence_minutes"]
GROUPS: tuple[GroupBy, ...] = get_args(GroupBy)


@pytest.fixture
async def world(house: House) -> World:
    await house.owner.execute("TRUNCATE timesheet, entry, membership, person_role, importer_grant CASCADE")
    await house.owner.execute("UPDATE project SET kind = 'absence' WHERE code = 'zeus'")
    made = World(await settle(house.owner, 7), house.owner, {})
    # Some hours of every day of every week; every third sheet has none.
    await house.owner.execute(
        "INSERT INTO entry (id, timesheet_id, day, project, minutes, activity, billable)"
        " SELECT gen_random_uuid(), id, period_start + day, CASE day % 2 WHEN 0 THEN 'apollo' ELSE 'zeus' END,"
        " 10 * (day + 1) + get_byte(uuid_send(id), 2), CASE day % 3 WHEN 0 THEN 'design' END, day = 4"
        " FROM timesheet, generate_series(0, 6) AS day"
        " WHERE get_byte(uuid_send(id), 1) % 3 > 0"
    )
    person = made.organisation.people[0]
    await made.look(principal(PrincipalKind.USER, "hours-app", frozenset(), frozenset(), person))
    return made


def teams_of_entry(world: World, memberships: list[Any], entry: Any) -> set[Any]:
    """The teams that the hours of an entry belong to."""
    mine = [
        membership for membership in memberships if world.organisation.same(membership["person_id"], entry["owner_id"])
    ]
    first = min((membership["valid_from"] for membership in mine), default=None)
    noon = datetime.combine(entry["day"], time(12), ZoneInfo(entry["time_zone"]))
    return {
        membership["team_id"]
        for membership in mine
        if (membership["ends"] is None or noon < membership["ends"])
        and (membership["valid_from"] <= noon or membership["valid_from"] == first)
    }


@settings(max_examples=example_count(25), suppress_health_check=list(HealthCheck))
@given(
    drawn=policies,
    who=st.lists(askers, min_size=3, max_size=3, unique_by=lambda who: who[0]),
    states=st.lists(st.sampled_from(State), max_size=3, unique=True).map(tuple),
    owner=st.none() | st.integers(0, 13),
    projects=st.sampled_from([(), ("zeus",), ("zeus", "apollo", "x")]),
    team=st.none() | st.integers(0, 3),
    pair=st.tuples(st.sampled_from(GROUPS), st.sampled_from(GROUPS)).filter(lambda pair: pair[0] != pair[1]),
)
async def test_the_totals_of_a_report_are_the_sum_of_what_single_reads_allow(
    world: World,
    drawn: list[Row],
    who: list[Asker],
    states: tuple[State, ...],
    owner: int | None,
    projects: tuple[str, ...],
    team: int | None,
    pair: tuple[GroupBy, GroupBy],
) -> None:
    rules = policy(world, drawn)
    whose = None if owner is None else world.organisation.people[owner]
    below = None if team is None else world.organisation.teams[team % len(world.organisation.teams)]
    wanted = Filters(owner=whose, states=states, since=SINCE, until=UNTIL, team=below)
    of_team = await world.match(wanted)
    memberships = await world.connection.fetch(
        "SELECT *, nullif(valid_to, 'infinity') AS ends FROM membership WHERE part = 'member' AND valid_from < valid_to"
    )
    for asker in map(world.asker, who):
        ambient, one_by_one = await world.look(asker)
        readable = expect_ids(world, rules, asker, one_by_one, wanted) & of_team
        entries = [
            entry
            for entry in await world.connection.fetch(
                "SELECT e.*, r.owner_id, r.period_start, r.time_zone FROM entry AS e"
                " JOIN timesheet AS r ON r.id = e.timesheet_id WHERE e.timesheet_id = ANY($1)",
                list(readable),
            )
            if SINCE <= entry["day"] <= UNTIL and (not projects or entry["project"] in projects)
        ]
        if projects:
            readable &= {entry["timesheet_id"] for entry in entries}
        by: dict[GroupBy, Counter[str | None]] = {group: Counter() for group in GROUPS}
        both: Counter[tuple[str | None, str | None]] = Counter()
        billable, absence = Counter[str | None](), Counter[str | None]()
        for entry in entries:
            keys = keys_of(world, memberships, entry)
            for group in GROUPS:
                for key in keys[group]:
                    by[group][key] += entry["minutes"]
            for key in keys[pair[0]]:
                billable[key] += entry["minutes"] * entry["billable"]
                absence[key] += entry["minutes"] * (entry["project"] == "zeus")
                for then in keys[pair[1]]:
                    both[key, then] += entry["minutes"]
        access_request = evaluate(rules, asker, "read", Resource("timesheet"), ambient).access_request
        shown = visible(rules, access_request, asker, ambient, TIMESHEET_FACTS)
        span = Span(SINCE, UNTIL, states, whose, projects, below)
        found = await reports_store.find_visible_sheets(shown, world.connection, span, 1000)
        assert set(found) == readable
        approvals = await reports_store.load_approvals(shown, world.connection, found)
        whole = await reports_store.sum_all(world.connection, approvals, span)
        assert (whole.minutes, whole.sheets) == (by["person"].total(), len(readable))
        assert (whole.billable, whole.absence) == (
            sum(entry["minutes"] for entry in entries if entry["billable"]),
            sum(entry["minutes"] for entry in entries if entry["project"] == "zeus"),
        )
        for name, expected in by.items():
            totals = await reports_store.sum_by_key(world.connection, approvals, span, name)
            assert {total.key: total.minutes for total in totals if total.minutes} == dict(expected)
            if name == pair[0]:
                assert {total.key: total.billable for total in totals if total.billable} == dict(+billable)
                assert {total.key: total.absence for total in totals if total.absence} == dict(+absence)
        totals = await reports_store.sum_by_key(world.connection, approvals, span, *pair)
        assert {(total.key, total.then): total.minutes for total in totals if total.minutes} == dict(both)


def keys_of(world: World, memberships: list[Any], entry: Any) -> dict[GroupBy, set[str | None]]:
    """The keys under which an entry counts."""
    merged = world.organisation.merged
    return {
        "person": {str(merged.get(entry["owner_id"], entry["owner_id"]))},
        "project": {entry["project"]},
        "week": {str(entry["period_start"])},
        "day": {str(entry["day"])},
        "activity": {entry["activity"]},
        "team": {team and str(team) for team in teams_of_entry(world, memberships, entry) or {None}},
    }


@pytest.fixture
async def running(house: House, issuer: str) -> AsyncIterator[InProcess]:
    async with two_weeks(house, issuer) as started:
        yield started


@pytest.fixture(scope="module")
async def common(common_house: House, issuer: str) -> AsyncIterator[InProcess]:
    async with two_weeks(common_house, issuer) as started:
        yield started


@asynccontextmanager
async def two_weeks(house: House, issuer: str) -> AsyncIterator[InProcess]:
    """Three people with hours in two weeks, and a lead of two of them."""
    people = People(house.requests, house.log)
    house.people["lea"] = await people.person_for(speaking(issuer, "auth0|lea"))
    await house.directory.add_membership(house.administrator(), house.people["lea"], house.teams["east"], Part.LEAD)
    for name in ("ana", "ben", "carl"):
        for week in (0, 1):
            await house.submit_week(name, MONDAY + timedelta(days=7 * week))
    async with api(house, issuer) as started:
        yield started


async def report(running: InProcess, query: str, **headers: str) -> httpx2.Response:
    token = running.token(sub="auth0|lea", scope="read:timesheets")
    return await running.send("GET", f"/v1/reports/hours?{query}", token, headers=headers)


MARCH = "since=2026-03-01&until=2026-03-31"


async def test_a_lead_adds_up_the_hours_of_their_team_and_the_log_names_every_sheet(
    house: House, running: InProcess
) -> None:
    answer = await report(running, f"by=person&{MARCH}")
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["minutes"], told["sheets"]) == (4 * 480, 4)
    wanted = {str(house.people[name]): 2 * 480 for name in ("ana", "ben")}
    assert {item["key"]: item["minutes"] for item in told["items"]} == wanted
    assert await load_returned(house, answer) == await sheets_of(house, "ana", "ben")
    week = (await report(running, "by=week&since=2026-03-09&until=2026-03-09")).json()
    assert [(item["key"], item["minutes"]) for item in week["items"]] == [("2026-03-09", 960)]


async def join_west(house: House, person: UUID, since: datetime, until: datetime) -> None:
    """Make a person a member of the team west for a time."""
    await house.owner.execute(
        "INSERT INTO membership (id, person_id, team_id, part, valid_from, valid_to)"
        " VALUES (gen_random_uuid(), $1, $2, 'member', $3, $4)",
        person,
        house.teams["west"],
        since,
        until,
    )


async def test_hours_stay_with_the_team_in_which_they_were_worked(house: House, running: InProcess) -> None:
    """Ana was in west before; people count in their first team on the days before they joined it."""
    ana, ben, teams = house.people["ana"], house.people["ben"], house.teams
    moved = datetime(2026, 3, 9, tzinfo=UTC)
    await house.owner.execute("UPDATE membership SET valid_from = $2 WHERE person_id = $1", ana, moved)
    await join_west(house, ana, moved - timedelta(days=1), moved)
    east, west = str(teams["east"]), str(teams["west"])
    told = (await report(running, f"by=team&{MARCH}")).json()
    hours = {item["key"]: (item["minutes"], item["sheets"]) for item in told["items"]}
    assert hours == {west: (480, 1), east: (3 * 480, 3)}
    assert told["minutes"] == 4 * 480
    await join_west(house, ben, moved - timedelta(days=1), moved)
    told = (await report(running, f"by=team&{MARCH}")).json()
    hours = {item["key"]: (item["minutes"], item["sheets"]) for item in told["items"]}
    assert hours == {west: (2 * 480, 2), east: (480, 1), None: (480, 1)}


async def test_hours_in_a_zone_that_postgres_does_not_know_any_more_count_as_in_utc(
    house: House, running: InProcess
) -> None:
    """Names of time zones are dropped, such as this one of the United States in 2020. At noon in Tokyo, ana is still in
    the west."""
    ana = house.people["ana"]
    midday = datetime(2026, 3, 9, 12, tzinfo=UTC)
    await house.owner.execute("UPDATE membership SET valid_from = $2 WHERE person_id = $1", ana, midday)
    await join_west(house, ana, midday - timedelta(days=30), midday)
    zones = []
    for zone in ("UTC", "Asia/Tokyo", "US/Pacific-New"):
        await house.owner.execute(
            "UPDATE timesheet SET time_zone = CASE owner_id WHEN $1 THEN $2 ELSE 'Europe/Berlin' END", ana, zone
        )
        zones.append([(await report(running, f"by={keys}&{MARCH}")).json() for keys in ("team", "person&then=team")])
    utc, tokyo, unknown = zones
    assert unknown == utc != tokyo


async def test_a_report_names_only_the_teams_that_the_caller_may_know(house: House, running: InProcess) -> None:
    """The ids of all of them stay, in both forms, and for either key."""
    await house.owner.execute("UPDATE timesheet SET state = 'approved'")
    east, west = str(house.teams["east"]), str(house.teams["west"])
    for name in ("pia", "dora"):
        subject = speaking(running.issuer, f"auth0|{name}")
        house.people[name] = await People(house.requests, house.log).person_for(subject)
    admin, division = house.administrator(), house.teams["division"]
    await house.directory.add_membership(admin, house.people["dora"], division, Part.LEAD)
    for name, roles, known in (
        ("pia", ["payroll"], {}),
        ("lea", ["payroll"], {east: "east"}),
        ("dora", ["payroll"], {east: "east", west: "west"}),
        ("pia", ["payroll", "manager"], {east: "east", west: "west"}),
    ):
        token = running.token(sub=f"auth0|{name}", scope="read:timesheets approve:timesheets", roles=roles)
        for query, key, column in (
            ("by=team", "key", "name"),
            ("by=team&then=person", "key", "name"),
            ("by=person&then=team", "then", "then_name"),
        ):
            for names in ("", "&names=true"):
                path = f"/v1/reports/hours?{query}&{MARCH}{names}"
                items = (await running.send("GET", path, token)).json()["items"]
                expected = {east: known.get(east), west: known.get(west)}
                assert {item[key]: item[column] for item in items} == expected, (name, path)
                file = await running.send("GET", f"{path}&format=csv", token)
                told = "name" if key == "key" else "team_name"
                lines = csv.DictReader(io.StringIO(file.text))
                assert {line["team"]: line[told] or None for line in lines} == expected, (name, path)


async def test_an_activity_has_no_name_though_a_project_has_its_code(house: House, running: InProcess) -> None:
    await house.owner.execute("UPDATE entry SET activity = project")
    told = (await report(running, f"by=project&then=activity&names=true&{MARCH}")).json()["items"]
    assert [(item["then"], item["name"], item["then_name"]) for item in told] == [("apollo", "Project apollo", None)]


async def sheets_of(house: House, *names: str) -> list[str]:
    people = [house.people[name] for name in names]
    rows = await house.owner.fetch("SELECT id FROM timesheet WHERE owner_id = ANY($1) ORDER BY id", people)
    return [str(row["id"]) for row in rows]


async def load_returned(house: House, answer: httpx2.Response) -> list[str]:
    """The ids in the record of an answer, and in those that continue it."""
    uid = answer.headers["Decision-Id"]
    rows = await house.owner.fetch("SELECT body FROM audit_record WHERE action = 'read' ORDER BY id")
    bodies: list[dict[str, Any]] = [dict(read_body(row["body"])) for row in rows]
    return [sheet_id for body in bodies if uid in {body["uid"], body.get("continues")} for sheet_id in body["returned"]]


async def test_more_sheets_than_a_record_holds_stand_in_several_that_name_the_first(
    house: House, running: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "MAX_RETURNED_IDS_PER_RECORD", 3)
    answer = await report(running, f"by=team&{MARCH}")
    assert await house.count("audit_record WHERE action = 'read'") == 2
    assert await load_returned(house, answer) == await sheets_of(house, "ana", "ben")


async def test_a_report_of_too_much_is_refused_and_recorded(
    house: House, running: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "MAX_SHEETS", 3)
    answer = await report(running, f"by=team&{MARCH}")
    assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, "query.since")
    assert await load_returned(house, answer) == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        (MARCH, "query.by"),
        (f"by=month&{MARCH}", "query.by"),
        ("by=person&since=2026-03-01", "query.until"),
        ("by=person&since=2026-03-02&until=2026-03-01", "query.until"),
        ("by=person&since=2025-03-01&until=2026-03-02", "query.until"),
        ("by=person&since=yesterday&until=2026-03-02", "query.since"),
        (f"by=person&{MARCH}&state=lost", "query.state"),
        (f"by=person&{MARCH}&owner=ana", "query.owner"),
        (f"by=person&{MARCH}&format=pdf", "query.format"),
    ],
)
async def test_a_report_that_cannot_be_made_names_the_parameter(common: InProcess, query: str, field: str) -> None:
    answer = await report(common, query)
    assert (answer.status_code, answer.json()["fields"][0]["field"]) == (422, field), answer.text


async def test_every_parameter_that_is_missing_is_named(common: InProcess) -> None:
    answer = await report(common, "state=draft")
    assert {field["field"] for field in answer.json()["fields"]} == {"query.by", "query.since", "query.until"}


# Accept headers, and the media types of the responses.
PREFERRED = [
    ("text/csv", "text/csv"),
    ("text/*", "text/csv"),
    ("text/csv, */*", "text/csv"),
    ("application/json;q=0.1, text/csv", "text/csv"),
    ("TEXT/CSV; Q=0.5, application/json;q=0.4", "text/csv"),
    ("text/csv;q=0", "application/json"),
    ("text/csv;q=0.5, application/json", "application/json"),
    ("application/json, text/csv", "application/json"),
    ("text/html,application/xml;q=0.9,*/*;q=0.8", "application/json"),
    ("text/csv;q=inf, application/json;q=1", "application/json"),
    (", ;;=,", "application/json"),
]


async def test_a_report_comes_as_the_caller_prefers_it(running: InProcess) -> None:
    for accept, kind in PREFERRED:
        answer = await report(running, f"by=team&{MARCH}", Accept=accept)
        assert (answer.status_code, answer.headers["Content-Type"].partition(";")[0]) == (200, kind), accept


async def test_as_csv_no_name_of_a_team_is_a_formula(house: House, running: InProcess) -> None:
    await house.owner.execute("""UPDATE team SET name = '=HYPERLINK("//evil")' WHERE id = $1""", house.teams["east"])
    asked = await report(running, f"by=team&{MARCH}", Accept="text/csv")
    named = await report(running, f"by=team&{MARCH}&format=csv")
    assert asked.text == named.text
    assert asked.headers["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.reader(io.StringIO(asked.text)))
    assert rows == [
        ["team", "name", *NUMBERS],
        [str(house.teams["east"]), """'=HYPERLINK("//evil")""", "1920", "4", "0", "4", "0", "0"],
    ]
    as_json = await report(running, f"by=team&{MARCH}&format=json", Accept="text/csv")
    assert as_json.json()["items"][0]["minutes"] == 1920


async def test_without_the_scope_there_is_no_report(running: InProcess) -> None:
    token = running.token(sub="auth0|lea", scope="create:timesheets")
    answer = await running.send("GET", f"/v1/reports/hours?by=person&{MARCH}", token)
    assert (answer.status_code, answer.json()["required_scope"]) == (403, ["read:timesheets"])
