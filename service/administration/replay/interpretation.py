"""A recorded request in the words of another version: facts and relations that mean something else there. Pure.

A fact that has the same expression in both versions, and a relation that has the same path, are taken from the record.
A fact with another expression is evaluated from the recorded values. A relation with another path is followed as far as
recorded values reach. What remains open is named, and the reevaluation tries every value of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from service.administration.replay.recorded_values import (
    NotRecordedError,
    RecordedValues,
    RepeatedExpression,
    attributes_recorded_under,
)
from service.authorization.enforcement.declared_relations import paths_under
from service.authorization.enforcement.fact_lookup import About
from service.identity.principal import PrincipalKind
from service.policy.known_words import OWNER
from service.policy.matching import former_word
from service.policy.path_parser import default_paths
from service.policy.paths import NodeType
from service.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from service.administration.replay.recorded_request import RecordedRequest
    from service.authorization.engine.engine import Snapshot
    from service.authorization.engine.row_conditions import ListRules, RowCondition
    from service.policy.access_request import Rule, Vocabulary
    from service.policy.paths import Chain, Path

PROJECTS, PROJECTS_LED = "resource.projects", "principal.projects_led"
OWNER_GROUPS, GROUPS = "resource.owner.groups", "principal.groups"
OWNER_TEAMS, TEAMS = "resource.owner.teams", "principal.teams"
OTHER_PATH: Final = "relation {relation} has another path, and the record does not say whether it leads to the caller"


@dataclass(frozen=True, slots=True)
class _Differences:
    """What differs between two versions for one kind and action: `facts` with their kind and expression, `relations`
    with their path, if they have one. `names` are the attributes that the earlier version records, `known` the paths of
    its relations."""

    facts: tuple[tuple[str, str, RepeatedExpression], ...]
    relations: tuple[tuple[str, Path | None], ...]
    names: frozenset[str]
    known: tuple[tuple[str, Path], ...]


def interpret(snapshot: Snapshot, recorded: RecordedRequest, then: Snapshot | None) -> RecordedRequest:
    """The request as `snapshot` would have seen it. `then` is the version that decided, None if it cannot be read."""
    kind, action = recorded.request.resource.kind, recorded.request.action
    key = (then.digest if then else None, kind, action)
    differences = snapshot.memoize("differences", key, lambda: _compare(snapshot, then, kind, action))
    if not (differences.facts or differences.relations):
        return recorded
    values = RecordedValues(recorded, differences.names)
    facts, open_facts = _reevaluate_facts(recorded, differences, values)
    lookup, open_relations = recorded.request.lookup, dict[str, str]()
    if differences.relations and lookup.about is not About.LIST and lookup.evaluated:
        held, evaluated, open_relations = _follow_relations(recorded, differences, values)
        lookup = replace(lookup, relations=held, evaluated=evaluated)
    request = replace(recorded.request, facts=facts, lookup=lookup)
    return replace(recorded, request=request, open_words={**open_facts, **open_relations})


def put_in_common_words(rules: ListRules, kind: str, vocabulary: Vocabulary) -> ListRules:
    """The rules of a list with each fact and relation called by what it means, so that two versions can be compared."""
    paths = paths_under(kind, vocabulary)

    def rename(condition: RowCondition) -> RowCondition:
        relation = condition.relation
        path = None if relation is None else paths.get(relation)
        facts = tuple(
            replace(wanted, fact=f"{expression.text} over {expression.types}")
            if (expression := vocabulary.definitions.get((kind, wanted.fact)))
            else wanted
            for wanted in condition.facts
        )
        return replace(condition, relation=relation if path is None else repr(path.chains), facts=facts)

    def rename_all(found: Iterable[tuple[Rule, RowCondition]]) -> tuple[tuple[Rule, RowCondition], ...]:
        return tuple((rule, rename(condition)) for rule, condition in found)

    return replace(rules, shown=rename_all(rules.shown), hidden=rename_all(rules.hidden))


def _compare(snapshot: Snapshot, then: Snapshot | None, kind: str, action: str) -> _Differences:
    now, words = snapshot.vocabulary, snapshot.words_of(kind, action)
    definitions = then.vocabulary.definitions if then else {}
    facts = tuple(
        (of, name, RepeatedExpression(expression))
        for (of, name), expression in now.definitions.items()
        if of in {"", kind} and name in words.facts and definitions.get((of, name)) != expression
    )
    was, has = paths_under(kind, then.vocabulary) if then else default_paths(kind), paths_under(kind, now)
    relations = tuple(
        (name, has.get(name))
        for name in sorted(words.who & now.relations.get(kind, frozenset()))
        if was.get(name) != has.get(name)
    )
    names = attributes_recorded_under(then.vocabulary if then else None, kind)
    return _Differences(facts, relations, names, tuple(was.items()))


def _reevaluate_facts(
    recorded: RecordedRequest, differences: _Differences, values: RecordedValues
) -> tuple[dict[str, bool | None], dict[str, str]]:
    """The facts of the request, and those that stay open, with the cause."""
    facts, open_facts = dict(recorded.request.facts), dict[str, str]()
    about = recorded.request.lookup.about
    for kind, name, expression in differences.facts:
        facts.pop(name, None)
        if kind and about is About.LIST:
            # The facts of a list are those of each row.
            continue
        if kind and about is About.KIND:
            facts[name] = None
            continue
        try:
            facts[name] = expression.evaluate(values)
        except NotRecordedError as error:
            open_facts[name] = error.cause
    return facts, open_facts


def _follow_relations(
    recorded: RecordedRequest, differences: _Differences, values: RecordedValues
) -> tuple[frozenset[str], frozenset[str], dict[str, str]]:
    """The relations that hold, those that are known to hold or not, and those that stay open, with the cause."""
    lookup = recorded.request.lookup
    held, evaluated = set(lookup.relations), set(lookup.evaluated)
    open_relations: dict[str, str] = {}
    follower = _Follower(recorded, values, dict(_known_chains(recorded, differences)))
    for name, path in differences.relations:
        held -= {name, former_word(name)}
        evaluated.discard(name)
        # Without a row no relation holds.
        found = False if lookup.about is About.KIND else None if path is None else follower.follow(path)
        if found is None:
            open_relations[name] = OTHER_PATH.format(relation=name)
            continue
        evaluated.add(name)
        if found:
            held.add(name)
    return frozenset(held), frozenset(evaluated), open_relations


def _known_chains(recorded: RecordedRequest, differences: _Differences) -> Iterator[tuple[Chain, bool]]:
    """The chains of recorded relations of which the record says whether they lead to the caller."""
    lookup = recorded.request.lookup
    for name, path in differences.known:
        if name not in lookup.evaluated or former_word(name) in lookup.relations:
            continue
        holds = name in lookup.relations
        if not holds or len(path.chains) == 1:
            yield from ((chain, holds) for chain in path.chains)


@dataclass(frozen=True, slots=True)
class _Follower:
    """Follows paths from a recorded row by the lists of the owner, of the projects and of the caller."""

    recorded: RecordedRequest
    values: RecordedValues
    known: Mapping[Chain, bool]

    def follow(self, path: Path) -> bool | None:
        """Whether the path leads to the caller; None if the record does not say it."""
        if (path.to is NodeType.CLIENTS) is not (self.recorded.request.principal.kind is PrincipalKind.CLIENT):
            return False
        return _any(self._follow_chain(chain) for chain in path.chains)

    def _follow_chain(self, chain: Chain) -> bool | None:
        if chain in self.known:
            return self.known[chain]
        taken_away = chain[-1].without
        if not taken_away:
            return None if any(step.without for step in chain) else self._follow_edges([step.edge for step in chain])
        whole = self._follow_chain((*chain[:-1], replace(chain[-1], without=())))
        without = _any(self._follow_chain(other) for other in taken_away)
        if whole is False or without is True:
            return False
        return None if whole is None or without is None else True

    def _follow_edges(self, edges: list[str]) -> bool | None:
        match edges:
            case ["owner"]:
                lookup = self.recorded.request.lookup
                open_owner = OWNER not in lookup.evaluated or former_word(OWNER) in lookup.relations
                return None if open_owner else OWNER in lookup.relations
            case ["projects", "leads"]:
                return self._share(PROJECTS, PROJECTS_LED)
            case ["owner", "groups", "members"]:
                return self._share(OWNER_GROUPS, GROUPS)
            case ["owner", "teams", "leads" | "members"] | ["owner", "teams", "above", "leads" | "members"]:
                # The lists hold members and leads, and the teams above: they can only exclude.
                return False if self._share(OWNER_TEAMS, TEAMS) is False else None
            case _:
                return None

    def _share(self, of_row: str, of_caller: str) -> bool | None:
        row, caller = self.values.list_of(of_row), self.values.list_of(of_caller)
        return None if row is None or caller is None else not row.isdisjoint(caller)


def _any(found: Iterable[bool | None]) -> bool | None:
    values = set(found)
    return True if True in values else None if None in values else False
