"""Visibility: the rules for one asker, compiled to a SQL condition over rows, so that a list is the sum of its reads.

Pure: owns no state. What the asker is and has folds to constants; relations and facts of rows become the very SQL that
single decisions read; denies become AND NOT. Nothing is filtered in Python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.authorization.enforcement.relationships import bound, fact_parameters
from service.authorization.engine.row_conditions import fold_rules
from service.policy import known_words
from service.policy.access_request import MAX_RULES_PER_DECISION

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from service.authorization.enforcement.relationships import FactLookup, KindFacts
    from service.authorization.engine.engine import Snapshot
    from service.authorization.engine.row_conditions import ListRules, RowCondition
    from service.identity.principal import Principal
    from service.policy.access_request import AccessRequest, Rule

NAMED: Final = "($1::uuid IS NULL OR $2::text IS NOT NULL)"
_KEY: Final = object()


class Visibility:
    """A condition about a row `r`, for a WHERE clause. `$1` and `$2` in it are `parameters`; the caller's own start at
    $3. `rules` are names of the rules that can show a row, as in a Verdict. `reach` is a SELECT of the owner_id of
    every row that can be shown, with repetitions and perhaps with others, or None when it can be any. `snapshot`,
    `principal`, `seen` and `facts` are what it was compiled from. Made by `visible` alone."""

    __slots__ = (
        "action",
        "condition",
        "facts",
        "kind",
        "lookup",
        "parameters",
        "principal",
        "reach",
        "rules",
        "snapshot",
    )

    def __init__(
        self,
        asked: tuple[Snapshot, AccessRequest, Principal, FactLookup, KindFacts],
        compiled: tuple[str, str | None, tuple[str, ...]],
        key: object,
    ) -> None:
        if key is not _KEY:
            raise PermissionError("a Visibility is compiled from rules")
        self.snapshot, access_request, self.principal, self.lookup, self.facts = asked
        self.kind, self.action = access_request.kind, access_request.action
        self.condition, self.reach, self.rules = compiled
        self.parameters: tuple[UUID | None, str] = fact_parameters(self.principal)


def visible(
    snapshot: Snapshot, access_request: AccessRequest, principal: Principal, lookup: FactLookup, facts: KindFacts
) -> Visibility:
    """Compile the rules for a question that `principal` asked without a row, when `seen` held."""
    left = fold_rules(snapshot, access_request)
    compiled = snapshot.memoize("condition", (access_request, facts), lambda: _compiled(left, access_request, facts))
    return Visibility((snapshot, access_request, principal, lookup, facts), compiled, _KEY)


def _compiled(
    left: ListRules, access_request: AccessRequest, facts: KindFacts
) -> tuple[str, str | None, tuple[str, ...]]:
    """The condition, the reach, and the names of the rules that can show a row."""
    condition = "(" + (" OR ".join(_each(left.shown, facts)) or "false") + ")"
    if left.hidden:
        condition += " AND NOT (" + " OR ".join(_each(left.hidden, facts)) + ")"
    if left.states and known_words.STATES.get(access_request.kind, left.states) - left.states:
        # A version older than the code: a row in a state that it does not know is denied alone, so in lists too.
        condition += f" AND {_in_states(left.states)}"
    # Both parameters are named in every statement, or Postgres could not tell their types.
    names = tuple(rule.name for rule, _ in left.shown[:MAX_RULES_PER_DECISION])
    return f"{NAMED} AND {condition}", _reach([one for _, one in left.shown], facts), names


def _each(left: Iterable[tuple[Rule, RowCondition]], facts: KindFacts) -> Iterable[str]:
    """The SQL of each, without repetitions: what an asker has by several roles is asked once."""
    return dict.fromkeys(_sql(one, facts) for _, one in left)


def _reach(shown: Iterable[RowCondition], facts: KindFacts) -> str | None:
    """Whose rows these rules can show: told by the relations that they name, or anybody's."""
    found: dict[str, str] = {}
    for one in shown:
        if one.relation is None or one.relation not in facts.reaches:
            return None
        found[one.relation] = bound(facts.reaches[one.relation])
    rows = " UNION ALL ".join(found.values()) or "SELECT NULL::uuid AS owner_id"
    return f"SELECT reached.owner_id FROM ({rows}) AS reached WHERE {NAMED}"


def _sql(left: RowCondition, facts: KindFacts) -> str:
    parts = [] if left.relation is None else [bound(facts.relations[left.relation])]
    if left.states:
        parts.append(_in_states(left.states))
    for condition in left.facts:
        sql = bound(facts.facts[condition.fact])
        parts.append(f"NOT ({sql})" if condition.negated else sql)
    return "(" + " AND ".join(f"({part})" for part in parts or ["true"]) + ")"


def _in_states(states: Iterable[str]) -> str:
    """States are words of the checked vocabulary: letters and hyphens."""
    return "r.state IN (" + ", ".join(f"'{state}'" for state in sorted(states)) + ")"
