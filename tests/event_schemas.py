"""The published schemas of events, and events beside them. Pure."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema_rs

import events
from events.envelope import PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(events.__file__).parent
SCHEMAS = {path.name: json.loads(path.read_text()) for path in sorted((HERE / "schemas").glob("*.json"))}


@cache
def validator(name: str) -> Any:
    """Of the schema in this file."""
    base = "https://schemas.example/"
    named = [(base + name, {**schema, "$id": base + name}) for name, schema in SCHEMAS.items()]
    return jsonschema_rs.validator_for(
        dict(named)[base + name], registry=jsonschema_rs.Registry(named), validate_formats=True
    )


def check_event(event: Mapping[str, Any]) -> None:
    """Hold an event to the schema of its type."""
    found = validator(f"{event['type'].removeprefix(PREFIX)}.json").iter_errors(event)
    assert [f"{each.instance_path}: {each.message}" for each in found] == [], event
