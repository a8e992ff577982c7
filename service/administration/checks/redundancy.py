"""Finds conflicting, unsatisfiable and shadowed rules. Pure: owns no state.

Its complaints refuse proposals only. A stored version stays loadable.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import chain, combinations
from typing import TYPE_CHECKING

from service.administration.checks.synonyms import Synonyms
from service.places import Complaint
from service.policy.access_request import ANY, ANYONE, Condition, Effect
from service.policy.matching import ACTOR, CLIENT, VIA
from service.policy.request_space import Budget, RoleClosure
from service.policy.rule_rows import FILE
from service.policy.toml_places import FILE as VOCABULARY_FILE
from service.policy.unsatisfiable import check_start, why_unsatisfiable
from service.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from service.policy.access_request import Rule
    from service.policy.policy_file import Policy

MAX_FOUND = 100
# The state in which timesheets are approved.
PENDING = "submitted"
When = frozenset[Condition]
GAVE_UP = "Some rows were not compared with the others: too many rows have many facts"


@dataclass(slots=True)
class Findings:
    """`complaints` refuse a proposal. `warnings` are shown to its author."""

    complaints: list[Complaint] = field(default_factory=list)
    warnings: list[Complaint] = field(default_factory=list)


def find_redundancy(policy: Policy) -> Findings:
    """Compare the rules two at a time. At most about a hundred findings of each sort.

    Complaints: an allow and a deny with the same conditions; a row that can never match or has no effect. Warnings: a
    row that a broader row of the same effect shadows; an allow that a broader deny forbids entirely (a deny row freezes
    an action in an emergency, so it is not refused); a g row for a role that no row names; two names for one expression
    or path. Rows are compared by what their words mean, not by their names.

    Rules are found by kind, action, effect, who and scope. So the time grows with the rows, times the roles that a
    row's role includes, times the smaller of 2^(facts of the row) and the number of different `when`s beside it.
    """
    found = Findings()
    actions: dict[tuple[str, str], _RulesOfAction] = defaultdict(_RulesOfAction)
    words = Synonyms(policy.vocabulary)
    meanings = [words.normalize(rule) for rule in policy.rules]
    for rule in meanings:
        actions[rule.kind, rule.action].add(rule)
    roles = RoleClosure(policy.role_links)
    budget = Budget()
    for rule, meant in zip(policy.rules, meanings, strict=True):
        if len(found.complaints) >= MAX_FOUND or len(found.warnings) >= MAX_FOUND:
            found.warnings.append(
                Complaint(
                    FILE, rule.line, 1, "The search for conflicting and shadowed rows stopped here: too many were found"
                )
            )
            break
        if never := why_unsatisfiable(rule, policy.vocabulary):
            found.complaints.append(complain_of_row(rule, *never))
            continue
        own = actions[rule.kind, rule.action]
        if rule.effect is Effect.ALLOW and (deny := own.broader(meant, Effect.DENY, roles, budget)):
            _report_denied(meant, deny, found)
        elif other := own.broader(meant, rule.effect, roles, budget):
            verb = "allows" if rule.effect is Effect.ALLOW else "denies"
            found.warnings.append(
                complain_of_row(rule, f"This row is shadowed: {_name(other)} already {verb} everything that it {verb}")
            )
    found.warnings += [Complaint(VOCABULARY_FILE, 0, 0, sentence) for sentence in words.sentences[:MAX_FOUND]]
    named = {rule.who for rule in policy.rules}
    for role, included in policy.role_links[:MAX_FOUND]:
        if named.isdisjoint(roles.close([included]) - {ANYONE}):
            message = (
                f"The row 'g, {role}, {included}' has no effect: no row names {included} or a role that it includes"
            )
            found.warnings.append(Complaint(FILE, 0, 0, message))
    if budget.exhausted:
        found.warnings.append(Complaint(FILE, 0, 0, GAVE_UP))
    return found


def find_shown(policy: Policy) -> list[Complaint]:
    """A warning for each row that denies reading timesheets to people who may still approve them: approving shows them.

    The law keeps owners from approving, so a deny on owners gets none.
    """
    words, roles, budget = Synonyms(policy.vocabulary), RoleClosure(policy.role_links), Budget()
    approving = _RulesOfAction()
    for rule in policy.rules:
        if (rule.kind, rule.action) == ("timesheet", "approve"):
            approving.add(words.normalize(rule))
    found: list[Complaint] = []
    for rule in policy.rules:
        denies = (rule.kind, rule.action, rule.effect) == ("timesheet", "read", Effect.DENY) and rule.who != "owner"
        if not denies or (rule.states and PENDING not in rule.states) or len(found) == MAX_FOUND:
            continue
        pending = replace(words.normalize(rule), states=frozenset({PENDING}))
        if approving.broader(pending, Effect.DENY, roles, budget) is None and not budget.exhausted:
            message = "This row hides no submitted timesheet from people who may approve: approving shows it"
            found.append(complain_of_row(rule, message, "deny 'approve' in the same way"))
    return found


def find_idle_denies(policy: Policy) -> list[Complaint]:
    """A warning for each deny in states from which its action never starts: it forbids nothing that could happen."""
    denies = (rule for rule in policy.rules if rule.effect is Effect.DENY)
    found = [complain_of_row(rule, *idle) for rule in denies if (idle := check_start(rule))]
    return found[:MAX_FOUND]


def _report_denied(rule: Rule, deny: Rule, found: Findings) -> None:
    """An allow and a deny with the same conditions conflict. A broader deny only gets a warning."""
    if _conditions(rule) == _conditions(deny):
        late, early = max((rule, deny), key=_line), min((rule, deny), key=_line)
        message = f"This row conflicts with {_name(early)}: one allows exactly what the other denies"
        found.complaints.append(complain_of_row(late, message, "the deny always wins: remove one of them"))
    else:
        found.warnings.append(
            complain_of_row(rule, f"This row allows nothing at present: {_name(deny)} denies everything that it allows")
        )


def _conditions(rule: Rule) -> tuple[object, ...]:
    return (rule.who, rule.states, rule.scope, frozenset(rule.when))


def _line(rule: Rule) -> int:
    return rule.line


def _name(rule: Rule) -> str:
    return f"'{rule.name}' in line {rule.line}"


def complain_of_row(rule: Rule, message: str, suggestion: str | None = None) -> Complaint:
    """A complaint about a row of the rules, with its name."""
    return Complaint(FILE, rule.line, 1, f"{message} (rule '{rule.name}')", suggestion)


class _RulesOfAction:
    """The rules of a kind and action, found by effect, who and scope, then by their facts."""

    def __init__(self) -> None:
        self._rules: dict[tuple[Effect, str, str], dict[When, list[Rule]]] = {}

    def add(self, rule: Rule) -> None:
        """Add a rule to the index."""
        beside = self._rules.setdefault((rule.effect, rule.who, rule.scope), {})
        beside.setdefault(frozenset(rule.when), []).append(rule)

    def broader(self, rule: Rule, effect: Effect, roles: RoleClosure, budget: Budget) -> Rule | None:
        """Another rule of `effect` that matches whenever `rule` does. None also when the budget is exhausted.

        Fewer facts are broader for every pair of effects. Where an allow matches, its facts are known, so a deny on
        some of them matches too. Where a deny matches, none of its facts is known to differ.
        """
        when = frozenset(rule.when)
        broad: Rule | None = None
        for who in _broader_words(rule.who, effect, roles):
            for scope in {ANY, rule.scope}:
                beside = self._rules.get((effect, who, scope), {})
                for fewer in _fewer_conditions(when, beside):
                    if not budget.spend():
                        return None
                    for other in beside.get(fewer, ()):
                        if other is rule or not _covers_states(rule, other):
                            continue
                        if _conditions(other) == _conditions(rule):
                            return other
                        broad = broad or other
        return broad


def _broader_words(word: str, effect: Effect, roles: RoleClosure) -> list[str]:
    """The who-words of rules of `effect` that apply whenever a rule on `word` does; `anyone` is the last."""
    # A deny on a client applies in every way in which the client acts; an allow does not.
    is_client = effect is Effect.DENY and word.startswith((VIA, ACTOR))
    client = [CLIENT + word.partition(":")[2]] if is_client else []
    return [*sorted(roles.close([word]) - {ANYONE}), *client, ANYONE]


def _fewer_conditions(when: When, beside: Mapping[When, Sequence[Rule]]) -> Iterator[When]:
    """Each `when` beside it with some of these conditions and no others."""
    if len(beside) < 2 ** len(when):
        yield from (other for other in beside if other <= when)
        return
    own = sorted(when, key=lambda condition: condition.fact)
    for chosen in chain.from_iterable(combinations(own, size) for size in range(len(own) + 1)):
        yield frozenset(chosen)


def _covers_states(narrow: Rule, broad: Rule) -> bool:
    """Whether every state of `narrow` is a state of `broad`. `any` also matches resources without a state."""
    return not broad.states or (bool(narrow.states) and narrow.states <= broad.states)
