"""Values of attributes are stored in one form for each type; everything else is refused with what is declared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.directory.declared_attributes import check_values, parse_cell
from service.errors import InvalidField
from service.policy.attributes import MAX_INT, Attribute, AttributeType

if TYPE_CHECKING:
    from service.directory.declared_attributes import JsonValue

DECLARED = {
    "country": Attribute(AttributeType.STRING, "the country"),
    "level": Attribute(AttributeType.INT, "the level", personal=True),
    "external": Attribute(AttributeType.BOOL, "whether they are external"),
    "hired": Attribute(AttributeType.TIMESTAMP, "when they were hired"),
    "sites": Attribute(AttributeType.STRINGS, "where they work"),
}
KNOWN = "country (string), external (bool), hired (timestamp), level (int), sites (list<string>)"


def errors_of(name: str, value: JsonValue | None) -> list[tuple[str, str]]:
    with pytest.raises(InvalidField) as error:
        check_values({name: value}, DECLARED)
    return [(field.field, field.message) for field in error.value.fields]


@pytest.mark.parametrize(
    ("name", "value", "stored"),
    [
        ("country", "DE", "DE"),
        ("level", -3, -3),
        ("level", MAX_INT, MAX_INT),
        ("external", False, False),
        ("hired", "2026-03-01T09:00:00+02:00", "2026-03-01T07:00:00Z"),
        ("hired", "2026-03-01T07:00:00.25Z", "2026-03-01T07:00:00.250000Z"),
        ("sites", ["Rome", "Berlin", "Rome"], ["Berlin", "Rome"]),
        ("sites", [], []),
    ],
)
def test_a_value_of_the_declared_type_is_stored_in_one_form(name: str, value: JsonValue, stored: JsonValue) -> None:
    assert check_values({name: value}, DECLARED) == {name: stored}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("country", 49, "must be a text of 1 to 200 characters on one line"),
        ("country", "", "must be a text of 1 to 200 characters on one line"),
        ("country", "x" * 201, "must be a text of 1 to 200 characters on one line"),
        ("country", "D\nE", "must be a text of 1 to 200 characters on one line"),
        ("country", "\x00", "must be a text of 1 to 200 characters on one line"),
        ("level", True, f"must be a whole number from -{MAX_INT} to {MAX_INT}"),
        ("level", "3", f"must be a whole number from -{MAX_INT} to {MAX_INT}"),
        ("level", MAX_INT + 1, f"must be a whole number from -{MAX_INT} to {MAX_INT}"),
        ("external", 1, "must be true or false"),
        ("external", "true", "must be true or false"),
        ("hired", "2026-03-01", "must be an RFC 3339 time"),
        ("hired", "2026-03-01T09:00:00", "must be an RFC 3339 time"),
        ("hired", "2026-02-30T09:00:00Z", "must be an RFC 3339 time"),
        ("hired", "1899-12-31T23:59:59Z", "must be an RFC 3339 time"),
        ("hired", "0001-01-01T00:00:00+14:00", "must be an RFC 3339 time"),
        ("hired", 1772352000, "must be an RFC 3339 time"),
        ("sites", "Rome", "must be a list of up to 50 texts"),
        ("sites", ["Rome", ""], "must be a list of up to 50 texts"),
        ("sites", [f"site {number}" for number in range(51)], "must be a list of up to 50 texts"),
    ],
)
def test_another_value_is_refused_with_the_type(name: str, value: JsonValue, message: str) -> None:
    ((field, told),) = errors_of(name, value)
    assert field == f"attributes.{name}"
    assert told.startswith(message)


def test_an_undeclared_name_is_refused_with_those_that_are_declared() -> None:
    assert errors_of("contry", "DE") == [
        ("attributes.contry", f"is not declared: the active policy declares {KNOWN}; did you mean 'country'?")
    ]
    assert errors_of("\x1b[2J", None) == [
        ("attributes.\\x1b[2J", f"is not declared: the active policy declares {KNOWN}")
    ]
    with pytest.raises(InvalidField) as error:
        check_values({"country": "DE"}, {})
    assert "declares no attributes here" in error.value.fields[0].message


def test_every_wrong_value_is_named() -> None:
    with pytest.raises(InvalidField) as error:
        check_values({"country": 1, "level": "x", "shoe_size": 43, "external": True}, DECLARED)
    assert [field.field for field in error.value.fields] == [
        "attributes.country",
        "attributes.level",
        "attributes.shoe_size",
    ]


def test_all_values_together_have_a_bound() -> None:
    declared = {f"sites_{number}": Attribute(AttributeType.STRINGS, "sites") for number in range(7)}
    many = [f"{number:03}".ljust(200, "x") for number in range(50)]
    assert check_values(dict.fromkeys(list(declared)[:6], many), declared)
    with pytest.raises(InvalidField) as error:
        check_values(dict.fromkeys(declared, many), declared)
    assert [field.field for field in error.value.fields] == ["attributes"]


def test_null_removes_a_value_also_of_a_name_that_is_no_longer_declared() -> None:
    stored: dict[str, JsonValue] = {"country": "DE", "shoe_size": 43}
    assert check_values({"level": 2}, DECLARED, stored) == {"country": "DE", "shoe_size": 43, "level": 2}
    assert check_values({"country": None, "shoe_size": None, "level": None}, DECLARED, stored) == {}
    assert check_values({"country": None}, DECLARED) == {}
    assert stored == {"country": "DE", "shoe_size": 43}


@pytest.mark.parametrize(
    ("name", "cell", "stored"),
    [
        ("country", "DE", "DE"),
        ("level", "-3", -3),
        ("external", "TRUE", True),
        ("external", "false", False),
        ("hired", "2026-03-01T09:00:00+02:00", "2026-03-01T07:00:00Z"),
        ("sites", "Rome; Berlin", ["Berlin", "Rome"]),
    ],
)
def test_a_cell_has_the_form_of_its_type(name: str, cell: str, stored: JsonValue) -> None:
    assert parse_cell(cell, DECLARED[name]) == stored


@pytest.mark.parametrize(("name", "cell"), [("level", "3.0"), ("level", "९"), ("external", "yes"), ("sites", "Rome;")])
def test_another_cell_is_refused(name: str, cell: str) -> None:
    with pytest.raises(ValueError, match=r"^must be "):
        parse_cell(cell, DECLARED[name])


values = st.none() | st.text() | st.integers() | st.booleans() | st.lists(st.text(), max_size=3) | st.floats()


@given(st.dictionaries(st.sampled_from([*DECLARED, "other"]), values))
def test_what_is_stored_is_stored_the_same_again(asked: dict[str, JsonValue | None]) -> None:
    """Any request is refused, or each stored value is its own form."""
    try:
        stored = check_values(asked, DECLARED)
    except InvalidField:
        return
    assert check_values(stored, DECLARED) == stored
    assert stored.keys() == {name for name, value in asked.items() if value is not None}
