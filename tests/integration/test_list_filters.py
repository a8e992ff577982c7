"""Lists and reports over HTTP: what they filter by, in which order, their totals, and what is refused with its name."""

from __future__ import annotations

import base64
import csv
import io
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from service.timesheets.entry import Hours
from service.web.openapi.document import operations
from tests.integration.api import InProcess, api
from tests.integration.house import MONDAY, House
from tests.integration.test_after_erasure import activate
from tests.openapi_document import document

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

WEEK = f"since={MONDAY}&until={MONDAY + timedelta(days=6)}"


@pytest.fixture(scope="module")
async def running(common_house: House, issuer: str) -> AsyncIterator[InProcess]:
    """Three weeks of ana's and ben's, of which the first are submitted, on two projects; mia leads both."""
    house = common_house
    await house.link_people(issuer)
    await house.owner.execute("UPDATE project SET billable = true WHERE code = 'SITE'")
    await house.owner.execute("UPDATE project SET kind = 'absence' WHERE code = 'zeus'")
    for name in ("ana", "ben"):
        await house.submit_week(name)
        for week, project, note in ((1, "SITE", "100% of the drill_1"), (2, "zeus", None)):
            monday = MONDAY + timedelta(days=7 * week)
            hours = [Hours(monday, project, 60, note), Hours(monday + timedelta(days=1), "apollo", 30)]
            await house.timesheets.create(house.caller(name), monday, "UTC", hours)
    async with api(house, issuer) as started:
        yield started


async def ask(running: InProcess, query: str, path: str = "/v1/timesheets", sub: str = "mia") -> httpx2.Response:
    return await running.send("GET", f"{path}?{query}", running.token(sub=sub))


