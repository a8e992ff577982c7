"""Reads the texts of paths, or says what is wrong with them and where. Pure.

A path is accepted only if few rows decide it: it is followed from the resource and from the caller at once, up to one
edge that is looked up with both ends, and each other edge leads to few.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, NoReturn

from service.policy.expressions.flaw import Flaw
from service.policy.nearest_word import nearest
from service.policy.paths import (
    DEFAULT_PATHS,
    EDGES,
    GRANTED,
    NATIVE_RELATIONS,
    STARTS,
    TIMESHEET,
    NodeType,
    Path,
    Step,
    count_branches,
    edge_of,
    meeting_place,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from service.policy.paths import Chain, PathEdge

LONGEST_PATH: Final = 300
MAX_STEPS: Final = 6
# The branches of a path; see `count_branches`.
MAX_CHAINS: Final = 16
# Brackets in brackets, and relations that name relations.
MAX_DEPTH: Final = 6
RESOURCE: Final = "resource"
_TOKEN: Final = re.compile(r"\s*(?:([A-Za-z_][A-Za-z0-9_]*)|([.|()-])|(\S))")


def default_paths(kind: str) -> dict[str, Path]:
    """The paths of relations that need not be declared."""
    texts = DEFAULT_PATHS.get(kind, {})
    found = parse_paths(kind, texts)
    return {relation: replace(path, declared=False) for relation, path in found.items() if isinstance(path, Path)}


def parse_paths(
    kind: str, texts: Mapping[str, str], others: Mapping[str, Path] | None = None
) -> dict[str, Path | Flaw]:
    """The path of each relation of a kind, or why it is refused. Paths may name one another, and the relations with
    the paths `others`."""
    resolver = _Resolver(kind, texts, dict(others or {}), [])
    return {relation: resolver.resolve(relation) for relation in texts}


class _Refused(Exception):
    """The path has a flaw."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw.message)
        self.flaw = flaw


@dataclass(slots=True)
class _Resolver:
    """Reads the paths of a kind's relations, each once. `open` are those that are being read, for cycles."""

    kind: str
    texts: Mapping[str, str]
    found: dict[str, Path | Flaw]
    open: list[str]

    def resolve(self, relation: str) -> Path | Flaw:
        if relation not in self.found:
            self.open.append(relation)
            try:
                self.found[relation] = _Parser(self.texts[relation], self).parse()
            except _Refused as refused:
                self.found[relation] = refused.flaw
            self.open.pop()
        return self.found[relation]


@dataclass(frozen=True, slots=True)
class _Reached:
    """The nodes that a part of a path leads to; None for the resource itself."""

    to: NodeType | None
    chains: tuple[Chain, ...]
    column: int


