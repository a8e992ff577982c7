"""The decision point (PDP): an immutable snapshot of one policy version, with casbin behind a fence.

This is the only module that imports casbin. A snapshot is built, warmed, and then only read: a live enforcer never
gets a new row. It owns the verdicts that it remembers, and they end with it. Nothing here is durable.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import casbin
import structlog

from service.authorization.engine import casbin_functions
from service.authorization.engine.rule_index import RuleIndex, VisibleWords
from service.errors import PolicyRejected
from service.policy import casbin_model
from service.policy.access_request import (
    ANYONE,
    MAX_RULES_PER_DECISION,
    NO_STATE,
    AccessRequest,
    Effect,
    Reason,
    Verdict,
)
from service.policy.casbin_fence import fence, row
from service.policy.matching import matches
from service.policy.request_space import RoleClosure

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from service.policy.access_request import Rule, Vocabulary
    from service.policy.policy_file import Policy

T = TypeVar("T")
MAX_VERDICTS_REMEMBERED = 65_536
# Results of each kind that other modules derive from an access request: lists, refusals, capabilities.
MAX_MEMOIZED = 2_048
# Versions are built in threads. Before Python 3.11.8 and 3.12.2, two threads that parse at once may fail (gh-106905).
_PARSING = threading.Lock()
_log = structlog.get_logger(__name__)
_ERROR = Verdict(allowed=False, reason=Reason.POLICY_ERROR)
_NO_RULE = Verdict(allowed=False, reason=Reason.NO_RULE)


@dataclass(frozen=True, slots=True)
class CasbinResource:
    """The resource as casbin sees it: two plain words and no methods."""

    kind: str
    state: str


class Snapshot:
    """A policy version, ready to decide. Make it with `build`. Tasks and threads may share it.

    `number` is the version's number, `digest` that of its texts, `errors` how many requests could not be decided.
    """

    __slots__ = (
        "_memoized",
        "_parts",
        "_remembered",
        "_roles",
        "digest",
        "errors",
        "number",
        "policy",
        "vocabulary",
        "words",
    )

    def __init__(self, policy: Policy, number: int, parts: Mapping[tuple[str, str], _Part]) -> None:
        self.policy = policy
        self.number = number
        self.digest = policy.text.digest()
        self.vocabulary: Vocabulary = policy.vocabulary
        self.errors = 0
        self.words = VisibleWords(
            who=frozenset({ANYONE}).union(*(part.index.words.who for part in parts.values())),
            scopes=frozenset[str]().union(*(part.index.words.scopes for part in parts.values())),
            facts=frozenset[str]().union(*(part.index.words.facts for part in parts.values())),
        )
        self._parts = parts
        self._roles = RoleClosure(policy.role_links)
        self._remembered: dict[AccessRequest, Verdict] = {}
        self._memoized: dict[str, dict[Hashable, Any]] = defaultdict(dict)

    @classmethod
    def build(cls, policy: Policy, number: int) -> Snapshot:
        """Build and warm everything now: ten milliseconds for a thousand rows.

        Raises PolicyRejected for a policy that casbin would read as access to everything: see `fence`.
        """
        complaints = fence(policy)
        if complaints:
            raise PolicyRejected(complaints)
        rows: dict[tuple[str, str], list[Rule]] = defaultdict(list)
        for rule in policy.rules:
            rows[rule.kind, rule.action].append(rule)
        parts = {key: _Part.build(*key, tuple(own)) for key, own in rows.items()}
        return cls(policy, number, MappingProxyType(parts))

    def access_request(
        self,
        kind: str,
        action: str,
        state: str,
        who: Iterable[str],
        scopes: Iterable[str],
        facts: Mapping[str, bool | None],
    ) -> AccessRequest:
        """The request as the rules see it: with every included role, and without words that no rule mentions.

        A kind without states in this version has none: the version may be older than the states in the code.
        """
        words = self.index_of(kind, action).words
        return AccessRequest(
            kind=kind,
            action=action,
            state=state if self.vocabulary.states.get(kind) else NO_STATE,
            who=self.close(who) & words.who,
            scopes=words.scopes.intersection(scopes),
            facts=frozenset([(name, value) for name in words.facts if (value := facts.get(name)) is not None]),
        )

    def close(self, who: Iterable[str]) -> frozenset[str]:
        """These words, `anyone`, and every role that a role among them includes."""
        return self._roles.close(who)

    def decide(self, request: AccessRequest) -> Verdict:
        """The verdict. Never raises: a request that cannot be decided is denied as `policy-error` and logged."""
        try:
            known = self._remembered.get(request)
            if known is not None:
                return known
            verdict = self._decide(request)
        except Exception as error:  # noqa: BLE001 - a failure inside casbin must deny
            return self._fail(request, type(error).__name__)
        if len(self._remembered) >= MAX_VERDICTS_REMEMBERED:
            self._remembered.clear()
        if verdict is not _ERROR:
            self._remembered[request] = verdict
        return verdict

    def memoize(self, what: str, key: Hashable, work: Callable[[], T]) -> T:
        """The result of `work`, kept while the snapshot lives and there is room.

        `what` names the kind of result; there are few. `key` holds everything that the result depends on.
        """
        known = self._memoized[what]
        found: T | None = known.get(key)
        if found is None:
            found = work()
            if len(known) >= MAX_MEMOIZED:
                known.clear()
            known[key] = found
        return found

    def recall(self, what: str, key: Hashable) -> Any:
        """A result that `memoize` kept, or None."""
        return self._memoized[what].get(key)

    def index_of(self, kind: str, action: str) -> RuleIndex:
        """The rules about this kind and action, with their index."""
        part = self._parts.get((kind, action))
        return part.index if part is not None else RuleIndex.of(kind, action, ())

    def rules_of(self, kind: str, action: str) -> tuple[Rule, ...]:
        """The rules about this kind and action, in the order of the file."""
        return self.index_of(kind, action).rules

    def words_of(self, kind: str, action: str) -> VisibleWords:
        """The words that the rules and laws about this kind and action can see."""
        return self.index_of(kind, action).words

    def scopes_for(self, kind: str, action: str) -> tuple[str, ...]:
        """Scopes of which a token needs at least one. Empty when no scope is needed, or when none would help."""
        return self.index_of(kind, action).scopes

    def could_allow(self, kind: str, action: str, scopes: Iterable[str]) -> bool:
        """False when no allow rule for this kind and action can match with these scopes."""
        return self.index_of(kind, action).could_allow(scopes)

    def _decide(self, request: AccessRequest) -> Verdict:
        problem = self._find_flaw(request)
        if problem:
            return self._fail(request, problem)
        part = self._parts.get((request.kind, request.action))
        if part is None:
            return _NO_RULE
        allowed = part.ask(request)
        applied = part.matching(request)
        denied_by = tuple(rule.name for rule in applied if rule.effect is Effect.DENY)
        allowed_by = tuple(rule.name for rule in applied if rule.effect is Effect.ALLOW)
        if allowed is not (bool(allowed_by) and not denied_by):
            return self._fail(request, "casbin and matching.py disagree about the rules")
        if allowed:
            return Verdict(allowed=True, reason=Reason.ALLOWED, rules=allowed_by[:MAX_RULES_PER_DECISION])
        return (
            Verdict(allowed=False, reason=Reason.DENY_RULE, rules=denied_by[:MAX_RULES_PER_DECISION])
            if denied_by
            else _NO_RULE
        )

    def _find_flaw(self, request: AccessRequest) -> str | None:
        """Why this request must not reach casbin. A string in place of a set would turn `in` into a substring test."""
        if request.action not in self.vocabulary.actions.get(request.kind, ()):
            return "the vocabulary has no such kind and action"
        if request.state != NO_STATE and request.state not in self.vocabulary.states.get(request.kind, ()):
            return "the vocabulary has no such state"
        if not all(type(part) is frozenset for part in (request.who, request.scopes, request.facts)):
            return "words, scopes or facts are not a frozenset"
        if len(dict(request.facts)) != len(request.facts):
            return "a fact is both true and false"
        return None

    def _fail(self, request: AccessRequest, problem: str) -> Verdict:
        self.errors += 1
        kind, action = str(getattr(request, "kind", ""))[:64], str(getattr(request, "action", ""))[:64]
        _log.error("policy_error", version=self.number, kind=kind, action=action, problem=problem)
        return _ERROR


@dataclass(frozen=True, slots=True)
class _Part:
    """The rules about a kind and action, with an enforcer that holds only their rows."""

    index: RuleIndex
    enforcer: _Enforcer
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def build(cls, kind: str, action: str, rules: tuple[Rule, ...]) -> _Part:
        part = cls(RuleIndex.of(kind, action, rules), _Enforcer.of(rules))
        part.ask(AccessRequest(kind, action, NO_STATE, frozenset(), frozenset(), frozenset()))
        return part

    def matching(self, request: AccessRequest) -> list[Rule]:
        """The rules that match, in the order of the file. Only rules on a word of the caller are read."""
        return [rule for rule in self.index.near(request.who) if matches(rule, request)]

    def ask(self, request: AccessRequest) -> bool:
        """Casbin's answer."""
        # casbin's evaluator keeps the values of the request in itself, so only one request at a time.
        with self.lock:
            answer = self.enforcer.enforce_near(request)
        if not isinstance(answer, bool):
            raise TypeError("casbin did not answer with a bool")
        return answer


