"""Capabilities: what a caller may do at all, for each kind and action. Computed by the engine that decides. Pure.

More words of a caller only make more rules match, and an unknown fact matches no allow and every deny. So the request
with the fewest words and the one with the most bound all others, and the smallest request that each allow rule matches
shows whether the rule can ever help.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
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
    requests_past_denies,
    scopes_of,
    smallest_requests,
)
from service.values import replace

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

    from service.authorization.enforcement.fact_lookup import FactLookup
    from service.authorization.engine.engine import Snapshot
    from service.authorization.engine.rule_index import RuleIndex
    from service.identity.principal import Principal
    from service.policy.access_request import AccessRequest, Rule


CAPABILITIES: Final = "capabilities"
REQUEST_ACCESS: Final = ("access_request", "request")
# Rows that casbin may walk to find out what can be asked for: some 30 milliseconds, as a refusal holds the event loop
# for it. A row of which all but the facts match takes 25 microseconds, in place of 4.
MAX_REQUESTABLE_ROWS: Final = 1_200
# Of what is left for all actions, an action gets one part of so many. So one that needs too much leaves most of it.
PARTS_FOR_AN_ACTION: Final = 4


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
    """A capability for each kind and action of the vocabulary; `lookup` is one without a row. Where rules have too many
    facts to try, what no attempt proved counts as possible. Slow for thousands of rules: run it in a thread. Cached for
    callers who differ in no word that a rule names."""
    caller = _caller(snapshot, principal, lookup)
    return snapshot.memoize(CAPABILITIES, caller.key(), lambda: _all(caller))


def recall_capabilities(snapshot: Snapshot, principal: Principal, lookup: FactLookup) -> Sequence[Capability] | None:
    """As `list_capabilities`, if they are cached; otherwise None."""
    found: Sequence[Capability] | None = snapshot.recall(CAPABILITIES, _caller(snapshot, principal, lookup).key())
    return found


def list_requestable(snapshot: Snapshot, principal: Principal, lookup: FactLookup) -> Sequence[Requestable]:
    """The relations that the caller can ask for, by name; none for a client that acts for itself. Whatever resource the
    lookup is about, they are the same. Beyond MAX_REQUESTABLE_ROWS, some of them or of their actions are left out.
    Cached as `list_capabilities`."""
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
    budget, found = Budget(), list[Capability]()
    for kind, action in actions:
        share = budget.take_share(PARTS_FOR_AN_ACTION)
        found.append(_capability_of(caller, kind, action, share))
        budget.spend(share.spent)
    return found


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

    def could(self, kind: str, action: str, budget: Budget) -> bool:
        """Whether the caller may do it to some resource with this token, perhaps after another sign-in. False if the
        budget does not suffice to find out."""
        states = self.states_of(kind)
        return any(any(_ways(caller, kind, action, states, budget)) for caller in (self, self.after_sign_in()))

    def states_of(self, kind: str) -> Sequence[str]:
        """The states that a resource can have."""
        return sorted(self.snapshot.vocabulary.states.get(kind, ())) or [NO_STATE]

    def may(self, request: AccessRequest) -> bool:
        """Whether the policy and the laws allow the request."""
        return self.snapshot.decide(request).allowed and not laws.law_forbids(request)

    def may_all(self, requests: Iterable[AccessRequest], rows: int, budget: Budget) -> bool:
        """Whether the policy and the laws allow each request, for which casbin walks at most so many rows. The budget
        counts them and does not bound them, as they are few."""
        for request in requests:
            budget.spend_on_casbin(rows)
            if not self.may(request):
                return False
        return True


def _capability_of(caller: _Caller, kind: str, action: str, budget: Budget) -> Capability:
    states = caller.states_of(kind)
    relations = caller.snapshot.vocabulary.relations.get(kind, frozenset())
    poorest = caller.base(kind, action)
    richest = replace(poorest, who=poorest.who | relations)
    bounds = [request for base in (poorest, richest) for request in RequestSpace(base, states)]
    if caller.may_all(bounds, len(caller.snapshot.index_of(kind, action).near(richest.who)), budget):
        return Capability(kind, action, Availability.ALWAYS)
    ways = list(_ways(caller, kind, action, states, budget, unproved=True))
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
    if any(_ways(fresh, kind, action, states, budget, unproved=True)):
        return Capability(kind, action, Availability.SIGN_IN)
    granted = fresh.with_every_scope()
    could_allow = caller.snapshot.could_allow(kind, action, caller.scopes)
    if not could_allow and any(_ways(granted, kind, action, states, budget, unproved=True)):
        return Capability(kind, action, Availability.SCOPE, scopes=caller.snapshot.scopes_for(kind, action))
    return Capability(kind, action, Availability.NEVER)


def _ways(
    caller: _Caller,
    kind: str,
    action: str,
    states: Iterable[str],
    budget: Budget,
    *,
    held: frozenset[str] | None = None,
    unproved: bool = False,
) -> Iterator[tuple[str, str]]:
    """The who-word and a state of each allow rule by which some resource would be allowed to this caller. With `held`,
    relations that the caller has to it, only rules on these are tried. `unproved`: whether a rule counts that the
    budget does not suffice to try, although no law forbids what it allows. Otherwise it ends with the budget."""
    if budget.exhausted and not unproved:
        return
    index = caller.snapshot.index_of(kind, action)
    relations = caller.snapshot.vocabulary.relations.get(kind, frozenset())
    base = replace(caller.base(kind, action), facts=frozenset())
    if held is not None:
        base = replace(base, who=base.who | (held & index.words.who))
    attempts = _Attempts(caller, index, base, index.words.facts - caller.facts.keys(), budget)
    found: set[tuple[str, str]] = set()
    near = index.near(caller.words | relations if held is None else held)
    budget.spend(len(near))
    for rule in near:
        if rule.effect is Effect.DENY or not scopes_of(rule) <= caller.scopes:
            continue
        left = [
            state for state in states if (rule.who, state) not in found and (not rule.states or state in rule.states)
        ]
        if not left:
            continue
        smallest = attempts.smallest_of(rule)
        for state in left:
            if budget.exhausted and not unproved:
                return
            allowed = attempts.allows_some(smallest, state)
            if allowed or (allowed is None and unproved):
                found.add((rule.who, state))
                yield rule.who, state


@dataclass(frozen=True, slots=True)
class _Attempts:
    """Tries the allow rules about a kind and action for a caller, whose request without any facts is `base`.
    `open_facts`: those that are not of the sign-in. `denies`: by the words and state of a request, the denies about it
    and how many rows casbin walks for it."""

    caller: _Caller
    index: RuleIndex
    base: AccessRequest
    open_facts: frozenset[str]
    budget: Budget
    denies: dict[tuple[frozenset[str], str], tuple[Sequence[Rule], int]] = field(default_factory=dict)

    def smallest_of(self, rule: Rule) -> Sequence[AccessRequest]:
        """The smallest requests that the rule matches and that no law forbids, which holds in each of its states."""
        _, of_law = laws.law_words(rule.kind, rule.action)
        facts: dict[str, Sequence[bool | None]] = dict.fromkeys(sorted(of_law), KNOWN)
        facts |= {name: (value,) for name, value in self.caller.facts.items() if name in self.index.words.facts}
        made = list(smallest_requests(rule, self.base, sorted(rule.states)[:1] or [NO_STATE], facts))
        # To prepare the space takes as long as a request, and that as long as casbin takes for a row.
        self.budget.spend_on_casbin(1 + len(made))
        return [request for request in made if not laws.law_forbids(request)]

    def allows_some(self, smallest: Iterable[AccessRequest], state: str) -> bool | None:
        """Whether one of these requests would be allowed for some resource in this state. None if the budget does not
        suffice to find out.

        Facts of a law are tried with each value, and others only where a deny needs them.
        """
        for request in smallest:
            in_state = replace(request, state=state)
            about = self._denies_about(in_state)
            if about is None:
                return None
            denies, rows = about
            for larger in requests_past_denies(in_state, denies, self.open_facts, self.budget):
                if not self.budget.spend_on_casbin(rows):
                    return None
                if self.caller.may(larger):
                    return True
            if self.budget.exhausted:
                return None
        return False

    def _denies_about(self, request: AccessRequest) -> tuple[Sequence[Rule], int] | None:
        """The denies that match but for facts, those with the fewest facts first, as they leave the fewest choices; and
        the number of rows. None if the budget does not suffice to read them."""
        key = request.who, request.state
        if key not in self.denies:
            if self.budget.exhausted:
                return None
            near = self.index.near(request.who)
            if not self.budget.spend(len(near)):
                return None
            denies = (
                rule
                for rule in near
                if rule.effect is Effect.DENY
                and (not rule.states or request.state in rule.states)
                and scopes_of(rule) <= request.scopes
            )
            self.denies[key] = sorted(denies, key=lambda rule: len(rule.when)), len(near)
        return self.denies[key]


def _all_requestable(caller: _Caller, *, in_team: bool) -> Sequence[Requestable]:
    vocabulary = caller.snapshot.vocabulary
    budget = Budget(MAX_REQUESTABLE_ROWS * RULES_PER_CASBIN_ROW)
    if not caller.could(*REQUEST_ACCESS, budget):
        return ()
    reads_directory = caller.could("directory", "read", budget)
    nameable = set[NodeType]()
    if in_team or reads_directory:
        nameable.add(NodeType.TEAMS)
    if reads_directory or caller.could("project", "read", budget):
        nameable.add(NodeType.PROJECTS)
    given = find_given(vocabulary.paths)
    return [
        Requestable(relation, where & nameable, tuple(_list_given(caller, given[relation], budget)))
        for relation, where in sorted(find_requestable(vocabulary.paths).items())
        if where & nameable
    ]


def _list_given(caller: _Caller, relations: frozenset[str], budget: Budget) -> Iterator[Capability]:
    """The actions that the caller with all of these relations to a timesheet may do by rules on them."""
    vocabulary = caller.snapshot.vocabulary
    states = caller.states_of(TIMESHEET)
    fresh = caller.after_sign_in()
    able = {Availability.DEPENDS: caller, Availability.SIGN_IN: fresh, Availability.SCOPE: fresh.with_every_scope()}
    for action in sorted(vocabulary.actions.get(TIMESHEET, ())):
        for availability, could in able.items():
            if ways := list(_ways(could, TIMESHEET, action, states, budget, held=relations)):
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
