"""JSON Schemas of vocabulary.toml and of the case files, for editors. They know the words of the code and no others.

The service itself reads the files with its own readers, which say more. Draft 7 is what editors for TOML and YAML know.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from service.policy import case_files, directory_tables, known_words
from service.policy.access_request import Reason
from service.policy.attributes import CONTEXT, PRINCIPAL, RESOURCE, Attribute, AttributeType
from service.policy.expressions.source import MAX_EXPRESSION_CHARACTERS
from service.policy.vocabulary_file import LONGEST_SENTENCE, OLDEST_SIGN_IN

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

FOLDER = Path(__file__).resolve().parents[2] / "policies" / "schemas"
Schema: TypeAlias = "dict[str, object]"

NAME = {"pattern": f"^{directory_tables.NAME.pattern}$"}
WORD = {"pattern": f"^{directory_tables.WORD.pattern}$"}
SENTENCE: Schema = {"type": "string", "minLength": 1, "maxLength": LONGEST_SENTENCE}
WORDS: Schema = {"type": "array", "items": {"type": "string"}}
TRUTHS: Schema = {"enum": [True, False, "unknown"]}
_SINGLE = {
    AttributeType.STRING: {"type": "string"},
    AttributeType.INT: {"type": "integer"},
    AttributeType.BOOL: {"type": "boolean"},
    AttributeType.TIMESTAMP: {"type": "string", "description": "2026-03-02 or 2026-03-02T12:00:00Z"},
}


def files() -> dict[str, str]:
    """The text of each schema by its file name."""
    schemas = {"vocabulary.json": _vocabulary(), "cases.json": _cases()}
    return {name: json.dumps(schema, indent=1) + "\n" for name, schema in schemas.items()}


def _object(properties: Mapping[str, object], required: Collection[str] = (), others: object = False) -> Schema:  # noqa: FBT002 — as JSON Schema writes it
    found: Schema = {"type": "object", "properties": dict(properties), "additionalProperties": others}
    return {**found, "required": list(required)} if required else found


def _vocabulary() -> Schema:
    tables = {
        "kinds": _object({kind: _kind(kind) for kind in known_words.ACTIONS}),
        "request": _object({"facts": _facts("", known_words.REQUEST_FACTS)}),
        "scopes": {"type": "object", "additionalProperties": SENTENCE},
        "directory": _object({table: _attributes(types) for table, types in directory_tables.TYPES.items()}),
    }
    title = "vocabulary.toml of Timewarden: the words that rules may use"
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": title,
        **_object(tables, ["kinds", "scopes"]),
    }


def _kind(kind: str) -> Schema:
    properties: dict[str, object] = {
        "name": SENTENCE,
        "actions": _object(dict.fromkeys(sorted(known_words.ACTIONS[kind]), SENTENCE)),
    }
    if kind in known_words.STATES:
        properties["states"] = _object(dict.fromkeys(sorted(known_words.STATES[kind]), SENTENCE))
    relation = {
        "type": "string",
        "description": "a path from the resource to people, such as resource.owner.teams.leads",
    }
    native = dict.fromkeys(sorted(known_words.RELATIONS.get(kind, ())), _sentences({"is": relation}))
    properties["relations"] = _object(native, others=_sentences({"is": relation}, ["is"]))
    if kind in RESOURCE:
        properties["facts"] = _facts(kind, known_words.FACTS.get(kind, ()))
    if kind == "timesheet":
        properties["approval"] = _object({"complete": _expression(kind)}, ["complete"])
    return _object(properties, ["name", "actions"])


def _facts(kind: str, native: Collection[str]) -> Schema:
    defined = _sentences({"is": _expression(kind)}, ["is"])
    age = {"type": "integer", "minimum": 1, "maximum": OLDEST_SIGN_IN, "description": "seconds since the sign-in"}
    others: Schema = defined if kind else {"oneOf": [defined, _sentences({"max_age": age}, ["max_age"])]}
    return _object(dict.fromkeys(sorted(native), _sentences({})), others=others)


def _sentences(more: Mapping[str, object], required: Collection[str] = ()) -> Schema:
    sentences = dict.fromkeys(("yes", "no", "unknown"), SENTENCE)
    return _object({**more, **sentences}, [*required, "yes", "no"])


def _expression(kind: str) -> Schema:
    known = {**PRINCIPAL, **CONTEXT, **RESOURCE.get(kind, {})}
    names = "; ".join(f"{name} ({attribute.type}): {attribute.description}" for name, attribute in known.items())
    description = f"A CEL expression that is true or false. Attributes, beside those of [directory]: {names}"
    return {"type": "string", "maxLength": MAX_EXPRESSION_CHARACTERS, "description": description}


def _attributes(types: Collection[AttributeType]) -> Schema:
    kind = {"enum": [kind.value for kind in types]}
    more = _object({"type": kind, "personal": {"type": "boolean"}, "description": SENTENCE}, ["type"])
    return {"type": "object", "propertyNames": NAME, "additionalProperties": {"anyOf": [kind, more]}}


def _cases() -> Schema:
    some: Schema = {"anyOf": [{"type": "string"}, WORDS]}
    keys: dict[str, object] = dict.fromkeys(case_files.KEYS, some)
    keys |= {
        "case": {"type": "string", "description": "a unique sentence"},
        "action": {"enum": sorted({action for actions in known_words.ACTIONS.values() for action in actions})},
        "kind": {"enum": sorted(known_words.ACTIONS)},
        "state": {"enum": sorted({state for states in known_words.STATES.values() for state in states})},
        "facts": {"type": "object", "propertyNames": WORD, "additionalProperties": TRUTHS},
        "verdict": {"enum": ["allow", "deny"]},
        "reason": {"enum": [reason.value for reason in (Reason.ALLOWED, Reason.DENY_RULE, Reason.NO_RULE)]},
        "listed": {"type": "boolean"},
        "resource": _values({name: known for kind in RESOURCE.values() for name, known in kind.items()}),
        "principal": _values(PRINCIPAL),
        "context": _values(CONTEXT),
    }
    by_kind = [
        {
            "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
            "then": {"properties": {"action": {"enum": sorted(actions)}}},
        }
        for kind, actions in known_words.ACTIONS.items()
    ]
    case = {**_object(keys, case_files.REQUIRED), "allOf": by_kind}
    shared = _object({key: keys[key] for key in case_files.KEYS_OF_DEFAULTS})
    defaults = {"required": [case_files.DEFAULTS]}
    item = {"if": defaults, "then": _object({case_files.DEFAULTS: shared}), "else": case}
    title = "A case file of Timewarden: the verdicts that a policy must give"
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": title, "type": "array", "items": item}


def _values(known: Mapping[str, Attribute]) -> Schema:
    """Attributes below a root; the directory may hold further ones."""
    properties = {name.partition(".")[2]: _value(attribute) for name, attribute in known.items()}
    return _object(properties, others=True)


def _value(attribute: Attribute) -> Schema:
    if attribute.type in _SINGLE:
        return {"description": attribute.description, **_SINGLE[attribute.type]}
    element = _SINGLE[AttributeType(attribute.type.removeprefix("list<").removesuffix(">"))]
    return {"description": attribute.description, "anyOf": [element, {"type": "array", "items": element}]}
