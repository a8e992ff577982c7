"""Whether a rule matches an access request, and if not, which conditions are missing. Pure: owns no state.

The engine uses it to list the rules behind casbin's verdict, and denies when the two disagree. So it shares no code
with casbin or with the matcher in model.conf. Explanations are built on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.policy.access_request import ANYONE, Effect

if TYPE_CHECKING:
    from service.policy.access_request import AccessRequest, Condition, Dimension, Rule

ROLE, GROUP, PERSON, CLIENT, VIA, ACTOR = "role:", "group:", "person:", "client:", "via:", "actor:"
# Prefix of a relation or `person:` word that holds only through an id from before an erasure, and of the `actor:` word
# of an actor before the current one. No row can use it.
FORMER = "former:"


def matches(rule: Rule, request: AccessRequest) -> bool:
    """Whether the rule is about the request's kind and action, and all its conditions hold."""
    return concerns(rule, request.kind, request.action) and not missing_conditions(rule, request)


def concerns(rule: Rule, kind: str, action: str) -> bool:
    """Whether the rule is about this kind and action."""
    return rule.action == action and rule.kind == kind


def missing_conditions(rule: Rule, request: AccessRequest) -> tuple[tuple[Dimension, str], ...]:
    """The conditions of the rule that do not hold, as pairs (dimension, wanted word). Empty when all hold.

    Dimensions come in the order of a row: `who`, `state`, `scope`, `fact`. States are joined by `or`; a negated fact is
    `not NAME`. The kind and the action are not checked.
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
    """The words of which a caller must answer to at least one.

    A deny on a client also applies while the client acts for others. A deny on a relation or a person also applies to
    a caller who had that word before an erasure. A deny on an actor also applies to an actor before the current one.
    """
    if rule.effect is not Effect.DENY:
        return frozenset({rule.who})
    if rule.who.startswith(CLIENT):
        client = rule.who.removeprefix(CLIENT)
        return frozenset({rule.who, VIA + client, ACTOR + client, former_word(ACTOR + client)})
    if rule.who == ANYONE or rule.who.startswith((ROLE, GROUP, VIA)):
        return frozenset({rule.who})
    return frozenset({rule.who, former_word(rule.who)})


def former_word(word: str) -> str:
    """The word of a caller who had `word` before an erasure, or of an earlier actor. It meets denies on `word` and no
    allow."""
    return FORMER + word


def names_somebody(word: str) -> bool:
    """Whether a who-word names a single person or client."""
    return word.startswith((PERSON, CLIENT, VIA, ACTOR))


def state_words(rule: Rule) -> str:
    """The rule's states as in a row: `any`, or words joined by `or`."""
    return " or ".join(sorted(rule.states)) or "any"


def fact_word(condition: Condition) -> str:
    """The condition as in a row: `mfa` or `not mfa`."""
    return f"not {condition.fact}" if condition.negated else condition.fact


def holds(effect: Effect, condition: Condition, known: bool | None) -> bool:  # noqa: FBT001 — a fact's own value
    """Whether a condition holds, given the value of its fact. An unknown fact meets every deny and no allow."""
    return effect is Effect.DENY if known is None else known is not condition.negated