async def weeks(running: InProcess, query: str) -> list[int]:
    """The weeks of the sheets in the list, from 0."""
    answer = await ask(running, query)
    assert answer.status_code == 200, answer.text
    return [int(item["period_start"][-2:]) // 7 for item in answer.json()["items"]]


async def test_a_list_is_filtered_by_states_projects_team_and_text(common_house: House, running: InProcess) -> None:
    teams = common_house.teams
    assert await weeks(running, "state=submitted") == [0, 0]
    assert await weeks(running, "state=submitted&state=draft") == [2, 2, 1, 1, 0, 0]
    assert await weeks(running, "state=locked&state=rejected") == []
    assert await weeks(running, "project=SITE") == [1, 1]
    assert await weeks(running, "project=SITE&project=zeus&owner=" + str(common_house.people["ana"])) == [2, 1]
    assert await weeks(running, "project=apollo&state=draft") == [2, 2, 1, 1]
    assert await weeks(running, f"team={teams['east']}&since=2026-03-16") == [2, 2]
    # A team above has the members of teams below.
    assert await weeks(running, f"team={teams['division']}&project=zeus") == [2, 2]
    assert await weeks(running, f"team={teams['west']}") == []
    assert await weeks(running, f"team={uuid4()}") == []
    march = "since=2026-03-01&until=2026-03-31"
    assert await weeks(running, f"text=DRILL&{march}") == [1, 1]
    assert await weeks(running, f"text=100%25&{march}") == [1, 1]
    assert await weeks(running, f"text=drill_1&owner={common_house.people['ben']}") == [1]
    # The wildcards of a pattern are letters like others.
    assert await weeks(running, f"text=d%25l&{march}") == await weeks(running, f"text=drill__&{march}") == []


async def test_a_list_has_the_oldest_first_page_by_page(running: InProcess) -> None:
    path, found = "/v1/timesheets?sort=period_start&limit=4&project=apollo", list[dict[str, Any]]()
    for _ in range(2):
        answer = await running.send("GET", path, running.token(sub="mia"))
        found += answer.json()["items"]
        if answer.json()["next_cursor"]:
            path = answer.headers["Link"].removeprefix("<").removesuffix('>; rel="next"')
    places = [(item["period_start"], item["id"]) for item in found]
    assert len(places) == 6
    assert places == sorted(places)
    # A cursor belongs to its order and filters.
    assert (await running.send("GET", path, running.token(sub="mia"))).status_code == 200
    for mine, other in (("sort=period_start", "sort=-period_start"), ("project=apollo", "project=SITE")):
        wrong = await running.send("GET", path.replace(mine, other), running.token(sub="mia"))
        assert (wrong.status_code, wrong.json()["fields"][0]["field"]) == (422, "query.cursor"), wrong.text


async def read_pages(running: InProcess, query: str, sub: str = "mia") -> list[dict[str, Any]]:
    """All items of a list, two a page."""
    path, found = f"/v1/timesheets?limit=2&{query}", list[dict[str, Any]]()
    while True:
        answer = await running.send("GET", path, running.token(sub=sub))
        assert answer.status_code == 200, answer.text
        found += answer.json()["items"]
        if answer.json()["next_cursor"] is None:
            return found
        path = answer.headers["Link"].removeprefix("<").removesuffix('>; rel="next"')


@pytest.mark.parametrize("key", ["minutes", "updated_at", "created_at", "submitted_at"])
async def test_a_list_is_sorted_both_ways_by(running: InProcess, key: str) -> None:
    everything = {item["id"]: item for item in await read_pages(running, "")}
    for sort, reverse in ((key, False), (f"-{key}", True)):
        items = await read_pages(running, f"sort={sort}")
        # A draft was not submitted: it comes before all others.
        places = [(item[key] or "", item["id"]) for item in items]
        assert places == sorted(places, reverse=reverse)
        assert {item["id"]: item for item in items} == everything
    some = await read_pages(running, f"sort={key}&state=draft&project=zeus")
    assert [item["id"] for item in some] == [
        sheet for _, sheet in sorted((item[key] or "", item["id"]) for item in everything.values() if item in some)
    ]
    assert len(some) == 2


async def test_a_list_is_sorted_by_the_names_of_owners_that_the_caller_may_see(
    common_house: House, running: InProcess
) -> None:
    people = common_house.people
    for name, shown in (("ana", "zoe Älva"), ("ben", "Adam Y")):
        await common_house.owner.execute("UPDATE person SET display_name = $2 WHERE id = $1", people[name], shown)
    ben, ana = [str(people["ben"])] * 3, [str(people["ana"])] * 3
    assert [item["owner"] for item in await read_pages(running, "sort=owner_name")] == ben + ana
    assert [item["owner"] for item in await read_pages(running, "sort=-owner_name&names=true")] == ana + ben
    # A cursor does not tell a name.
    page = await ask(running, "sort=owner_name&limit=1")
    cursor = page.json()["next_cursor"]
    assert b"adam" not in base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).lower()
    # Without a rule for names, the order is that of ids.
    await activate(common_house, without="names-in-timesheets")
    ids = [item["id"] for item in await read_pages(running, "sort=owner_name")]
    assert ids == sorted(ids)
    assert len(ids) == 6
    await activate(common_house)


