"""Visibility: the rules for one caller as a SQL condition over rows, so that a list is the sum of its reads. Pure.

Conditions on the caller and the sign-in fold to constants. Relations and facts of a row become the same SQL that single
decisions read. Deny rules become AND NOT. No row is filtered in Python.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from service.authorization.enforcement.caller_values import asker_values
from service.authorization.enforcement.decision_point import Resource, access_request_of, evaluation_request
from service.authorization.enforcement.fact_statements import bind_listed, list_parameters
from service.authorization.enforcement.step_up import after_step_up
from service.authorization.engine.row_conditions import fold_rules
from service.policy import known_words
from service.policy.access_request import MAX_RULES_PER_DECISION
from service.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from uuid import UUID

    from service.authorization.enforcement.assumption import Assumption
    from service.authorization.enforcement.directory_memory import Owners
    from service.authorization.enforcement.fact_lookup import FactLookup
    from service.authorization.enforcement.fact_statements import KindFacts
    from service.authorization.engine.engine import Snapshot
    from service.authorization.engine.row_conditions import ListRules, RowCondition
    from service.errors import StepUpNeeded
    from service.identity.principal import Principal
    from service.policy.access_request import AccessRequest, Condition

NAMED: Final = "($1::uuid IS NULL OR $2::jsonb IS NOT NULL)"
# Up to so many characters, the condition of each rule has the SQL of its relation and facts. Beyond, facts are computed
# once a row for all rules.
MAX_SEPARATE_CHARACTERS: Final = 65_536
# The source of the facts that are computed once a row.
GIVEN_FACTS: Final = "given_facts"
_KEY: Final = object()


class Visibility:
    """`condition` is about a row `r`, for a WHERE clause; $1 and $2 in it are `parameters`, so others start at $3.

    `rules` are the names of the rules that can show a row, as in a Verdict. `reach` is a SELECT of the owner_id of
    every row that can be shown, with repetitions and perhaps more, or None if it can be any. Rows beside these that can
    be shown are at a `point` of the SELECT `points`, as KindFacts have it; it is None if there are no such rows.
    `relations` are those that can show a row, with the further conditions of their rules, which name columns of
    `source`; empty if others can be shown. `snapshot`, `access_request`, `principal`, `lookup` and `facts` are what the
    condition was compiled from. Made by `visible` alone.

    The gate adds what it knows: `owners`, for whom each of the relations holds, and `found_points`, all of `points`;
    and `assumed`, if the lookup was remembered, so that the statement which reads the rows must also read what confirms
    it.
    """

    __slots__ = (
        "access_request",
        "action",
        "assumed",
        "condition",
        "facts",
        "found_points",
        "kind",
        "lookup",
        "owners",
        "parameters",
        "points",
        "principal",
        "reach",
        "relations",
        "rules",
        "snapshot",
        "source",
        "unless",
    )

    def __init__(
        self,
        asked: tuple[Snapshot, AccessRequest, Principal, FactLookup, KindFacts],
        compiled: _Compiled,
        key: object,
    ) -> None:
        if key is not _KEY:
            raise PermissionError("a Visibility is compiled from rules")
        self.snapshot, self.access_request, self.principal, self.lookup, self.facts = asked
        self.kind, self.action = self.access_request.kind, self.access_request.action
        self.condition, self.rules = compiled.condition, compiled.rules
        self.reach, self.points = compiled.reach, compiled.points
        self.relations, self.source, self.unless = compiled.relations, compiled.source, compiled.unless
        asker = asker_values(self.principal, self.lookup.roles, self.lookup.caller, self.facts.asked)
        self.parameters: tuple[UUID | None, str] = list_parameters(self.principal, asker)
        self.owners: Owners | None = None
        self.found_points: Sequence[str] | None = None
        self.assumed: Assumption | None = None

    @property
    def relation_names(self) -> frozenset[str]:
        """The names of the relations."""
        return frozenset(relation for relation, _ in self.relations)

    @property
    def follows_owners(self) -> bool:
        """Whether `owners`, for whom these relations hold, are all whose rows can be shown, but for those at points."""
        return bool(self.relations) and self.facts.by_row.isdisjoint(self.relation_names & self.facts.reaches.keys())

    def condition_without_points(self) -> str:
        """The condition for a caller who reaches no points."""
        if not self.relations:
            return self.condition
        tests = {
            relation: bind_listed(sql)
            for relation, sql in self.facts.relations.items()
            if not self._at_points(relation)
        }
        return self._condition_of(tests)

    def condition_by_owners(self, first: int) -> tuple[str, list[str], list[Sequence[UUID]]]:
        """The condition with an array of `owners` in place of each relation that follows from the owner, the SQL of the
        arrays that are not empty, and these arrays: parameters from number `first` on. Without `owners` it is the
        condition itself."""
        without_points = self.found_points is not None and not self.found_points
        if self.owners is None:
            return self.condition_without_points() if without_points else self.condition, [], []
        held = {relation: found for relation, found in self.owners.items() if found}
        arrays = {relation: f"${first + place}::uuid[]" for place, relation in enumerate(held)}
        # IS TRUE keeps it a test of each row, by a hash table; Postgres could make a join of it.
        tests = {relation: f"(r.owner_id IN (SELECT unnest({array}))) IS TRUE" for relation, array in arrays.items()}
        if not without_points:
            tests |= {relation: bind_listed(self.facts.relations[relation]) for relation in self.facts.by_row}
        return self._condition_of(tests), list(arrays.values()), list(held.values())

    def _at_points(self, relation: str) -> bool:
        """Whether the relation holds only for rows at points."""
        return relation in self.facts.points and relation not in self.facts.reaches

    def _condition_of(self, tests: Mapping[str, str]) -> str:
        """The condition with these tests of relations; those without a test hold for no row."""
        shown = [f"(({tests[relation]}) AND {further})" for relation, further in self.relations if relation in tests]
        return f"{NAMED} AND ({_any_of(shown, self.source)}){self.unless}"

    def of_action(self, action: str) -> Visibility:
        """The visibility for another action of the same kind, which the version knows."""
        wanted = access_request_of(
            self.snapshot,
            evaluation_request(self.snapshot, self.principal, action, Resource(self.kind), self.lookup),
        )
        return visible(self.snapshot, wanted, self.principal, self.lookup, self.facts)

    def after_step_up(self) -> tuple[Visibility, StepUpNeeded] | None:
        """The visibility after the best sign-in that the rules ask for, with the challenge for it (RFC 9470); None if
        no rule asks for more than the present sign-in has."""
        found = after_step_up(self.snapshot, self.access_request)
        if found is None:
            return None
        access_request, challenge = found
        return visible(self.snapshot, access_request, self.principal, self.lookup, self.facts), challenge


def visible(
    snapshot: Snapshot, access_request: AccessRequest, principal: Principal, lookup: FactLookup, facts: KindFacts
) -> Visibility:
    """Compile the rules for a list that `principal` asks for."""
    left = fold_rules(snapshot, access_request)
    compiled = snapshot.memoize("condition", (access_request, facts), lambda: _compile(left, access_request, facts))
    return Visibility((snapshot, access_request, principal, lookup, facts), compiled, _KEY)


@dataclass(frozen=True, slots=True)
class _Compiled:
    """The part that all callers with the same access request share; see Visibility. `source` is what follows FROM,
    empty if the rules name no columns of it. `unless` ends the condition."""

    condition: str
    reach: str | None
    points: str | None
    relations: tuple[tuple[str, str], ...]
    source: str
    unless: str
    rules: tuple[str, ...]


def _compile(left: ListRules, access_request: AccessRequest, facts: KindFacts) -> _Compiled:
    unless = ""
    if left.hidden:
        hidden = _alternatives([condition for _, condition in left.hidden], facts)
        unless += f" AND NOT ({hidden.any_of(facts)})"
    if left.states and known_words.STATES.get(access_request.kind, left.states) - left.states:
        # The version is older than the code: reads of a row in a state that it does not know are denied, so lists too.
        unless += f" AND {_in_states(left.states)}"
    conditions = [condition for _, condition in left.shown]
    reach, points = _reach(conditions, facts)
    follows_relations = reach is not None and all(
        condition.relation in facts.reaches or condition.relation in facts.points for condition in conditions
    )
    shown = _alternatives(conditions, facts)
    relations = tuple(
        (relation, further) for relation, further in shown.by_relation if relation is not None and follows_relations
    )
    # Every statement names both parameters, or Postgres could not tell their types.
    condition = f"{NAMED} AND ({shown.any_of(facts)}){unless}"
    names = tuple(rule.name for rule, _ in left.shown[:MAX_RULES_PER_DECISION])
    return _Compiled(condition, reach, points, relations, shown.source, unless, names)


@dataclass(frozen=True, slots=True)
class _Alternatives:
    """The conditions of rules, of which any may hold: relations, None for any, with further conditions, which name
    columns of `source`. Without repetitions: several roles often give the same."""

    by_relation: tuple[tuple[str | None, str], ...]
    source: str

    def any_of(self, facts: KindFacts) -> str:
        """The SQL of all."""
        return _any_of(
            (_with_relation(relation, further, facts) for relation, further in self.by_relation), self.source
        )


def _any_of(conditions: Iterable[str], source: str) -> str:
    """The conditions joined by OR, without repetitions."""
    found = " OR ".join(dict.fromkeys(conditions))
    return f"(SELECT {found} FROM {source})" if found and source else found or "false"


def _with_relation(relation: str | None, further: str, facts: KindFacts) -> str:
    return further if relation is None else f"(({bind_listed(facts.relations[relation])}) AND {further})"


def _alternatives(conditions: Sequence[RowCondition], facts: KindFacts) -> _Alternatives:
    """The conditions with the SQL of each rule's relation and facts; if that is too long, with each relation once, and
    with facts as columns that are computed once a row."""
    separate, length = dict[tuple[str | None, str], None](), 0
    for condition in dict.fromkeys(conditions):
        written = (condition.relation, _further_sql(condition, facts))
        separate[written] = None
        length += len(_with_relation(*written, facts))
        if length > MAX_SEPARATE_CHARACTERS:
            return _share_facts(conditions, facts)
    return _Alternatives(tuple(separate), "")


def _share_facts(conditions: Sequence[RowCondition], facts: KindFacts) -> _Alternatives:
    """The same rows, also where facts are unknown: AND distributes over OR for three values too."""
    by_relation: dict[str | None, dict[str, None]] = {}
    for condition in conditions:
        parts = [_in_states(condition.states)] if condition.states else []
        parts += [_all_of(condition.facts, _name_column)] if condition.facts else []
        by_relation.setdefault(condition.relation, {})[" AND ".join(parts) or "true"] = None
    alternatives = tuple((relation, f"({' OR '.join(further)})") for relation, further in by_relation.items())
    named = sorted({wanted.fact for condition in conditions for wanted in condition.facts})
    if not named:
        return _Alternatives(alternatives, "")
    # OFFSET 0 keeps Postgres from computing a fact wherever it is named.
    columns = ", ".join(f'({bind_listed(facts.facts[fact])}) AS "{fact}"' for fact in named)
    given = f" CROSS JOIN LATERAL (SELECT {columns} OFFSET 0) AS {GIVEN_FACTS}"
    source = f"{facts.join_sources(given)}{given}".removeprefix(" CROSS JOIN LATERAL ")
    return _Alternatives(alternatives, source)


def _name_column(fact: str) -> str:
    return f'{GIVEN_FACTS}."{fact}"'


def _reach(shown: Iterable[RowCondition], facts: KindFacts) -> tuple[str | None, str | None]:
    """A SELECT of the owners whose rows these rules can show, by the relations or facts about owners that they name,
    None for anybody; and one of the points of other rows, None if there are no such rows."""
    relations: dict[str | None, None] = {}
    by_facts: list[RowCondition] = []
    for condition in shown:
        if condition.relation in facts.reaches or condition.relation in facts.points:
            relations[condition.relation] = None
        elif about_owner := [wanted for wanted in condition.facts if wanted.fact in facts.owner_facts]:
            by_facts.append(replace(condition, relation=None, states=frozenset(), facts=tuple(about_owner)))
        else:
            return None, None
    owners, points = (
        [bind_listed(table[relation]) for relation in relations if relation is not None and relation in table]
        for table in (facts.reaches, facts.points)
    )
    rows = " UNION ALL ".join([*owners, *_owners_where(by_facts, facts)]) or "SELECT NULL::uuid AS owner_id"
    reach = f"SELECT reached.owner_id FROM ({rows}) AS reached WHERE {NAMED}"
    found = f"SELECT DISTINCT at.point FROM ({' UNION ALL '.join(points)}) AS at WHERE {NAMED}"
    return reach, found if points else None


def _owners_where(conditions: Sequence[RowCondition], facts: KindFacts) -> Iterable[str]:
    """SELECTs of the owners of whom the facts of any of these conditions are true."""
    alternatives = _alternatives(conditions, facts)
    if alternatives.source:
        return [f"{facts.owners_where('true')} AND {alternatives.any_of(facts)}"]
    return dict.fromkeys(facts.owners_where(_facts_sql(condition.facts, facts)) for condition in conditions)


def _further_sql(left: RowCondition, facts: KindFacts) -> str:
    """The conditions on the row's state and facts."""
    parts = [_in_states(left.states)] if left.states else []
    # One look at the entries and the owner serves all facts of a rule.
    parts += [facts.about_row(_facts_sql(left.facts, facts))] if left.facts else []
    return " AND ".join(parts) or "true"


def _facts_sql(wanted: Iterable[Condition], facts: KindFacts) -> str:
    return _all_of(wanted, lambda fact: f"({bind_listed(facts.facts[fact])})")


def _all_of(wanted: Iterable[Condition], written: Callable[[str], str]) -> str:
    """All of these conditions; unknown as SQL has it."""
    bound = ((condition, written(condition.fact)) for condition in wanted)
    return " AND ".join(f"NOT {sql}" if condition.negated else sql for condition, sql in bound)


def _in_states(states: Iterable[str]) -> str:
    """States are words of the checked vocabulary: letters and hyphens."""
    return "r.state IN (" + ", ".join(f"'{state}'" for state in sorted(states)) + ")"
