"""The JSON Schemas in policies/ are those of the code, editors find them, and they say what the readers say."""

from __future__ import annotations

import json
import tomllib
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest
import yaml

from tests.golden import attribute_table, policy_schemas
from tests.policy_forge import POLICIES, read_shipped
from tests.unit import test_case_values, test_declared_words

if TYPE_CHECKING:
    from pathlib import Path

SCHEMAS = policy_schemas.files()
VOCABULARY = jsonschema_rs.validator_for(json.loads(SCHEMAS["vocabulary.json"]))
CASES = jsonschema_rs.validator_for(json.loads(SCHEMAS["cases.json"]))
SHIPPED = tomllib.loads(read_shipped().vocabulary)


def test_the_schemas_are_fresh() -> None:
    stored = {path.name: path.read_text(encoding="utf-8") for path in policy_schemas.FOLDER.iterdir()}
    assert stored == SCHEMAS, "run `make golden`"


def test_the_page_of_the_language_names_every_attribute() -> None:
    page = attribute_table.PAGE.read_text(encoding="utf-8")
    assert page == attribute_table.rewrite_table(page), "run `make golden`"
    assert page.count("\n| `resource.") > 10


def test_the_first_line_of_each_file_names_its_schema() -> None:
    def find_schema(path: Path) -> Path:
        first = path.read_text(encoding="utf-8").splitlines()[0]
        return (path.parent / first.partition("=" if "=" in first else "schema ")[2]).resolve()

    assert find_schema(POLICIES / "vocabulary.toml") == policy_schemas.FOLDER / "vocabulary.json"
    cases = sorted((POLICIES / "cases").iterdir())
    assert {find_schema(path) for path in cases} == {policy_schemas.FOLDER / "cases.json"}


def test_the_shipped_files_keep_to_their_schemas() -> None:
    VOCABULARY.validate(SHIPPED)
    for text in read_shipped().cases.values():
        CASES.validate(yaml.safe_load(text))


def test_declared_words_keep_to_the_schema() -> None:
    texts = (test_declared_words.COUNTRIES, test_declared_words.OVERTIME, test_declared_words.SAME_COUNTRY)
    VOCABULARY.validate(tomllib.loads(test_declared_words.SHIPPED + "".join(texts)))
    VOCABULARY.validate(tomllib.loads(read_shipped().vocabulary + test_case_values.WORDS))


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (("kinds", "timeshets"), {}),
        (("kinds", "timesheet", "actions", "aprove"), "x"),
        (("kinds", "timesheet", "facts", "overtime"), {"yes": "x", "no": "y"}),
        (("kinds", "timesheet", "facts", "overtime"), {"is": "x" * 1001, "yes": "x", "no": "y"}),
        (("kinds", "timesheet", "facts", "overtime"), {"if": "true", "yes": "x", "no": "y"}),
        (("kinds", "timesheet", "facts", "mine"), {"is": "true", "yes": "x"}),
        (("kinds", "log", "facts"), {"mine": {"is": "true", "yes": "x", "no": "y"}}),
        (("request", "facts", "old"), {"max_age": 0, "yes": "x", "no": "y"}),
        (("request", "facts", "old"), {"max_age": 9, "is": "true", "yes": "x", "no": "y"}),
        (("directory",), {"people": {"country": "text"}}),
        (("directory",), {"teams": {"since": "timestamp"}}),
        (("directory",), {"people": {"Country": "string"}}),
        (("scope",), {}),
    ],
)
def test_an_editor_marks_a_wrong_vocabulary(at: tuple[str, ...], value: object) -> None:
    document: dict[str, Any] = deepcopy(SHIPPED)
    table = document
    for key in at[:-1]:
        table = table[key]
    table[at[-1]] = value
    assert not VOCABULARY.is_valid(document)


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "maybe"},
        {"kind": "log", "action": "approve"},
        {"facts": {"mfa": "yes"}},
        {"resource": {"minutes": "many"}},
        {"principal": {"roles": [3]}},
        {"states": "draft"},
        {"listed": "yes"},
    ],
)
def test_an_editor_marks_a_wrong_case(change: dict[str, object]) -> None:
    case = {"case": "x", "who": "owner", "action": "read", "kind": "timesheet", "verdict": "allow"}
    assert CASES.is_valid([case])
    assert not CASES.is_valid([{**case, **change}])
    assert not CASES.is_valid([{key: value for key, value in case.items() if key != "verdict"}])


def test_an_editor_knows_the_defaults_of_a_case_file() -> None:
    case = {"case": "x", "who": "owner", "action": "read", "kind": "timesheet", "verdict": "allow"}
    defaults = {"facts": {"mfa": True}, "resource": {"minutes": 60}, "principal": {"country": "PT"}, "context": {}}
    assert CASES.is_valid([{"defaults": defaults}, case])
    assert not CASES.is_valid([{"defaults": {**defaults, "scopes": "read:timesheets"}}, case])
    assert not CASES.is_valid([{"defaults": {"facts": {"mfa": "yes"}}}, case])
    assert not CASES.is_valid([{**case, "defaults": defaults}])
