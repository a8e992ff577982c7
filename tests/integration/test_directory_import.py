"""The organisation from a CSV file: all or nothing, nothing twice, and every wrong cell named with its row."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from service.directory.import_file import MAX_ROWS
from service.errors import Forbidden, InvalidField
from service.settings import Settings
from service.timesheets.timesheet import State
from tests.integration.api import api
from tests.integration.declared_directory import declare
from tests.integration.house import at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from service.database import Connection
    from service.directory.imports import ImportRowOutcome
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

HEADER = "record,email,name,issuer,subject,team,parent,valid_from,valid_to"
GOOD = f"""{HEADER}
person,eve@example.com,Eve Adler,https://issuer.example,eve,,,,
person,Gil@Example.com,"Gil, the second",,,,,,
team,,,,,Harbour,division,,
team,,,,,Quay,Harbour,,
lead,eve@example.com,,,,Harbour,,,
member,gil@example.com,,,,Quay,,2026-01-01T00:00:00Z,
member,eve@example.com,,,,Quay,,,2035-01-01T00:00:00+01:00
"""
TABLES = ("person", "person_link", "team", "team_path", "membership", "audit_text")


async def load(house: House, text: str | bytes, *, dry_run: bool = False) -> Sequence[ImportRowOutcome]:
    raw = text if isinstance(text, bytes) else text.encode()
    return (await house.imports.load(house.administrator(), raw, dry_run=dry_run)).value


async def size(house: House) -> list[int]:
    return [await house.count(table) for table in TABLES]


def row(line: str, header: str = HEADER) -> str:
    return f"{header}\n{line}\n"


async def test_an_import_makes_the_organisation_and_a_second_one_changes_nothing(house: House) -> None:
    assert {row.outcome for row in await load(house, GOOD)} == {"created"}
    assert await house.count("person WHERE email = 'Gil@Example.com' AND display_name = 'Gil, the second'") == 1
    assert await house.count("team_path JOIN team ON team.id = descendant_id WHERE team.name = 'Quay'") == 3
    before, records = await size(house), await house.count("audit_record WHERE kind = 'directory'")
    assert {row.outcome for row in await load(house, GOOD)} == {"unchanged"}
    assert await size(house) == before
    assert await house.count("audit_record WHERE kind = 'directory'") == records


async def test_after_an_import_postgres_knows_how_many_people_there_are(house: House) -> None:
    await load(house, GOOD)
    counted = await house.owner.fetchval("SELECT reltuples::int FROM pg_class WHERE oid = 'person'::regclass")
    assert counted == await house.count("person")


async def test_each_row_that_changes_something_is_recorded_without_names(house: House) -> None:
    records = await house.count("audit_record WHERE kind = 'directory'")
    await load(house, GOOD)
    assert await house.count("audit_record WHERE kind = 'directory'") == records + 7
    assert await house.count_records_with("Eve Adler") == 0


async def test_a_dry_run_says_the_same_and_changes_nothing(house: House) -> None:
    before = await size(house)
    dry = await load(house, GOOD, dry_run=True)
    assert await size(house) == before
    assert await house.read_last_record() == ("manage", "allow", False, "dry-run")
    assert dry == await load(house, GOOD)


async def test_an_import_counts_for_decisions_at_once(house: House) -> None:
    sheet = await house.submit_week("ana")
    for name in ("ana", "max"):
        described = {"display_name": name.title(), "email": f"{name}@example.com"}
        await house.directory.amend_person(house.administrator(), house.people[name], described)
    await load(house, f"{HEADER}\nlead,max@example.com,,,,east,,,\n")
    assert (
        await house.timesheets.approve(house.caller("max"), sheet.id, at(sheet.version))
    ).value.state is State.APPROVED


async def test_what_is_there_is_updated_and_ends_come_nearer(house: House) -> None:
    await load(house, GOOD)
    changed = f"""{HEADER}