async def test_a_list_that_is_too_long_to_sort_is_refused_on_every_page(
    running: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await ask(running, "sort=-minutes&limit=2")
    monkeypatch.setattr("service.timesheets.listing.MAX_SORTED_SHEETS", 5)
    for query in ("", f"&cursor={first.json()['next_cursor']}", "&totals=true"):
        refused = await ask(running, f"sort=-minutes&limit=2{query}")
        assert (refused.status_code, refused.json()["fields"][0]["field"]) == (422, "query.sort"), refused.text
    assert (await ask(running, "sort=-minutes&state=draft")).status_code == 200
    assert (await ask(running, "limit=2")).status_code == 200


async def test_an_answer_has_the_fields_that_were_asked_for(running: InProcess) -> None:
    everything = (await ask(running, "state=draft&names=true&include=actions")).json()["items"]
    for query, fields in (
        ("fields=id,minutes", {"id", "minutes"}),
        ("fields=state&fields=id,owner&fields=id", {"id", "owner", "state"}),
        ("fields=entries", {"entries"}),
    ):
        plain = (await ask(running, f"state=draft&{query}")).json()["items"]
        assert plain == [{name: item[name] for name in item if name in fields} for item in everything]
        detailed = (await ask(running, f"state=draft&{query}&names=true&include=actions&totals=true")).json()
        for item, shown in zip(everything, detailed["items"], strict=True):
            assert shown.keys() == fields | {"names", "actions"}
            assert shown["actions"] == item["actions"]
        single = await ask(running, f"{query}&names=true", f"/v1/timesheets/{everything[0]['id']}")
        assert single.json() == {name: value for name, value in detailed["items"][0].items() if name != "actions"}
        assert single.headers["ETag"] == f'"{everything[0]["version"]}"'


async def test_names_are_those_of_the_fields(common_house: House, running: InProcess) -> None:
    ana = str(common_house.people["ana"])
    await common_house.owner.execute("UPDATE person SET display_name = 'Ana' WHERE id = $1", common_house.people["ana"])
    sheet = (await ask(running, "state=submitted", sub="ana")).json()["items"][0]["id"]
    for fields, names in (
        ("owner", {ana: "Ana"}),
        ("entries", {"apollo": "Project apollo"}),
        ("id,decided_by,approvals", {}),
    ):
        for path in ("/v1/timesheets", f"/v1/timesheets/{sheet}"):
            found = (await ask(running, f"fields={fields}&names=true", path, sub="ana")).json()
            found = found["items"][-1] if "items" in found else found
            assert found["names"] == names, path


async def test_an_unknown_field_is_answered_with_the_nearest_known(running: InProcess) -> None:
    sheet = (await ask(running, "limit=1")).json()["items"][0]["id"]
    for path in ("/v1/timesheets", f"/v1/timesheets/{sheet}"):
        misspelt = (await ask(running, "feilds=id", path)).json()["fields"][0]
        assert misspelt == {
            "field": "query.feilds",
            "message": "is not a parameter of this route; did you mean 'fields'?",
        }
        refused = await ask(running, "fields=mintues,id,xyz", path)
        assert refused.status_code == 422
        wrong, unlike_any = refused.json()["fields"]
        assert (wrong["field"], wrong["message"]) == ("query.fields", "'mintues' is no member; did you mean 'minutes'?")
        assert "'xyz' is no member; known: id, owner, " in unlike_any["message"]


async def test_the_totals_of_a_list_are_those_of_all_pages_and_its_record_names_every_sheet(
    common_house: House, running: InProcess
) -> None:
    answer = await ask(running, "state=draft&limit=1&totals=true&names=true&include=actions")
    assert answer.json()["totals"] == {"sheets": 4, "minutes": 360}, answer.text
    assert len(answer.json()["items"]) == 1
    returned = await common_house.owner.fetchval(
        "SELECT returned FROM audit_record WHERE uid = $1::text::uuid", answer.headers["Decision-Id"]
    )
    drafts = await common_house.owner.fetch("SELECT id FROM timesheet WHERE state = 'draft'")
    assert {str(sheet) for sheet in returned} == {str(row["id"]) for row in drafts}
    assert "totals" not in (await ask(running, "state=draft")).json()
    own = await ask(running, "totals=true", sub="ana")
    assert own.json()["totals"]["sheets"] == 3
    assert (await ask(running, "totals=true", sub="carl")).json()["totals"] == {"sheets": 0, "minutes": 0}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("state=open", "query.state"),
        ("state=draft&state=open", "query.state"),
        ("sort=size", "query.sort"),
        ("sort=period_start&sort=period_start", "query.sort"),
        ("team=", "query.team"),
        ("team=a%00", "query.team"),
        ("team=" + "x" * 121, "query.team"),
        ("project=" + "x" * 41, "query.project"),
        ("project=a%00", "query.project"),
        ("project=x&" * 21, "query.project"),
        ("text=a", "query.text"),
        ("text=drill", "query.text"),
        ("text=drill&since=2026-03-01", "query.text"),
        ("text=drill&since=2026-03-01&until=2026-04-01", "query.text"),
        ("text=dr%00ill&owner=me", "query.text"),
        ("totals=maybe", "query.totals"),
        ("fields=", "query.fields"),
        ("fields=id,owners", "query.fields"),
        ("fields=id&fields=names", "query.fields"),
        ("fields=a%00", "query.fields"),
        ("order=asc", "query.order"),
    ],
)
async def test_a_wrong_filter_is_named(running: InProcess, query: str, field: str) -> None:
    answer = await ask(running, query.rstrip("&"))
    assert answer.status_code == 422, answer.text
    assert answer.json()["fields"][0]["field"].startswith(field), answer.text


