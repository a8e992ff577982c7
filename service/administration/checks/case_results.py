"""Runs the cases of a policy against its snapshot, and reports what no case exercises. Pure: owns no state.

The tests, `timewarden policy test` and every check of a proposal run the same files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.authorization.engine.explanation import explain, sentences_for_caller
from service.authorization.engine.row_conditions import is_listed
from service.places import Complaint
from service.policy.access_request import ANY, ANYONE, FACT_VALUES, Effect, Reason
from service.policy.approval import APPROVALS, count_needed
from service.policy.case_files import UNKNOWN
from service.policy.defined_facts import find_definition
from service.policy.matching import GROUP, ROLE
from service.policy.policy_file import WHERE_CASES_STAND
from service.policy.request_space import Budget
from service.policy.sentences import show_value

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from service.authorization.engine.engine import Snapshot
    from service.policy.access_request import AccessRequest, Rule, Verdict, Vocabulary
    from service.policy.case_files import Case
    from service.policy.expressions.expression import Expression
    from service.policy.policy_file import Policy

# Rows that all cases together may read: some ten seconds of work. Thousands of cases about an action with thousands of
# rows would take many minutes.
MAX_ROW_VISITS = 3_000_000
MAX_FACTS_DESCRIBED = 10
GIVE_VALUES = "say what is unknown in the case, or in the defaults of its file"


@dataclass(frozen=True, slots=True)
class CaseResult:
    """A case, the rules that decided it, and in `problems` the differences from what it expects. `suggestion`: how to
    mend a failed case."""

    case: Case
    rules: tuple[str, ...]
    problems: tuple[str, ...]
    suggestion: str | None = None


def run_cases(policy: Policy, snapshot: Snapshot, cases: Iterable[Case]) -> list[CaseResult]:
    """The result of each case, up to the case with which too many rows would be read."""
    names = {rule.name for rule in policy.rules}
    found: list[CaseResult] = []
    asked: set[AccessRequest] = set()
    told: set[str] = set()
    budget = Budget(MAX_ROW_VISITS)
    for case in cases:
        request, rows = request_of(case, snapshot), len(snapshot.rules_of(case.kind, case.action))
        if not budget.spend(rows * _count_walks(case, new=request not in asked)):
            found.append(CaseResult(case, (), (_describe_excess(case, rows),)))
            break
        asked.add(request)
        verdict = snapshot.decide(request)
        unknown = [f"there is no rule '{name}'" for name in (*case.rules, *case.near) if name not in names]
        problems = (*unknown, *_differences(case, snapshot, verdict))
        if not problems:
            found.append(CaseResult(case, verdict.rules, ()))
            continue
        lacking = _find_unknown_facts(case, snapshot, verdict)
        seen = _describe_facts(case, snapshot, lacking)
        # Once for each file: often all its cases lack the same value.
        suggestion = GIVE_VALUES if lacking and case.file not in told else None
        told |= {case.file} if suggestion else set()
        found.append(CaseResult(case, verdict.rules, (*problems, *seen), suggestion))
    return found


def complain_of(failed: CaseResult) -> Complaint:
    """The complaint about a failed case, at its place."""
    case = failed.case
    return Complaint(case.file, case.line, 1, f"Case '{case.name}': {'; '.join(failed.problems)}", failed.suggestion)


def request_of(case: Case, snapshot: Snapshot) -> AccessRequest:
    """The access request of the case, as the snapshot's rules see it."""
    return snapshot.access_request(case.kind, case.action, case.state, case.who, case.scopes, case.asked_facts)


