"""Capabilities: what a caller may do at all, for each kind and action. Computed by the engine that decides. Pure.

More words of a caller only make more rules match, and an unknown fact matches no allow and every deny. So the request
with the fewest words and the one with the most bound all others, and the smallest request that each allow rule matches
shows whether the rule can ever help.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile
from typing import TYPE_CHECKING, Final

from service.authorization.enforcement.attribute_values import TEAMS
from service.authorization.enforcement.decision_point import request_facts, who_words
from service.policy import laws
from service.policy.access_request import NO_STATE, Effect
from service.policy.paths import TIMESHEET, NodeType, find_given, find_requestable
from service.policy.request_space import (
    KNOWN,
    RULES_PER_CASBIN_ROW,
    Budget,
    RequestSpace,
    scopes_of,
    smallest_requests,
)
from service.values import replace

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

    from service.authorization.enforcement.relationships import FactLookup
    from service.authorization.engine.engine import Snapshot
    from service.identity.principal import Principal
    from service.policy.access_request import AccessRequest


CAPABILITIES: Final = "capabilities"
REQUEST_ACCESS: Final = ("access_request", "request")
# Rows that casbin may walk to find out what can be asked for: some 10 milliseconds, as refusals need it too.
MAX_REQUESTABLE_ROWS: Final = 2_500


class Availability(StrEnum):
    """Whether the caller could do something. ALWAYS: on every resource. DEPENDS: on the caller's relation to it, or on
    its state. SCOPE and SIGN_IN: not with this token, but with another scope or another sign-in. NEVER: not under this
    policy."""

    ALWAYS = "always"
    DEPENDS = "depends"
    SCOPE = "needs-scope"
    SIGN_IN = "needs-sign-in"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Capability:
    """Whether an action is available. `as_`: relations of which the caller needs one. `states`: the states that the
    resource must have; empty for any. `scopes`: for SCOPE, the scopes of which one would help."""

    kind: str
    action: str
    availability: Availability
    as_: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Requestable:
    """A relation to timesheets that the caller can ask for, to those of teams or projects (`on`) that they could name,
    and what it would let them do there."""

    relation: str
    on: frozenset[NodeType]
    may: tuple[Capability, ...]

    def allows(self, action: str) -> bool:
        """Whether it would let the caller do this with their token, perhaps after another sign-in."""
        return any(given.action == action and given.availability is not Availability.SCOPE for given in self.may)


def list_capabilities(snapshot: Snapshot, principal: Principal, lookup: FactLookup) -> Sequence[Capability]:
    """A capability for each kind and action of the vocabulary; `lookup` is one without a row. Slow for thousands of
    rules: run it in a thread. Cached for callers who differ in no word that a rule names."""
    caller = _caller(snapshot, principal, lookup)
    return snapshot.memoize(CAPABILITIES, caller.key(), lambda: _all(caller))


def recall_capabilities(snapshot: Snapshot, principal: Principal, lookup: FactLookup) -> Sequence[Capability] | None:
    """As `list_capabilities`, if they are cached; otherwise None."""
    found: Sequence[Capability] | None = snapshot.recall(CAPABILITIES, _caller(snapshot, principal, lookup).key())
    return found


def list_requestable(snapshot: Snapshot, principal: Principal, lookup: FactLookup) -> Sequence[Requestable]:
    """The relations that the caller can ask for, by name; none for a client that acts for itself. Whatever resource the
    lookup is about, they are the same. Beyond MAX_REQUESTABLE_ROWS, some of their actions are left out. Cached as
    `list_capabilities`."""
    if principal.person is None or not snapshot.could_allow(*REQUEST_ACCESS, principal.scopes):
        return ()
    caller, in_team = _caller(snapshot, principal, lookup), bool(lookup.list_of_caller(TEAMS))
    return snapshot.memoize("requestable", (caller.key(), in_team), lambda: _all_requestable(caller, in_team=in_team))


def _caller(snapshot: Snapshot, principal: Principal, lookup: FactLookup) -> _Caller:
    """The caller's words and scopes that any rule names, without relations to a resource."""
    visible = snapshot.words
    return _Caller(
        snapshot,
        (snapshot.close(who_words(principal, lookup)) - lookup.relations) & visible.who,
        principal.scopes & visible.scopes,
        request_facts(snapshot, principal, lookup),
    )


def _all(caller: _Caller) -> Sequence[Capability]:
    actions = sorted((kind, action) for kind, found in caller.snapshot.vocabulary.actions.items() for action in found)
    return [_capability_of(caller, kind, action) for kind, action in actions]


@dataclass(frozen=True, slots=True)
class _Caller:
    """A caller in the engine's words; `facts` are those of the sign-in."""

    snapshot: Snapshot
    words: frozenset[str]
    scopes: frozenset[str]
    facts: Mapping[str, bool | None]

    def key(self) -> Hashable:
        """All that a capability depends on."""
        return self.words, self.scopes, frozenset(self.facts.items())

    def base(self, kind: str, action: str) -> AccessRequest:
        """The caller's request for a resource without any facts."""
        return self.snapshot.access_request(kind, action, NO_STATE, self.words, self.scopes, self.facts)

    def after_sign_in(self) -> _Caller:
        """The caller after any other sign-in."""
        return replace(self, facts={**self.facts, **dict.fromkeys(self.snapshot.vocabulary.sign_in_facts, True)})

    def with_every_scope(self) -> _Caller:
        """The caller with a token of all scopes."""
        return replace(self, scopes=self.snapshot.vocabulary.scopes)

    def could(self, kind: str, action: str) -> bool:
        """Whether the caller may do it to some resource with this token, perhaps after another sign-in."""
        if not self.snapshot.could_allow(kind, action, self.scopes):
            return False
        found = _capability_of(self, kind, action).availability
        return found in {Availability.ALWAYS, Availability.DEPENDS, Availability.SIGN_IN}

    def may(self, request: AccessRequest) -> bool:
        """Whether the policy and the laws allow the request."""
        return self.snapshot.decide(request).allowed and not laws.law_forbids(request)


