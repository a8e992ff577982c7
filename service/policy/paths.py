"""Relations as paths over declared edges: from a resource to the people or clients whom a relation holds for. Pure.

`resource.owner.teams.above.leads - resource.owner` is everyone who leads a team of the owner, or one above it, except
the owner. `.` follows an edge; `|` joins and `-` takes away, of equal rank and from left to right. A relation of the
same kind may stand where an edge of the resource may: `resource.manager.delegates`.

`path_parser` reads the texts of paths and refuses those that many rows would decide. `path_sql` of enforcement has the
SQL.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

OWNER: Final = "owner"
PROJECTS: Final = "projects"
DELEGATES: Final = "delegates"
TIMESHEET: Final = "timesheet"
# To the people to whom access requests of the relation were granted there.
GRANTED: Final = "granted"


class NodeType(StrEnum):
    """The nodes that a path leads over and to."""

    PEOPLE = "people"
    CLIENTS = "clients"
    TEAMS = "teams"
    PROJECTS = "projects"
    GROUPS = "groups"


@dataclass(frozen=True, slots=True)
class PathEdge:
    """Where an edge leads. `many`: it can lead to thousands from one; `many_back`: from thousands to one."""

    to: NodeType
    many: bool = False
    many_back: bool = False


# The edges of each kind of resource. They hold for the row itself.
STARTS: Final[Mapping[str, Mapping[str, PathEdge]]] = {
    "timesheet": {
        OWNER: PathEdge(NodeType.PEOPLE, many_back=True),
        PROJECTS: PathEdge(NodeType.PROJECTS, many_back=True),
    },
    "delegation": {
        "delegator": PathEdge(NodeType.PEOPLE, many_back=True),
        "delegate": PathEdge(NodeType.PEOPLE, many_back=True),
    },
    "access_request": {
        "requester": PathEdge(NodeType.PEOPLE, many_back=True),
        "team": PathEdge(NodeType.TEAMS, many_back=True),
        "project": PathEdge(NodeType.PROJECTS, many_back=True),
    },
}
# The edges of the directory. Those with a validity are followed while it lasts.
EDGES: Final[Mapping[NodeType, Mapping[str, PathEdge]]] = {
    NodeType.PEOPLE: {
        # Of which the person is a member or lead.
        "teams": PathEdge(NodeType.TEAMS, many_back=True),
        "groups": PathEdge(NodeType.GROUPS, many_back=True),
        DELEGATES: PathEdge(NodeType.PEOPLE),
    },
    NodeType.TEAMS: {
        # The team itself and every team above.
        "above": PathEdge(NodeType.TEAMS, many_back=True),
        "leads": PathEdge(NodeType.PEOPLE),
        # Without the leads.
        "members": PathEdge(NodeType.PEOPLE, many=True),
        # Clients that may import for the team and the teams below it.
        "grants": PathEdge(NodeType.CLIENTS),
        GRANTED: PathEdge(NodeType.PEOPLE),
    },
    NodeType.PROJECTS: {"leads": PathEdge(NodeType.PEOPLE), GRANTED: PathEdge(NodeType.PEOPLE)},
    NodeType.GROUPS: {"members": PathEdge(NodeType.PEOPLE, many=True)},
}
# Relations that are computed in code. The laws are about owners and requesters, and proposers and delegators are
# columns of the row; fallback approvers are those where nobody leads the owner, which no path can say.
NATIVE_RELATIONS: Final[Mapping[str, frozenset[str]]] = {
    "timesheet": frozenset({OWNER, "fallback"}),
    "delegation": frozenset({"delegator", "delegate"}),
    "policy": frozenset({"proposer"}),
    "access_request": frozenset({"requester"}),
}
NATIVE_OF_PEOPLE: Final = frozenset({OWNER, "fallback", "delegator", "delegate", "requester"})
# The paths of relations that older versions declare without one, and all other paths of the shipped version: versions
# with these paths share statements and remembered relations.
DEFAULT_PATHS: Final[Mapping[str, Mapping[str, str]]] = {
    "timesheet": {
        "manager": "resource.owner.teams.above.leads - resource.owner",
        "delegate": "(resource.owner.teams.above.leads - resource.owner).delegates - resource.owner",
        "importer": "resource.owner.teams.above.grants",
        "temporary_approver": "resource.owner.teams.above.granted - resource.owner",
    }
}


@dataclass(frozen=True, slots=True)
class Step:
    """An edge and what it leads to, `without` what other chains lead to. `relation`: the one whose access requests the
    edge `granted` follows."""

    edge: str
    to: NodeType
    without: tuple[Chain, ...] = ()
    relation: str | None = None


# The first step is an edge of the resource.
Chain: TypeAlias = "tuple[Step, ...]"


@dataclass(frozen=True, slots=True)
class Path:
    """Leads to everything that one of its chains leads to. Equal to every path with the same chains. `declared`: its
    vocabulary declares it, and does not leave it to the code."""

    text: str = field(compare=False)
    to: NodeType
    chains: tuple[Chain, ...]
    declared: bool = field(compare=False, default=True)

    @property
    def by_owner(self) -> bool:
        """Whether it starts at the owner of a row alone, whatever else the row holds."""
        return all(_is_by_owner(chain) for chain in self.chains)


def edge_words(kind: str, path: Path) -> frozenset[str]:
    """The edges that the path follows, each as `KIND.EDGE` or `TYPE.EDGE`."""
    return frozenset(_edge_words(kind, path.chains))


def all_edge_words() -> frozenset[str]:
    """Every edge that the code knows."""
    return frozenset(f"{at}.{edge}" for table in (STARTS, EDGES) for at, edges in table.items() for edge in edges)


def is_of_people(kind: str, relation: str, paths: Mapping[tuple[str, str], Path]) -> bool:
    """Whether only people can have the relation."""
    path = paths.get((kind, relation))
    return path.to is NodeType.PEOPLE if path else relation in NATIVE_OF_PEOPLE


def find_requestable(paths: Mapping[tuple[str, str], Path]) -> dict[str, frozenset[NodeType]]:
    """The relations to a timesheet that access requests can ask for, each with where: on teams, on projects."""
    found: dict[str, frozenset[NodeType]] = {}
    for (kind, relation), path in paths.items():
        where = {
            chain[place - 1].to
            for chain in path.chains
            for place, step in enumerate(chain)
            if kind == TIMESHEET and step.relation == relation
        }
        if where:
            found[relation] = frozenset(where)
    return found


def find_given(paths: Mapping[tuple[str, str], Path]) -> dict[str, frozenset[str]]:
    """The relations to a timesheet that a person has by a grant of access, by the relation that was asked for: it and
    those whose paths follow it last."""
    found: dict[str, set[str]] = {relation: set() for relation in find_requestable(paths)}
    for (kind, relation), path in paths.items():
        for chain in path.chains:
            if kind == TIMESHEET and chain[-1].relation is not None:
                found[chain[-1].relation].add(relation)
    return {relation: frozenset(given) for relation, given in found.items()}


def count_branches(chains: Iterable[Chain]) -> int:
    """The branches of a path with these chains, those that are taken away included."""
    return sum(1 + sum(count_branches(step.without) for step in chain) for chain in chains)


def edge_of(kind: str, chain: Chain, place: int) -> PathEdge:
    """The edge of a step."""
    edges = EDGES[chain[place - 1].to] if place else STARTS[kind]
    return edges[chain[place].edge]


def meeting_place(kind: str, chain: Chain) -> int | None:
    """The step that is looked up with both ends, so that no other step leads to many: those before it from the
    resource, those after it from the caller. The last such step, or None."""
    edges = [edge_of(kind, chain, place) for place in range(len(chain))]
    for place in reversed(range(len(chain))):
        if not any(edge.many for edge in edges[:place]) and not any(edge.many_back for edge in edges[place + 1 :]):
            return place
    return None


def _edge_words(kind: str, chains: Iterable[Chain]) -> Iterator[str]:
    for chain in chains:
        at = kind
        for step in chain:
            yield f"{at}.{step.edge}"
            yield from _edge_words(kind, step.without)
            at = step.to


def _is_by_owner(chain: Chain) -> bool:
    return chain[0].edge == OWNER and all(_is_by_owner(other) for step in chain for other in step.without)
