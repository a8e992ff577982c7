"""The engine: an immutable snapshot of one policy version that decides questions, with casbin behind a fence.

This is the only module that imports casbin. A snapshot is built aside, warmed and then only read; nothing ever changes
a live enforcer. It owns the verdicts that it remembers, which die with it. Nothing is durable here.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import casbin
import structlog

from service.authorization.engine import casbin_functions
from service.authorization.engine.rule_index import RuleIndex, Words
from service.errors import PolicyRejected
from service.policy import casbin_model
from service.policy.access_request import ANYONE, MAX_NAMED, NO_STATE, AccessRequest, Effect, Reason, Verdict
from service.policy.casbin_fence import fence, row
from service.policy.matching import matches
from service.policy.request_space import RoleClosure

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from service.policy.access_request import Rule, Vocabulary
    from service.policy.policy_file import Policy

T = TypeVar("T")
MAX_REMEMBERED = 65_536
# Of each thing that others work out from a question: lists, refusals, capabilities.
MAX_WORKED_OUT = 2_048
# Versions are built in threads, and before Python 3.11.8 and 3.12.2 two that parse at once may fail (gh-106905).
_PARSING = threading.Lock()
_log = structlog.get_logger(__name__)
_ERROR = Verdict(allowed=False, reason=Reason.POLICY_ERROR)
_NO_RULE = Verdict(allowed=False, reason=Reason.NO_RULE)


@dataclass(frozen=True, slots=True)
class Thing:
    """The resource as casbin sees it: two plain words, no methods to call."""

    kind: str
    state: str


class Snapshot:
    """One policy version, ready to decide. Make it with `build`; share it freely between tasks and threads.

    `number` is the version's number, `digest` that of its texts, `errors` how many questions could not be decided.
    """

    __slots__ = (
        "_parts",
        "_remembered",
        "_roles",
        "_worked_out",
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
        self.words = Words(
            who=frozenset({ANYONE}).union(*(part.index.words.who for part in parts.values())),
            scopes=frozenset[str]().union(*(part.index.words.scopes for part in parts.values())),
            facts=frozenset[str]().union(*(part.index.words.facts for part in parts.values())),
        )
        self._parts = parts
        self._roles = RoleClosure(policy.role_links)
        self._remembered: dict[AccessRequest, Verdict] = {}
        self._worked_out: dict[str, dict[Hashable, object]] = defaultdict(dict)

    @classmethod
    def build(cls, policy: Policy, number: int) -> Snapshot:
        """Build and warm everything eagerly, some milliseconds for a thousand rows.

        Raises PolicyRejected for what casbin would quietly turn into access: see `fence`.
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
        """What the rules can see of a request: roles closed over inheritance, words that no rule mentions left out, and
        no state of a kind to which this version gives none: it may be older than the code that tells of states."""
        words = self.index_of(kind, action).words
        return AccessRequest(
            kind=kind,
            action=action,
            state=state if self.vocabulary.states.get(kind) else NO_STATE,
            who=self.close(who) & words.who,
            scopes=words.scopes.intersection(scopes),
            facts=frozenset((name, value) for name in words.facts if (value := facts.get(name)) is not None),
        )

    def close(self, who: Iterable[str]) -> frozenset[str]:
        """These words, `anyone`, and every role that a role among them includes."""
        return self._roles.close(who)

    def decide(self, request: AccessRequest) -> Verdict:
        """The verdict. Never raises: what cannot be decided is denied with `policy-error`, logged and counted."""
        try:
            known = self._remembered.get(request)
            if known is not None:
                return known
            verdict = self._decide(request)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong inside casbin must be a refusal
            return self._failed(request, type(error).__name__)
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        if verdict is not _ERROR:
            self._remembered[request] = verdict
        return verdict

    def remembered(self, what: str, key: Hashable, work: Callable[[], T]) -> T:
        """What `work` makes of a question, worked out once and kept while the snapshot lives, as long as there is room;
        `what` names the kind of thing, of which there are few. `key` holds all that it depends on."""
        known = self._worked_out[what]
        found = known.get(key)
        if found is None:
            made = work()
            if len(known) >= MAX_WORKED_OUT:
                known.clear()
            found = known[key] = made
        return cast("T", found)

    def recall(self, what: str, key: Hashable) -> Any:
        """What `remembered` has of this; None when it was not worked out yet, or forgotten."""
        return self._worked_out[what].get(key)

    def index_of(self, kind: str, action: str) -> RuleIndex:
        """The rules about this kind and action, as they are found by a question."""
        part = self._parts.get((kind, action))
        return part.index if part is not None else RuleIndex.of(kind, action, ())

    def rules_of(self, kind: str, action: str) -> tuple[Rule, ...]:
        """The rules about this kind and action, in the order of the file."""
        return self.index_of(kind, action).rules

    def words_of(self, kind: str, action: str) -> Words:
        """What the rules about this kind and action can see, and the laws about it."""
        return self.index_of(kind, action).words

    def scopes_for(self, kind: str, action: str) -> tuple[str, ...]:
        """Scopes of which a token needs at least one; empty when no scope is needed, or when nothing would help."""
        return self.index_of(kind, action).scopes

    def could_allow(self, kind: str, action: str, scopes: Iterable[str]) -> bool:
        """False when no allow rule for this kind and action can be satisfied with these scopes, whatever else holds."""
        return self.index_of(kind, action).could_allow(scopes)

    def _decide(self, request: AccessRequest) -> Verdict:
        problem = self._unfit(request)
        if problem:
            return self._failed(request, problem)
        part = self._parts.get((request.kind, request.action))
        if part is None:
            return _NO_RULE
        allowed = part.ask(request)
        applied = part.applied(request)
        denied_by = tuple(rule.name for rule in applied if rule.effect is Effect.DENY)
        allowed_by = tuple(rule.name for rule in applied if rule.effect is Effect.ALLOW)
        if allowed is not (bool(allowed_by) and not denied_by):
            return self._failed(request, "casbin and our own reading of the rules disagree")
        if allowed:
            return Verdict(allowed=True, reason=Reason.ALLOWED, rules=allowed_by[:MAX_NAMED])
        return Verdict(allowed=False, reason=Reason.DENY_RULE, rules=denied_by[:MAX_NAMED]) if denied_by else _NO_RULE

    def _unfit(self, request: AccessRequest) -> str | None:
        """Why this question must not reach casbin; a string in place of a set would turn `in` into a substring test."""
        if request.action not in self.vocabulary.actions.get(request.kind, ()):
            return "the vocabulary has no such kind and action"
        if request.state != NO_STATE and request.state not in self.vocabulary.states.get(request.kind, ()):
            return "the vocabulary has no such state"
        if not all(type(part) is frozenset for part in (request.who, request.scopes, request.facts)):
            return "words are not in frozen sets"
        if len(dict(request.facts)) != len(request.facts):
            return "a fact is both true and false"
        return None

    def _failed(self, request: AccessRequest, problem: str) -> Verdict:
        self.errors += 1
        kind, action = str(getattr(request, "kind", ""))[:64], str(getattr(request, "action", ""))[:64]
        _log.error("policy_error", version=self.number, kind=kind, action=action, problem=problem)
        return _ERROR


