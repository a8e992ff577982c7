"""The types of the policy language: Rule, AccessRequest, Verdict, Explanation and Vocabulary. Pure: owns no state."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, TypeAlias

from service.policy.attributes import known_attributes
from service.policy.known_words import SIGN_IN_FACTS
from service.policy.sentences import FilledSentences
from service.values import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.policy.attributes import Attribute, Value
    from service.policy.expressions.expression import Expression
    from service.policy.paths import Path

ANY = "any"
ANYONE = "anyone"
NO_STATE = ""
# The values of a fact, as cases, diffs and sentences write them.
FACT_VALUES = {True: "true", False: "false", None: "unknown"}
# More would make the record of a decision larger than the log accepts.
MAX_RULES_PER_DECISION = 50


class Effect(StrEnum):
    """What a rule or a decision does."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Condition:
    """A fact that a rule's `when` asks for. It must be true, or with `negated` false."""

    fact: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A checked row of policy.csv. Empty `states` mean `any`, empty `when` means `always`; `scope` may be `any`.

    `line` is its line in policy.csv, from 1.
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


class AccessRequest(Struct, frozen=True):
    """The parts of a request that rules can see. A verdict is remembered under it.

    `who`: every word that the caller answers to: relations, `role:X` with every included role, `group:X`,
    `person:UUID`, `client:X` for a client acting for itself, `via:X` for a client acting for a user, `actor:X` for the
    current actor of a delegated token, `anyone`. `facts` holds known facts; a fact that is absent is unknown. `state`
    is NO_STATE for resources that have none.
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
    """Why a request was allowed or denied. These words stand in records and responses and do not change."""

    ALLOWED = "allowed"
    DENY_RULE = "deny-rule"
    NO_RULE = "no-rule"
    INSUFFICIENT_SCOPE = "insufficient-scope"
    UNKNOWN_RESOURCE = "unknown-resource"
    LAW = "law"
    POLICY_ERROR = "policy-error"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision on an access request. `rules` names the rules that allowed or denied, at most
    MAX_RULES_PER_DECISION of them; empty when no rule applied."""

    allowed: bool
    reason: Reason
    rules: tuple[str, ...] = ()


# The kinds of condition, in the order of a row.
Dimension: TypeAlias = Literal["who", "state", "scope", "fact"]


@dataclass(frozen=True, slots=True)
class NearRule:
    """A near miss: a rule that would have allowed but for these conditions, pairs (dimension, wanted word)."""

    rule: str
    conditions: tuple[tuple[Dimension, str], ...]


@dataclass(frozen=True, slots=True)
class Applied:
    """A deny rule that applied, with its conditions: pairs as in NearRule."""

    rule: str
    conditions: tuple[tuple[Dimension, str], ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The rules that allowed, those that denied and on what grounds, and the near misses, nearest first."""

    allowed_by: tuple[str, ...] = ()
    denied_by: tuple[str, ...] = ()
    near_misses: tuple[NearRule, ...] = ()
    denied_because: tuple[Applied, ...] = ()


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words that rules may use, read from vocabulary.toml.

    `actions`, `states` and `relations` map a kind to its words, `facts` a kind to the facts about its rows.
    `request_facts` are about the caller's sign-in; `thresholds` gives those with a maximum age in seconds
    (`recent_sign_in`). `descriptions` holds the sentences for callers. `people`, `teams` and `projects` are the
    attributes that the directory holds of them, by their name there.

    `definitions`: the expressions of declared facts, by kind and fact; the kind of a request fact is "". `paths`: the
    paths of relations that are not computed in code, by kind and relation. `approval`: when a timesheet has enough
    approvals.
    """

    actions: Mapping[str, frozenset[str]]
    states: Mapping[str, frozenset[str]]
    relations: Mapping[str, frozenset[str]]
    facts: Mapping[str, frozenset[str]]
    request_facts: frozenset[str]
    thresholds: Mapping[str, int]
    scopes: frozenset[str]
    descriptions: Mapping[str, str] = field(default_factory=dict)
    people: Mapping[str, Attribute] = field(default_factory=dict)
    teams: Mapping[str, Attribute] = field(default_factory=dict)
    projects: Mapping[str, Attribute] = field(default_factory=dict)
    definitions: Mapping[tuple[str, str], Expression] = field(default_factory=dict)
    paths: Mapping[tuple[str, str], Path] = field(default_factory=dict)
    approval: Expression | None = None

    def known_attributes(self, kind: str) -> Mapping[str, Attribute]:
        """The attributes that a fact about `kind` may read; for the kind "", a fact about the sign-in."""
        return known_attributes(kind, self.people, self.teams, self.projects)

    @property
    def sign_in_facts(self) -> frozenset[str]:
        """The facts that another sign-in of the caller can make true."""
        return (self.request_facts & SIGN_IN_FACTS) | self.thresholds.keys()

    def with_values(self, values: Mapping[str, Value]) -> Vocabulary:
        """The vocabulary whose sentences show these values of attributes."""
        return replace(self, descriptions=FilledSentences(self.descriptions, values))
