"""Finds unsatisfiable rules: rows that can never match or never allow anything, alone. Pure: owns no state.

It is applied to proposals. Denies are checked only for their state and for relations without a row, because an unknown
fact meets every deny.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, TypeAlias

from service.policy.access_request import Condition, Effect
from service.policy.defined_facts import explain_conflict
from service.policy.known_words import (
    ACTED_FOR_OWNER,
    ALLOWED_IN_ANY_STATE,
    CLIENT_ACTIONS,
    FIRST_STATES,
    LOCKED,
    LOCKED_BY_ASKER,
    OWNER,
    RELATIONS_WITHOUT_A_ROW,
    REQUESTER,
    STARTS,
    WITHOUT_A_ROW,
)
from service.policy.laws import APPROVE, GRANT_ACCESS
from service.policy.matching import GROUP, PERSON, VIA, fact_word
from service.policy.paths import PROJECTS, is_of_people

if TYPE_CHECKING:
    from service.policy.access_request import Rule, Vocabulary

Reason: TypeAlias = "tuple[str, str | None] | None"
UNLOCK = ("timesheet", "unlock")


def why_unsatisfiable(rule: Rule, vocabulary: Vocabulary) -> tuple[str, str | None] | None:
    """Why a row has no effect, for its author, with a suggestion if there is one. None for a row that has."""
    reasons = [_check_states(rule), _check_relation(rule, vocabulary)]
    if rule.effect is Effect.ALLOW:
        reasons += [
            _check_law(rule),
            _check_conflict(rule, vocabulary),
            _check_client(rule, vocabulary),
            check_start(rule),
        ]
    return next((reason for reason in reasons if reason is not None), None)


def _check_states(rule: Rule) -> Reason:
    first = FIRST_STATES.get((rule.kind, rule.action))
    if first is None or not rule.states or not rule.states.isdisjoint(first):
        return None
    return (
        f"This row can never match: '{rule.action}' is decided only in the state {' or '.join(sorted(first))}",
        "write any",
    )


def _check_relation(rule: Rule, vocabulary: Vocabulary) -> Reason:
    asked = (rule.kind, rule.action)
    if asked in WITHOUT_A_ROW and rule.states:
        return (
            f"This row can never match: '{rule.action}' is decided without a {rule.kind}, so without a state",
            "write any",
        )
    if rule.who in RELATIONS_WITHOUT_A_ROW.get(asked, ()):
        return (
            f"This row can never match: '{rule.action}' is decided without a {rule.kind}, so nobody is its {rule.who}",
            None,
        )
    path = vocabulary.paths.get((rule.kind, rule.who))
    if asked in FIRST_STATES and path and all(chain[0].edge == PROJECTS for chain in path.chains):
        return (
            f"This row can never match: '{rule.action}' is decided before the {rule.kind} has hours on any project",
            None,
        )
    return None


def _check_law(rule: Rule) -> Reason:
    asked = (rule.kind, rule.action)
    own = asked == APPROVE and (rule.who == OWNER or Condition(ACTED_FOR_OWNER) in rule.when)
    own = own or (asked == GRANT_ACCESS and rule.who == REQUESTER)
    if own or (asked == UNLOCK and Condition(LOCKED_BY_ASKER) in rule.when):
        return "This row can never allow anything: a safety law forbids everything in it", None
    return None


def _check_conflict(rule: Rule, vocabulary: Vocabulary) -> Reason:
    """Conditions that exclude each other, such as a sign-in younger than one limit and older than a longer one."""
    if rule.who == OWNER and Condition(ACTED_FOR_OWNER) in rule.when:
        return f"This row can never match: {ACTED_FOR_OWNER} is never true for the {OWNER}", None
    if Condition(LOCKED_BY_ASKER) in rule.when and rule.states and LOCKED not in rule.states:
        return f"This row can never match: {LOCKED_BY_ASKER} is true only in the state {LOCKED}", None
    if conflict := explain_conflict(rule, vocabulary):
        return conflict, None
    limits = vocabulary.thresholds
    ages = [condition for condition in rule.when if condition.fact in limits]
    for young, old in product(ages, repeat=2):
        if not young.negated and old.negated and limits[young.fact] <= limits[old.fact]:
            return f"This row can never match: no sign-in is both {young.fact} and {fact_word(old)}", None
    return None


def _check_client(rule: Rule, vocabulary: Vocabulary) -> Reason:
    of_people = is_of_people(rule.kind, rule.who, vocabulary.paths)
    if (rule.kind, rule.action) in CLIENT_ACTIONS and (of_people or rule.who.startswith((GROUP, PERSON, VIA))):
        return f"This row can never allow anything: only clients acting for themselves may {rule.action}", None
    return None


def check_start(rule: Rule) -> Reason:
    """Why the action never starts from the states of the row, with a suggestion; None if it does."""
    asked = (rule.kind, rule.action)
    starts = STARTS.get(asked)
    if starts is None or asked in ALLOWED_IN_ANY_STATE or not rule.states or not rule.states.isdisjoint(starts):
        return None
    where = " or ".join(sorted(starts))
    return f"This row has no effect: '{rule.action}' starts only from {where}", f"write {where}"
