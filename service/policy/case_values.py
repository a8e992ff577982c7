"""Reads the values of attributes in a case: `resource: {minutes: 2580, owner.country: DE}`. Pure.

A value is read as the type that its attribute has, so `NO` is a country where a string is wanted. Names may be dotted
or nested. An attribute that is left out is missing.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import yaml

from service.policy.attributes import AttributeType, fits
from service.policy.matching import ACTOR, CLIENT, GROUP, PERSON, ROLE
from service.policy.nearest_word import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import NoReturn

    from service.policy.attributes import Attribute, Value

ROOTS: Final = ("resource", "principal", "context")
_NUMBER = re.compile(r"-?[0-9]{1,16}", re.ASCII)
_TRUTHS: Final = {"true": True, "false": False}
_ELEMENTS: Final = {
    AttributeType.STRINGS: AttributeType.STRING,
    AttributeType.INTS: AttributeType.INT,
    AttributeType.BOOLS: AttributeType.BOOL,
}
_EXAMPLES: Final = {
    AttributeType.STRING: "write a text",
    AttributeType.INT: "write a whole number, such as 2400",
    AttributeType.BOOL: "write true or false",
    AttributeType.TIMESTAMP: "write 2026-03-02 or 2026-03-02T12:00:00Z",
}


def read_values(
    node: yaml.Node,
    root: str,
    known: Mapping[str, Attribute],
    complain: Callable[[yaml.Node, str, str | None], NoReturn],
) -> dict[str, Value]:
    """The values below `root` by dotted name. `complain` raises."""
    if not isinstance(node, yaml.MappingNode):
        complain(node, f"'{root}' must be names of attributes with values", f"write {root}: {{name: value}}")
    found: dict[str, Value] = {}
    for key, value in node.value:
        name = f"{root}.{key.value}" if isinstance(key, yaml.ScalarNode) else root
        if isinstance(value, yaml.MappingNode) and any(other.startswith(f"{name}.") for other in known):
            read = read_values(value, name, known, complain)
        elif name in known:
            read = {name: _read_value(value, name, known[name].type, complain)}
        else:
            complain(key, f"There is no attribute '{name}' here", nearest(name, known))
        for twice in read.keys() & found.keys():
            complain(key, f"The attribute '{twice}' is here twice", None)
        found |= read
    return found


def values_of_caller(who: Sequence[str]) -> dict[str, Value]:
    """The attributes that follow from the who-words of a case."""
    found: dict[str, Value] = {
        "principal.kind": "client" if any(word.startswith(CLIENT) for word in who) else "user",
        "principal.roles": tuple(word.removeprefix(ROLE) for word in who if word.startswith(ROLE)),
        "principal.groups": tuple(word.removeprefix(GROUP) for word in who if word.startswith(GROUP)),
        "context.actors": (actors := tuple(word.removeprefix(ACTOR) for word in who if word.startswith(ACTOR))),
        "context.delegated": bool(actors),
    }
    for word in who:
        if word.startswith(PERSON):
            found["principal.id"] = word.removeprefix(PERSON)
        elif word.startswith(CLIENT):
            found["principal.client"] = word.removeprefix(CLIENT)
    return found


def _read_value(
    node: yaml.Node, name: str, kind: AttributeType, complain: Callable[[yaml.Node, str, str | None], NoReturn]
) -> Value:
    if kind in _ELEMENTS:
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        items = [_read_value(item, name, _ELEMENTS[kind], complain) for item in nodes]
        return tuple(dict.fromkeys(items))  # type: ignore[return-value]  # the elements have one type
    value = _parse(node.value, kind) if isinstance(node, yaml.ScalarNode) else None
    if value is None or not fits(value, kind):
        complain(node, f"'{name}' is of type {kind}", _EXAMPLES[kind])
    return value


def _parse(text: str, kind: AttributeType) -> Value:
    match kind:
        case AttributeType.INT:
            return int(text) if _NUMBER.fullmatch(text) else None
        case AttributeType.BOOL:
            return _TRUTHS.get(text)
        case AttributeType.TIMESTAMP:
            try:
                found = datetime.fromisoformat(text)
            except ValueError:
                return None
            return found.replace(tzinfo=UTC) if "T" not in text and found.tzinfo is None else found
        case _:
            return text