class _Enforcer(casbin.Enforcer):  # type: ignore[misc]  # casbin has no types
    """casbin's enforcer with the matcher parsed once and the rows indexed by the words of callers.

    Stock casbin parses the matcher again for every request, and walks every row.
    """

    parsed: Any = None
    # The rows that a caller with a word may answer to, by that word.
    rows: Mapping[str, list[list[str]]]
    # A row for callers without any: over no rows at all, casbin may allow everything.
    first: list[list[str]]

    @classmethod
    def of(cls, rules: Iterable[Rule]) -> _Enforcer:
        enforcer = cls(casbin.Enforcer.new_model(text=casbin_model.MODEL))
        for name, function in casbin_functions.FUNCTIONS.items():
            enforcer.add_function(name, function)
        rows = [row(rule) for rule in rules]
        by_word: dict[str, list[list[str]]] = defaultdict(list)
        for effect, wanted, *others in rows:
            for word in casbin_functions.words_of(wanted, effect):
                by_word[word].append([effect, wanted, *others])
        enforcer.rows, enforcer.first = dict(by_word), rows[:1]
        return enforcer

    def enforce_near(self, request: AccessRequest) -> object:
        """Casbin's answer over the rows on a word of the caller; it is the answer over all rows, in any order.

        They are put into the model without casbin's own `add_policy`, which compares each row with all others.
        """
        near = [found for word in request.who for found in self.rows.get(word, ())]
        self.model["p"]["p"].policy = near or self.first
        resource = CasbinResource(request.kind, request.state)
        return self.enforce(request.who, request.action, resource, request.scopes, request.facts)

    def _get_expression(self, expr: str, functions: Any = None) -> Any:
        if self.parsed is None:
            with _PARSING:
                self.parsed = super()._get_expression(expr, functions)
        return self.parsed
