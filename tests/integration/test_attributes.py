"""Attributes: what the directory holds as JSON means the same in Postgres and in Python, and a lookup has the values of
its row, whether its owner is remembered or not."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from service.authorization.enforcement.attribute_sql import collect_members, read_member
from service.authorization.enforcement.attribute_values import CallerAttributes, read_json
from service.authorization.enforcement.relationships import Relationships
from service.log.record import read_body
from service.policy.attributes import RESOURCE, AttributeType
from service.timesheets.entry import Hours
from service.timesheets.relations import TIMESHEET_FACTS
from tests.example_count import example_count
from tests.integration.house import MONDAY, PROJECTS, at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.policy.attributes import Value
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

HELD = [AttributeType.STRING, AttributeType.INT, AttributeType.BOOL, AttributeType.TIMESTAMP, AttributeType.STRINGS]
COLLECTED = {
    AttributeType.STRINGS: AttributeType.STRING,
    AttributeType.INTS: AttributeType.INT,
    AttributeType.BOOLS: AttributeType.BOOL,
}
TIMES = [
    "1900-01-01T00:00:00Z",
    "2189-12-31T23:59:59.999999Z",
    "2190-01-01T00:00:00Z",
    "1899-12-31T23:59:59Z",
    "2026-02-29T00:00:00Z",
    "2024-02-29T00:00:00Z",
    "2026-04-31T00:00:00Z",
    "2026-04-30T24:00:00Z",
    "2026-04-30T12:00:00.5Z",
    "2026-04-30T12:00:00+01:00",
    "2026-04-30T12:00:00Z\n",
    "2026-04-30",
]
texts = st.one_of(
    st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=6),
    st.sampled_from([*TIMES, "DE", "é", "Z"]),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([2**53 - 1, 2**53, 1 - 2**53, -(2**53), 0, 1.0, 1.5, 1e300, -0.0]),
    texts,
)
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=2), max_leaves=6
)
IN_POSTGRES = settings(max_examples=example_count(60), suppress_health_check=list(HealthCheck), deadline=None)


def python(value: Any) -> Value:
    return tuple(value) if isinstance(value, list) else value


@IN_POSTGRES
@given(values=st.lists(documents, min_size=1, max_size=20))
@example(values=[True, 1, "1", ["b", "a", "b"], ["a", 1], [], {}, None, "2026-02-29T00:00:00Z", ["Z", "a", "é"]])
async def test_json_of_the_directory_means_the_same_in_postgres_and_in_python(
    house: House, values: Sequence[object]
) -> None:
    texts_of = [json.dumps({"name": value}) for value in values]
    columns = ", ".join(read_member("given.held", "name", wanted) for wanted in HELD)
    rows = await house.owner.fetch(f"SELECT {columns} FROM unnest($1::text[]::jsonb[]) AS given (held)", texts_of)
    for text, row in zip(texts_of, rows, strict=True):
        [held] = json.loads(text).values()
        assert [python(value) for value in row] == [read_json(held, wanted) for wanted in HELD]
    # The objects of teams or projects: a value of another type is left out of the list.
    [row] = await house.owner.fetch(
        f"SELECT {', '.join(collect_members('given.held', 'name', wanted) for wanted in COLLECTED)}"
        " FROM (SELECT $1::text::jsonb AS held) AS given",
        f"[{', '.join([*texts_of, '{}'])}]",
    )
    for found, element in zip(row, COLLECTED.values(), strict=True):
        expected = {value for held in values if (value := read_json(held, element)) is not None}
        assert found == sorted(expected)


async def test_a_lookup_has_the_values_of_its_row_and_the_record_says_them(house: House) -> None:
    ana, mia, sheets = house.caller("ana"), house.caller("mia"), house.timesheets
    sheet = (await sheets.create(ana, MONDAY, "UTC")).value
    for version, (day, project, minutes) in enumerate(
        [(0, PROJECTS[1], 60), (0, PROJECTS[0], 90), (3, PROJECTS[0], 30)], start=1
    ):
        hours = Hours(MONDAY.replace(day=MONDAY.day + day), project, minutes)
        sheet = (await sheets.add_entry(ana, sheet.id, at(version), hours)).value.sheet
    sheet = (await sheets.submit(ana, sheet.id, at(sheet.version))).value
    expected = {
        "resource.minutes": 180,
        "resource.entry_count": 3,
        "resource.days": 2,
        "resource.projects": (PROJECTS[0], PROJECTS[1]),
        "resource.period_start": datetime.combine(MONDAY, datetime.min.time(), UTC),
        "resource.state_since": sheet.updated_at,
        "resource.submitted_at": sheet.submitted_at,
        "resource.approvals": (),
        "resource.owner.groups": (),
        "resource.owner.teams": tuple(sorted(str(house.teams[name]) for name in ("east", "division"))),
    }
    teams = (str(house.teams["east"]),)
    house.memory.forget()
    # The first lookup reads everything, and the second remembers the owner.
    for _ in range(2):
        lookup = await house.relationships.of_row(None, mia.principal, TIMESHEET_FACTS, sheet.id)
        assert lookup.attributes == expected
        known = {"principal.groups": (), "principal.teams": teams, "principal.projects_led": ()}
        assert lookup.caller == known
    await sheets.read(mia, sheet.id)
    recorded = read_body(await house.owner.fetchval("SELECT body FROM audit_record ORDER BY id DESC LIMIT 1"))
    attributes = recorded["attributes"]
    assert isinstance(attributes, dict)
    assert attributes.keys() == {name for name, value in expected.items() if value != ()} | {"principal.teams"}
    assert attributes["resource.projects"] == [PROJECTS[0], PROJECTS[1]]
    assert attributes["resource.period_start"] == f"{MONDAY}T00:00:00Z"


async def test_a_new_sheet_has_no_hours_and_no_times(house: House) -> None:
    lookup = await Relationships([TIMESHEET_FACTS]).of_imagined(
        house.owner, house.caller("ana").principal, TIMESHEET_FACTS, house.people["ana"]
    )
    assert lookup.attributes["resource.minutes"] == lookup.attributes["resource.entry_count"] == 0
    assert lookup.attributes["resource.projects"] == ()
    assert not lookup.attributes.keys() & {"resource.period_start", "resource.state_since", "resource.submitted_at"}


async def test_every_attribute_of_code_has_sql(house: House) -> None:
    for kind, attributes in RESOURCE.items():
        assert house.relationships.of(kind).attributes.keys() == attributes.keys(), kind


@pytest.mark.parametrize("document", ['{"attributes": {}, "groups": ["a"], "teams": [], "projects_led": []}'])
async def test_what_the_directory_holds_of_a_caller_is_read(house: House, document: str) -> None:
    assert CallerAttributes.parse(document).known["principal.groups"] == ("a",)
    nothing = await house.owner.fetchval("SELECT caller_attributes(NULL)")
    assert CallerAttributes.parse(nothing).known == dict.fromkeys(
        ("principal.groups", "principal.teams", "principal.projects_led"), ()
    )
