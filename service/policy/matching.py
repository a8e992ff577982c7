"""Does one rule apply to one question, and if not, what is missing? Pure: owns no state.

The engine lists with it the rules behind casbin's verdict and refuses when the two disagree, so this is written without
casbin and without a word of the matcher in model.conf. The explanation builds on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.policy.access_request import ANYONE, Effect

if TYPE_CHECKING:
    from service.policy.access_request import AccessRequest, Condition, Dimension, Rule

ROLE, PERSON, CLIENT, VIA = "role:", "person:", "client:", "via:"
# Stands before a relation or a person's word that holds only through an id from before an erasure. No row can say it.
FORMER = "former:"


def matches(rule: Rule, request: AccessRequest) -> bool:
    """True when the rule speaks of this kind and action and every condition of it holds."""
    return concerns(rule, request.kind, request.action) and not missing(rule, request)


def concerns(rule: Rule, kind: str, action: str) -> bool:
    """True when the rule speaks of this kind and action, whoever asks."""
    return rule.action == action and rule.kind == kind


def missing(rule: Rule, request: AccessRequest) -> tuple[tuple[Dimension, str], ...]:
    """The conditions of the rule that do not hold, as pairs (dimension, wanted word); empty when all hold.

    Dimensions in the order of a row: `who`, `state`, `scope`, `fact`. Several states are one word joined by `or`; a
    negated fact is `not NAME`. The kind and the action are not looked at.
    """
    found: list[tuple[Dimension, str]] = []
    if request.who.isdisjoint(words_for(rule)):
        found.append(("who", rule.who))
    if rule.states and request.state not in rule.states:
        found.append(("state", state_words(rule)))
    if rule.scope != "any" and rule.scope not in request.scopes:
        found.append(("scope", rule.scope))
    found.extend(
        ("fact", fact_word(condition))
        for condition in rule.when
        if not holds(rule.effect, condition, request.fact(condition.fact))
    )
    return tuple(found)


def words_for(rule: Rule) -> frozenset[str]:
    """An asker must answer to one of these words. A deny on a client holds also while it acts for a user; a deny on a
    relation or a person holds also for whoever was that before an erasure."""
    if rule.effect is not Effect.DENY:
        return frozenset({rule.who})
    if rule.who.startswith(CLIENT):
        return frozenset({rule.who, VIA + rule.who.removeprefix(CLIENT)})
    if rule.who == ANYONE or rule.who.startswith((ROLE, VIA)):
        return frozenset({rule.who})
    return frozenset({rule.who, former_word(rule.who)})


def former_word(word: str) -> str:
    """The word of whoever answered to `word` before an erasure: it fulfils denies on `word` and allows nothing."""
    return FORMER + word


def names_somebody(word: str) -> bool:
    """Whether a who-word is about one person or one client, and not about whoever is something."""
    return word.startswith((PERSON, CLIENT, VIA))


def state_words(rule: Rule) -> str:
    """The rule's states as a row writes them: `any`, or words joined by `or`."""
    return " or ".join(sorted(rule.states)) or "any"


def fact_word(condition: Condition) -> str:
    """The condition as a row writes it: `mfa` or `not mfa`."""
    return f"not {condition.fact}" if condition.negated else condition.fact


def holds(effect: Effect, condition: Condition, known: bool | None) -> bool:  # noqa: FBT001 — a fact's own value
    """Whether a rule's condition holds of what is known: what is unknown fulfils every deny and no allow."""
    return effect is Effect.DENY if known is None else known is not condition.negated