def _capability_of(caller: _Caller, kind: str, action: str) -> Capability:
    vocabulary = caller.snapshot.vocabulary
    states = sorted(vocabulary.states.get(kind, ())) or [NO_STATE]
    relations = vocabulary.relations.get(kind, frozenset())
    poorest = caller.base(kind, action)
    richest = replace(poorest, who=poorest.who | relations)
    if all(caller.may(request) for base in (poorest, richest) for request in RequestSpace(base, states)):
        return Capability(kind, action, Availability.ALWAYS)
    ways = list(_ways(caller, kind, action, states))
    if ways:
        where = sorted({state for _, state in ways} - {NO_STATE})
        return Capability(
            kind,
            action,
            Availability.DEPENDS,
            as_=tuple(sorted({who for who, _ in ways} & relations)),
            states=() if where == states else tuple(where),
        )
    fresh = caller.after_sign_in()
    if any(_ways(fresh, kind, action, states)):
        return Capability(kind, action, Availability.SIGN_IN)
    granted = fresh.with_every_scope()
    if not caller.snapshot.could_allow(kind, action, caller.scopes) and any(_ways(granted, kind, action, states)):
        return Capability(kind, action, Availability.SCOPE, scopes=caller.snapshot.scopes_for(kind, action))
    return Capability(kind, action, Availability.NEVER)


def _ways(
    caller: _Caller,
    kind: str,
    action: str,
    states: Iterable[str],
    held: frozenset[str] | None = None,
    budget: Budget | None = None,
) -> Iterator[tuple[str, str]]:
    """The who-word and a state of each allow rule by which some resource would be allowed to this caller. With `held`,
    relations that the caller has to it, only rules on these are tried; fewer if the budget is exhausted."""
    vocabulary, index = caller.snapshot.vocabulary, caller.snapshot.index_of(kind, action)
    relations = vocabulary.relations.get(kind, frozenset())
    facts: dict[str, Sequence[bool | None]] = dict.fromkeys(sorted(vocabulary.facts.get(kind, ())), KNOWN)
    facts |= {name: (value,) for name, value in caller.facts.items()}
    mentioned = {name: values for name, values in facts.items() if name in index.words.facts}
    base = replace(caller.base(kind, action), facts=frozenset())
    if held is not None:
        base = replace(base, who=base.who | (held & index.words.who))
    rows = 0 if budget is None else len(index.near(base.who))

    def has_budget(_: AccessRequest) -> bool:
        return budget is None or budget.spend_on_casbin(rows)

    found: set[tuple[str, str]] = set()
    for rule in index.near(caller.words | relations if held is None else held):
        if rule.effect is Effect.DENY or not scopes_of(rule) <= caller.scopes:
            continue
        for state in states:
            requests = takewhile(has_budget, smallest_requests(rule, base, [state], mentioned))
            if (rule.who, state) not in found and any(map(caller.may, requests)):
                found.add((rule.who, state))
                yield rule.who, state


def _all_requestable(caller: _Caller, *, in_team: bool) -> Sequence[Requestable]:
    vocabulary = caller.snapshot.vocabulary
    if not caller.could(*REQUEST_ACCESS):
        return ()
    reads_directory = caller.could("directory", "read")
    nameable = set[NodeType]()
    if in_team or reads_directory:
        nameable.add(NodeType.TEAMS)
    if reads_directory or caller.could("project", "read"):
        nameable.add(NodeType.PROJECTS)
    given = find_given(vocabulary.paths)
    budget = Budget(MAX_REQUESTABLE_ROWS * RULES_PER_CASBIN_ROW)
    return [
        Requestable(relation, where & nameable, tuple(_list_given(caller, given[relation], budget)))
        for relation, where in sorted(find_requestable(vocabulary.paths).items())
        if where & nameable
    ]


def _list_given(caller: _Caller, relations: frozenset[str], budget: Budget) -> Iterator[Capability]:
    """The actions that the caller with all of these relations to a timesheet may do by rules on them."""
    vocabulary = caller.snapshot.vocabulary
    states = sorted(vocabulary.states.get(TIMESHEET, ())) or [NO_STATE]
    fresh = caller.after_sign_in()
    able = {Availability.DEPENDS: caller, Availability.SIGN_IN: fresh, Availability.SCOPE: fresh.with_every_scope()}
    for action in sorted(vocabulary.actions.get(TIMESHEET, ())):
        for availability, could in able.items():
            if ways := list(_ways(could, TIMESHEET, action, states, relations, budget)):
                where = sorted({state for _, state in ways} - {NO_STATE})
                rules = caller.snapshot.index_of(TIMESHEET, action).near(relations)
                scopes = {rule.scope for rule in rules if rule.effect is Effect.ALLOW} - caller.scopes
                yield Capability(
                    TIMESHEET,
                    action,
                    availability,
                    as_=tuple(sorted({who for who, _ in ways})),
                    states=() if where == states else tuple(where),
                    scopes=tuple(sorted(scopes)) if availability is Availability.SCOPE else (),
                )
                break
