"""The words that the engine speaks: Rule, AccessRequest (the verdict key) and Verdict. Pure: owns no state.

Every part of floor 4 may import this module; it imports none of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

ANY = "any"
ANYONE = "anyone"
NO_STATE = ""
# A decision names so many rules at most, or its record could grow beyond what the log takes.
MAX_NAMED = 50


class Effect(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Condition:
    """One fact that a rule's `when` asks for: the fact must be true, or with `negated` must be false."""

    fact: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A checked, named policy row. Empty `states` and `when` mean `any` and `always`; `scope` may be `any`.

    `line` is the row's line in policy.csv, from 1.
    """

    name: str
    effect: Effect
    who: str
    action: str
    states: frozenset[str]
    kind: str
    scope: str
    when: tuple[Condition, ...]
    line: int = 0


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """What the rules can see of a request, and nothing else: the key under which a verdict is remembered.

    `who`: every word the asker answers to (relations, `role:X` closed over inheritance, `person:UUID`, `client:X` for a
    client acting for itself, `via:X` for a client acting for a user, `anyone`). `facts`: known facts only; a fact that
    is absent is unknown. `state` is NO_STATE for resources that have none.
    """

    kind: str
    action: str
    state: str
    who: frozenset[str]
    scopes: frozenset[str]
    facts: frozenset[tuple[str, bool]]

    def fact(self, name: str) -> bool | None:
        """True, False, or None when unknown."""
        if (name, True) in self.facts:
            return True
        return False if (name, False) in self.facts else None


class Reason(StrEnum):
    """Why a verdict is what it is; stable words that stand in records and answers."""

    ALLOWED = "allowed"
    DENY_RULE = "deny-rule"
    NO_RULE = "no-rule"
    INSUFFICIENT_SCOPE = "insufficient-scope"
    UNKNOWN_RESOURCE = "unknown-resource"
    LAW = "law"
    POLICY_ERROR = "policy-error"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The engine's answer: `rules` are the names that allowed, or that denied, the first MAX_NAMED of them; empty when
    no rule applied."""

    allowed: bool
    reason: Reason
    rules: tuple[str, ...] = ()


# What a condition of a rule is about, in the order of a row.
Dimension: TypeAlias = Literal["who", "state", "scope", "fact"]


@dataclass(frozen=True, slots=True)
class Missing:
    """A near miss: `rule` would have allowed but for `conditions`, each a pair (dimension, wanted word)."""

    rule: str
    conditions: tuple[tuple[Dimension, str], ...]


@dataclass(frozen=True, slots=True)
class Applied:
    """A deny rule that applied, with the `conditions` that it asked for and found: pairs as in Missing."""

    rule: str
    conditions: tuple[tuple[Dimension, str], ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole why: rules that allowed, rules that denied (and on what grounds), and near misses, nearest first."""

    allowed_by: tuple[str, ...] = ()
    denied_by: tuple[str, ...] = ()
    near_misses: tuple[Missing, ...] = ()
    sentences: tuple[str, ...] = field(default=())
    denied_because: tuple[Applied, ...] = ()


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The closed set of words that rules may use, read from vocabulary.toml.

    `actions`, `states`, `relations`: kind to its words. `facts`: kind to the
    facts about its rows; `request_facts`: facts about the asker's sign-in; `thresholds`: named request facts with a
    maximum age in seconds (`recent_sign_in`). `scopes`: all scopes.
    """

    actions: Mapping[str, frozenset[str]]
    states: Mapping[str, frozenset[str]]
    relations: Mapping[str, frozenset[str]]
    facts: Mapping[str, frozenset[str]]
    request_facts: frozenset[str]
    thresholds: Mapping[str, int]
    scopes: frozenset[str]
    descriptions: Mapping[str, str] = field(default_factory=dict)
