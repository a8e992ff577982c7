"""SQL of relations that are paths, from both ends: from a row to the caller, and from the caller to owners. Pure.

An expression for one row starts from the row and follows edges that lead to few, however many people a manager leads or
a delegate acts for; the last edge is looked up with both its ends. OFFSET 0 keeps Postgres from joining in another
order, and LATERAL from computing a whole set. An expression is true or false, also when :person or :client is NULL. It
is NULL only where the row itself names the caller by an id from before an erasure: then it matches every deny rule and
no allow rule (docs/decisions/0025). Nodes that a path takes away are compared by present ids alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Final

from service.authorization.enforcement.merged_people import canonical_id, unknown_if
from service.policy.paths import DELEGATES, GRANTED, OWNER, NodeType, edge_of, meeting_place

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from service.policy.paths import Chain, Path, Step

# The directory holds nothing under the id of a merged person. The ids of a caller's former selves grant nothing.
CALLERS: Final[Mapping[NodeType, str]] = {NodeType.PEOPLE: canonical_id(":person"), NodeType.CLIENTS: ":client"}


def now(alias: str) -> str:
    """Condition: [valid_from, valid_to) holds now."""
    return f"{alias}.valid_from <= statement_timestamp() AND statement_timestamp() < {alias}.valid_to"


@dataclass(frozen=True, slots=True)
class EdgeTable:
    """An edge as a table with a column for each end. `part` is a value of its column `part_column`. `lasting`: its rows
    have no validity."""

    table: str
    source: str
    target: str
    part: str | None = None
    lasting: bool = False
    part_column: str = "part"

    def condition(self, alias: str) -> str:
        """When a row of the table counts."""
        part = f" AND {alias}.{self.part_column} = {_quote(self.part)}" if self.part else ""
        return ("true" if self.lasting else now(alias)) + part


TABLES: Final[Mapping[tuple[NodeType, str], EdgeTable]] = {
    (NodeType.PEOPLE, "teams"): EdgeTable("membership", "person_id", "team_id"),
    (NodeType.PEOPLE, DELEGATES): EdgeTable("delegation", "delegator_id", "delegate_id"),
    (NodeType.TEAMS, "above"): EdgeTable("team_path", "descendant_id", "ancestor_id", lasting=True),
    (NodeType.TEAMS, "leads"): EdgeTable("membership", "team_id", "person_id", part="lead"),
    (NodeType.TEAMS, "members"): EdgeTable("membership", "team_id", "person_id", part="member"),
    (NodeType.TEAMS, "grants"): EdgeTable("importer_grant", "team_id", "client_id"),
    (NodeType.PEOPLE, "groups"): EdgeTable("group_member", "person_id", "group_name"),
    (NodeType.GROUPS, "members"): EdgeTable("group_member", "group_name", "person_id"),
    (NodeType.PROJECTS, "leads"): EdgeTable("project_lead", "project", "person_id"),
    # The validity begins with the grant. Of which relation, the step of the path says.
    (NodeType.TEAMS, GRANTED): EdgeTable("access_request", "team_id", "person_id", part_column="relation"),
    (NodeType.PROJECTS, GRANTED): EdgeTable("access_request", "project", "person_id", part_column="relation"),
}


class PathSql:
    """The SQL of the paths of a kind. `starts`: each edge of its rows `r` as a table from `r.id`, or as the column of a
    person. Its aliases are unique, so that one expression may stand in another."""

    def __init__(self, kind: str, starts: Mapping[str, EdgeTable | str]) -> None:
        self._kind = kind
        self._starts = starts
        self._numbers = count(1)

    def holds(self, path: Path) -> str:
        """Condition: the path leads from `r` to the caller."""
        return _any_of(self._chain_holds(chain, CALLERS[path.to], caller=True) for chain in path.chains)

    def find_all(self, path: Path) -> str:
        """A SELECT of every `id` that the path leads to from `r`, with repetitions."""
        return " UNION ALL ".join(self._forward(chain, len(chain)) for chain in path.chains)

    def find_owners(self, path: Path) -> str | None:
        """A SELECT of the `owner_id` of every row from which the path leads to the caller by its chains that start at
        the owner, and perhaps of more; None if there are no such chains."""
        chains = [chain for chain in path.chains if chain[0].edge == OWNER]
        return " UNION ALL ".join(_and_merged(self._backward(chain, path.to)) for chain in chains) or None

    def find_points(self, path: Path) -> str | None:
        """A SELECT of every `point` that a table of the row leads to, and from which the path leads on to the caller:
        the projects of the caller. None if no chain starts with a table."""
        chains = [chain for chain in path.chains if not self._starts_at_column(chain)]
        found = (f"SELECT owner_id AS point FROM ({self._backward(chain, path.to)}) AS found" for chain in chains)
        return " UNION ALL ".join(found) or None

    def can_reach(self, path: Path) -> bool:
        """Whether `find_owners` and `find_points` together find every row from which the path leads to the caller."""
        return all(chain[0].edge == OWNER or not self._starts_at_column(chain) for chain in path.chains)

    def find_delegator(self, path: Path) -> str:
        """The delegator for whom the caller has the relation, by chains that end in delegates: of several, the one with
        the oldest delegation. NULL without one."""
        found = [self._delegations(chain) for chain in path.chains if chain[-1].edge == DELEGATES]
        if not found:
            return "NULL::uuid"
        return f"""
            (CASE WHEN {self._edge_exists(TABLES[NodeType.PEOPLE, DELEGATES], CALLERS[NodeType.PEOPLE])}
                  THEN (SELECT delegator_id FROM ({" UNION ALL ".join(found)}) AS found
                        ORDER BY found.valid_from, found.id LIMIT 1) END)
        """

    def _chain_holds(self, chain: Chain, node: str, *, caller: bool = False) -> str:
        """Condition: the chain leads to `node`. For the caller, what they own may be unknown."""
        without = self._not_without(chain[-1], node)
        place = meeting_place(self._kind, chain)
        if place is None or (place == 0 and self._starts_at_column(chain)):
            return f"({' AND '.join([self._is_start(chain[0].edge, node, caller=caller), *without])})"
        edge, alias = self._table(chain, place), self._name()
        sources, source, target = list[str](), self._start_id(chain), node
        if place > (1 if self._starts_at_column(chain) else 0):
            sources, source = [f"({self._forward(chain, place)} OFFSET 0) AS before"], "before.id"
        elif place:
            without = [*self._not_without(chain[0], source), *without]
        if place < len(chain) - 1:
            sources.append(f"({self._from(chain, place + 1, node)} OFFSET 0) AS after")
            target = "after.id"
        met = f"""
            SELECT FROM {edge.table} AS {alias}
            WHERE {alias}.{edge.source} = {source} AND {alias}.{edge.target} = {target} AND {edge.condition(alias)}
        """
        if not sources:
            return f"({' AND '.join([f'EXISTS ({met} OFFSET 0)', *without])})"
        parts = [
            f"EXISTS (SELECT FROM {' CROSS JOIN '.join(sources)} CROSS JOIN LATERAL ({met} OFFSET 0) AS met OFFSET 0)"
        ]
        if caller:
            # Most callers have no such edge at all. Postgres looks it up once a statement.
            parts.insert(0, self._edge_exists(self._table(chain, len(chain) - 1), node))
        return f"({' AND '.join([*parts, *without])})"

    def _forward(self, chain: Chain, end: int) -> str:
        """A SELECT of every `id` that the first `end` steps lead to."""
        source, tables, conditions = self._start_id(chain), list[str](), list[str]()
        for place in range(end):
            if place == 0 and self._starts_at_column(chain):
                conditions += self._not_without(chain[0], source)
                continue
            edge, alias = self._table(chain, place), self._name()
            _join(tables, conditions, edge, alias, f"{alias}.{edge.source} = {source}")
            source = f"{alias}.{edge.target}"
            conditions += self._not_without(chain[place], source)
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        # A week has many entries on few projects.
        select = "SELECT" if self._starts_at_column(chain) else "SELECT DISTINCT"
        return f"{select} {source} AS id" + (f" FROM {' '.join(tables)}" if tables else "") + where

    def _from(self, chain: Chain, first: int, node: str) -> str:
        """A SELECT of every `id` from which the steps from number `first` on lead to `node`."""
        tables, conditions, target = list[str](), list[str](), node
        for place in reversed(range(first, len(chain))):
            edge, alias = self._table(chain, place), self._name()
            _join(tables, conditions, edge, alias, f"{alias}.{edge.target} = {target}")
            target = f"{alias}.{edge.source}"
            conditions += self._not_without(chain[place - 1], target)
        return f"SELECT {target} AS id FROM {' '.join(tables)} WHERE {' AND '.join(conditions)}"

    def _backward(self, chain: Chain, to: NodeType) -> str:
        """A SELECT of every owner from whom the chain leads to the caller, without regard to what it takes away. What
        the caller reaches by few rows is found first, once each: teams that several delegators lead."""
        target, tables, conditions = CALLERS[to], list[str](), list[str]()
        for place in reversed(range(1, len(chain))):
            edge, alias = self._table(chain, place), self._name()
            if edge_of(self._kind, chain, place).many_back and len(tables) > 1:
                few = f"SELECT DISTINCT {target} AS id FROM {' '.join(tables)} WHERE {' AND '.join(conditions)}"
                tables, conditions, target = [f"({few} OFFSET 0) AS few"], ["true"], "few.id"
            _join(tables, conditions, edge, alias, f"{alias}.{edge.target} = {target}")
            target = f"{alias}.{edge.source}"
        if not tables:
            return f"SELECT {target} AS owner_id WHERE {target} IS NOT NULL"
        return f"SELECT {target} AS owner_id FROM {' '.join(tables)} WHERE {' AND '.join(conditions)}"

    def _delegations(self, chain: Chain) -> str:
        """A SELECT of the delegations to the caller by which the chain leads to them. It starts from the delegators, or
        from the caller if there could be thousands of delegators."""
        caller, delegators = CALLERS[NodeType.PEOPLE], chain[:-1]
        edge, alias = TABLES[NodeType.PEOPLE, DELEGATES], self._name()
        columns = f"{alias}.delegator_id, {alias}.valid_from, {alias}.id"
        given = f"{alias}.{edge.target} = {caller} AND {edge.condition(alias)}"
        without = self._not_without(chain[-1], caller)
        if any(edge_of(self._kind, chain, place).many for place in range(len(delegators))):
            conditions = [given, self._chain_holds(delegators, f"{alias}.{edge.source}"), *without]
            return f"SELECT {columns} FROM {edge.table} AS {alias} WHERE {' AND '.join(conditions)}"
        return f"""
            SELECT met.* FROM ({self._forward(chain, len(delegators))} OFFSET 0) AS before
            CROSS JOIN LATERAL (SELECT {columns} FROM {edge.table} AS {alias}
                                WHERE {alias}.{edge.source} = before.id AND {given} OFFSET 0) AS met
            WHERE {" AND ".join(["true", *without])}
        """

    def _not_without(self, step: Step, node: str) -> list[str]:
        """Conditions: `node` is not among what the step takes away."""
        return [f"NOT {self._chain_holds(chain, node)}" for chain in step.without]

    def _is_start(self, edge: str, node: str, *, caller: bool) -> str:
        """Condition: the column of the row holds `node`. Unknown if it holds a former id of the caller."""
        column = self._starts[edge]
        if not isinstance(column, str):
            raise TypeError(edge)
        same = f"coalesce({canonical_id(column)} = {node}, false)"
        return f"({same} OR {unknown_if(f'{column} = ANY (:former)')})" if caller else same

    def _starts_at_column(self, chain: Chain) -> bool:
        return isinstance(self._starts[chain[0].edge], str)

    def _start_id(self, chain: Chain) -> str:
        start = self._starts[chain[0].edge]
        return canonical_id(start) if isinstance(start, str) else "r.id"

    def _table(self, chain: Chain, place: int) -> EdgeTable:
        if place:
            table, relation = TABLES[chain[place - 1].to, chain[place].edge], chain[place].relation
            return table if relation is None else replace(table, part=relation)
        start = self._starts[chain[0].edge]
        if isinstance(start, str):
            raise TypeError(chain[0].edge)
        return start

    def _name(self) -> str:
        return f"w{next(self._numbers)}"

    @staticmethod
    def _edge_exists(edge: EdgeTable, node: str) -> str:
        return f"EXISTS (SELECT FROM {edge.table} AS has WHERE has.{edge.target} = {node} AND {edge.condition('has')})"


def _quote(text: str) -> str:
    """A literal of SQL. Relations are words of the checked vocabulary, so there is nothing to escape."""
    return "'" + text.replace("'", "''") + "'"


def _any_of(conditions: Iterable[str]) -> str:
    return f"({' OR '.join(conditions)})"


def _and_merged(owners: str) -> str:
    """The owners under every id that they have."""
    others = f"SELECT merged.person_id FROM merged_person AS merged WHERE merged.into_id IN ({owners})"
    return f"{owners} UNION ALL {others}"


def _join(tables: list[str], conditions: list[str], edge: EdgeTable, alias: str, met: str) -> None:
    """Add the table of an edge to a FROM list, where it meets what is there: `met`. The first table is met in WHERE."""
    joined, counts = f"{edge.table} AS {alias}", edge.condition(alias)
    if tables:
        tables.append(f"JOIN {joined} ON {met} AND {counts}")
    else:
        tables.append(joined)
        conditions += [met, counts]
