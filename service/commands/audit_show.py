"""`timewarden audit show` and `audit explain`: one record, and the reasons of one decision."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import rich_click as click

from service.commands.api_client import connect
from service.commands.groups import as_json, as_person
from service.commands.tables import plain, when

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from uuid import UUID

DAMAGED = "(damaged)"
# The width of the column of names.
NAME_WIDTH = 16
# What the member `applied` says, by its JSON.
APPLIED = {"null": "", "true": ", applied", "false": ", not applied"}
NO_NAMES: Final[Mapping[str, str]] = MappingProxyType({})
# Members of a record that are printed under another name, or say nothing to a reader.
SHOWN_ELSEWHERE = frozenset(
    {"v", "uid", "kind", "nonce", "decided_at", "principal", "resource", "outcome", "applied", "action", "change"}
)


@click.command()
@click.argument("record", metavar="ID", type=click.UUID)
@as_json
@as_person
def show(*, record: UUID, as_json: bool, person: str | None) -> None:
    """Print the record ID, or the record of the decision ID. Names are today's and not proved."""
    found = connect(person).call("GET", f"/v1/audit/records/{record}", query={"names": "true"})
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
        return
    for name, value in _lines_of_record(found):
        print(f"{name:>{NAME_WIDTH}}  {plain(value)}")


@click.command()
@click.argument("decision", metavar="ID", type=click.UUID)
@as_json
@as_person
def explain(*, decision: UUID, as_json: bool, person: str | None) -> None:
    """Explain the decision ID: the rules that decided, or those that came nearest and what they lacked."""
    api = connect(person)
    found = api.call("GET", f"/v1/decisions/{decision}/explanation")
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
        return
    print(plain(_request(api.call("GET", f"/v1/decisions/{decision}", query={"names": "true"}))))
    print(plain(f"{found['outcome']}: {found['because']} (policy version {found['policy_version']})"))
    if actors := found.get("actors"):
        print(plain(f"  acting for the caller: {', then '.join(actors)}"))
    for rule in found["rules"]:
        print(plain(f"  {rule['rule']}, line {rule['line']}: {rule['text']}"))
    for miss in found["near_misses"]:
        print(plain(f"  nearest: {miss['rule']}, line {miss['line']}: {miss['text']}"))
        for condition in miss["missing"]:
            print(plain(f"    {condition['sentence']}"))
    for fact in found.get("facts", ()):
        values = ", ".join(f"{name} = {value}" for name, value in fact["values"].items())
        print(plain(f"  {fact['fact']} was {fact['value']}: {fact['expression']} ({values})"))
    if found["scopes"]:
        print(plain(f"  the token needs one of these scopes: {', '.join(found['scopes'])}"))


def _request(found: Mapping[str, Any]) -> str:
    """Who asked to do what to which resource of whom."""
    record, names = found["record"], found["names"]
    principal, resource = read_member(record, "principal"), read_member(record, "resource")
    who = _name_person(principal.get("person"), names) or f"client {principal.get('client')}"
    owner = resource.get("owner")
    of_owner = f" of {_name_person(owner, names)}" if owner and owner != principal.get("person") else ""
    thing = " ".join(str(resource[part]) for part in ("kind", "id") if resource.get(part))
    return f"{who}: {record.get('action')} {thing}{of_owner}"


def read_member(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A member that is an object; empty without it, or with one of another type, which only a forged record has."""
    found = record.get(name)
    return found if isinstance(found, dict) else {}


def describe_change(change: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[str]:
    """What a change changed: a line for each member, `name: before → after`, and one for each entry, `-` or `+`. Ids
    have their names beside them."""
    before, after = read_member(change, "from"), read_member(change, "to")
    for name in dict.fromkeys((*before, *after)):
        if name == "entries" or before.get(name) == after.get(name):
            continue
        yield f"{name}: {format_value(before.get(name), names)} → {format_value(after.get(name), names)}"
    for sign, side in (("-", before), ("+", after)):
        entries = side.get("entries")
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict):
                yield f"{sign} {entry.get('day')} {entry.get('project')} {entry.get('minutes')} min"
            else:
                yield f"{sign} {DAMAGED} {format_value(entry)}"


def _lines_of_record(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    record, names = found["record"], found["names"]
    principal, resource = read_member(record, "principal"), read_member(record, "resource")
    position = found["position"]
    yield "record", found["id"]
    yield "position", "not sealed yet" if position is None else str(position)
    yield "leaf", found["leaf"]
    yield "kind", found["kind"]
    yield "decided", when(str(record.get("decided_at", found["at"])))
    if principal:
        yield "who", _name_person(principal.get("person"), names) or f"client {principal.get('client')}"
        yield from (
            (name, format_value(value)) for name, value in principal.items() if name != "person" and _says(value)
        )
    if "action" in record:
        yield "action", format_value(record["action"])
    yield from ((f"resource {name}", _name_person(value, names)) for name, value in resource.items() if _says(value))
    if "outcome" in record:
        applied = APPLIED.get(json.dumps(record.get("applied")), f", {DAMAGED}")
        yield "outcome", f"{format_value(record['outcome'])}{applied}"
    for name in ("principal", "resource", "change"):
        if not isinstance(record.get(name) or {}, dict):
            yield name, f"{DAMAGED} {format_value(record[name])}"
    rest = [name for name in record if name not in SHOWN_ELSEWHERE and _says(record[name])]
    yield from ((name, format_value(record[name], names)) for name in rest)
    yield from (("changed", line) for line in describe_change(read_member(record, "change"), names))
    yield from ((name, text) for name, text in (found.get("texts") or {}).items())
    yield from ((name, "(erased)") for name in found.get("erased") or ())


def _name_person(value: object, names: Mapping[str, str]) -> str:
    """The value, an id with its name; empty for none."""
    return "" if value is None else format_value(value, names)


def _says(value: object) -> bool:
    return value not in (None, [], {}, "")


def format_value(value: object, names: Mapping[str, str] = NO_NAMES) -> str:
    """A value as a reader would write it; an id with its name."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {format_value(item, names)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(format_value(item, names) for item in value)
    if isinstance(value, str) and value in names:
        return f"{names[value]} ({value})"
    if value is None:
        return "-"
    return str(value).lower() if isinstance(value, bool) else str(value)