def find_untried(policy: Policy, snapshot: Snapshot, tried: Sequence[CaseResult]) -> list[Complaint]:
    """Rules that decide no case, roles and groups that no case has, and words without an allowed or a denied case.

    They do not refuse a version. They are hints to its author, and the policy that ships with the service has none.
    """
    cases = [result.case for result in tried]
    # A rule whose case fails is tried, and the failure is told.
    failed = {name for result in tried if result.problems for name in result.case.rules}
    idle = rules_without_a_case(policy, tried) - failed
    complaints = [] if tried else [Complaint("cases", 0, 0, "There are no cases", WHERE_CASES_STAND)]
    complaints += [
        Complaint("policy.csv", rule.line, 1, f"No case is decided by the rule '{rule.name}'", "add one under cases/")
        for rule in policy.rules
        if rule.name in idle
    ]
    had = snapshot.close(word for case in cases for word in case.who)
    complaints += [
        Complaint("policy.csv", line, 1, f"No case has the {form} '{name}'. Is it spelled correctly?")
        for word, line in _given_words(policy).items()
        for form, _, name in [word.partition(":")]
        if word not in had
    ]
    if policy.vocabulary.approval is not None and not any(case.approvals_needed for case in cases):
        message = "No case says how many approvals a timesheet needs"
        complaints.append(Complaint("vocabulary.toml", 0, 0, message, "add approvals_needed: 2 to a case"))
    open_to_all = {f"action '{rule.action}' of the kind '{rule.kind}'" for rule in policy.rules if _always_allows(rule)}
    for verdict, allowed, exempt in (("allowed", True, set[str]()), ("denied", False, open_to_all)):
        used = exempt.union(word for case in cases if case.allowed is allowed for word in _words_of_case(case))
        complaints += [
            Complaint("vocabulary.toml", 0, 0, f"No {verdict} case uses the {word}")
            for word in _words(policy.vocabulary)
            if word not in used
        ]
    return complaints


def rules_without_a_case(policy: Policy, tried: Iterable[CaseResult]) -> frozenset[str]:
    """The names of rules that decide no case."""
    return frozenset(rule.name for rule in policy.rules) - {name for result in tried for name in result.rules}


def _given_words(policy: Policy) -> dict[str, int]:
    """Each role and group with the line of the first rule that names it, or 0 if only g rows do."""
    found = {role: 0 for link in policy.role_links for role in link}
    for rule in reversed(policy.rules):
        if rule.who.startswith((ROLE, GROUP)):
            found[rule.who] = rule.line
    return found


def _count_walks(case: Case, *, new: bool) -> int:
    """How often the case reads the rows of its action: to decide, to explain, for the sentences, and for the list."""
    explained = bool(case.near or case.missing or case.told)
    return sum((new, explained, bool(case.told), case.listed is not None))


def _describe_excess(case: Case, rows: int) -> str:
    return (
        f"this case and the later ones were not run, because they would read more than {MAX_ROW_VISITS:,} rows: write"
        f" fewer cases of '{case.action} {case.kind}', which has {rows:,} rows, or fewer rows"
    )


def _differences(case: Case, snapshot: Snapshot, verdict: Verdict) -> Iterator[str]:
    if verdict.allowed is not case.allowed:
        wanted, got = ("allow", "deny") if case.allowed else ("deny", "allow")
        by = f" by {', '.join(verdict.rules)}" if verdict.rules else ""
        yield f"expected {wanted}, got {got} ({verdict.reason.value}{by})"
        return
    if case.rules and set(case.rules) != set(verdict.rules):
        yield f"expected a decision by {', '.join(case.rules)}, got {', '.join(verdict.rules) or 'no rule'}"
    elif case.reason is not None and case.reason is not verdict.reason:
        yield f"expected the reason {case.reason.value}, got {verdict.reason.value}"
    elif verdict.reason is Reason.POLICY_ERROR:
        yield "the access request could not be decided"
    yield from _differences_of_explanation(case, snapshot)
    yield from _difference_of_list(case, snapshot)
    yield from _difference_of_approvals(case, snapshot)


def _differences_of_explanation(case: Case, snapshot: Snapshot) -> Iterator[str]:
    """Differences in the explanation. The nearest misses are those with the fewest missing conditions."""
    if not case.near and not case.missing and not case.told:
        return
    request = request_of(case, snapshot)
    explanation = explain(snapshot.rules_of(case.kind, case.action), request)
    told = sentences_for_caller(explanation, request, snapshot.vocabulary.with_values(case.values)) if case.told else ()
    if not set(case.told) <= set(told):
        yield f"expected the sentences: {_quote(case.told)}, got: {_quote(told) or 'none'}"
    misses = explanation.near_misses
    nearest = [miss for miss in misses if len(miss.conditions) == len(misses[0].conditions)]
    got = "; ".join(f"{miss.rule} lacking {_join_conditions(miss.conditions)}" for miss in nearest) or "none"
    # Other rules may be as near, so that adding a rule does not break every case of its action.
    if not {miss.rule for miss in nearest}.issuperset(case.near):
        yield f"expected {', '.join(case.near)} as the nearest, got {got}"
    elif case.missing and not any(case.missing == set(miss.conditions) for miss in nearest):
        yield f"expected {_join_conditions(sorted(case.missing))} as missing, got {got}"


def _quote(sentences: Iterable[str]) -> str:
    """The sentences in quotes. They may hold commas and semicolons, and apostrophes."""
    return ", ".join(f'"{sentence}"' for sentence in sentences)


