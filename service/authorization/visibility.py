"""Visibility: the rules for one asker, compiled to a SQL condition over rows, so that a list is the sum of its reads.

Pure: owns no state. What the asker is and has folds to constants; relations and facts of rows become the very SQL that
single decisions read; denies become AND NOT. Nothing is filtered in Python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.authorization import known_words
from service.authorization.question import MOST_NAMED, Effect
from service.authorization.relationships import asker, bound
from service.authorization.row_conditions import left_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from service.authorization.engine import Snapshot
    from service.authorization.question import Question, Rule
    from service.authorization.relationships import KindFacts, Seen
    from service.identity.principal import Principal

NAMED: Final = "($1::uuid IS NULL OR $2::text IS NULL)"
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
        "parameters",
        "principal",
        "reach",
        "rules",
        "seen",
        "snapshot",
    )

    def __init__(
        self,
        asked: tuple[Snapshot, Question, Principal, Seen, KindFacts],
        condition: str,
        shown: Sequence[Rule],
        key: object,
    ) -> None:
        if key is not _KEY:
            raise PermissionError("a Visibility is compiled from rules")
        self.snapshot, question, self.principal, self.seen, self.facts = asked
        self.kind, self.action = question.kind, question.action
        # Both parameters are named in every statement, or Postgres could not tell their types.
        self.condition = f"{NAMED} AND {condition}"
        self.parameters: tuple[UUID | None, str | None] = asker(self.principal)
        self.rules = tuple(rule.name for rule in shown[:MOST_NAMED])
        self.reach = _reach(shown, self.facts)


def visible(snapshot: Snapshot, question: Question, principal: Principal, seen: Seen, facts: KindFacts) -> Visibility:
    """Compile the rules for a question that `principal` asked without a row, when `seen` held."""
    rules = snapshot.rules_of(question.kind, question.action)
    shown = [
        (rule, sql)
        for rule in rules
        if rule.effect is Effect.ALLOW and (sql := _rule(rule, question, facts)) is not None
    ]
    hidden = [sql for rule in rules if rule.effect is Effect.DENY and (sql := _rule(rule, question, facts)) is not None]
    condition = "(" + (" OR ".join(sql for _, sql in shown) or "false") + ")"
    if hidden:
        condition += " AND NOT (" + " OR ".join(hidden) + ")"
    known = snapshot.vocabulary.states.get(question.kind, frozenset())
    if known and known_words.STATES.get(question.kind, known) - known:
        # A version older than the code: a row in a state that it does not know is denied alone, so in lists too.
        condition += f" AND {_in_states(known)}"
    asked = (snapshot, question, principal, seen, facts)
    return Visibility(asked, condition, [rule for rule, _ in shown], _KEY)


def _reach(shown: Sequence[Rule], facts: KindFacts) -> str | None:
    """Whose rows these rules can show: told by the relations that they name, or anybody's."""
    relations = dict.fromkeys(rule.who for rule in shown)
    if not facts.reaches.keys() >= relations.keys():
        return None
    found = " UNION ALL ".join(bound(facts.reaches[name]) for name in relations) or "SELECT NULL::uuid AS owner_id"
    return f"SELECT reached.owner_id FROM ({found}) AS reached WHERE {NAMED}"


def _rule(rule: Rule, question: Question, facts: KindFacts) -> str | None:
    """The rule as SQL, or None when it can hold for no row."""
    left = left_of(rule, question, facts.relations, facts.facts)
    if left is None:
        return None
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
