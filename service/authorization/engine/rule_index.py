"""An index of the rules about one kind and action. Pure.

It is made once, when a version is built. With it, the time of a request grows with the rules that could concern the
caller, not with all rules: which scopes help, which rules name a word of the caller, which others come nearest.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Final

from service.policy.access_request import ANY, ANYONE, Effect
from service.policy.laws import law_words
from service.policy.matching import missing_conditions, names_somebody, words_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from service.policy.access_request import AccessRequest, Rule

# Different combinations of states, scope and facts that are compared to find the nearest of the other rules.
MAX_SHAPES: Final = 500


@dataclass(frozen=True, slots=True)
class VisibleWords:
    """The who-words, scopes and facts that rules can see. Nothing else about a caller can change a verdict."""

    who: frozenset[str]
    scopes: frozenset[str]
    facts: frozenset[str]


@dataclass(frozen=True, slots=True)
class RuleIndex:
    """`rules` in the order of the file. `allowing`: the who-words of allow rules.

    `scopes`: a token needs at least one of them; empty if a rule needs no scope, or if none would help.
    """

    rules: tuple[Rule, ...]
    words: VisibleWords
    scopes: tuple[str, ...]
    allowing: frozenset[str]
    _helping: frozenset[str]
    _by_word: Mapping[str, tuple[int, ...]]
    _by_name: Mapping[str, int]
    _shapes: Sequence[tuple[int, ...]]

    @classmethod
    def of(cls, kind: str, action: str, rules: tuple[Rule, ...]) -> RuleIndex:
        who, facts = law_words(kind, action)
        by_word: dict[str, list[int]] = defaultdict(list)
        shapes: dict[object, list[int]] = defaultdict(list)
        for place, rule in enumerate(rules):
            for word in words_for(rule):
                by_word[word].append(place)
            if rule.effect is Effect.ALLOW and not names_somebody(rule.who):
                shapes[rule.states, rule.scope, rule.when].append(place)
        allows = [rule for rule in rules if rule.effect is Effect.ALLOW]
        scopes = dict.fromkeys(rule.scope for rule in allows)
        return cls(
            rules=rules,
            words=VisibleWords(
                who=who.union({ANYONE}, by_word),
                scopes=frozenset(rule.scope for rule in rules) - {ANY},
                facts=facts | {condition.fact for rule in rules for condition in rule.when},
            ),
            scopes=() if ANY in scopes else tuple(scopes),
            allowing=frozenset(rule.who for rule in allows),
            _helping=frozenset(scopes),
            _by_word={word: tuple(places) for word, places in by_word.items()},
            _by_name={rule.name: place for place, rule in enumerate(rules)},
            _shapes=[tuple(places) for places in islice(shapes.values(), MAX_SHAPES)],
        )

    def could_allow(self, scopes: Iterable[str]) -> bool:
        """Whether an allow rule can match with these scopes."""
        return ANY in self._helping or not self._helping.isdisjoint(scopes)

    def rules_named(self, names: Iterable[str]) -> list[Rule]:
        """The rules of these names, in the order of the file."""
        return self._at({self._by_name[name] for name in names if name in self._by_name})

    def near(self, who: Iterable[str]) -> list[Rule]:
        """The rules on any of these words, in the order of the file."""
        return self._at({place for word in who for place in self._by_word.get(word, ())})

    def others(self, who: frozenset[str], request: AccessRequest, limit: int) -> list[Rule]:
        """Allow rules on none of these words: those with the fewest missing conditions first, then in the order of the
        file. Rules that name a person or client are left out."""
        counted: dict[int, list[tuple[int, ...]]] = defaultdict(list)
        for places in self._shapes:
            counted[_count_missing(self.rules[places[0]], request)].append(places)
        found: list[Rule] = []
        for count in sorted(counted):
            strangers = merge(*(self._not_on(who, places) for places in counted[count]))
            found += [self.rules[place] for place in islice(strangers, limit - len(found))]
        return found

    def in_order(self, rules: Iterable[Rule]) -> list[Rule]:
        """These rules in the order of the file."""
        return self.rules_named(rule.name for rule in rules)

    def _not_on(self, who: frozenset[str], places: Iterable[int]) -> Iterator[int]:
        return (place for place in places if self.rules[place].who not in who)

    def _at(self, places: Iterable[int]) -> list[Rule]:
        return [self.rules[place] for place in sorted(places)]


def _count_missing(rule: Rule, request: AccessRequest) -> int:
    """How many conditions do not hold, apart from who."""
    return sum(dimension != "who" for dimension, _ in missing_conditions(rule, request))
