"""Enumerates the access requests that matter for a set of rules: a few that stand for all. Pure: owns no state.

Laws, diffs, capabilities, "who can" and replays use it. They count their work in a `Budget`, and say so when it is
exhausted.

Why a few stand for all: a further who-word or scope makes more rules match, never fewer, and an unknown fact meets
every deny and no allow. If a request is allowed, an allow rule matches it. Take away every word, scope and fact that
neither this rule nor a deny needs: the rule still matches, and no other deny begins to. So one of the smallest requests
that the rule matches is allowed as well.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import combinations, product
from math import prod
from typing import TYPE_CHECKING, Final

from service.policy.access_request import ANY, ANYONE, AccessRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from service.policy.access_request import Rule

# The rows that casbin may walk for an enumeration: about a second of work, at 4 microseconds a row. Our own code reads
# a rule faster, so 20 rules count as a row.
MAX_CASBIN_ROWS: Final = 250_000
RULES_PER_CASBIN_ROW: Final = 20
MAX_RULES_READ: Final = MAX_CASBIN_ROWS * RULES_PER_CASBIN_ROW
# The values of a fact that is looked up, and those of one that may stay unknown (None).
KNOWN: Final[tuple[bool | None, ...]] = (True, False)
KNOWN_OR_NOT: Final[tuple[bool | None, ...]] = (True, False, None)


@dataclass(slots=True)
class Budget:
    """How many rules an enumeration may read. Once it is `exhausted`, the result is incomplete and must say so, as when
    something was `left_out` for another reason."""

    limit: int = MAX_RULES_READ
    spent: int = 0
    left_out: bool = False

    @property
    def exhausted(self) -> bool:
        return self.spent > self.limit

    def spend(self, rules: int = 1) -> bool:
        """Count rules that are about to be read. False when they are too many."""
        self.spent += rules
        return not self.exhausted

    def spend_on_casbin(self, rows: int) -> bool:
        """Count rows that casbin is about to walk. False when they are too many."""
        return self.spend(rows * RULES_PER_CASBIN_ROW)

    def take_share(self, parts: int) -> Budget:
        """A budget of an equal part of the rest."""
        return Budget(max(0, self.limit - self.spent) // parts)


class RoleClosure:
    """Which roles a role includes, over any number of `g` rows."""

    __slots__ = ("_included",)

    def __init__(self, links: Iterable[tuple[str, str]]) -> None:
        direct: dict[str, list[str]] = defaultdict(list)
        for role, included in links:
            direct[role].append(included)
        self._included = {role: _reachable(role, direct) for role in direct}

    def close(self, who: Iterable[str]) -> frozenset[str]:
        """These words, `anyone`, and every role that a role among them includes."""
        given = frozenset(who)
        if ANYONE in given and self._included.keys().isdisjoint(given):
            return given
        return given.union({ANYONE}, *(self._included[word] for word in given if word in self._included))

    def including(self, role: str) -> frozenset[str]:
        """Every other role that includes this one."""
        return frozenset(other for other, included in self._included.items() if role in included) - {role}


def _reachable(role: str, direct: Mapping[str, Sequence[str]]) -> frozenset[str]:
    found: set[str] = set()
    waiting = [role]
    while waiting:
        new = [included for included in direct.get(waiting.pop(), ()) if included not in found]
        found.update(new)
        waiting.extend(new)
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class RequestSpace:
    """Every access request that equals `base` apart from what is open.

    `states`: the possible states, None for the state of `base`. `facts`: each open fact with its possible values, None
    for unknown. `words`: groups of who-words; the caller gets a word of each group, or none where the group has None.
    """

    base: AccessRequest
    states: Sequence[str] | None = None
    facts: Mapping[str, Sequence[bool | None]] = field(default_factory=dict)
    words: Sequence[Sequence[str | None]] = ()

    @property
    def size(self) -> int:
        """How many requests there are."""
        states = 1 if self.states is None else len(self.states)
        return states * prod(map(len, self.words)) * prod(map(len, self.facts.values()))

    def __iter__(self) -> Iterator[AccessRequest]:
        base = self.base
        for state in (base.state,) if self.states is None else self.states:
            for words in product(*self.words):
                who = base.who.union(word for word in words if word is not None)
                for facts in fact_assignments(self.facts):
                    known = frozenset((name, value) for name, value in facts.items() if value is not None)
                    yield AccessRequest(base.kind, base.action, state, who, base.scopes, base.facts | known)


def smallest_requests(
    rule: Rule, base: AccessRequest, states: Iterable[str], facts: Mapping[str, Sequence[bool | None]]
) -> RequestSpace:
    """The smallest requests that `rule` matches: `base` with the rule's who-word and scope, in those of `states` and
    with those values of `facts` that the rule accepts. Facts that it does not mention keep all their values."""
    wanted = {
        condition.fact: [value for value in facts.get(condition.fact, KNOWN) if value is (not condition.negated)]
        for condition in rule.when
    }
    accepted = [state for state in states if not rule.states or state in rule.states]
    return RequestSpace(with_rule(base, rule), accepted, {**facts, **wanted})


def requests_past_denies(
    request: AccessRequest, denies: Sequence[Rule], open_facts: AbstractSet[str], budget: Budget
) -> Iterator[AccessRequest]:
    """The request with those of the `open_facts` known that keep every deny from matching: each way to do so, until the
    budget is exhausted. `denies` match its words, scopes and state. A fact of no deny stays unknown."""
    known = dict(request.facts)
    matching = next(
        (
            place
            for place, deny in enumerate(denies)
            if all(known.get(condition.fact) is not condition.negated for condition in deny.when)
        ),
        None,
    )
    # To make a request takes as long as casbin takes for a row.
    if not budget.spend(RULES_PER_CASBIN_ROW + (len(denies) if matching is None else matching)):
        return
    if matching is None:
        yield request
        return
    for condition in denies[matching].when:
        if condition.fact in open_facts and condition.fact not in known:
            facts = request.facts | {(condition.fact, condition.negated)}
            larger = AccessRequest(request.kind, request.action, request.state, request.who, request.scopes, facts)
            # A deny that does not match now never will: facts are only added.
            yield from requests_past_denies(larger, denies[matching + 1 :], open_facts, budget)


def with_rule(request: AccessRequest, rule: Rule) -> AccessRequest:
    """The request by a caller who has the rule's who-word and scope as well."""
    who, scopes = request.who | {rule.who}, request.scopes | scopes_of(rule)
    return AccessRequest(request.kind, request.action, request.state, who, scopes, request.facts)


def scopes_of(rule: Rule) -> frozenset[str]:
    """The scope that the rule asks for, if any."""
    return frozenset() if rule.scope == ANY else frozenset({rule.scope})


def fact_assignments(facts: Mapping[str, Sequence[bool | None]]) -> Iterator[dict[str, bool | None]]:
    """Each combination of values, those with the fewest known facts first."""
    optional = [name for name, values in facts.items() if None in values and len(values) > 1]
    if not optional:
        yield from (dict(zip(facts, chosen, strict=True)) for chosen in product(*facts.values()))
        return
    for count in range(len(optional) + 1):
        for known in combinations(optional, count):
            unknown = set(optional).difference(known)
            choices = [
                (None,) if name in unknown else [value for value in values if name not in known or value is not None]
                for name, values in facts.items()
            ]
            for chosen in product(*choices):
                yield dict(zip(facts, chosen, strict=True))
