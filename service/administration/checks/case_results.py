"""Runs the cases of a policy against its snapshot, and says what the cases leave untried. Pure.

The same files are run by the tests, by `timewarden policy test` and by activation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.authorization.engine.explanation import explain, sentences_for_caller
from service.authorization.engine.row_conditions import listed
from service.places import Complaint
from service.policy.access_request import ANY, ANYONE, Effect, Reason
from service.policy.request_space import Budget

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from service.authorization.engine.engine import Snapshot
    from service.policy.access_request import AccessRequest, Rule, Verdict, Vocabulary
    from service.policy.case_files import Case
    from service.policy.policy_file import Policy

# Rows that are looked at for all cases together: some ten seconds of work. Thousands of cases about an action with
# thousands of rows would take many minutes.
MAX_ROW_VISITS = 3_000_000
ROLE = "role:"


@dataclass(frozen=True, slots=True)
class Tried:
    """A case, the rules that decided it, and in `problems` how the answer differs from what the case says."""

    case: Case
    rules: tuple[str, ...]
    problems: tuple[str, ...]


def run(policy: Policy, snapshot: Snapshot, cases: Iterable[Case]) -> list[Complaint]:
    """A complaint for each case that the snapshot does not answer as it says."""
    return [complaint(one) for one in tried(policy, snapshot, cases) if one.problems]


def tried(policy: Policy, snapshot: Snapshot, cases: Iterable[Case]) -> list[Tried]:
    """Every case with what came of it, up to the one with which too many rows would be looked at."""
    names = {rule.name for rule in policy.rules}
    found: list[Tried] = []
    asked: set[AccessRequest] = set()
    budget = Budget(MAX_ROW_VISITS)
    for case in cases:
        request, rows = access_request_of(case, snapshot), len(snapshot.rules_of(case.kind, case.action))
        if not budget.spend(rows * _walks(case, new=request not in asked)):
            found.append(Tried(case, (), (_too_much(case, rows),)))
            break
        asked.add(request)
        verdict = snapshot.decide(request)
        unknown = [f"there is no rule '{name}'" for name in (*case.rules, *case.near) if name not in names]
        found.append(Tried(case, verdict.rules, (*unknown, *_differences(case, snapshot, verdict))))
    return found


def complaint(one: Tried) -> Complaint:
    """What is said of a case that failed, at its place."""
    return Complaint(one.case.file, one.case.line, 1, f"Case '{one.case.name}': {'; '.join(one.problems)}")


def access_request_of(case: Case, snapshot: Snapshot) -> AccessRequest:
    """What the case asks, as the snapshot's rules see it."""
    return snapshot.access_request(case.kind, case.action, case.state, case.who, case.scopes, case.facts)


def untried(policy: Policy, snapshot: Snapshot, tried: Sequence[Tried]) -> list[Complaint]:
    """Rules that decide no case, roles that no case has, and words of the vocabulary that stand in no allowed or in no
    denied case.

    Not a reason to refuse a version: a hint to its author, and a test for the policy that ships with the service.
    """
    cases = [one.case for one in tried]
    idle = undecided(policy, tried)
    complaints = [
        Complaint("policy.csv", rule.line, 1, f"No case is decided by the rule '{rule.name}'", "add one under cases/")
        for rule in policy.rules
        if rule.name in idle
    ]
    had = snapshot.close(word for case in cases for word in case.who)
    complaints += [
        Complaint("policy.csv", line, 1, f"No case has the role '{role.removeprefix(ROLE)}': is it spelled right?")
        for role, line in _roles(policy).items()
        if role not in had
    ]
    open_to_all = {f"action '{rule.action}' of the kind '{rule.kind}'" for rule in policy.rules if _always(rule)}
    for verdict, allowed, exempt in (("allowed", True, set[str]()), ("denied", False, open_to_all)):
        used = exempt.union(word for case in cases if case.allowed is allowed for word in _words_of(case))
        complaints += [
            Complaint("vocabulary.toml", 0, 0, f"No {verdict} case uses the {word}")
            for word in _words(policy.vocabulary)
            if word not in used
        ]
    return complaints


