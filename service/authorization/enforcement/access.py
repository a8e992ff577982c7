"""Who can: what it takes somebody to do something to one thing, and by which rule. Pure: owns no state.

For each rule that would allow, the engine is asked with a token that holds the rule's scope and nothing else, and with
as few facts about the sign-in as will do. So every way that is told has been decided, denies and laws included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from service.policy import laws
from service.policy.access_request import ANY, ANYONE, Condition, Effect
from service.policy.matching import fact_word
from service.policy.request_space import KNOWN_OR_NOT, smallest_requests

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from service.authorization.engine.engine import Snapshot
    from service.policy.access_request import Rule
    from service.policy.request_space import Budget

# Of the facts about the sign-in that a rule does not ask for itself, so many are tried; the others stay unknown.
MAX_OPEN_FACTS: Final = 5
ROLE, PERSON, CLIENT, VIA = "role:", "person:", "client:", "via:"


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
    budget: Budget,
) -> tuple[Way, ...]:
    """Every way in which somebody who answers to `who` may do it to a `thing` (kind, state) with these facts; fewer
    when the `budget` is exhausted. It is work for a thread."""
    words, found = snapshot.close(who), list[Way]()
    rules = snapshot.index_of(thing[0], action).near(words)
    if not budget.spend(len(rules)):
        return ()
    for rule in rules:
        if rule.effect is Effect.ALLOW:
            way = _way(snapshot, thing, rule, words, facts, budget)
            if way is not None:
                found.append(way)
    return tuple(found)


def named(snapshot: Snapshot, kind: str, actions: tuple[str, ...]) -> Named:
    """Whom the rules that allow these actions name beside relations."""
    return snapshot.memoize("named", (kind, actions), lambda: _named(snapshot, kind, actions))


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
    budget: Budget,
) -> Way | None:
    """The way by one rule that takes the fewest facts about the sign-in."""
    index = snapshot.index_of(thing[0], rule.action)
    lookup = {name: (value,) for name, value in facts.items() if name in index.words.facts}
    own = {condition.fact for condition in rule.when}
    others = sorted(index.words.facts - own - facts.keys())[:MAX_OPEN_FACTS]
    base = snapshot.access_request(thing[0], rule.action, thing[1], who, (), {})
    for request in smallest_requests(rule, base, [base.state], {**lookup, **dict.fromkeys(others, KNOWN_OR_NOT)}):
        if not budget.spend_on_casbin(len(index.rules)):
            return None
        if snapshot.decide(request).allowed and not laws.law_forbids(request):
            known = sorted((name, value) for name, value in request.facts if name not in facts)
            words = tuple(fact_word(Condition(name, negated=not value)) for name, value in known)
            return Way(rule.name, None if rule.scope == ANY else rule.scope, words)
    return None
