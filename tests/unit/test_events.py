"""The envelope: every event type matches its golden file, its schema and the AsyncAPI document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from events.envelope import CONTENT_TYPE, PREFIX, TYPES, PublishedChange, parse, serialize
from events.stream import BEFORE_ALL, id_of, position_of
from tests.event_schemas import HERE, SCHEMAS, validator
from tests.golden.event_files import SOURCE, examples, files

GOLDEN = Path(__file__).parents[1] / "golden" / "events"
BY_TYPE = {change.type: change for change in examples()}


def test_events_match_their_golden_files() -> None:
    """After an intended change, rewrite them with `make golden` and review the diff."""
    assert {path.name: path.read_text() for path in GOLDEN.glob("*.json")} == files()


@pytest.mark.parametrize("type_", TYPES)
def test_every_event_is_valid_under_its_own_schema_only(type_: str) -> None:
    written = json.loads(serialize(BY_TYPE[type_], SOURCE))
    validator(f"{type_}.json").validate(written)
    for other in TYPES:
        assert validator(f"{other}.json").is_valid(written) == (other == type_)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("sequence", "7"),
        ("id", "7"),
        ("leafhash", "ab"),
        ("time", "yesterday"),
        ("specversion", "0.3"),
        ("data", {}),
        ("traceparent", "any"),
    ],
)
def test_the_schema_refuses_an_event_with_a_wrong_member(member: str, value: object) -> None:
    written = json.loads(serialize(BY_TYPE["timesheet.approved"], SOURCE))
    assert not validator("timesheet.approved.json").is_valid({**written, member: value})


@pytest.mark.parametrize("type_", TYPES)
def test_an_event_parses_back(type_: str) -> None:
    assert parse(serialize(BY_TYPE[type_], SOURCE)) == BY_TYPE[type_]


def test_the_first_event_has_no_previous_and_sequences_sort_as_text() -> None:
    written = [json.loads(serialize(change, SOURCE)) for change in examples()]
    assert "previous" not in written[0]
    assert [event["previous"] for event in written[1:]] == [event["sequence"] for event in written[:-1]]
    assert sorted(event["sequence"] for event in written) == [event["sequence"] for event in written]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"\xff",
        b"[]",
        b"null",
        b'"x"',
        b'{"specversion":"1.0","id":"1","source":"s","type":"t"}',
        b"[" * 9000,
    ],
)
def test_malformed_events_raise_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError, match="not an event"):
        parse(raw)


def test_an_entry_id_is_never_zero_and_parses_back() -> None:
    assert (id_of(None), id_of(BEFORE_ALL), id_of(0), id_of(41)) == ("0-0", "0-0", "1-0", "42-0")
    assert [position_of(id_of(number)) for number in (BEFORE_ALL, 0, 41)] == [BEFORE_ALL, 0, 41]
    for strange in ("5-1", "x-0", "1700000000000-3", ""):
        with pytest.raises(ValueError, match="is not the id of an event"):
            position_of(strange)


def test_the_asyncapi_document_has_a_message_for_every_type_and_no_other() -> None:
    document = yaml.safe_load((HERE / "asyncapi.yaml").read_text())
    messages = document["components"]["messages"]
    assert {message["name"] for message in messages.values()} == {PREFIX + type_ for type_ in TYPES}
    assert document["defaultContentType"] == CONTENT_TYPE
    assert set(SCHEMAS) == {f"{type_}.json" for type_ in TYPES} | {"event.json"}
    for message in messages.values():
        schema = SCHEMAS[Path(message["payload"]["schema"]["$ref"]).name]
        assert schema["title"] == message["title"]
        assert schema["properties"]["type"]["const"] == message["name"]


def test_every_local_reference_of_the_asyncapi_document_resolves() -> None:
    document = yaml.safe_load((HERE / "asyncapi.yaml").read_text())
    found = list(references(document))
    assert len(found) > 2 * len(TYPES)
    for reference in found:
        if not reference.startswith("#/"):
            assert (HERE / reference).is_file()
            continue
        place: Any = document
        for name in reference[2:].split("/"):
            place = place[name]


def references(node: object) -> list[str]:
    if isinstance(node, list):
        return [reference for item in node for reference in references(item)]
    if not isinstance(node, dict):
        return []
    own = [cast("str", node["$ref"])] if "$ref" in node else []
    return own + [reference for item in node.values() for reference in references(item)]


def test_an_event_holds_no_names() -> None:
    """Only ids and fixed words: no member can hold a name, an address or free text."""
    change: PublishedChange = BY_TYPE["timesheet.rejected"]
    assert set(change.data) == {"resource", "from", "to", "by", "decision"}
