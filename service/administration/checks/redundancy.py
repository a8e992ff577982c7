"""Rules that contradict each other, that can never hold, or that another rule makes useless. Pure: owns no state.

Asked of what is proposed, never of a version that decides already: a stored version stays loadable whatever is found.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import chain, combinations
from typing import TYPE_CHECKING

from service.places import Complaint
from service.policy.access_request import ANY, ANYONE, Condition, Effect
from service.policy.matching import CLIENT, VIA
from service.policy.request_space import Budget, RoleClosure
from service.policy.unsatisfiable import why_never

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from service.policy.access_request import Rule
    from service.policy.policy_file import Policy

FILE = "policy.csv"
MAX_FOUND = 100
When = frozenset[Condition]
GAVE_UP = "Some rows were not compared with the others: there are too many of many facts"


@dataclass(slots=True)
class Findings:
    """`complaints` refuse a proposal; `warnings` are shown to its author and refuse nothing."""

    complaints: list[Complaint] = field(default_factory=list)
    warnings: list[Complaint] = field(default_factory=list)


def findings(policy: Policy) -> Findings:
    """What is odd about the rules, taken two at a time, at most about a hundred of each sort.

    Refused: two rows that ask for exactly the same and say allow and deny; a row that can never hold or lead anywhere,
    by itself or by the laws. Warned of: a row whose every question a broader row of the same effect answers already; an
    allow whose every question a broader deny forbids (one deny row is how an action is frozen in an emergency, so it is
    not refused); a g row for a role that no row names.

    Rules are found by kind, action, effect, who and scope, so the time grows with the rows, times the roles that a
    row's role includes, times the smaller of 2^(facts of the row) and the different `when`s beside it.
    """
    found = Findings()
    shelves: dict[tuple[str, str], _Shelf] = defaultdict(_Shelf)
    for rule in policy.rules:
        shelves[rule.kind, rule.action].add(rule)
    roles = RoleClosure(policy.role_links)
    budget = Budget()
    for rule in policy.rules:
        if len(found.complaints) >= MAX_FOUND or len(found.warnings) >= MAX_FOUND:
            found.warnings.append(
                Complaint(FILE, rule.line, 1, "Looking for odd rows stopped here: too many were found")
            )
            break
        if never := why_never(rule, policy.vocabulary):
            found.complaints.append(_at(rule, *never))
            continue
        shelf = shelves[rule.kind, rule.action]
        if rule.effect is Effect.ALLOW and (deny := shelf.broader(rule, Effect.DENY, roles, budget)):
            _forbidden(rule, deny, found)
        elif other := shelf.broader(rule, rule.effect, roles, budget):
            verb = "allows" if rule.effect is Effect.ALLOW else "denies"
            found.warnings.append(_at(rule, f"Everything that this row {verb}, {_named(other)} {verb} already"))
    named = {rule.who for rule in policy.rules}
    for role, included in policy.role_links[:MAX_FOUND]:
        if named.isdisjoint(roles.close([included]) - {ANYONE}):
            said = f"The row 'g, {role}, {included}' has no effect: no row names {included} or a role that it includes"
            found.warnings.append(Complaint(FILE, 0, 0, said))
    if budget.exhausted:
        found.warnings.append(Complaint(FILE, 0, 0, GAVE_UP))
    return found


def _forbidden(rule: Rule, deny: Rule, found: Findings) -> None:
    """A deny that covers an allow contradicts it if it asks for nothing broader."""
    if _asks(rule) == _asks(deny):
        late, early = max((rule, deny), key=_line), min((rule, deny), key=_line)
        said = (
            f"This row contradicts {_named(early)}: they ask for the same, and one allows it while the other denies it"
        )
        found.complaints.append(_at(late, said, "the deny always wins: remove one of them"))
    else:
        found.warnings.append(_at(rule, f"This row can allow nothing now: {_named(deny)} denies all of it"))


def _asks(rule: Rule) -> tuple[object, ...]:
    return (rule.who, rule.states, rule.scope, frozenset(rule.when))


def _line(rule: Rule) -> int:
    return rule.line


def _named(rule: Rule) -> str:
    return f"'{rule.name}' in line {rule.line}"


def _at(rule: Rule, message: str, suggestion: str | None = None) -> Complaint:
    return Complaint(FILE, rule.line, 1, f"{message} (rule '{rule.name}')", suggestion)


class _Shelf:
    """The rules of one kind and action, found by effect, who and scope, then by their facts."""

    def __init__(self) -> None:
        self._rules: dict[tuple[Effect, str, str], dict[When, list[Rule]]] = {}

    def add(self, rule: Rule) -> None:
        """Put a rule in its place."""
        beside = self._rules.setdefault((rule.effect, rule.who, rule.scope), {})
        beside.setdefault(frozenset(rule.when), []).append(rule)

    def broader(self, rule: Rule, effect: Effect, roles: RoleClosure, budget: Budget) -> Rule | None:
        """Another rule of `effect` that holds whenever `rule` does; None also when the budget is spent.

        Fewer facts are broader for every pair of effects: where an allow holds, its facts are known, and a deny on
        some of them holds too; where a deny holds, none of its facts is known to be otherwise.
        """
        when = frozenset(rule.when)
        broad: Rule | None = None
        for who in _broader_words(rule.who, effect, roles):
            for scope in {ANY, rule.scope}:
                beside = self._rules.get((effect, who, scope), {})
                for fewer in _fewer(when, beside):
                    if not budget.spend():
                        return None
                    for other in beside.get(fewer, ()):
                        if other is rule or not _stands_in(rule, other):
                            continue
                        if _asks(other) == _asks(rule):
                            return other
                        broad = broad or other
        return broad


def _broader_words(word: str, effect: Effect, roles: RoleClosure) -> list[str]:
    """The who-words of rules of `effect` that apply whenever a rule on `word` does; `anyone` is the last."""
    # A deny on a client applies both ways in which the client acts; an allow does not.
    client = [CLIENT + word.removeprefix(VIA)] if effect is Effect.DENY and word.startswith(VIA) else []
    return [*sorted(roles.close([word]) - {ANYONE}), *client, ANYONE]


def _fewer(when: When, beside: Mapping[When, Sequence[Rule]]) -> Iterator[When]:
    """Each `when` on the shelf that asks for no more than this one."""
    if len(beside) < 2 ** len(when):
        yield from (one for one in beside if one <= when)
        return
    own = sorted(when, key=lambda condition: condition.fact)
    for chosen in chain.from_iterable(combinations(own, size) for size in range(len(own) + 1)):
        yield frozenset(chosen)


def _stands_in(narrow: Rule, broad: Rule) -> bool:
    """True when every state of the one is a state of the other; `any` holds also for things without a state."""
    return not broad.states or (bool(narrow.states) and narrow.states <= broad.states)
