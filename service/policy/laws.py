"""The safety laws: what no policy version may allow, and what every version must leave possible. Pure.

They bind every version, forced or not. `check` proves them for a version before it may decide; `law_forbids` is asked
again behind every allowed decision, so that a mistake in one place is not enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from service.places import Complaint
from service.policy.access_request import ANY, ANYONE, NO_STATE, AccessRequest, Effect, Reason
from service.policy.known_words import ACTED_FOR_OWNER, OWNER
from service.policy.matching import former_word

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from service.policy.access_request import Rule, Verdict, Vocabulary

FILE = "policy.csv"
APPROVE = ("timesheet", "approve")
_OWNERS = frozenset({OWNER, former_word(OWNER)})
# Casbin walks the rows of an action for each question, so this bounds the proof to some seconds.
MAX_ROW_VISITS = 250_000


@dataclass(frozen=True, slots=True)
class _Never:
    """A law that nobody answering to `words`, with `acted_for_owner` at one of the values of `acted`, may approve."""

    sentence: str
    words: frozenset[str]
    acted: tuple[bool | None, ...]
    remedy: str


NEVER_OWN = _Never(
    "Nobody may approve their own hours",
    frozenset({ANYONE, OWNER}),
    (True, False),
    "keep a row like: p, deny, owner, approve, any, timesheet, any, always, never-own-hours",
)
NEVER_FOR_OWNER = _Never(
    "Nobody may approve hours that they may have entered or submitted on the owner's behalf",
    frozenset({ANYONE}),
    (True, None),
    "keep a row like: p, deny, anyone, approve, any, timesheet, any, acted_for_owner, never-for-owner",
)


def law_forbids(request: AccessRequest) -> bool:
    """True when code forbids what rules may have allowed: to approve as the owner, now or before an erasure, or having
    perhaps acted for them.

    The question must still hold `owner` and `acted_for_owner` if they are known; the engine never drops these words.
    """
    if (request.kind, request.action) != APPROVE:
        return False
    return not request.who.isdisjoint(_OWNERS) or request.fact(ACTED_FOR_OWNER) is not False


def law_words(kind: str, action: str) -> tuple[frozenset[str], frozenset[str]]:
    """Who-words and facts that `law_forbids` looks at for this kind and action, whether or not a rule does."""
    if (kind, action) == APPROVE:
        return _OWNERS, frozenset({ACTED_FOR_OWNER})
    return frozenset(), frozenset()


def check(rules: Sequence[Rule], vocabulary: Vocabulary, decide: Callable[[AccessRequest], Verdict]) -> list[Complaint]:
    """Complaints for each law that the version breaks, by exact enumeration. `decide` must follow role links.
    A law with too many rows and facts to enumerate counts as broken.

    Why a few questions stand for all. A question is a kind, an action, a state, a set of who-words, a set of scopes and
    facts. More words or scopes only make more rules match, and an unknown fact matches no more allows and no fewer
    denies than either known value. So if any question is allowed, then some allow row matches it, and the question cut
    down to that row's own word and scope, to `anyone` and to the words that the law is about, is allowed as well: the
    row still matches, and no further deny can. It is enough to ask those, for every state and every value of the facts
    that the action's rules mention. Before that, the law's words are asked alone: if a deny already matches them, it
    matches every larger question, and no row needs to be asked.
    """
    complaints = []
    for law in (NEVER_OWN, NEVER_FOR_OWNER):
        complaints += _nobody(rules, vocabulary, decide, law)
    for kind, action, what in (
        ("policy", "propose", "propose a policy version"),
        ("policy", "activate", "activate a policy version"),
        ("log", "read", "read the decision log"),
    ):
        # A version is activated out of a state of its life; the other two are asked about nothing in particular.
        states = (vocabulary.states.get(kind, frozenset()) - {"active"}) if action == "activate" else frozenset[str]()
        sentence = f"Somebody must be able to {what}"
        complaints += _somebody(rules, states or {NO_STATE}, decide, (kind, action), sentence)
    return complaints


def _nobody(
    rules: Sequence[Rule], vocabulary: Vocabulary, decide: Callable[[AccessRequest], Verdict], law: _Never
) -> list[Complaint]:
    """A complaint if somebody whom the law is about may approve."""
    own = _rows(rules, APPROVE)
    allows = [rule for rule in own if rule.effect is Effect.ALLOW]
    budget = _Budget(len(own))
    for state in _states(vocabulary, APPROVE[0]):
        for known in _assignments(_mentioned(own), {ACTED_FOR_OWNER: law.acted}):
            if not budget.spend():
                return [_unproved(law.sentence)]
            if decide(AccessRequest(*APPROVE, state, law.words, frozenset(), known)).reason is Reason.DENY_RULE:
                continue
            for rule in allows:
                if not budget.spend():
                    return [_unproved(law.sentence)]
                request = AccessRequest(*APPROVE, state, law.words | {rule.who}, _scopes(rule), known)
                if decide(request).allowed:
                    return [_broken(law, rule, request)]
    return []


def _somebody(
    rules: Sequence[Rule],
    states: Collection[str],
    decide: Callable[[AccessRequest], Verdict],
    wanted: tuple[str, str],
    law: str,
) -> list[Complaint]:
    """A complaint unless there is a question for this kind and action that is allowed."""
    own = _rows(rules, wanted)
    budget = _Budget(len(own))
    for rule in (one for one in own if one.effect is Effect.ALLOW):
        fixed: dict[str, tuple[bool | None, ...]] = {
            condition.fact: (not condition.negated,) for condition in rule.when
        }
        for state in sorted(states):
            for known in _assignments(_mentioned(own), fixed):
                if not budget.spend():
                    return [_unproved(law)]
                request = AccessRequest(*wanted, state, frozenset({ANYONE, rule.who}), _scopes(rule), known)
                if decide(request).allowed:
                    return []
    return [Complaint(FILE, 0, 0, law, "a safety law: add a row that allows it")]


@dataclass(slots=True)
class _Budget:
    """Bounds a proof by the rows that casbin walks for it."""

    rows: int
    visits: int = 0

    def spend(self) -> bool:
        """Count one question; False when the proof has become too long."""
        self.visits += self.rows
        return self.visits <= MAX_ROW_VISITS


def _rows(rules: Iterable[Rule], wanted: tuple[str, str]) -> list[Rule]:
    return [rule for rule in rules if (rule.kind, rule.action) == wanted]


def _mentioned(rules: Iterable[Rule]) -> set[str]:
    return {condition.fact for rule in rules for condition in rule.when}


def _states(vocabulary: Vocabulary, kind: str) -> tuple[str, ...]:
    return (*sorted(vocabulary.states.get(kind, ())), NO_STATE)


def _scopes(rule: Rule) -> frozenset[str]:
    return frozenset() if rule.scope == ANY else frozenset({rule.scope})


def _assignments(
    mentioned: Iterable[str], fixed: Mapping[str, tuple[bool | None, ...]]
) -> Iterator[frozenset[tuple[str, bool]]]:
    """Every way to make a mentioned fact true or false, and a fixed one what it may be; None leaves the fact out."""
    choices = {**dict.fromkeys(sorted(mentioned), (True, False)), **fixed}
    for chosen in product(*choices.values()):
        pairs = zip(choices, chosen, strict=True)
        yield frozenset((name, value) for name, value in pairs if value is not None)


def _unproved(sentence: str) -> Complaint:
    message = f"{sentence}: there are too many rows and facts to prove this"
    return Complaint(FILE, 0, 0, message, "a deny row that holds for all proves it at once")


def _broken(law: _Never, rule: Rule, request: AccessRequest) -> Complaint:
    facts = ", ".join(f"{name} {str(value).lower()}" for name, value in sorted(request.facts)) or "no fact known"
    who = " and ".join(sorted(request.who - {ANYONE})) or ANYONE
    state = request.state or "none"
    message = f"{law.sentence}: the row '{rule.name}' would allow it to {who} in state '{state}' with {facts}"
    return Complaint(FILE, rule.line, 1, message, law.remedy)