person,EVE@example.com,Eve Berg,https://other.example,eve,,,,
team,,,,,Quay,division,,
member,gil@example.com,,,,Quay,,2026-01-01T00:00:00Z,2036-01-01T00:00:00Z
"""
    assert [row.outcome for row in await load(house, changed)] == ["updated"] * 3
    assert {row.outcome for row in await load(house, changed)} == {"unchanged"}
    assert await house.count("team_path JOIN team ON team.id = descendant_id WHERE team.name = 'Quay'") == 2


async def test_two_teams_can_change_places(house: House) -> None:
    await load(house, GOOD)
    swapped = f"{HEADER}\nteam,,,,,Harbour,Quay,,\nteam,,,,,Quay,division,,\n"
    assert [row.outcome for row in await load(house, swapped)] == ["updated", "updated"]
    depths = await house.owner.fetch(
        "SELECT name, max(depth) FROM team_path JOIN team ON team.id = descendant_id"
        " WHERE name IN ('Harbour', 'Quay') GROUP BY name"
    )
    assert {depth["name"]: depth["max"] for depth in depths} == {"Harbour": 2, "Quay": 1}


async def test_a_byte_order_mark_and_other_line_ends_do_no_harm(house: House) -> None:
    await load(house, b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert await house.count("team WHERE name = 'Quay'") == 1


WRONG: list[tuple[str | bytes, str]] = [
    ("", "header"),
    ("record;email;name\nperson;a@b;c\n", "header"),
    ("name,email\nEve,eve@example.com\n", "header"),
    (f"{HEADER},salary\n", "header"),
    ("record,email,email\n", "header"),
    (f"{HEADER}\n", "rows"),
    (b"record,name\nperson,J\xf6rg\n", "body"),
    (b"record,name\nperson,a\x00b\n", "body"),
    ('record,email\nperson,"eve@example.com\n', "body"),
    ("record,email\nperson,eve@example.com,more\n", "rows[0]"),
    (row("payment,,,,,,,,"), "rows[0].record"),
    (row("person,,Eve,,,,,,"), "rows[0].email"),
    (row("person,eve,Eve,,,,,,"), "rows[0].email"),
    (row(f"person,eve@example.com,{'x' * 201},,,,,,"), "rows[0].name"),
    (row("person,eve@example.com,=1+1,,,,,,"), "rows[0].name"),
    (row("person,eve@example.com,@SUM(A1),,,,,,"), "rows[0].name"),
    (row("person,eve@example.com,,https://issuer.example,,,,,"), "rows[0].subject"),
    (row("person,eve@example.com,,https://issuer.example,ana,,,,"), "rows[0].subject"),
    (row("person,eve@example.com,,,,east,,,"), "rows[0].team"),
    (row("team,,,,,,,,"), "rows[0].team"),
    (row("team,,,,,Harbour,nowhere,,"), "rows[0].parent"),
    (row("team,,,,,Harbour,Harbour,,"), "rows[0].parent"),
    (row("team,,,,,division,east,,"), "rows[0].parent"),
    (row("member,nobody@example.com,,,,east,,,"), "rows[0].email"),
    (row("person,e@example.com,,,,,,,\nmember,e@example.com,,,,nowhere,,,"), "rows[1].team"),
    (row("person,e@example.com,,,,,,,\nmember,e@example.com,,,,east,,yesterday,"), "rows[1].valid_from"),
    (row("person,e@example.com,,,,,,,\nmember,e@example.com,,,,east,,2026-11-23T09:00:00,"), "rows[1].valid_from"),
    (
        row("person,e@example.com,,,,,,,\nmember,e@example.com,,,,east,,2026-02-01T00:00:00Z,2026-01-01T00:00:00Z"),
        "rows[1].valid_to",
    ),
    (row("person,e@example.com,,,,,,,\nmember,e@example.com,,,,east,,,2020-01-01T00:00:00Z"), "rows[1].valid_to"),
    (row("person,e@example.com,,,,,,,\nperson,E@example.com,,,,,,,"), "rows[1].email"),
    (row("person,e@example.com,,i,s,,,,\nperson,f@example.com,,i,s,,,,"), "rows[1].subject"),
    (row("person,e@example.com,\u200b,,,,,,"), "rows[0].name"),
    (row("team,,,,,\u3164,,,"), "rows[0].team"),
]


async def test_a_wrong_row_is_named_and_nothing_of_the_file_is_there(house: House) -> None:
    before = await size(house)
    for text, field in WRONG:
        for dry_run in (True, False):
            with pytest.raises(InvalidField) as refused:
                await load(house, text, dry_run=dry_run)
            assert [error.field for error in refused.value.fields] == [field], text
            assert ("line" in refused.value.fields[0].message) is field.startswith("rows[") or field == "body", text
        assert await size(house) == before, text


async def test_all_that_is_wrong_is_told_at_once(house: House) -> None:
    with pytest.raises(InvalidField) as refused:
        await load(house, f"{HEADER}\nteam,,,,,A,B,,\nteam,,,,,B,A,,\nteam,,,,,C,nowhere,,\n")
    assert [field.field for field in refused.value.fields] == ["rows[0].parent", "rows[1].parent", "rows[2].parent"]
    assert "line 3" in refused.value.fields[1].message
    with pytest.raises(InvalidField, match=r"the login of the person in line 2.*\(line 3\)"):
        await load(house, row("person,e@example.com,,i,s,,,,\nperson,f@example.com,,i,s,,,,"))


async def test_a_file_of_too_many_rows_is_refused(house: House) -> None:
    many = HEADER + "\n" + "".join(f"team,,,,,t{number},,,\n" for number in range(MAX_ROWS + 1))
    with pytest.raises(InvalidField) as refused:
        await load(house, many)
    assert [field.field for field in refused.value.fields] == ["rows"]


async def test_an_email_address_of_several_people_names_nobody(house: House) -> None:
    # From before an address was anybody's own.
    found = [house.people["ana"], house.people["ben"]]
    await house.owner.execute("UPDATE person SET email = 'team@example.com' WHERE id = ANY($1)", found)
    with pytest.raises(InvalidField, match="several"):
        await load(house, f"{HEADER}\nmember,team@example.com,,,,west,,,\n")


async def test_only_those_whom_the_policy_lets_may_import_or_try(house: House) -> None:
    for dry_run in (True, False):
        with pytest.raises(Forbidden):
            await house.imports.load(house.caller("mia"), GOOD.encode(), dry_run=dry_run)


def large(rows: int) -> str:
    """A team, and people with logins in it."""
    people = "".join(
        f"person,p{n}@example.com,Person {n},https://issuer.example/t/,auth0|5f7c1234567890{n:06},,,,\n"
        f"member,p{n}@example.com,,,,Big,,,\n"
        for n in range(rows // 2)
    )
    return f"{HEADER}\nteam,,,,,Big,,,\n{people}"


async def test_as_many_rows_as_an_import_may_have_fit_into_its_request(house: House, issuer: str) -> None:
    file = large(MAX_ROWS - 2)
    assert len(file) > Settings.model_fields["max_body_bytes"].default
    async with api(house, issuer) as running:
        token = running.token(scope="manage:directory", roles=["administrator"])
        answer = await running.send(
            "POST", "/v1/directory/import", token, headers={"Content-Type": "text/csv"}, content=file.encode()
        )
        assert (answer.status_code, answer.json()["created"]) == (200, MAX_ROWS - 1)
        # With a key the whole of it would be held to be compared.
        keyed = {"Content-Type": "text/csv", "Idempotency-Key": "import-1"}
        answer = await running.send("POST", "/v1/directory/import", token, headers=keyed, content=file.encode())
        assert answer.status_code == 413


async def test_an_import_of_many_rows_takes_no_more_statements_than_one_of_few(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[str] = []

    def hear(logged: Any) -> None:
        statements.append(logged.query)

    acquire = house.requests.locking_transaction

    @asynccontextmanager
    async def acquire_logged(lock: str = "") -> AsyncIterator[Connection]:
        async with acquire(lock) as connection:
            with connection.query_logger(hear):
                yield connection

    monkeypatch.setattr(house.requests, "locking_transaction", acquire_logged)
    counts = []
    for rows in (4, 400):
        statements.clear()
        await load(
            house,
            large(rows).replace("Big", f"Big{rows}").replace("example.com", f"{rows}.x").replace("5f7c", f"{rows}"),
        )
        counts.append(len(statements))
    # The records of many go by COPY, which is no statement here.
    assert 0 < counts[1] <= counts[0] + 1


async def test_an_empty_import_is_called_one(house: House, issuer: str) -> None:
    async with api(house, issuer) as running:
        token = running.token(scope="manage:directory", roles=["administrator"])
        answer = await running.send("POST", "/v1/directory/import", token, headers={"Content-Type": "text/csv"})
        assert answer.json()["fields"] == [{"field": "body", "message": "is an empty file"}]


@pytest.mark.parametrize(
    "file",
    [
        HEADER + "\n" + "lead,=a,=b,=c,=d,=e,=f,x,y\n" * 4_000,
        HEADER + "\n" * 500_000,
        HEADER + "\n" + "".join(f"team,,,,,T{n},T{n - 1},,\n" for n in range(1, 4_000)),
        HEADER + "\n" + "".join(f"person,{n}@example.com,,,,,,,\n" for n in range(4_000)),
    ],
    ids=["wrong rows", "empty lines", "teams in one another", "people"],
)
async def test_other_requests_are_answered_while_a_file_is_read_and_compared(
    house: House, issuer: str, file: str
) -> None:
    async with api(house, issuer) as running:
        token = running.token(sub="adam", roles=["administrator"], scope="manage:directory")
        # Work that is done once does not count.
        await running.send("GET", "/v1/me", token)
        path, kind = "/v1/directory/import?dry_run=true", {"Content-Type": "text/csv"}
        sending = asyncio.create_task(running.send("POST", path, token, headers=kind, content=file.encode()))
        answers = 0
        while not sending.done():
            answers += (await running.send("GET", "/v1/me", token)).status_code == 200
        assert (await sending).status_code in {200, 422}
        # Some of them came while it was under way.
        assert answers > 2


async def test_a_line_that_is_too_long_is_refused_before_it_is_cut_into_cells(house: House) -> None:
    with pytest.raises(InvalidField) as refused:
        await load(house, GOOD + "," * 20_000)
    assert [(field.field, field.message) for field in refused.value.fields] == [
        ("body", "has more than 16384 characters in line 9")
    ]


WIDE = "record,email,name,team,parent,project,group,attr:country,attr:level,attr:sites,attr:region,attr:budget,valid_to"
COMPLETE = f"""{WIDE}
person,eve@example.com,Eve Adler,,,,,DE,-3,Rome; Berlin,,,
person,gil@example.com,,,,,,FR,,,,,
team,,,Harbour,division,,,,,,north,,
project,,Orion mission,,,ORION,,,,,,7,
project,,,,,vega,,,,,,,
group,,,,,,night-shift,,,,,,
group-member,eve@example.com,,,,,night-shift,,,,,,
group-member,gil@example.com,,,,,night-shift,,,,,,2035-01-01T00:00:00Z
project-lead,eve@example.com,,,,ORION,,,,,,,
project-lead,gil@example.com,,,,apollo,,,,,,,
"""


async def test_attributes_groups_projects_and_their_leads_come_from_a_file(house: House) -> None:
    await declare(house)
    assert {row.outcome for row in await load(house, COMPLETE, dry_run=True)} == {"created"}
    assert {row.outcome for row in await load(house, COMPLETE)} == {"created"}
    eve = await house.owner.fetchrow("SELECT id, attributes::text FROM person WHERE email = 'eve@example.com'")
    assert eve is not None
    assert json.loads(eve["attributes"]) == {"country": "DE", "level": -3, "sites": ["Berlin", "Rome"]}
    assert await house.count("team WHERE name = 'Harbour' AND attributes = '{\"region\": \"north\"}'") == 1
    projects = await house.owner.fetch("SELECT code, name, attributes::text FROM project WHERE code ~* 'orion|vega'")
    assert {tuple(project) for project in projects} == {
        ("ORION", "Orion mission", '{"budget": 7}'),
        ("vega", "vega", "{}"),
    }
    assert await house.count("group_member WHERE group_name = 'night-shift'") == 2
    assert await house.count("project_lead WHERE project IN ('ORION', 'apollo')") == 2
    records = await house.count("audit_record WHERE kind = 'directory'")
    assert {row.outcome for row in await load(house, COMPLETE)} == {"unchanged"}
    assert await house.count("audit_record WHERE kind = 'directory'") == records
    assert await house.count_records_with("Berlin") == 0


async def test_what_a_file_leaves_empty_stays_and_ends_come_nearer(house: House) -> None:
    await declare(house)
    await load(house, COMPLETE)
    changed = f"""{WIDE}
