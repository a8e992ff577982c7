"""Which verdicts differ between two policies, over everything that can be asked. Pure: owns no state.

Found by asking few questions that stand for all, as the laws are proved; bounded, and it says where the bound cut it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Final

from service.authorization.matching import holds, words_for
from service.authorization.question import ANY, ANYONE, NO_STATE, Effect

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from service.authorization.policy_file import Policy
    from service.authorization.question import Rule

# Rows looked at before the comparison stops, some seconds of work; facts told apart in one question; changes reported.
MOST_LOOKS: Final = 3_000_000
MOST_FACTS: Final = 7
MOST_CHANGES: Final = 500
# Smallest differing questions kept for merging, and merged ones compared with one another: memory and time grow so.
MOST_CELLS: Final = 20_000
MOST_BOXES: Final = 2_000
KNOWN: Final[tuple[bool | None, ...]] = (True, False, None)
ALL: Final = frozenset(KNOWN)
Values = frozenset[bool | None]


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
    changes = VerdictChanges()
    budget = _Budget()
    for kind, action in sorted({(rule.kind, rule.action) for rule in (*before.rules, *after.rules)}):
        old, new = _Side(before, kind, action), _Side(after, kind, action)
        if old.contents == new.contents and not _sees_otherwise(old, new):
            continue
        boxes: list[_Box] = []
        for allows, denies, allowed in ((new, old, True), (old, new, False)):
            boxes += [(allowed, *box) for box in _merged(_cells(allows, denies, budget))]
        budget.cut = budget.cut or len(boxes) > MOST_BOXES
        changes.found += [_change(kind, action, box) for box in _widest(boxes[:MOST_BOXES])]
        if budget.cut or len(changes.found) > MOST_CHANGES:
            changes.cut_short.append((kind, action))
            del changes.found[MOST_CHANGES:]
        budget.cut = False
    return changes


_Cell = tuple[frozenset[str], frozenset[str], frozenset[str], tuple[tuple[str, Values], ...]]
_Box = tuple[bool, frozenset[str], frozenset[str], frozenset[str], tuple[tuple[str, Values], ...]]


@dataclass(slots=True)
class _Budget:
    looks: int = 0
    cells: int = 0
    cut: bool = False

    def keep(self) -> bool:
        """Count one differing question; False when there are too many."""
        self.cells += 1
        self.cut = self.cut or self.cells > MOST_CELLS
        return not self.cut

    def spend(self, looks: int) -> bool:
        self.looks += looks
        self.cut = self.cut or self.looks > MOST_LOOKS
        return not self.cut


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


def _cells(allows: _Side, denies: _Side, budget: _Budget) -> Iterator[_Cell]:
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
                    question = (who, scopes, state)
                    if question in asked or not _could_stand(rule, deny, state):
                        continue
                    asked.add(question)
                    if not budget.spend(len(allows.rules) + len(denies.rules)):
                        return
                    yield from _differing(allows, denies, question, budget)


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
        words.append([word for own in sorted(words_for(deny)) for word in _answering(own, denies, allows)])
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
    allows: _Side, denies: _Side, question: tuple[frozenset[str], frozenset[str], str], budget: _Budget
) -> Iterator[_Cell]:
    who, scopes, state = question
    near, other = allows.near(who, scopes, state), denies.near(who, scopes, state)
    names = sorted({one.fact for rule in (*near, *other) for one in rule.when})
    if len(names) > MOST_FACTS:
        budget.cut = True
        return
    for values in product(KNOWN, repeat=len(names)):
        if not budget.spend(len(near) + len(other)):
            return
        facts = dict(zip(names, values, strict=True))
        if _allowed(near, facts) and not _allowed(other, facts):
            if not budget.keep():
                return
            yield who, scopes, frozenset({state}), tuple((name, frozenset({value})) for name, value in facts.items())


def _allowed(near: Sequence[Rule], facts: Mapping[str, bool | None]) -> bool:
    found = False
    for rule in near:
        if all(holds(rule.effect, one, facts.get(one.fact)) for one in rule.when):
            if rule.effect is Effect.DENY:
                return False
            found = True
    return found


def _merged(cells: Iterable[_Cell]) -> list[_Cell]:
    """Cells that differ in one dimension only become one, until none do."""
    boxes = {(who, scopes, states, _full(facts)) for who, scopes, states, facts in cells}
    names = sorted({name for box in boxes for name, _ in box[3]})
    size = -1
    while len(boxes) != size:
        size = len(boxes)
        for dimension in (None, *names):
            boxes = _joined(boxes, dimension)
    return sorted(boxes, key=_order)


def _joined(boxes: Iterable[_Cell], dimension: str | None) -> set[_Cell]:
    """Join along the states (None) or along one fact."""
    if dimension is None:
        states: dict[tuple[object, ...], frozenset[str]] = defaultdict(frozenset)
        for who, scopes, own, facts in boxes:
            states[who, scopes, facts] |= own
        return {(*key[:2], own, key[2]) for key, own in states.items()}  # type: ignore[misc]  # keys as just made
    values: dict[tuple[object, ...], Values] = defaultdict(frozenset)
    for who, scopes, own, facts in boxes:
        rest = tuple(one for one in facts if one[0] != dimension)
        values[who, scopes, own, rest] |= dict(facts).get(dimension, ALL)
    return {
        (*key[:3], _full((*key[3], (dimension, value))))  # type: ignore[misc]  # keys as just made
        for key, value in values.items()
    }


def _full(facts: Iterable[tuple[str, Values]]) -> tuple[tuple[str, Values], ...]:
    """In one order, without facts that may be anything."""
    return tuple(sorted(((name, values) for name, values in facts if values != ALL), key=lambda one: one[0]))


def _order(box: _Cell) -> tuple[object, ...]:
    who, scopes, states, facts = box
    return len(who), sorted(who), sorted(scopes), sorted(states), str(facts)


def _widest(boxes: list[_Box]) -> list[_Box]:
    """Without those that a wider one of fewer words says already."""
    return [one for one in boxes if not any(other is not one and _within(one, other) for other in boxes[:MOST_CHANGES])]


def _within(narrow: _Box, wide: _Box) -> bool:
    facts = dict(narrow[4])
    return (
        narrow != wide
        and narrow[0] is wide[0]
        and wide[1] <= narrow[1]
        and wide[2] <= narrow[2]
        and narrow[3] <= wide[3]
        and all(facts.get(name, ALL) <= values for name, values in wide[4])
    )


def _change(kind: str, action: str, box: _Box) -> VerdictChange:
    allowed, who, scopes, states, facts = box
    return VerdictChange(kind, action, allowed, who, scopes, states, facts)