@dataclass(slots=True)
class _Parser:
    """A recursive descent over the tokens (text, column); an empty text ends them."""

    text: str
    resolver: _Resolver
    tokens: list[tuple[str, int]] = field(default_factory=list)
    place: int = 0
    depth: int = 0

    def parse(self) -> Path:
        if len(self.text) > LONGEST_PATH:
            self._refuse(f"A path has at most {LONGEST_PATH} characters", 1)
        for token in _TOKEN.finditer(self.text):
            if token[3]:
                self._refuse(f"'{token[3]}' has no meaning in a path", token.start(3) + 1, "use names, . | - and ( )")
            self.tokens.append((token[1] or token[2], token.start(1 if token[1] else 2) + 1))
        self.tokens.append(("", len(self.text) + 1))
        reached = self._parse_sum()
        word, column = self._peek()
        if word:
            self._refuse(f"'{word}' is not expected here", column, "join paths by | or -")
        if reached.to not in {NodeType.PEOPLE, NodeType.CLIENTS}:
            where = "stays at the resource" if reached.to is None else f"ends in {reached.to}"
            self._refuse(
                f"This path {where}, and a relation must end in people or clients",
                column,
                _list_known(self._edges(reached.to)),
            )
        for chain in reached.chains:
            self._check_size(chain, column)
        return Path(self.text, reached.to, reached.chains)

    def _parse_sum(self) -> _Reached:
        left = self._parse_steps()
        while self._peek()[0] in {"|", "-"}:
            operator, column = self._take()
            right = self._parse_steps()
            self._check_types(left, right, operator, column)
            if operator == "|":
                chains = tuple(dict.fromkeys((*left.chains, *right.chains)))
            else:
                if not set(left.chains).isdisjoint(right.chains):
                    self._refuse("This takes away all that it leads to: nobody is left", right.column)
                chains = tuple(_take_away(chain, right.chains) for chain in left.chains)
            left = _Reached(left.to, chains, left.column)
            self._check_count(left.chains, column)
        return left

    def _parse_steps(self) -> _Reached:
        word, column = self._take()
        if word == "(":
            self.depth += 1
            if self.depth > MAX_DEPTH:
                self._refuse(f"Brackets are nested at most {MAX_DEPTH} deep", column)
            reached = self._parse_sum()
            self.depth -= 1
            closing, at = self._take()
            if closing != ")":
                self._refuse("A bracket is not closed", column, f"write ) before column {at}")
        elif word == RESOURCE:
            reached = _Reached(None, (), column)
        elif word.isidentifier():
            self._refuse(f"A path starts at the resource, not at '{word}'", column, f"write {RESOURCE}.{word}")
        else:
            doubled = word in {"|", "-"}
            remedy = "join paths by | or - once" if doubled else "such as resource.owner.teams.leads"
            self._refuse(f"A path starts with {RESOURCE}", column, remedy)
        while self._peek()[0] == ".":
            self._take()
            edge, at = self._take()
            if not edge.isidentifier():
                self._refuse("The name of an edge must follow the point", at, _list_known(self._edges(reached.to)))
            reached = self._follow(reached, edge, at)
        return reached

    def _follow(self, reached: _Reached, name: str, column: int) -> _Reached:
        edges = self._edges(reached.to)
        if reached.to is None and name not in edges:
            return self._follow_relation(reached, name, column)
        if name not in edges:
            self._refuse(f"From {reached.to}, no edge is named '{name}'", column, nearest(name, edges))
        if name == GRANTED and self.resolver.kind != TIMESHEET:
            remedy = f"name a person or a role that may do this with the {self.resolver.kind}"
            self._refuse("Access is granted to timesheets alone", column, remedy)
        step = Step(name, edges[name].to, relation=self.resolver.open[-1] if name == GRANTED else None)
        chains = tuple((*chain, step) for chain in reached.chains) if reached.to is not None else ((step,),)
        for chain in chains:
            if len(chain) > MAX_STEPS:
                self._refuse(f"A path has at most {MAX_STEPS} steps, and this is one more", column)
        return _Reached(step.to, chains, reached.column)

    def _follow_relation(self, reached: _Reached, name: str, column: int) -> _Reached:
        resolver = self.resolver
        starts = STARTS.get(resolver.kind, {})
        if name in NATIVE_RELATIONS.get(resolver.kind, ()):
            self._refuse(f"'{name}' is computed in code, so no path can follow it", column, _list_known(starts))
        if name not in resolver.texts and name not in resolver.found:
            known = {*starts, *resolver.texts, *resolver.found}
            self._refuse(f"The {resolver.kind} has no edge or relation '{name}'", column, nearest(name, known))
        if name in resolver.open:
            cycle = " -> ".join((*resolver.open[resolver.open.index(name) :], name))
            self._refuse(f"This relation is defined by itself: {cycle}", column, _list_known(starts))
        if len(resolver.open) >= MAX_DEPTH:
            self._refuse(f"Relations name one another at most {MAX_DEPTH} deep", column)
        path = resolver.resolve(name)
        if isinstance(path, Flaw):
            self._refuse(f"The path of the relation '{name}' is refused", column, "correct that one first")
        return _Reached(path.to, path.chains, reached.column)

    def _check_types(self, left: _Reached, right: _Reached, operator: str, column: int) -> None:
        if left.to is None or right.to is None:
            where = left.column if left.to is None else right.column
            self._refuse(f"{RESOURCE} is not a path yet: it needs an edge", where, _list_known(self._edges(None)))
        if left.to is not right.to:
            verb = "joined with" if operator == "|" else "without"
            self._refuse(f"{left.to} {verb} {right.to}: both sides of {operator} must lead to the same", column)

    def _check_size(self, chain: Chain, column: int) -> None:
        for step in chain:
            for other in step.without:
                self._check_size(other, column)
        if meeting_place(self.resolver.kind, chain) is None:
            edges = [edge_of(self.resolver.kind, chain, place) for place in range(len(chain))]
            many = next(place for place, edge in enumerate(edges) if edge.many)
            back = max(place for place, edge in enumerate(edges) if edge.many_back)
            self._refuse(
                f"This path would read too many rows: '{chain[many].edge}' leads to thousands,"
                f" and '{chain[back].edge}' after it does so from the other end",
                column,
                f"end the path after '{chain[many].edge}', or leave one of the two out",
            )

    def _check_count(self, chains: tuple[Chain, ...], column: int) -> None:
        if count_branches(chains) > MAX_CHAINS:
            self._refuse(f"A path has at most {MAX_CHAINS} branches", column)

    def _edges(self, at: NodeType | None) -> Mapping[str, PathEdge]:
        return STARTS.get(self.resolver.kind, {}) if at is None else EDGES.get(at, {})

    def _peek(self) -> tuple[str, int]:
        return self.tokens[self.place]

    def _take(self) -> tuple[str, int]:
        token = self.tokens[self.place]
        self.place = min(self.place + 1, len(self.tokens) - 1)
        return token

    def _refuse(self, message: str, column: int, suggestion: str | None = None) -> NoReturn:
        raise _Refused(Flaw(message, 1, column, suggestion))


def _take_away(chain: Chain, others: tuple[Chain, ...]) -> Chain:
    last = chain[-1]
    return (*chain[:-1], replace(last, without=tuple(dict.fromkeys((*last.without, *others)))))


def _list_known(words: Collection[str]) -> str | None:
    return f"known: {', '.join(sorted(words))}" if words else None
