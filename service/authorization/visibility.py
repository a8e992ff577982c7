"""Visibility: the rules for one asker, compiled to a SQL condition over rows, so that a list is the sum of its reads.

Pure: owns no state. What the asker is and has folds to constants; relations and facts of rows become the very SQL that
single decisions read; denies become AND NOT. Nothing is filtered in Python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.authorization.matching import words_for
from service.authorization.question import ANY, MOST_NAMED, Effect
from service.authorization.relationships import asker, bound

if TYPE_CHECKING:
    from uuid import UUID

    from service.authorization.engine import Snapshot
    from service.authorization.question import Condition, Question, Rule
    from service.authorization.relationships import KindFacts
    from service.identity.principal import Principal

_KEY: Final = object()


class Visibility:
    """A condition about a row `r`, for a WHERE clause. `$1` and `$2` in it are `parameters`; the caller's own start at
    $3. `rules` are names of the rules that can show a row, as in a Verdict. Made by `visible` alone."""

    __slots__ = ("action", "condition", "kind", "parameters", "rules")

    def __init__(
        self,
        question: Question,
        condition: str,
        parameters: tuple[UUID | None, str | None],
        rules: tuple[str, ...],
        key: object,
    ) -> None:
        if key is not _KEY:
            raise PermissionError("a Visibility is compiled from rules")
        self.kind, self.action = question.kind, question.action
        # Both parameters are named in every statement, or Postgres could not tell their types.
        self.condition = f"($1::uuid IS NULL OR $2::text IS NULL) AND {condition}"
        self.parameters = parameters
        self.rules = rules


def visible(snapshot: Snapshot, question: Question, principal: Principal, facts: KindFacts) -> Visibility:
    """Compile the rules for a question that `principal` asked without a row."""
    rules = snapshot.rules_of(question.kind, question.action)
    shown = [
        (rule.name, sql)
        for rule in rules
        if rule.effect is Effect.ALLOW and (sql := _rule(rule, question, facts)) is not None
    ]
    hidden = [sql for rule in rules if rule.effect is Effect.DENY and (sql := _rule(rule, question, facts)) is not None]
    condition = "(" + (" OR ".join(sql for _, sql in shown) or "false") + ")"
    if hidden:
        condition += " AND NOT (" + " OR ".join(hidden) + ")"
    return Visibility(question, condition, asker(principal), tuple(name for name, _ in shown[:MOST_NAMED]), _KEY)


def _rule(rule: Rule, question: Question, facts: KindFacts) -> str | None:
    """The rule as SQL, or None when it can hold for no row."""
    parts: list[str] = []
    if rule.scope != ANY and rule.scope not in question.scopes:
        return None
    if rule.who in facts.relations:
        parts.append(bound(facts.relations[rule.who]))
    elif question.who.isdisjoint(words_for(rule)):
        return None
    if rule.states:
        # States are words of the checked vocabulary: letters and hyphens.
        parts.append("r.state IN (" + ", ".join(f"'{state}'" for state in sorted(rule.states)) + ")")
    for condition in rule.when:
        sql = _condition(rule, condition, question, facts)
        if sql is None:
            return None
        parts.append(sql)
    return "(" + " AND ".join(f"({part})" for part in parts or ["true"]) + ")"


def _condition(rule: Rule, condition: Condition, question: Question, facts: KindFacts) -> str | None:
    """One fact: of the row as SQL, of the sign-in as a constant. Unknown fails an allow and fulfils a deny."""
    if condition.fact in facts.facts:
        sql = bound(facts.facts[condition.fact])
        return f"NOT ({sql})" if condition.negated else sql
    known = question.fact(condition.fact)
    if known is None:
        return "true" if rule.effect is Effect.DENY else None
    return "true" if known is not condition.negated else None