async def test_a_report_sums_by_day_and_by_two_keys_with_names(common_house: House, running: InProcess) -> None:
    people, path = common_house.people, "/v1/reports/hours"
    await common_house.owner.execute("UPDATE person SET display_name = '=Ana' WHERE id = $1", people["ana"])
    span = f"since={MONDAY}&until={MONDAY + timedelta(days=20)}"
    days = (await ask(running, f"by=day&{span}", path)).json()
    assert [(item["key"], item["minutes"]) for item in days["items"]] == [
        ("2026-03-02", 960),
        ("2026-03-09", 120),
        ("2026-03-10", 60),
        ("2026-03-16", 120),
        ("2026-03-17", 60),
    ]
    assert (days["minutes"], days["billable_minutes"], days["absence_minutes"]) == (1320, 120, 120)
    pairs = (await ask(running, f"by=person&then=project&names=true&{span}", path)).json()
    ana = [item for item in pairs["items"] if item["key"] == str(people["ana"])]
    assert [(item["name"], item["then"], item["then_name"], item["minutes"]) for item in ana] == [
        ("=Ana", "SITE", "Project SITE", 60),
        ("=Ana", "apollo", "Project apollo", 540),
        ("=Ana", "zeus", "Project zeus", 60),
    ]
    assert [(item["billable_minutes"], item["absence_minutes"]) for item in ana] == [(60, 0), (0, 0), (0, 60)]
    file = await ask(running, f"by=person&then=project&names=true&format=csv&{span}", path)
    header, *rows = csv.reader(io.StringIO(file.text))
    assert header[:5] == ["person", "name", "project", "project_name", "minutes"]
    assert [row[1:5] for row in rows if row[0] == str(people["ana"])] == [
        ["'=Ana", "SITE", "Project SITE", "60"],
        ["'=Ana", "apollo", "Project apollo", "540"],
        ["'=Ana", "zeus", "Project zeus", "60"],
    ]
    site = (await ask(running, f"by=project&project=SITE&state=draft&state=submitted&{span}", path)).json()
    assert [(item["key"], item["minutes"], item["sheets"]) for item in site["items"]] == [("SITE", 120, 2)]
    assert (site["minutes"], site["sheets"]) == (120, 2)


async def test_a_report_of_a_team_has_its_members_and_those_of_teams_below_as_a_list_has(
    common_house: House, running: InProcess
) -> None:
    span = f"since={MONDAY}&until={MONDAY + timedelta(days=20)}"
    for team, sub in (("east", "mia"), ("division", "mia"), ("west", "mia"), ("east", "ana")):
        found = f"team={common_house.teams[team]}&{span}"
        report = (await ask(running, f"by=person&{found}", "/v1/reports/hours", sub)).json()
        totals = (await ask(running, f"totals=true&{found}", sub=sub)).json()["totals"]
        assert {name: report[name] for name in totals} == totals
        file = await ask(running, f"by=person&format=csv&{found}", "/v1/reports/hours", sub)
        minutes = [int(row["minutes"]) for row in csv.DictReader(io.StringIO(file.text))]
        assert sum(minutes) == totals["minutes"]
    some = f"team={common_house.teams['division']}&project=zeus&by=person&{span}"
    assert (await ask(running, some, "/v1/reports/hours")).json()["minutes"] == 120