person,eve@example.com,,,,,,,5,,,,
team,,,Harbour,division,,,,,,south,,
project,,Orion two,,,ORION,,,,,,,
group-member,gil@example.com,,,,,night-shift,,,,,,2034-01-01T00:00:00Z
project-lead,eve@example.com,,,,ORION,,,,,,,2034-01-01T00:00:00Z
"""
    assert [row.outcome for row in await load(house, changed)] == ["updated"] * 5
    assert {row.outcome for row in await load(house, changed)} == {"unchanged"}
    values = await house.owner.fetchval("SELECT attributes::text FROM person WHERE email = 'eve@example.com'")
    assert json.loads(values) == {"country": "DE", "level": 5, "sites": ["Berlin", "Rome"]}
    assert await house.count('team WHERE attributes = \'{"region": "south"}\'') == 1
    assert await house.count("project WHERE name = 'Orion two' AND attributes = '{\"budget\": 7}'") == 1
    for table in ("group_member", "project_lead"):
        assert await house.count(f"{table} WHERE valid_to = '2034-01-01T00:00:00Z'") == 1


@pytest.mark.parametrize(
    ("line", "field", "message"),
    [
        ("person,e@example.com,,,,,,,many,,,,", "rows[0].attr:level", "must be a whole number"),
        ("person,e@example.com,,,,,,=1+1,,,,,", "rows[0].attr:country", "formula"),
        ("person,e@example.com,,,,,,,,Rome;;Berlin,,,", "rows[0].attr:sites", "separated by ;"),
        ("person,e@example.com,,,,,,,,,north,,", "rows[0].attr:region", "declares country (string)"),
        ("team,,,Harbour,,,,DE,,,,,", "rows[0].attr:country", "declares region (string)"),
        ("group,,,,,,night-shift,DE,,,,,", "rows[0].attr:country", "is not allowed for a group"),
        ("project,,,,,Orion mission,,,,,,,", "rows[0].project", "must be 1 to 40"),
        ("project,,,,,Apollo,,,,,,,", "rows[0].project", "differs only in case from the project apollo"),
        ("project,,,,,ORION,,,,,,,\nproject,,,,,orion,,,,,,,", "rows[1].project", "differs only in case"),
        ("group,,,,,,Night,,,,,,", "rows[0].group", "must be 1 to 63"),
        ("person,e@example.com,,,,,,,,,,,\ngroup-member,e@example.com,,,,,x,,,,,,", "rows[1].group", "names no group"),
        ("person,e@example.com,,,,,,,,,,,\nproject-lead,e@example.com,,,,x-1,,,,,,,", "rows[1].project", "names no"),
        ("project-lead,n@example.com,,,,apollo,,,,,,,", "rows[0].email", "belongs to no person"),
        ("project-lead,n@example.com,,east,,apollo,,,,,,,", "rows[0].team", "is not allowed for a project-lead"),
        ("group-member,n@example.com,,,,,,,,,,,", "rows[0].group", "is required for a group-member"),
    ],
)  # fmt: skip
async def test_a_wrong_attribute_group_or_project_is_named(house: House, line: str, field: str, message: str) -> None:
    await declare(house)
    tables = (*TABLES, "project", "person_group", "group_member", "project_lead")
    before = [await house.count(table) for table in tables]
    with pytest.raises(InvalidField) as refused:
        await load(house, f"{WIDE}\n{line}\n")
    assert [error.field for error in refused.value.fields] == [field]
    assert message in refused.value.fields[0].message
    assert [await house.count(table) for table in tables] == before


TERMS = "record,project,name,kind,billable,activities"
PROJECTS = f"""{TERMS}
project,ORION,Orion mission,work,TRUE,design; build-2
project,LEAVE,Annual leave,absence,,
project,vega,,,,
"""


async def test_kind_billable_and_activities_of_projects_come_from_a_file(house: House) -> None:
    assert [row.outcome for row in await load(house, PROJECTS, dry_run=True)] == ["created"] * 3
    assert [row.outcome for row in await load(house, PROJECTS)] == ["created"] * 3
    query = "SELECT code, name, kind, billable, activities FROM project WHERE code ~* 'orion|vega|leave' ORDER BY 1"
    assert [tuple(row) for row in await house.owner.fetch(query)] == [
        ("LEAVE", "Annual leave", "absence", False, []),
        ("ORION", "Orion mission", "work", True, ["design", "build-2"]),
        ("vega", "vega", "work", False, []),
    ]
    assert {row.outcome for row in await load(house, PROJECTS)} == {"unchanged"}

    changed = f"{TERMS}\nproject,ORION,,,false,\nproject,LEAVE,,work,true,sick\nproject,vega,Vega,,,\n"
    assert [row.outcome for row in await load(house, changed, dry_run=True)] == ["updated"] * 3
    assert [row.outcome for row in await load(house, changed)] == ["updated"] * 3
    assert [tuple(row) for row in await house.owner.fetch(query)] == [
        ("LEAVE", "Annual leave", "work", True, ["sick"]),
        ("ORION", "Orion mission", "work", False, ["design", "build-2"]),
        ("vega", "Vega", "work", False, []),
    ]
    # As by hand, with what was there before.
    assert await house.count_records_with('"activities":["sick"]') == 1


@pytest.mark.parametrize(
    ("cells", "field", "message"),
    [
        ("ORION,,holiday,,", "kind", "must be one of work, absence (line 2)"),
        ("ORION,,,yes,", "billable", "must be true or false (line 2)"),
        ("ORION,,absence,true,", "billable", "must be false for absence (line 2)"),
        ("ORION,,,,design;no name", "activities[1]", "must be 1 to 20 of"),
        ("ORION,,,,design;", "activities[1]", "must be 1 to 20 of"),
        ("ORION,,,,design; design", "activities[1]", "is there twice (line 2)"),
        ("LEAVE,,,true,", "billable", "must be false for absence (line 2)"),
        ("RIGEL,,absence,,", "billable", "must be false for absence (line 2)"),
    ],
)  # fmt: skip
async def test_a_wrong_cell_of_a_project_is_named(house: House, cells: str, field: str, message: str) -> None:
    await load(house, f"{TERMS}\nproject,LEAVE,,absence,,\nproject,RIGEL,,,true,\n")
    before = await house.count("audit_record WHERE kind = 'directory'")
    with pytest.raises(InvalidField) as refused:
        await load(house, f"{TERMS}\nproject,{cells}\n")
    assert [error.field for error in refused.value.fields] == [f"rows[0].{field}"]
    assert message in refused.value.fields[0].message
    assert await house.count("audit_record WHERE kind = 'directory'") == before


async def test_values_that_are_too_many_together_are_refused(house: House) -> None:
    names = [f"sites_{number}" for number in range(7)]
    await declare(house, "[directory.people]\n" + "".join(f'{name} = "list<string>"\n' for name in names))
    many = ";".join(f"{number:03}".ljust(200, "x") for number in range(50))
    for name in names[:6]:
        await load(house, f"record,email,attr:{name}\nperson,e@example.com,{many}\n")
    with pytest.raises(InvalidField) as refused:
        await load(house, f"record,email,attr:{names[6]}\nperson,e@example.com,{many}\n")
    assert [error.field for error in refused.value.fields] == ["rows[0].attr:sites_6"]


async def test_without_a_declared_attribute_a_column_of_one_is_refused_where_it_is_filled(house: House) -> None:
    assert await load(house, "record,email,attr:country\nperson,e@example.com,\n")
    with pytest.raises(InvalidField, match="declares no attributes here"):
        await load(house, "record,email,attr:country\nperson,e@example.com,DE\n")
    with pytest.raises(InvalidField, match="attr:NAME for an attribute"):
        await load(house, "record,email,attr:Country\nperson,e@example.com,DE\n")