def undecided(policy: Policy, tried: Iterable[Tried]) -> frozenset[str]:
    """The names of the rules that decide no case."""
    return frozenset(rule.name for rule in policy.rules) - {name for one in tried for name in one.rules}


def _roles(policy: Policy) -> dict[str, int]:
    """Each role of a row with the line of the first rule that names it, 0 for one that only g rows name."""
    found = {role: 0 for link in policy.role_links for role in link}
    for rule in reversed(policy.rules):
        if rule.who.startswith(ROLE):
            found[rule.who] = rule.line
    return found


def _walks(case: Case, *, new: bool) -> int:
    """How often the case has its action's rows looked at: to decide, to explain, to tell, and to list."""
    explained = bool(case.near or case.missing or case.told)
    return sum((new, explained, bool(case.told), case.listed is not None))


def _too_much(case: Case, rows: int) -> str:
    return (
        f"neither this case nor those behind it were tried, because they would look at more than {MAX_ROW_VISITS:,}"
        f" rows: have fewer cases of '{case.action} {case.kind}', which has {rows:,} rows, or fewer rows"
    )


def _differences(case: Case, snapshot: Snapshot, verdict: Verdict) -> Iterator[str]:
    if verdict.allowed is not case.allowed:
        wanted, got = ("allow", "deny") if case.allowed else ("deny", "allow")
        by = f" by {', '.join(verdict.rules)}" if verdict.rules else ""
        yield f"wanted {wanted}, got {got} ({verdict.reason.value}{by})"
        return
    if case.rules and set(case.rules) != set(verdict.rules):
        yield f"wanted it decided by {', '.join(case.rules)}, got {', '.join(verdict.rules) or 'no rule'}"
    elif case.reason is not None and case.reason is not verdict.reason:
        yield f"wanted the reason {case.reason.value}, got {verdict.reason.value}"
    elif verdict.reason is Reason.POLICY_ERROR:
        yield "the question could not be decided"
    yield from _explained_otherwise(case, snapshot)
    yield from _listed_otherwise(case, snapshot)


def _explained_otherwise(case: Case, snapshot: Snapshot) -> Iterator[str]:
    """Where the explanation differs: the nearest misses are those with the fewest missing conditions."""
    if not case.near and not case.missing and not case.told:
        return
    request = access_request_of(case, snapshot)
    explanation = explain(snapshot.rules_of(case.kind, case.action), request)
    told = sentences_for_caller(explanation, request, snapshot.vocabulary) if case.told else ()
    if not set(case.told) <= set(told):
        yield f"wanted the caller told: {' | '.join(case.told)}, got: {' | '.join(told)}"
    misses = explanation.near_misses
    nearest = [miss for miss in misses if len(miss.conditions) == len(misses[0].conditions)]
    got = "; ".join(f"{one.rule} lacking {_written(one.conditions)}" for one in nearest) or "none"
    # Further rules may come as near: who adds one need not touch every case of its action.
    if not {one.rule for one in nearest}.issuperset(case.near):
        yield f"wanted {', '.join(case.near)} nearest to allowing it, got {got}"
    elif case.missing and not any(case.missing == set(one.conditions) for one in nearest):
        yield f"wanted {_written(sorted(case.missing))} missing, got {got}"


def _listed_otherwise(case: Case, snapshot: Snapshot) -> Iterator[str]:
    """Where a list, compiled from the rules without the row, shows what it should not, or hides what it should show."""
    if case.listed is None:
        return
    rules, words = snapshot.rules_of(case.kind, case.action), snapshot.vocabulary
    relations, facts = words.relations.get(case.kind, ()), words.facts.get(case.kind, ())
    if listed(rules, access_request_of(case, snapshot), relations, facts) is not case.listed:
        yield f"wanted it {'listed' if case.listed else 'not listed'}, and it is {'not' if case.listed else ''}".strip()


def _written(conditions: Iterable[tuple[str, str]]) -> str:
    return " and ".join(" ".join(pair) for pair in conditions)


def _always(rule: Rule) -> bool:
    """True for a rule that allows everybody everything of its kind and action, so that no denied case can exist."""
    return (rule.effect, rule.who, rule.scope, rule.states, rule.when) == (Effect.ALLOW, ANYONE, ANY, frozenset(), ())


def _words_of(case: Case) -> Iterator[str]:
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
