"""Who can: what it takes somebody to do something to one thing, and by which rule. Pure: owns no state.

For each rule that would allow, the engine is asked with a token that holds the rule's scope and nothing else, and with
as few facts about the sign-in as will do. So every way that is told has been decided, denies and laws included.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, product
from typing import TYPE_CHECKING, Final

from service.policy import laws
from service.policy.access_request import ANY, ANYONE, Condition, Effect
from service.policy.matching import fact_word, matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from service.authorization.engine.engine import Snapshot
    from service.policy.access_request import Rule

# Rules with more facts about the sign-in are tried with these alone; what is not tried stays unknown and helps nobody.
MAX_FACTS: Final = 5
# Rows that are looked at for one answer, some seconds of work at the most: casbin walks the rows of an action for each
# question that is new to it.
MAX_VISITS: Final = 250_000
ROLE, PERSON, CLIENT, VIA = "role:", "person:", "client:", "via:"


@dataclass(slots=True)
class Effort:
    """What one answer has cost so far. `cut_short`: it was too much, and ways after that are not told."""

    visits: int = 0
    cut_short: bool = False

    def spend(self, visits: int) -> bool:
        """Count rows that are looked at; False when they are too many."""
        self.visits += visits
        self.cut_short = self.cut_short or self.visits > MAX_VISITS
        return not self.cut_short


@dataclass(frozen=True, slots=True)
class Way:
    """A rule that allows, the scope that the token must hold (None: any token will do), and what must be known of the
    sign-in: words as `mfa` or `not mfa`."""

    rule: str
    scope: str | None
    sign_in: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """Whom rules on these actions name: directory roles (with those that include them), persons, clients that act for
    themselves; and `whoever`, the words that a token alone can bring."""

    roles: frozenset[str]
    persons: frozenset[str]
    clients: frozenset[str]
    whoever: tuple[str, ...]


def ways(
    snapshot: Snapshot,
    thing: tuple[str, str],
    action: str,
    who: Iterable[str],
    facts: Mapping[str, bool | None],
    effort: Effort,
) -> tuple[Way, ...]:
    """Every way in which somebody who answers to `who` may do it to a `thing` (kind, state) with these facts; fewer
    when that was too much `effort`. It is work for a thread."""
    words, found = snapshot.close(who), list[Way]()
    rules = snapshot.index_of(thing[0], action).near(words)
    # To pass over a row costs a tenth of deciding by it.
    if not effort.spend(len(rules) // 10):
        return ()
    for rule in rules:
        if rule.effect is Effect.ALLOW:
            way = _way(snapshot, thing, rule, words, facts, effort)
            if way is not None:
                found.append(way)
    return tuple(found)


def named(snapshot: Snapshot, kind: str, actions: tuple[str, ...]) -> Named:
    """Whom the rules that allow these actions name beside relations."""
    return snapshot.remembered("named", (kind, actions), lambda: _named(snapshot, kind, actions))


def _named(snapshot: Snapshot, kind: str, actions: Iterable[str]) -> Named:
    rules = [rule for action in actions for rule in snapshot.rules_of(kind, action) if rule.effect is Effect.ALLOW]
    words = dict.fromkeys(rule.who for rule in rules)
    roles = {word for word in words if word.startswith(ROLE)}
    roles |= {role for role, _ in snapshot.policy.role_links if not roles.isdisjoint(snapshot.close([role]))}

    def after(prefix: str, among: Iterable[str]) -> frozenset[str]:
        return frozenset(word.removeprefix(prefix) for word in among if word.startswith(prefix))

    whoever = tuple(word for word in words if word == ANYONE or word.startswith((ROLE, VIA)))
    return Named(after(ROLE, roles), after(PERSON, words), after(CLIENT, words), whoever)


def _way(
    snapshot: Snapshot,
    thing: tuple[str, str],
    rule: Rule,
    who: frozenset[str],
    facts: Mapping[str, bool | None],
    effort: Effort,
) -> Way | None:
    """The way by one rule that takes the fewest facts about the sign-in."""
    scopes = frozenset[str]() if rule.scope == ANY else frozenset({rule.scope})
    own = {condition.fact: not condition.negated for condition in rule.when if condition.fact not in facts}
    index = snapshot.index_of(thing[0], rule.action)
    others, rows = index.words.facts, len(index.rules)
    for more in _assignments(sorted(others - own.keys() - facts.keys())):
        known = {**own, **more}
        access_request = snapshot.access_request(*(thing[0], rule.action, thing[1]), who, scopes, {**facts, **known})
        if not matches(rule, access_request) or not effort.spend(rows):
            return None
        if snapshot.decide(access_request).allowed and not laws.law_forbids(access_request):
            words = tuple(fact_word(Condition(name, negated=not value)) for name, value in sorted(known.items()))
            return Way(rule.name, None if rule.scope == ANY else rule.scope, words)
    return None


def _assignments(names: list[str]) -> Iterator[dict[str, bool]]:
    """Facts known in addition, the fewest first: none, each alone as true and as false, and so on."""
    for count in range(min(len(names), MAX_FACTS) + 1):
        for chosen in combinations(names[:MAX_FACTS], count):
            for values in product((True, False), repeat=count):
                yield dict(zip(chosen, values, strict=True))
