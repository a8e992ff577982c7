"""Reads the paths of relations from vocabulary.toml: the tables [kinds.K.relations.NAME] with `is`. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.policy.path_parser import default_paths, parse_paths
from service.policy.paths import NATIVE_RELATIONS, STARTS, Path, count_branches

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.policy.toml_places import Complaints

# Of each kind. Each decision about a row finds out all relations to it, and its record holds them.
MAX_PATHS = 20
# Of all relations of a kind together: each adds a millisecond or so to the planning of a statement.
MAX_BRANCHES = 40


def read_paths(kind: str, table: Mapping[str, object], complaints: Complaints) -> dict[tuple[str, str], Path]:
    """The paths of the relations of a kind that are not computed in code, declared or as older versions have them.
    Every flaw is a complaint."""
    at = ("kinds", kind, "relations")
    declared = {relation: body["is"] for relation, body in table.items() if isinstance(body, dict) and "is" in body}
    if len(declared) > MAX_PATHS:
        complaints.complain(at, f"The {kind} has more than {MAX_PATHS} relations with a path")
        return {}
    texts: dict[str, str] = {}
    for relation, text in declared.items():
        here = (*at, relation)
        if relation in NATIVE_RELATIONS.get(kind, ()):
            complaints.complain(here, f"'{relation}' is computed in code and has no path", "leave `is` out")
        elif relation in STARTS.get(kind, {}):
            complaints.complain(here, f"'{relation}' is an edge of the {kind}", "give the relation another name")
        elif kind not in STARTS:
            complaints.complain(here, f"The {kind} has no edges, so no path can start from it")
        elif not isinstance(text, str) or not text.isprintable():
            complaints.complain(here, "'is' must be a path in one line, such as 'resource.owner.teams.leads'")
        else:
            texts[relation] = text
    defaults = {name: path for name, path in default_paths(kind).items() if name in table and name not in declared}
    found = {(kind, relation): path for relation, path in defaults.items()}
    for relation, path in parse_paths(kind, texts, defaults).items():
        if isinstance(path, Path):
            found[kind, relation] = path
        else:
            complaints.complain_inside((*at, relation, "is"), texts[relation], path)
    if sum(count_branches(path.chains) for path in found.values()) > MAX_BRANCHES:
        remedy = "leave out relations that no row names"
        complaints.complain(at, f"The relations of the {kind} have more than {MAX_BRANCHES} branches together", remedy)
    return found
