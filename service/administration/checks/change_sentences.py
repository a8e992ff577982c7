"""Describes a change of verdicts, such as "the owner may now delete a submitted timesheet". Pure: owns no state.

Policy authors and auditors read it. It uses the words of the rows and the names of kinds in vocabulary.toml.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.policy.access_request import ANYONE, FACT_VALUES, NO_STATE
from service.policy.known_words import ACTED_FOR_OWNER, OWNER
from service.policy.laws import APPROVE
from service.policy.matching import ROLE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from service.administration.checks.verdict_changes import VerdictChange
    from service.policy.access_request import Vocabulary

NEVER: frozenset[bool | None] = frozenset({False})


def describe_change(change: VerdictChange, vocabulary: Vocabulary) -> str:
    """The change in words, without conditions that a safety law requires anyway."""
    who = _describe_callers(change.who)
    having = "and" if " with " in who else "with"
    scopes = f" {having} {_join(sorted(change.scopes), 'and')}" if change.scopes else ""
    may = "may now" if change.allowed else "may no longer"
    thing = _describe_resource(change, vocabulary)
    conditions = [
        f"{name} is {_join([FACT_VALUES[value] for value in FACT_VALUES if value in values], 'or')}"
        for name, values in change.facts
        if not ((change.kind, change.action) == APPROVE and (name, values) == (ACTED_FOR_OWNER, NEVER))
    ]
    when = f" when {_join(conditions, 'and')}" if conditions else ""
    return f"{who}{scopes} {may} {change.action} {thing}{when}"


def _describe_callers(words: Collection[str]) -> str:
    """Relations first, then persons and clients, then roles."""
    roles = sorted(f"the {' '.join(word.split(':', 1))}" for word in words if word.startswith(ROLE))
    others = sorted((word for word in words if not word.startswith(ROLE)), key=lambda word: (":" in word, word))
    called = " who is also ".join(_describe_caller(word) for word in others) or ("a caller" if roles else ANYONE)
    return f"{called} with {_join(roles, 'and')}" if roles else called


def _describe_caller(word: str) -> str:
    form, _, name = word.partition(":")
    if not name:
        return f"the {word}" if word == OWNER else _with_article(word)
    return {
        "group": f"a member of the group {name}",
        "person": f"the person {name}",
        "client": f"the client {name} for itself",
        "via": f"a user of the client {name}",
        "actor": f"a caller for whom {name} acts",
    }[form]


def _describe_resource(change: VerdictChange, vocabulary: Vocabulary) -> str:
    """The kind with its states. A resource without a state is mentioned only if no other state changes."""
    called = vocabulary.descriptions.get(f"kind.{change.kind}", change.kind)
    states: Collection[str] = vocabulary.states.get(change.kind, frozenset())
    if not states:
        return called
    noun = called.removeprefix("the ")
    named = sorted(change.states - {NO_STATE})
    if not named:
        return f"{_with_article(noun)} without a state"
    if set(named) >= set(states):
        return f"{_with_article(noun)} in any state"
    return f"{_with_article(_join(named, 'or'))} {noun}"


def _with_article(words: str) -> str:
    return f"{'an' if words[:1] in 'aeiou' else 'a'} {words}"


def _join(words: Iterable[str], last: str) -> str:
    *first, end = list(words)
    return f"{', '.join(first)} {last} {end}" if first else end