@dataclass(frozen=True, slots=True)
class _Part:
    """The rules about one kind and action, with an enforcer that holds their rows alone."""

    index: RuleIndex
    enforcer: _Enforcer
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def build(cls, kind: str, action: str, rules: tuple[Rule, ...]) -> _Part:
        part = cls(RuleIndex.of(kind, action, rules), _Enforcer.of(rules))
        part.ask(AccessRequest(kind, action, NO_STATE, frozenset(), frozenset(), frozenset()))
        return part

    def applied(self, request: AccessRequest) -> list[Rule]:
        """The rules that match, in order; only those on a word that the asker answers to are looked at."""
        return [rule for rule in self.index.near(request.who) if matches(rule, request)]

    def ask(self, request: AccessRequest) -> bool:
        """What casbin says."""
        # casbin's evaluator keeps the values of the question in itself, so one question at a time.
        with self.lock:
            answer = self.enforcer.enforce(
                request.who, request.action, Thing(request.kind, request.state), request.scopes, request.facts
            )
        if not isinstance(answer, bool):
            raise TypeError("casbin did not answer with a bool")
        return answer


class _Enforcer(casbin.Enforcer):  # type: ignore[misc]  # casbin has no types
    """casbin's enforcer with the matcher parsed once: stock casbin parses it anew for every question."""

    parsed: Any = None

    @classmethod
    def of(cls, rules: Iterable[Rule]) -> _Enforcer:
        enforcer = cls(casbin.Enforcer.new_model(text=casbin_model.MODEL))
        for name, function in casbin_functions.FUNCTIONS.items():
            enforcer.add_function(name, function)
        # casbin's own `add_policy` compares each row with all that are there. The fence has seen that names differ.
        enforcer.model["p"]["p"].policy.extend(row(rule) for rule in rules)
        return enforcer

    def _get_expression(self, expr: str, functions: Any = None) -> Any:
        if self.parsed is None:
            with _PARSING:
                self.parsed = super()._get_expression(expr, functions)
        return self.parsed
