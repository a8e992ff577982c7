"""Reads `[directory.people]`, `[directory.teams]` and `[directory.projects]`: attributes that the directory holds.

Pure. `country = "string"` declares a name and a type, `level = { type = "int", personal = true }` says more.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from service.policy.attributes import PRINCIPAL, RESOURCE, Attribute, AttributeType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.policy.toml_places import Complaints

MAX_ATTRIBUTES = 50
LONGEST_DESCRIPTION = 300
WORD = re.compile(r"[a-z][a-z0-9_]{0,62}")
# Names that statements use for columns, behind a prefix: Postgres cuts off what is longer than 63 bytes.
LONGEST_NAME = 40
SPELLING = "use lower-case letters, digits and _, starting with a letter"
NAME = re.compile(rf"[a-z][a-z0-9_]{{0,{LONGEST_NAME - 1}}}")
_SINGLE: Final = (AttributeType.STRING, AttributeType.INT, AttributeType.BOOL)
# The types by table. Attributes of teams and projects are read as lists, and there are no lists of timestamps.
TYPES: Final[Mapping[str, tuple[AttributeType, ...]]] = {
    "people": (*_SINGLE, AttributeType.TIMESTAMP, AttributeType.STRINGS),
    "teams": _SINGLE,
    "projects": _SINGLE,
}
# Reserved in CEL, and its functions and macros.
_CEL: Final = frozenset(
    {"as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop"}
    | {"namespace", "null", "package", "return", "true", "var", "void", "while"}
    | {"all", "contains", "duration", "exists", "has", "matches", "size", "timestamp"}
)
# Words that have a meaning behind the same dot, in expressions or in paths.
_NATIVE: Final = frozenset(
    name.rpartition(".")[2]
    for names in (PRINCIPAL, *(names for kind, names in RESOURCE.items() if kind != "access_request"))
    for name in names
)
_EDGES: Final = frozenset({"owner", "above", "leads", "members", "delegates", "grants", "people", "clients"})
TAKEN: Final = _CEL | _NATIVE | _EDGES


def read_directory(document: Mapping[str, object], complaints: Complaints) -> dict[str, dict[str, Attribute]]:
    """The attributes of each table, by their names there."""
    found: dict[str, dict[str, Attribute]] = {table: {} for table in TYPES}
    directory = document.get("directory", {})
    if not isinstance(directory, dict):
        complaints.complain(("directory",), "'directory' must be a table")
        return found
    for table, names in directory.items():
        at = ("directory", table)
        if table not in TYPES:
            complaints.complain(at, f"The key '{table}' is not known here", complaints.suggest(table, TYPES))
        elif not isinstance(names, dict):
            complaints.complain(at, f"'{'.'.join(at)}' must be a table")
        else:
            if len(names) > MAX_ATTRIBUTES:
                complaints.complain(at, f"There are more than {MAX_ATTRIBUTES} attributes of {table}")
            for name, declared in names.items():
                attribute = _read_attribute(table, name, declared, complaints)
                if attribute is not None:
                    found[table][name] = attribute
    return found


def _read_attribute(table: str, name: str, declared: object, complaints: Complaints) -> Attribute | None:
    at = ("directory", table, name)
    if not NAME.fullmatch(name):
        complaints.complain(at, f"'{name}' is not a name: {SPELLING}, at most {LONGEST_NAME} of them")
        return None
    if name in TAKEN:
        complaints.complain(at, f"'{name}' has a meaning of its own in expressions or paths", "choose another name")
        return None
    body = declared if isinstance(declared, dict) else {"type": declared}
    for key in body.keys() - {"type", "personal", "description"}:
        known = ("type", "personal", "description")
        complaints.complain((*at, key), f"The key '{key}' is not known here", complaints.suggest(key, known))
    types, kind = TYPES[table], body.get("type")
    if kind not in types:
        complaints.complain((*at, "type"), f"An attribute of {table} needs a type", f"one of: {', '.join(types)}")
        return None
    personal, description = body.get("personal", False), body.get("description", f"`{name}` in the directory")
    if not isinstance(personal, bool):
        complaints.complain((*at, "personal"), "'personal' must be true or false")
        return None
    fits = isinstance(description, str) and 0 < len(description) <= LONGEST_DESCRIPTION and description.isprintable()
    if not fits:
        complaints.complain(
            (*at, "description"), f"A description has one line, at most {LONGEST_DESCRIPTION} characters"
        )
        return None
    return Attribute(AttributeType(str(kind)), str(description), personal)
