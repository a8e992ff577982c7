"""Rows that can never hold, or never let anything through, whatever the policy's other rows say. Pure: owns no state.

Asked of what is proposed. Of denies only the state and the missing thing are judged: what is unknown fulfils a deny.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, TypeAlias

from service.policy.access_request import Condition, Effect
from service.policy.known_words import (
    ACTED_FOR_OWNER,
    ADDED_TO_WHATEVER_STATE,
    FIRST_STATES,
    LOCKED,
    LOCKED_BY_ASKER,
    NOBODY_YET,
    OF_CLIENTS,
    OF_PERSONS,
    OWNER,
    STARTS,
    WITHOUT_A_ROW,
)
from service.policy.laws import APPROVE
from service.policy.matching import PERSON, VIA, fact_word

if TYPE_CHECKING:
    from service.policy.access_request import Rule, Vocabulary

Reason: TypeAlias = "tuple[str, str | None] | None"
UNLOCK = ("timesheet", "unlock")


def why_never(rule: Rule, vocabulary: Vocabulary) -> tuple[str, str | None] | None:
    """What to tell the author of a row that never does anything, with a suggestion; None for any other."""
    reasons = [_states(rule), _no_row(rule)]
    if rule.effect is Effect.ALLOW:
        reasons += [_law(rule), _clash(rule, vocabulary), _client(rule), _start(rule)]
    return next((reason for reason in reasons if reason is not None), None)


def _states(rule: Rule) -> Reason:
    first = FIRST_STATES.get((rule.kind, rule.action))
    if first is None or not rule.states or not rule.states.isdisjoint(first):
        return None
    return (
        f"This row can never hold: '{rule.action}' is asked only of what is {' or '.join(sorted(first))}",
        "write any",
    )


def _no_row(rule: Rule) -> Reason:
    asked = (rule.kind, rule.action)
    if asked in WITHOUT_A_ROW and rule.states:
        return f"This row can never hold: '{rule.action}' is asked of no {rule.kind} that has a state", "write any"
    if rule.who in NOBODY_YET.get(asked, ()):
        return f"This row can never hold: '{rule.action}' is asked of no {rule.kind} that has a {rule.who}", None
    return None


def _law(rule: Rule) -> Reason:
    asked = (rule.kind, rule.action)
    own = asked == APPROVE and (rule.who == OWNER or Condition(ACTED_FOR_OWNER) in rule.when)
    if own or (asked == UNLOCK and Condition(LOCKED_BY_ASKER) in rule.when):
        return "This row can never allow anything: a safety law forbids all of it", None
    return None


def _clash(rule: Rule, vocabulary: Vocabulary) -> Reason:
    """Conditions that exclude each other; of ages, as young as the one asks for and older than the other, which is
    more."""
    if rule.who == OWNER and Condition(ACTED_FOR_OWNER) in rule.when:
        return f"This row can never hold: {ACTED_FOR_OWNER} is never true of the {OWNER}", None
    if Condition(LOCKED_BY_ASKER) in rule.when and rule.states and LOCKED not in rule.states:
        return f"This row can never hold: {LOCKED_BY_ASKER} is true only of what is {LOCKED}", None
    limits = vocabulary.thresholds
    ages = [condition for condition in rule.when if condition.fact in limits]
    for young, old in product(ages, repeat=2):
        if not young.negated and old.negated and limits[young.fact] <= limits[old.fact]:
            return f"This row can never hold: no sign-in is {young.fact} and {fact_word(old)}", None
    return None


def _client(rule: Rule) -> Reason:
    if (rule.kind, rule.action) in OF_CLIENTS and (rule.who in OF_PERSONS or rule.who.startswith((PERSON, VIA))):
        return f"This row can never allow anything: only clients that act for themselves {rule.action}", None
    return None


def _start(rule: Rule) -> Reason:
    asked = (rule.kind, rule.action)
    starts = STARTS.get(asked)
    if starts is None or asked in ADDED_TO_WHATEVER_STATE or not rule.states or not rule.states.isdisjoint(starts):
        return None
    where = " or ".join(sorted(starts))
    return f"This row leads nowhere: '{rule.action}' starts only from {where}", f"write {where}"