async def test_the_totals_of_a_report_are_sorted(running: InProcess) -> None:
    span = f"by=project&since={MONDAY}&until={MONDAY + timedelta(days=20)}"
    for sort, keys in (("key", "SITE apollo zeus"), ("minutes", "SITE zeus apollo"), ("-minutes", "apollo SITE zeus")):
        report = (await ask(running, f"{span}&sort={sort}", "/v1/reports/hours")).json()
        assert [item["key"] for item in report["items"]] == keys.split()
        file = await ask(running, f"{span}&sort={sort}&format=csv", "/v1/reports/hours")
        assert [row["project"] for row in csv.DictReader(io.StringIO(file.text))] == keys.split()


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("by=day&then=day", "query.then"),
        ("by=month", "query.by"),
        ("by=day&then=month", "query.then"),
        ("by=day&project=" + quote("a\x00"), "query.project"),
        ("by=day&team=a%00", "query.team"),
        ("by=day&sort=-sheets", "query.sort"),
        ("by=day&state=draft&state=none", "query.state"),
    ],
)
async def test_a_wrong_word_of_a_report_is_named(running: InProcess, query: str, field: str) -> None:
    answer = await ask(running, f"{query}&{WEEK}", "/v1/reports/hours")
    assert answer.status_code == 422, answer.text
    assert answer.json()["fields"][0]["field"].startswith(field), answer.text


def lists_with_fields() -> list[str]:
    """The lists of the document that take `fields`."""
    return [
        path
        for method, path, operation in operations(document())
        if method == "get" and {"fields", "cursor"} <= {each.get("name") for each in operation.get("parameters", ())}
    ]


@pytest.mark.parametrize("path", lists_with_fields())
async def test_every_list_that_takes_fields_has_only_these_and_names_a_wrong_one(
    common_house: House, running: InProcess, path: str
) -> None:
    sheet = await common_house.owner.fetchval("SELECT id FROM timesheet WHERE state = 'submitted' LIMIT 1")
    path = path.format(timesheet_id=sheet)
    scope = "read:timesheets create:timesheets approve:timesheets manage:directory read:audit"
    token = running.token(sub="mia", scope=scope, roles=["administrator", "auditor"])

    async def read_items(query: str) -> list[dict[str, Any]]:
        answer = await running.send("GET", f"{path}?limit=3&{query}", token)
        assert answer.status_code == 200, answer.text
        found = answer.json()["items"]
        assert found, path
        # The inbox shows when each sheet was submitted and by which rule, and of the sheet the fields.
        return [item.get("timesheet", item) for item in found]

    everything = await read_items("")
    members = list(everything[0])
    # A search of the log also finds the record of the one before.
    for some in (members[:1], members[1:3], [members[-1], members[0]]):
        found = await read_items(f"fields={','.join(some)}")
        assert all(item.keys() == set(some) for item in found)
        if "record" not in members:
            assert found == [{name: item[name] for name in item if name in some} for item in everything]
    wrong = await running.send("GET", f"{path}?fields={members[0]},{members[1]}s", token)
    assert wrong.status_code == 422
    message = f"'{members[1]}s' is no member; did you mean '{members[1]}'?"
    assert wrong.json()["fields"] == [{"field": "query.fields", "message": message}]


async def test_an_inbox_without_entries_reads_none_and_has_the_names_of_its_fields(
    common_house: House, running: InProcess
) -> None:
    await common_house.owner.execute("UPDATE person SET display_name = 'Ana' WHERE id = $1", common_house.people["ana"])
    token = running.token(sub="mia", scope="approve:timesheets")
    [whole, reduced] = [
        (await running.send("GET", f"/v1/approvals?names=true{fields}", token)).json()["items"]
        for fields in ("", "&fields=id,owner,version")
    ]
    ana = str(common_house.people["ana"])
    assert {"owner": ana, "names": {ana: "Ana"}}.items() <= reduced[0]["timesheet"].items()
    for item, some in zip(whole, reduced, strict=True):
        assert some["timesheet"].keys() == {"id", "owner", "version", "names"}
        assert {**item, "timesheet": some["timesheet"]} == some
        assert item["timesheet"]["minutes"] > 0
