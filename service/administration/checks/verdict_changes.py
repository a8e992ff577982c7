"""Which verdicts differ between two policies, over everything that can be asked. Pure: owns no state.

Found by asking few questions that stand for all, as the laws are proved; bounded, and it says where the bound cut it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Final

from service.administration.checks.verdict_boxes import merged, widest
from service.policy.access_request import ANY, ANYONE, NO_STATE, Effect
from service.policy.matching import FORMER, holds, words_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from service.administration.checks.verdict_boxes import Box, Cell, Values
    from service.policy.access_request import Rule
    from service.policy.policy_file import Policy

# Rows looked at before the comparison stops, some seconds of work; facts told apart in one question; changes reported.
MAX_LOOKS: Final = 3_000_000
MAX_FACTS: Final = 7
MAX_CHANGES: Final = 500
# Smallest differing questions kept for merging, and merged ones of a half compared with one another: memory and time
# grow so.
MAX_CELLS: Final = 20_000
MAX_BOXES: Final = 1_000
KNOWN: Final[tuple[bool | None, ...]] = (True, False, None)


@dataclass(frozen=True, slots=True)
class VerdictChange:
    """Who, holding these scopes, is now `allowed` (or no longer) what the action and the kind name, in any of these
    states (NO_STATE for none) and with each fact at any of its values (None is unknown); other facts do not matter."""

    kind: str
    action: str
    allowed: bool
    who: frozenset[str]
    scopes: frozenset[str]
    states: frozenset[str]
    facts: tuple[tuple[str, Values], ...]


@dataclass(slots=True)
class VerdictChanges:
    """Every change, and in `cut_short` the (kind, action) pairs that were not compared to the end."""

    found: list[VerdictChange] = field(default_factory=list)
    cut_short: list[tuple[str, str]] = field(default_factory=list)


def verdict_changes(before: Policy, after: Policy) -> VerdictChanges:
    """All changes of verdicts, merged into few.

    Why a few questions stand for all. Say X allows a question and Y does not. An allow row `a` of X matches it, and
    no deny of X. Either no allow of Y matches it, or a deny `d` of Y does. Take away every who-word and scope but
    those that `a` asks for (and `d`): `a` and `d` still match, and no other row begins to, so X still allows it and Y
    still does not. So it is enough to ask with the words of each allow of one side, alone and beside those of each deny
    of the other, in every state, and with every fact that a matching row mentions true, false and unknown. Rows that
    both sides have cannot be that `a` alone or that `d`, while roles include the same and states are the same.
    """
    pairs = sorted({(rule.kind, rule.action) for rule in (*before.rules, *after.rules)})
    sides = {pair: (_Side(before, *pair), _Side(after, *pair)) for pair in pairs}
    halves = [
        _Half(*pair, allowed, *((new, old) if allowed else (old, new)))
        for pair, (old, new) in sides.items()
        if old.contents != new.contents or _sees_otherwise(old, new)
        for allowed in (True, False)
    ]
    looks, cells = MAX_LOOKS, MAX_CELLS
    for place, half in enumerate(halves):
        left = len(halves) - place
        budget = _Budget(looks // left, cells // left)
        half.compare(budget)
        looks, cells = looks - min(budget.looks, looks // left), cells - min(budget.cells, cells // left)
    told = _shares([len(half.found) for half in halves], MAX_CHANGES)
    short = {
        (half.kind, half.action): None
        for half, most in zip(halves, told, strict=True)
        if half.cut or most < len(half.found)
    }
    return VerdictChanges(
        [one for half, most in zip(halves, told, strict=True) for one in half.found[:most]], list(short)
    )


@dataclass(slots=True)
class _Budget:
    """What was spent of what may be."""

    most_looks: int
    most_cells: int
    looks: int = 0
    cells: int = 0
    cut: bool = False

    def keep(self) -> bool:
        """Count one differing question; False when there are too many."""
        self.cells += 1
        self.cut = self.cut or self.cells > self.most_cells
        return not self.cut

    def spend(self, looks: int) -> bool:
        self.looks += looks
        self.cut = self.cut or self.looks > self.most_looks
        return not self.cut


@dataclass(slots=True)
class _Half:
    """What one side allows and the other does not, of one kind and action. Each half has its share of what may be
    looked at and told, so that what is gained, or the first action, never hides what is lost."""

    kind: str
    action: str
    allowed: bool
    allows: _Side
    denies: _Side
    found: list[VerdictChange] = field(default_factory=list)
    cut: bool = False

    def compare(self, budget: _Budget) -> None:
        boxes = [(self.allowed, *box) for box in merged(_cells(self.allows, self.denies, budget))]
        self.found = [_change(self.kind, self.action, box) for box in widest(boxes[:MAX_BOXES])]
        self.cut = budget.cut or len(boxes) > MAX_BOXES


def _shares(sizes: Sequence[int], most: int) -> list[int]:
    """How many are told of each: equal shares, and what the small do not need goes to the large."""
    told = [0] * len(sizes)
    for count, place in enumerate(sorted(range(len(sizes)), key=lambda number: sizes[number])):
        told[place] = min(sizes[place], (most - sum(told)) // (len(sizes) - count))
    return told


class _Side:
    """One policy's rules about a kind and action."""

    def __init__(self, policy: Policy, kind: str, action: str) -> None:
        self.rules = [rule for rule in policy.rules if (rule.kind, rule.action) == (kind, action)]
        self.contents = {_content(rule) for rule in self.rules}
        self.links = frozenset(policy.role_links)
        self.states = policy.vocabulary.states.get(kind, frozenset())
        self._includes: dict[str, set[str]] = defaultdict(set)
        for role, included in policy.role_links:
            self._includes[role].add(included)
        self.roles = {ANYONE, *self._includes}

    def close(self, words: Iterable[str]) -> frozenset[str]:
        """These words, `anyone`, and every included role."""
        seen, waiting = {ANYONE, *words}, [*words]
        while waiting:
            new = self._includes.get(waiting.pop(), set()) - seen
            seen |= new
            waiting += new
        return frozenset(seen)

    def sees(self, state: str) -> str | None:
        """The state as this side's vocabulary has it; None for one that it does not know, which nothing allows."""
        if not self.states:
            return NO_STATE
        return state if state == NO_STATE or state in self.states else None

    def near(self, who: Iterable[str], scopes: frozenset[str], state: str) -> list[Rule]:
        """The rules that match but for their facts."""
        seen, words = self.sees(state), self.close(who)
        if seen is None:
            return []
        return [
            rule
            for rule in self.rules
            if (not rule.states or seen in rule.states)
            and (rule.scope == ANY or rule.scope in scopes)
            and not words.isdisjoint(words_for(rule))
        ]


