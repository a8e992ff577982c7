"""Published rules and vectors: RFC 8785 canonical JSON, RFC 9162 leaf hashes, CloudEvents 1.0 in JSON."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest

from events.envelope import CONTENT_TYPE, serialize
from service.log import merkle
from service.log.record import Kind, Record, read_body
from tests.golden.event_files import SOURCE, examples

EVENTS = [json.loads(serialize(change, SOURCE)) for change in examples()]


def test_the_leaf_hash_of_empty_data() -> None:
    """RFC 9162 §2.1.1; the same value opens the test trees of Certificate Transparency."""
    assert merkle.leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"


def test_names_are_sorted_by_utf_16_units() -> None:
    """RFC 8785 §3.2.3: its own example."""
    names = {
        "\u20ac": "Euro Sign",
        "\r": "Carriage Return",
        "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One",
        "\U0001f600": "Emoji: Grinning Face",
        "\u0080": "Control",
        "\u00f6": "Latin Small Letter O With Diaeresis",
    }
    record = Record.make(Kind.SYSTEM, {"decided_at": datetime(2026, 3, 2, tzinfo=UTC), "facts": names})
    held = read_body(record.body)["facts"]
    assert isinstance(held, dict)
    assert list(held) == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


def test_strings_are_encoded_as_rfc_8785_specifies() -> None:
    """RFC 8785 §3.2.2.2: the string of its example."""
    text = "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/"
    body = Record.make(Kind.SYSTEM, {"decided_at": datetime(2026, 3, 2, tzinfo=UTC), "string": text}).body
    assert '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'.encode() in body


@pytest.mark.parametrize("event", EVENTS, ids=[event["type"] for event in EVENTS])
def test_events_follow_the_rules_of_cloudevents(event: dict[str, object]) -> None:
    """CloudEvents 1.0.2, Context Attributes, and JSON Event Format §3."""
    assert {"id", "source", "specversion", "type"} <= event.keys()
    for name, value in event.items():
        assert re.fullmatch("[a-z0-9]{1,20}", name)
        assert name == "data" or (isinstance(value, str) and value)
    assert event["specversion"] == "1.0"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", str(event["time"]))
    assert isinstance(event["data"], dict)
    assert "data_base64" not in event


def test_events_are_sent_in_structured_mode() -> None:
    assert CONTENT_TYPE == "application/cloudevents+json"