def _difference_of_list(case: Case, snapshot: Snapshot) -> Iterator[str]:
    """The difference if a list, compiled without the row, shows what it should hide, or hides what it should show."""
    if case.listed is None:
        return
    rules, words = snapshot.rules_of(case.kind, case.action), snapshot.vocabulary
    relations, facts = words.relations.get(case.kind, ()), words.facts.get(case.kind, ())
    if is_listed(rules, request_of(case, snapshot), relations, facts) is not case.listed:
        yield "expected it listed, got not listed" if case.listed else "expected it not listed, got listed"


def _difference_of_approvals(case: Case, snapshot: Snapshot) -> Iterator[str]:
    """The difference if the timesheet needs another number of approvals, with the values that the expression saw."""
    if not case.approvals_needed:
        return
    expression, given = snapshot.vocabulary.approval, case.values.get(APPROVALS)
    needed = count_needed(expression, case.values, [str(name) for name in given] if isinstance(given, tuple) else [])
    got = UNKNOWN if needed is None else str(needed)
    if got != case.approvals_needed:
        seen = _describe_values(expression, case, APPROVALS)
        yield f"expected approvals_needed: {case.approvals_needed}, got {got}{seen}"


def _describe_values(expression: Expression | None, case: Case, counted: str = "") -> str:
    """The values that an expression saw. `counted`: an attribute that need not be given."""
    if expression is None:
        return ""
    seen = [name for name, _ in expression.types if name != counted or name in case.values]
    values = ", ".join(f"{name} = {show_value(case.values.get(name))}{_by_default(name, case)}" for name in seen)
    return f" ({values})" if values else ""


def _find_unknown_facts(case: Case, snapshot: Snapshot, verdict: Verdict) -> frozenset[str]:
    """The unknown facts of the rules that decided the case or that it names."""
    names, facts = {*verdict.rules, *case.rules}, case.asked_facts
    rules = (rule for rule in snapshot.rules_of(case.kind, case.action) if rule.name in names)
    return frozenset(condition.fact for rule in rules for condition in rule.when if facts.get(condition.fact) is None)


def _describe_facts(case: Case, snapshot: Snapshot, unknown: Collection[str]) -> Iterator[str]:
    """The facts of the rules of the action with the values that their expressions saw. Of the facts without one, those
    that are unknown or defaults: the case says the others itself."""
    asked = {condition.fact for rule in snapshot.rules_of(case.kind, case.action) for condition in rule.when}
    for name in sorted(asked)[:MAX_FACTS_DESCRIBED]:
        fact = find_definition(snapshot.vocabulary, case.kind, name)
        if fact is not None or name in unknown or name in case.defaults:
            why = _by_default(name, case) or _describe_values(fact, case)
            yield f"{name} is {FACT_VALUES[case.asked_facts.get(name)]}{why}"


def _by_default(name: str, case: Case) -> str:
    """Where the defaults of its file give the case this fact or attribute."""
    return f" by default (line {case.defaults[name]})" if name in case.defaults else ""


def _join_conditions(conditions: Iterable[tuple[str, str]]) -> str:
    return " and ".join(" ".join(pair) for pair in conditions)


def _always_allows(rule: Rule) -> bool:
    """Whether a rule always allows its action, so that no denied case can exist."""
    return (rule.effect, rule.who, rule.scope, rule.states, rule.when) == (Effect.ALLOW, ANYONE, ANY, frozenset(), ())


def _words_of_case(case: Case) -> Iterator[str]:
    yield f"action '{case.action}' of the kind '{case.kind}'"
    yield f"state '{case.state}' of the kind '{case.kind}'"
    yield from (f"relation '{word}' of the kind '{case.kind}'" for word in case.who)
    yield from (f"fact '{name}'" for name, value in case.facts.items() if value is not None)
    yield from (f"scope '{scope}'" for scope in case.scopes)


def _words(vocabulary: Vocabulary) -> Iterator[str]:
    for what, table in (
        ("action", vocabulary.actions),
        ("state", vocabulary.states),
        ("relation", vocabulary.relations),
    ):
        yield from (f"{what} '{word}' of the kind '{kind}'" for kind in table for word in sorted(table[kind]))
    facts = vocabulary.request_facts.union(*vocabulary.facts.values())
    yield from (f"fact '{name}'" for name in sorted(facts))
    yield from (f"scope '{scope}'" for scope in sorted(vocabulary.scopes))
