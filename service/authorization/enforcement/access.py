"""Who may do something to a resource: by which rule, with which scope, after which sign-in. Pure: owns no state.

For each allow rule the engine evaluates a request whose token holds only the rule's scope, with as few facts about the
sign-in as possible. So each reported way was evaluated, with deny rules and laws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from service.policy import laws
from service.policy.access_request import ANY, ANYONE, Condition, Effect
from service.policy.known_words import AGENT
from service.policy.matching import ACTOR, CLIENT, GROUP, PERSON, ROLE, VIA, fact_word
from service.policy.request_space import KNOWN_OR_NOT, smallest_requests

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from service.authorization.engine.engine import Snapshot
    from service.policy.access_request import Rule
    from service.policy.request_space import Budget

# How many facts about the sign-in are tried of those that denies ask for, beside those of the rule; the others stay
# unknown.
MAX_OPEN_FACTS: Final = 5


@dataclass(frozen=True, slots=True)
class Way:
    """An allow rule, the scope that the token needs (None: any token), and the required facts of the sign-in, such as
    `mfa` or `not mfa`."""

    rule: str
    scope: str | None
    sign_in: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """The who-words of rules: directory roles with the roles that include them, groups, persons, clients that act for
    themselves; `of_token` are the words that a token alone can bring, roles that include others among them."""

    roles: frozenset[str]
    groups: frozenset[str]
    persons: frozenset[str]
    clients: frozenset[str]
    of_token: tuple[str, ...]


def find_ways(
    snapshot: Snapshot,
    thing: tuple[str, str],
    action: str,
    who: Iterable[str],
    facts: Mapping[str, bool | None],
    budget: Budget,
) -> tuple[Way, ...]:
    """Every way in which a caller with the words `who` may do it to a `thing` (kind, state) with these facts; fewer if
    the `budget` is exhausted, or if there were more than MAX_OPEN_FACTS to try, of which the budget then takes note.
    Slow: run it in a thread."""
    words, found = snapshot.close(who), list[Way]()
    rules = snapshot.index_of(thing[0], action).near(words)
    if not budget.spend(len(rules)):
        return ()
    for rule in rules:
        if rule.effect is Effect.ALLOW:
            way = _find_way(snapshot, thing, rule, words, facts, budget)
            if way is not None:
                found.append(way)
    return tuple(found)


def find_named(snapshot: Snapshot, kind: str, actions: tuple[str, ...]) -> Named:
    """The who-words, other than relations, of the rules that allow these actions."""
    return snapshot.memoize("named", (kind, actions), lambda: _collect_named(snapshot, kind, actions))


def _collect_named(snapshot: Snapshot, kind: str, actions: Iterable[str]) -> Named:
    rules = [rule for action in actions for rule in snapshot.rules_of(kind, action) if rule.effect is Effect.ALLOW]
    words = dict.fromkeys(rule.who for rule in rules)
    roles = {word for word in words if word.startswith(ROLE)}
    roles |= {role for role, _ in snapshot.policy.role_links if not roles.isdisjoint(snapshot.close([role]))}

    def without_prefix(prefix: str, among: Iterable[str]) -> frozenset[str]:
        return frozenset(word.removeprefix(prefix) for word in among if word.startswith(prefix))

    others = [word for word in words if word == ANYONE or word.startswith((ROLE, VIA, ACTOR))]
    of_token = (*others, *sorted(roles - words.keys()))
    return Named(
        without_prefix(ROLE, roles),
        without_prefix(GROUP, words),
        without_prefix(PERSON, words),
        without_prefix(CLIENT, words),
        of_token,
    )


def _find_way(
    snapshot: Snapshot,
    thing: tuple[str, str],
    rule: Rule,
    who: frozenset[str],
    facts: Mapping[str, bool | None],
    budget: Budget,
) -> Way | None:
    """The way by this rule with the fewest facts about the sign-in; None if it never allows."""
    index = snapshot.index_of(thing[0], rule.action)
    own = {condition.fact for condition in rule.when}
    # The question is about people and clients themselves, not about agents that act for them.
    facts = facts if AGENT in own else {AGENT: False, **facts}
    lookup = {name: (value,) for name, value in facts.items() if name in index.words.facts}
    denies = (near for near in index.near(who) if near.effect is Effect.DENY)
    needed = laws.law_words(thing[0], rule.action)[1].union(
        condition.fact for deny in denies for condition in deny.when
    )
    open_facts = sorted(needed - own - facts.keys())
    others = open_facts[:MAX_OPEN_FACTS]
    base = snapshot.access_request(thing[0], rule.action, thing[1], who, (), {})
    for request in smallest_requests(rule, base, [base.state], {**lookup, **dict.fromkeys(others, KNOWN_OR_NOT)}):
        if not budget.spend_on_casbin(len(index.rules)):
            return None
        if snapshot.decide(request).allowed and not laws.law_forbids(request):
            known = sorted((name, value) for name, value in request.facts if name not in facts)
            words = tuple(fact_word(Condition(name, negated=not value)) for name, value in known)
            return Way(rule.name, None if rule.scope == ANY else rule.scope, words)
    budget.left_out |= len(open_facts) > len(others)
    return None
