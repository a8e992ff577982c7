"""What an asker may do at all, for each kind and action: computed by the engine that decides, not by a second reading.

Pure. More words of an asker only make more rules match, and an unknown fact matches no allow and every deny: so the
poorest and the richest question bound all others, and each allow rule's own question shows whether it can ever help.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import TYPE_CHECKING, Final

from service.authorization.enforcement.decision_point import sign_in_facts, who_words
from service.policy import laws
from service.policy.access_request import ANY, NO_STATE, Effect
from service.policy.matching import holds

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

    from service.authorization.enforcement.relationships import Seen
    from service.authorization.engine.engine import Snapshot
    from service.identity.principal import Principal
    from service.policy.access_request import Rule, Vocabulary


OUTLOOKS: Final = "outlooks"


class Prospect(StrEnum):
    """ALWAYS: whatever the resource. DEPENDS: on what one is to it, or on its state. SCOPE and SIGN_IN: not with this
    token, but with another scope or another sign-in. NEVER: not as the policy stands."""

    ALWAYS = "always"
    DEPENDS = "depends"
    SCOPE = "needs-scope"
    SIGN_IN = "needs-sign-in"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Outlook:
    """What may come of one action. `as_`: relations that help, of which the asker needs one. `states`: in which the
    resource must be, empty for any. `scopes`: which of them would help, for SCOPE."""

    kind: str
    action: str
    prospect: Prospect
    as_: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()


def outlooks(snapshot: Snapshot, principal: Principal, seen: Seen) -> Sequence[Outlook]:
    """One for each kind and action of the vocabulary. `seen` is what holds without any row. For thousands of rules it
    is work for a thread; it is done once for askers who are alike to the rules."""
    asker = _asker(snapshot, principal, seen)
    return snapshot.remembered(OUTLOOKS, asker.key(), lambda: _all(asker))


def known_outlooks(snapshot: Snapshot, principal: Principal, seen: Seen) -> Sequence[Outlook] | None:
    """As `outlooks`, if they were worked out before."""
    found: Sequence[Outlook] | None = snapshot.recall(OUTLOOKS, _asker(snapshot, principal, seen).key())
    return found


def _asker(snapshot: Snapshot, principal: Principal, seen: Seen) -> _Asker:
    """Of an asker's words and scopes, those that any rule could see."""
    visible = snapshot.words
    return _Asker(
        snapshot,
        snapshot.close(who_words(principal, seen)) & visible.who,
        principal.scopes & visible.scopes,
        sign_in_facts(snapshot, principal, int(seen.at.timestamp())),
    )


def _all(asker: _Asker) -> Sequence[Outlook]:
    actions = sorted((kind, action) for kind, found in asker.snapshot.vocabulary.actions.items() for action in found)
    return [_outlook(asker, kind, action) for kind, action in actions]


@dataclass(frozen=True, slots=True)
class _Asker:
    """Who asks, in the engine's words; `facts` are those of the sign-in."""

    snapshot: Snapshot
    words: frozenset[str]
    scopes: frozenset[str]
    facts: Mapping[str, bool | None]

    def key(self) -> Hashable:
        """All that an outlook depends on."""
        return self.words, self.scopes, frozenset(self.facts.items())

    def may(self, kind: str, action: str, state: str, more: Iterable[str], row: Mapping[str, bool | None]) -> bool:
        """Whether the policy and the laws allow it to an asker who also answers to `more`, about such a row."""
        access_request = self.snapshot.access_request(
            kind, action, state, self.words.union(more), self.scopes, {**row, **self.facts}
        )
        return self.snapshot.decide(access_request).allowed and not laws.law_forbids(access_request)


def _outlook(asker: _Asker, kind: str, action: str) -> Outlook:
    vocabulary = asker.snapshot.vocabulary
    states = sorted(vocabulary.states.get(kind, ())) or [NO_STATE]
    relations = vocabulary.relations.get(kind, frozenset())
    if all(asker.may(kind, action, state, more, {}) for state in states for more in (frozenset[str](), relations)):
        return Outlook(kind, action, Prospect.ALWAYS)
    ways = list(_ways(asker, kind, action, states))
    if ways:
        where = sorted({state for _, state in ways} - {NO_STATE})
        return Outlook(
            kind,
            action,
            Prospect.DEPENDS,
            as_=tuple(sorted({who for who, _ in ways} & relations)),
            states=() if where == states else tuple(where),
        )
    allowed_facts = dict.fromkeys((*vocabulary.request_facts, *vocabulary.thresholds), True)
    fresh = _Asker(asker.snapshot, asker.words, asker.scopes, allowed_facts)
    if any(_ways(fresh, kind, action, states)):
        return Outlook(kind, action, Prospect.SIGN_IN)
    granted = _Asker(asker.snapshot, asker.words, vocabulary.scopes, allowed_facts)
    if not asker.snapshot.could_allow(kind, action, asker.scopes) and any(_ways(granted, kind, action, states)):
        return Outlook(kind, action, Prospect.SCOPE, scopes=asker.snapshot.scopes_for(kind, action))
    return Outlook(kind, action, Prospect.NEVER)


def _ways(asker: _Asker, kind: str, action: str, states: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The word and a state of allow rules by which some resource would be allowed to this asker, each pair once."""
    vocabulary = asker.snapshot.vocabulary
    relations = vocabulary.relations.get(kind, frozenset())
    told: set[tuple[str, str]] = set()
    for rule in asker.snapshot.index_of(kind, action).near(asker.words | relations):
        if rule.effect is Effect.DENY or (rule.scope != ANY and rule.scope not in asker.scopes):
            continue
        if not all(
            holds(rule.effect, condition, asker.facts[condition.fact])
            for condition in rule.when
            if condition.fact in asker.facts
        ):
            continue
        more = {rule.who} & relations
        for state in rule.states or states:
            if (rule.who, state) not in told and any(
                asker.may(kind, action, state, more, row) for row in _rows(rule, vocabulary)
            ):
                told.add((rule.who, state))
                yield rule.who, state


def _rows(rule: Rule, vocabulary: Vocabulary) -> Iterator[dict[str, bool | None]]:
    """Every resource for which the rule holds, as far as its facts go."""
    wanted = {condition.fact: not condition.negated for condition in rule.when}
    names = sorted(vocabulary.facts.get(rule.kind, ()))
    choices = [(wanted[name],) if name in wanted else (True, False) for name in names]
    for values in product(*choices):
        yield dict(zip(names, values, strict=True))
