"""Which verdicts differ between two policies, over every possible access request. Pure: owns no state.

It asks few requests that stand for all, as the laws do. The search is bounded, and reports where the bound cut it off.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from service.administration.checks.verdict_boxes import merge_cells, widest_boxes
from service.policy.access_request import ANY, ANYONE, NO_STATE, AccessRequest, Effect
from service.policy.matching import FORMER, ROLE, holds, words_for
from service.policy.request_space import KNOWN_OR_NOT, Budget, RequestSpace, RoleClosure, fact_assignments, scopes_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from service.administration.checks.verdict_boxes import Box, Cell, Values
    from service.policy.access_request import Rule
    from service.policy.policy_file import Policy

# Requests whose rules mention more facts are skipped: each fact triples the work.
MAX_FACTS_PER_REQUEST: Final = 7
MAX_CHANGES: Final = 500
# Differing requests that are kept for merging, and merged ones that are compared with one another. They bound memory.
MAX_CELLS: Final = 20_000
MAX_BOXES: Final = 1_000


@dataclass(frozen=True, slots=True)
class VerdictChange:
    """A caller with these who-words and scopes may now (`allowed`), or may no longer, take the action on the kind.

    It holds in each of `states` (NO_STATE for none), and with each fact at any of its values (None is unknown). Other
    facts make no difference.
    """

    kind: str
    action: str
    allowed: bool
    who: frozenset[str]
    scopes: frozenset[str]
    states: frozenset[str]
    facts: tuple[tuple[str, Values], ...]


@dataclass(slots=True)
class VerdictChanges:
    """The changes found. `cut_short` holds each (kind, action) that was not compared to the end."""

    found: list[VerdictChange] = field(default_factory=list)
    cut_short: list[tuple[str, str]] = field(default_factory=list)


def verdict_changes(before: Policy, after: Policy) -> VerdictChanges:
    """All changes of verdicts, merged into few.

    Why few requests are enough. Say side X allows a request and side Y does not. Then an allow rule `a` of X matches
    it, and no deny of X. Either no allow of Y matches it, or a deny `d` of Y does. Take away every who-word and scope
    that neither `a` nor `d` asks for: `a` and `d` still match and no other rule begins to, so the verdicts still
    differ. So the requests to ask are those of each allow of one side, alone and together with each deny of the other,
    in every state and with every value of the facts that a matching rule mentions. Rules that both sides have need not
    be that `a` alone or that `d`, if both sides have the same role links and states.
    """
    pairs = sorted({(rule.kind, rule.action) for rule in (*before.rules, *after.rules)})
    roles = RoleClosure(before.role_links), RoleClosure(after.role_links)
    sides = {pair: (_Side(before, roles[0], *pair), _Side(after, roles[1], *pair)) for pair in pairs}
    halves = [
        _Half(*pair, allowed, *((new, old) if allowed else (old, new)))
        for pair, (old, new) in sides.items()
        if old.contents != new.contents or _reads_differently(old, new)
        for allowed in (True, False)
    ]
    reads, cells = Budget(), Budget(MAX_CELLS)
    for place, half in enumerate(halves):
        left = len(halves) - place
        own_reads, own_cells = reads.take_share(left), cells.take_share(left)
        half.compare(own_reads, own_cells)
        reads.spend(min(own_reads.spent, own_reads.limit))
        cells.spend(min(own_cells.spent, own_cells.limit))
    reported = _shares([len(half.found) for half in halves], MAX_CHANGES)
    cut_short = {
        (half.kind, half.action): None
        for half, count in zip(halves, reported, strict=True)
        if half.cut or count < len(half.found)
    }
    found = [change for half, count in zip(halves, reported, strict=True) for change in half.found[:count]]
    return VerdictChanges(found, list(cut_short))


@dataclass(slots=True)
class _Half:
    """The requests of one kind and action that one side allows and the other denies.

    Each half has its own share of the budget and of the reported changes, so that what is gained never hides what is
    lost, and the first action never hides the next.
    """

    kind: str
    action: str
    allowed: bool
    allows: _Side
    denies: _Side
    found: list[VerdictChange] = field(default_factory=list)
    cut: bool = False

    def compare(self, reads: Budget, cells: Budget) -> None:
        merged = merge_cells(self._cells(reads, cells))
        boxes: list[Box] = [(self.allowed, *box) for box in merged]
        self.found = [VerdictChange(self.kind, self.action, *box) for box in widest_boxes(boxes[:MAX_BOXES])]
        self.cut |= reads.exhausted or cells.exhausted or len(boxes) > MAX_BOXES

    def _cells(self, reads: Budget, cells: Budget) -> Iterator[Cell]:
        """Each smallest request that one side allows and the other does not."""
        asked: set[AccessRequest] = set()
        for request in self._requests():
            if request in asked:
                continue
            asked.add(request)
            if cells.exhausted or not reads.spend(len(self.allows.rules) + len(self.denies.rules)):
                return
            yield from self._differing(request, reads, cells)

    def _requests(self) -> Iterator[AccessRequest]:
        """The smallest requests that each pair of rules matches, without facts."""
        allows, denies = self.allows, self.denies
        states = (*sorted(allows.states | denies.states), NO_STATE)
        differently = _reads_differently(allows, denies)
        against = [
            rule
            for rule in denies.rules
            if rule.effect is Effect.DENY and (differently or _content(rule) not in allows.contents)
        ]
        for rule in allows.rules:
            if rule.effect is Effect.DENY:
                continue
            alone: list[Rule | None] = [None] if differently or _content(rule) not in denies.contents else []
            for deny in (*alone, *against):
                pair = [rule] if deny is None else [rule, deny]
                scopes = frozenset[str]().union(*map(scopes_of, pair))
                words = [_words_that_match(rule.who, allows, denies)]
                if deny is not None:
                    # A former word is in no allow, and in each deny only beside its own word: it shows no more.
                    own = sorted(word for word in words_for(deny) if not word.startswith(FORMER))
                    words.append([word for each in own for word in _words_that_match(each, denies, allows)])
                base = AccessRequest(self.kind, self.action, NO_STATE, frozenset(), scopes, frozenset())
                fitting = [
                    state for state in states if all(not matched.states or state in matched.states for matched in pair)
                ]
                # A client acts for itself or for a user, never both at once. The rules do not know that.
                yield from RequestSpace(base, fitting, words=words)

    def _differing(self, request: AccessRequest, reads: Budget, cells: Budget) -> list[Cell]:
        """The values of facts at which the verdicts on the request differ: all of them, or none once a budget is
        exhausted. Half of them would read as if the other facts made no difference."""
        near, other = self.allows.near(request), self.denies.near(request)
        names = sorted({condition.fact for rule in (*near, *other) for condition in rule.when})
        if len(names) > MAX_FACTS_PER_REQUEST:
            self.cut = True
            return []
        found: list[Cell] = []
        for facts in fact_assignments(dict.fromkeys(names, KNOWN_OR_NOT)):
            if not reads.spend(len(near) + len(other)):
                return []
            if _allows(near, facts) and not _allows(other, facts):
                if not cells.spend():
                    return []
                values = tuple((name, frozenset({value})) for name, value in facts.items())
                found.append((request.who, request.scopes, frozenset({request.state}), values))
        return found


def _shares(sizes: Sequence[int], limit: int) -> list[int]:
    """How many of each to report: equal shares, and what the small do not need goes to the large."""
    shares = [0] * len(sizes)
    for count, place in enumerate(sorted(range(len(sizes)), key=lambda place: sizes[place])):
        shares[place] = min(sizes[place], (limit - sum(shares)) // (len(sizes) - count))
    return shares


class _Side:
    """The rules of one policy about a kind and action."""

    def __init__(self, policy: Policy, roles: RoleClosure, kind: str, action: str) -> None:
        self.rules = [rule for rule in policy.rules if (rule.kind, rule.action) == (kind, action)]
        self.contents = {_content(rule) for rule in self.rules}
        self.links = frozenset(policy.role_links)
        self.states = policy.vocabulary.states.get(kind, frozenset())
        self.roles = roles

    def near(self, request: AccessRequest) -> list[Rule]:
        """The rules that match the request but for their facts. A state that this side does not know matches none."""
        state, words = request.state, self.roles.close(request.who)
        if not self.states:
            state = NO_STATE
        elif state != NO_STATE and state not in self.states:
            return []
        return [
            rule
            for rule in self.rules
            if (not rule.states or state in rule.states)
            and (rule.scope == ANY or rule.scope in request.scopes)
            and not words.isdisjoint(words_for(rule))
        ]


def _content(rule: Rule) -> tuple[object, ...]:
    return (rule.effect, rule.who, rule.states, rule.scope, frozenset(rule.when))


def _reads_differently(side: _Side, other: _Side) -> bool:
    """Whether the same rows can mean something else on the other side."""
    if side.states != other.states:
        return True
    return side.links != other.links and any(rule.who.startswith(ROLE) for rule in (*side.rules, *other.rules))


def _words_that_match(word: str, side: _Side, other: _Side) -> list[str | None]:
    """The who-words with which a rule on `word` matches: also roles that include it, where the role links differ."""
    own = None if word == ANYONE else word
    if side.links == other.links or not word.startswith(ROLE):
        return [own]
    return [own, *sorted(side.roles.including(word))]


def _allows(near: Sequence[Rule], facts: Mapping[str, bool | None]) -> bool:
    allowed = False
    for rule in near:
        if all(holds(rule.effect, condition, facts.get(condition.fact)) for condition in rule.when):
            if rule.effect is Effect.DENY:
                return False
            allowed = True
    return allowed
