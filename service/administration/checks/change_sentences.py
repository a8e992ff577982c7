"""A change of verdicts as a sentence, such as "the owner may now delete a submitted timesheet". Pure: owns no state.

It speaks to policy authors and auditors in the words of the rows, with the names of kinds as vocabulary.toml has them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.policy.access_request import ANYONE, NO_STATE
from service.policy.known_words import ACTED_FOR_OWNER, OWNER
from service.policy.laws import APPROVE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from service.administration.checks.verdict_changes import VerdictChange
    from service.policy.access_request import Vocabulary

NEVER: frozenset[bool | None] = frozenset({False})
VALUES = {True: "true", False: "false", None: "unknown"}


def sentence(change: VerdictChange, vocabulary: Vocabulary) -> str:
    """The change in words, without what the safety laws ask of everybody anyway."""
    who = _askers(change.who)
    having = "and" if " with " in who else "with"
    scopes = f" {having} {_joined(sorted(change.scopes), 'and')}" if change.scopes else ""
    may = "may now" if change.allowed else "may no longer"
    thing = _thing(change, vocabulary)
    conditions = [
        f"{name} is {_joined([VALUES[value] for value in VALUES if value in values], 'or')}"
        for name, values in change.facts
        if not ((change.kind, change.action) == APPROVE and (name, values) == (ACTED_FOR_OWNER, NEVER))
    ]
    when = f" when {_joined(conditions, 'and')}" if conditions else ""
    return f"{who}{scopes} {may} {change.action} {thing}{when}"


def _askers(words: Collection[str]) -> str:
    """Relations first, then what else they must be, then their roles."""
    roles = sorted(f"the {' '.join(word.split(':', 1))}" for word in words if word.startswith("role:"))
    others = sorted((word for word in words if not word.startswith("role:")), key=lambda word: (":" in word, word))
    called = " who is also ".join(_asker(word) for word in others) or ("somebody" if roles else ANYONE)
    return f"{called} with {_joined(roles, 'and')}" if roles else called


def _asker(word: str) -> str:
    form, _, name = word.partition(":")
    if not name:
        return f"the {word}" if word == OWNER else _a(word)
    return {
        "person": f"the person {name}",
        "client": f"the client {name} for itself",
        "via": f"a user of the client {name}",
    }[form]


def _thing(change: VerdictChange, vocabulary: Vocabulary) -> str:
    """The kind with its states; a thing without a state is named only where nothing else changes."""
    called = vocabulary.descriptions.get(f"kind.{change.kind}", change.kind)
    states: Collection[str] = vocabulary.states.get(change.kind, frozenset())
    if not states:
        return called
    noun = called.removeprefix("the ")
    named = sorted(change.states - {NO_STATE})
    if not named:
        return f"{_a(noun)} that is in no state yet"
    if set(named) >= set(states):
        return f"{_a(noun)} in any state"
    return f"{_a(_joined(named, 'or'))} {noun}"


def _a(words: str) -> str:
    return f"{'an' if words[:1] in 'aeiou' else 'a'} {words}"


def _joined(words: Iterable[str], last: str) -> str:
    *first, end = list(words)
    return f"{', '.join(first)} {last} {end}" if first else end
