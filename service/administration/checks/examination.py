"""From policy texts to a snapshot that may decide: read, build, prove the laws, run the cases. Pure: owns no state.

Bootstrap, proposals, activations and tests use it. It takes 60 milliseconds of CPU for a policy of ordinary size, and
up to half a minute for the largest: a server does it in another process (`check_worker`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.administration.checks import case_changes, case_results, redundancy
from service.administration.checks.diff import compare_policies
from service.administration.checks.earlier_values import find_earlier_values
from service.administration.checks.missing_values import find_missing_values
from service.administration.checks.people_without_values import find_people_without_values
from service.authorization.engine.engine import Snapshot
from service.errors import PolicyRejected
from service.places import Complaint, limit_complaints
from service.policy import case_files, known_words, laws, policy_file, toml_places
from service.policy.expression_comments import complain_of_comments
from service.policy.listed_values import complain_of_values
from service.values import replace

if TYPE_CHECKING:
    from service.administration.checks.case_results import CaseResult
    from service.policy.access_request import AccessRequest, Verdict, Vocabulary
    from service.policy.policy_file import PolicyText


# The number of texts that are not a version yet.
PROPOSAL = 0
# Sentences about a draft. The comparison of two versions has all of them.
MAX_CHANGES = 50


@dataclass(frozen=True, slots=True)
class PolicyReport:
    """The findings about a policy. Only `complaints` refuse it.

    `untried`: rules that decide no case, and words without an allowed or a denied case. `changes`: sentences
    about the decisions that differ from those of the policy beside it.
    """

    complaints: tuple[Complaint, ...] = ()
    warnings: tuple[Complaint, ...] = ()
    untried: tuple[Complaint, ...] = ()
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Examination:
    """The result of reading, building and testing a policy: the complaints of the first step that has any.

    A policy that cannot be read has no `snapshot`. With a snapshot, `tried` has every case, passed or failed.
    """

    complaints: tuple[Complaint, ...]
    snapshot: Snapshot | None = None
    tried: tuple[CaseResult, ...] = ()
    warnings: tuple[Complaint, ...] = ()


def load(text: PolicyText, number: int) -> Snapshot:
    """A warm snapshot of the version. Raises PolicyRejected with the complaints of its examination."""
    found = examine(text, number)
    if found.complaints or found.snapshot is None:
        raise PolicyRejected(found.complaints)
    return found.snapshot


def examine(text: PolicyText, number: int) -> Examination:
    """Read all files, build, prove the laws and run the cases.

    A PROPOSAL is also checked for conflicting and unsatisfiable rules, undeclared states, values that no attribute
    has, comments in expressions and hidden characters. A stored version is not: rolling back to it must stay possible.
    """
    if number == PROPOSAL and (hidden := policy_file.find_hidden_characters(text)):
        return Examination(tuple(hidden))
    policy, complaints = policy_file.try_parse(text)
    if policy is None:
        return Examination(tuple(complaints))
    found = case_files.read(text.cases, policy.vocabulary)
    if found.complaints:
        return Examination(tuple(found.complaints))
    try:
        snapshot = Snapshot.build(policy, number)
    except PolicyRejected as error:
        return Examination(error.complaints)

    def decide(request: AccessRequest) -> Verdict:
        return snapshot.decide(replace(request, who=snapshot.close(request.who)))

    complaints = laws.check(policy.rules, policy.vocabulary, decide)
    tried = case_results.run_cases(policy, snapshot, found.cases)
    complaints += [case_results.complain_of(result) for result in tried if result.problems]
    findings = redundancy.find_redundancy(policy)
    if number == PROPOSAL:
        complaints += findings.complaints + _undeclared_states(policy.vocabulary)
        complaints += complain_of_comments(policy_file.plain_vocabulary(text), policy.vocabulary)
        complaints += complain_of_values(policy_file.plain_vocabulary(text), policy.vocabulary, found.cases)
    if snapshot.errors:
        complaints.append(
            Complaint("policy.csv", 0, 0, f"{snapshot.errors} access requests could not be decided; see the log")
        )
    warnings = (
        *findings.warnings,
        *redundancy.find_shown(policy),
        *redundancy.find_idle_denies(policy),
        *find_earlier_values(policy),
        *find_missing_values(policy),
        *find_people_without_values(policy),
    )
    return Examination(tuple(complaints), snapshot, tuple(tried), warnings)


def report(text: PolicyText, number: int, beside: PolicyText | None = None) -> PolicyReport:
    """The findings about a policy. With the active policy in `beside`, lost cases become warnings, and the changes are
    described unless there are complaints."""
    found = examine(text, number)
    if found.snapshot is None:
        return PolicyReport(limit_complaints(found.complaints))
    before = None if beside is None else examine(beside, number)
    warnings = [*found.warnings, *(_warn_of_losses(before, found) if before else ())]
    untried = case_results.find_untried(found.snapshot.policy, found.snapshot, found.tried)
    changes = _describe_changes(before, found) if before and not found.complaints else ()
    complaints, warned, unused = map(limit_complaints, (found.complaints, warnings, untried))
    return PolicyReport(complaints, warned, unused, changes)


def _describe_changes(before: Examination, after: Examination) -> tuple[str, ...]:
    """Sentences about the decisions and words that differ, MAX_CHANGES at most."""
    if before.snapshot is None or after.snapshot is None:
        return ()
    diff = compare_policies(before.snapshot.policy, after.snapshot.policy)
    sentences = [*(verdict.sentence for verdict in diff.verdicts), *diff.words]
    more = list(diff.cut_short)
    if len(sentences) > MAX_CHANGES:
        more.insert(0, f"{len(sentences) - MAX_CHANGES} more sentences")
    left_out = (f"Not all changes are listed: {', '.join(more)}",) if more else ()
    return (*sentences[:MAX_CHANGES], *left_out)


def _warn_of_losses(before: Examination, after: Examination) -> list[Complaint]:
    """Warnings about cases that the new policy lost."""
    if before.snapshot is None or after.snapshot is None:
        return []
    return case_changes.warn_of_lost_cases(before.tried, after.snapshot.policy, after.tried)


def _undeclared_states(vocabulary: Vocabulary) -> list[Complaint]:
    """A complaint for each state of the service that a kind does not declare, although it declares others.

    A resource in such a state could not be decided about. A kind that declares no state is decided without one.
    """
    return [
        Complaint(
            toml_places.FILE, 0, 0, f"The kind '{kind}' does not declare the state '{state}', so nobody could"
            f" do anything to a {kind} in it", "declare all of the kind's states, or none",
        )
        for kind, states in sorted(vocabulary.states.items())
        for state in sorted(known_words.STATES.get(kind, frozenset()) - states if states else ())
    ]  # fmt: skip


def admit(text: PolicyText, number: int) -> Snapshot:
    """As `load`, for texts that were never proposed, such as the first version from files."""
    load(text, PROPOSAL)
    return build(text, number)


def build(text: PolicyText, number: int) -> Snapshot:
    """A warm snapshot of a version that was checked when it was activated.

    Laws and cases are not checked again, so that a replica that is behind catches up fast. `law_forbids` still checks
    every decision.

    Raises PolicyRejected for texts that cannot be read.
    """
    policy, complaints = policy_file.try_parse(text)
    if policy is None:
        raise PolicyRejected(complaints)
    return Snapshot.build(policy, number)