def _content(rule: Rule) -> tuple[object, ...]:
    return (rule.effect, rule.who, rule.states, rule.scope, frozenset(rule.when))


def _sees_otherwise(one: _Side, other: _Side) -> bool:
    """Whether the same rows could mean something else on the other side."""
    if one.states != other.states:
        return True
    return one.links != other.links and any(rule.who.startswith("role:") for rule in (*one.rules, *other.rules))


def _cells(allows: _Side, denies: _Side, budget: _Budget) -> Iterator[Cell]:
    """Each smallest question that the one side allows and the other does not."""
    every = (*sorted(allows.states | denies.states), NO_STATE)
    otherwise = _sees_otherwise(allows, denies)
    against = [
        rule
        for rule in denies.rules
        if rule.effect is Effect.DENY and (otherwise or _content(rule) not in allows.contents)
    ]
    asked: set[tuple[frozenset[str], frozenset[str], str]] = set()
    for rule in (one for one in allows.rules if one.effect is Effect.ALLOW):
        alone: list[Rule | None] = [None] if otherwise or _content(rule) not in denies.contents else []
        for deny in (*alone, *against):
            for who, scopes in _askers(rule, deny, allows, denies):
                for state in every:
                    request = (who, scopes, state)
                    if request in asked or not _could_stand(rule, deny, state):
                        continue
                    asked.add(request)
                    if not budget.spend(len(allows.rules) + len(denies.rules)):
                        return
                    yield from _differing(allows, denies, request, budget)


def _could_stand(rule: Rule, deny: Rule | None, state: str) -> bool:
    """False when the state rules the question out; a side that knows no states asks its rules without one."""
    return all(one is None or not one.states or state in one.states for one in (rule, deny))


def _askers(
    rule: Rule, deny: Rule | None, allows: _Side, denies: _Side
) -> Iterator[tuple[frozenset[str], frozenset[str]]]:
    """The smallest askers to whom both rows apply."""
    scopes = frozenset(one.scope for one in (rule, deny) if one is not None) - {ANY}
    words = [_answering(rule.who, allows, denies)]
    if deny is not None:
        # Former words are in no allow, and in each deny beside their own word: they show no change that it does not.
        own_words = sorted(word for word in words_for(deny) if not word.startswith(FORMER))
        words.append([word for own in own_words for word in _answering(own, denies, allows)])
    for chosen in product(*words):
        who = frozenset(chosen) - {ANYONE}
        # A client acts for itself or for a user, never both at once, but the rules do not know that.
        yield who, scopes


def _answering(word: str, side: _Side, other: _Side) -> list[str]:
    """Words of an asker that make a row on `word` apply: roles that include it as well, where the sides differ."""
    if side.links == other.links or not word.startswith("role:"):
        return [word]
    return [word, *sorted(role for role in side.roles if role != word and word in side.close([role]))]


def _differing(
    allows: _Side, denies: _Side, request: tuple[frozenset[str], frozenset[str], str], budget: _Budget
) -> list[Cell]:
    """What differs of this question, whole or not at all."""
    who, scopes, state = request
    near, other = allows.near(who, scopes, state), denies.near(who, scopes, state)
    names = sorted({condition.fact for rule in (*near, *other) for condition in rule.when})
    if len(names) > MAX_FACTS:
        budget.cut = True
        return []
    found: list[Cell] = []
    for values in product(KNOWN, repeat=len(names)):
        if not budget.spend(len(near) + len(other)):
            return []
        facts = dict(zip(names, values, strict=True))
        if _allowed(near, facts) and not _allowed(other, facts):
            if not budget.keep():
                return []
            found.append(
                (who, scopes, frozenset({state}), tuple((name, frozenset({value})) for name, value in facts.items()))
            )
    return found


def _allowed(near: Sequence[Rule], facts: Mapping[str, bool | None]) -> bool:
    found = False
    for rule in near:
        if all(holds(rule.effect, condition, facts.get(condition.fact)) for condition in rule.when):
            if rule.effect is Effect.DENY:
                return False
            found = True
    return found


def _change(kind: str, action: str, box: Box) -> VerdictChange:
    allowed, who, scopes, states, facts = box
    return VerdictChange(kind, action, allowed, who, scopes, states, facts)
