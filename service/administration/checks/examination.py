"""From policy texts to a snapshot that may decide: read, build, laws, cases, in this one place. Pure.

Bootstrap, propose, activate and the tests all come through here. It takes some tens of milliseconds of CPU for a policy
of ordinary size and grows with rows and cases, up to half a minute: a server has it done aside (`check_worker`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from service.administration.checks import case_changes, case_results, redundancy
from service.authorization.engine.engine import Snapshot
from service.errors import PolicyRejected
from service.places import Complaint, bounded
from service.policy import case_files, known_words, laws, policy_file, vocabulary_file

if TYPE_CHECKING:
    from service.administration.checks.case_results import Tried
    from service.policy.access_request import AccessRequest, Verdict, Vocabulary
    from service.policy.policy_file import PolicyText


# The number of texts that no version holds yet.
PROPOSAL = 0


@dataclass(frozen=True, slots=True)
class PolicyReport:
    """What is to be said of a policy: `complaints` refuse it, `warnings` and `untried` refuse nothing. `untried`: rules
    that decide no case, and words that stand in no allowed or no denied case."""

    complaints: tuple[Complaint, ...] = ()
    warnings: tuple[Complaint, ...] = ()
    untried: tuple[Complaint, ...] = ()


@dataclass(frozen=True, slots=True)
class Examination:
    """What comes of reading, building and trying a policy: the complaints of the first step that has any. What cannot
    be read has no `snapshot`, and what has one has every case in `tried`, passed or failed."""

    complaints: tuple[Complaint, ...]
    snapshot: Snapshot | None = None
    tried: tuple[Tried, ...] = ()
    warnings: tuple[Complaint, ...] = ()


def load(text: PolicyText, number: int) -> Snapshot:
    """A warm snapshot of the version. Raises PolicyRejected with the complaints of its examination."""
    found = examine(text, number)
    if found.complaints or found.snapshot is None:
        raise PolicyRejected(found.complaints)
    return found.snapshot


def examine(text: PolicyText, number: int) -> Examination:
    """Read all files, build, then ask laws and cases, and for a PROPOSAL whether rules contradict each other or can
    never hold, which states are left out, and whether characters are hidden in it. A stored version is not asked for
    the latter: going back to it must stay possible.
    """
    if number == PROPOSAL and (hidden := policy_file.find_hidden_characters(text)):
        return Examination(tuple(hidden))
    policy, complaints = policy_file.examine(text)
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
    tried = case_results.tried(policy, snapshot, found.cases)
    complaints += [case_results.complaint(one) for one in tried if one.problems]
    odd = redundancy.findings(policy)
    if number == PROPOSAL:
        complaints += odd.complaints + _left_out(policy.vocabulary)
    if snapshot.errors:
        complaints.append(
            Complaint("policy.csv", 0, 0, f"{snapshot.errors} questions could not be decided; see the log")
        )
    return Examination(tuple(complaints), snapshot, tuple(tried), tuple(odd.warnings))


def report(text: PolicyText, number: int, beside: PolicyText | None = None) -> PolicyReport:
    """What is to be said of a policy. `beside` is the one that decides: a version with fewer cases is warned of."""
    found = examine(text, number)
    if found.snapshot is None:
        return PolicyReport(bounded(found.complaints))
    before = None if beside is None or found.complaints else examine(beside, number)
    warnings = [*found.warnings, *(_lost(before, found) if before else ())]
    untried = case_results.untried(found.snapshot.policy, found.snapshot, found.tried)
    return PolicyReport(*(bounded(one) for one in (found.complaints, warnings, untried)))


def _lost(before: Examination, after: Examination) -> list[Complaint]:
    """What the cases do not say any more."""
    if before.snapshot is None or after.snapshot is None:
        return []
    return case_changes.lost(before.tried, after.snapshot.policy, after.tried)


def _left_out(vocabulary: Vocabulary) -> list[Complaint]:
    """States that the service has and a kind with states does not declare: a thing in one of them could not be decided
    about at all. A kind that declares none is decided about whatever its state."""
    return [
        Complaint(
            vocabulary_file.FILE, 0, 0, f"The kind '{kind}' has no word for the state '{state}', so nobody could do"
            " anything to what is in it", "declare all of the kind's states, or none",
        )
        for kind, states in sorted(vocabulary.states.items())
        for state in sorted(known_words.STATES.get(kind, frozenset()) - states if states else ())
    ]  # fmt: skip


def admit(text: PolicyText, number: int) -> Snapshot:
    """As `load`, for texts that were never proposed: the first version, from files."""
    load(text, PROPOSAL)
    return build(text, number)


def build(text: PolicyText, number: int) -> Snapshot:
    """A warm snapshot of a version that was checked when it was activated: cases and laws are not asked again, so that
    a replica that is behind has it in a moment. The laws in code stand behind every decision all the same.

    Raises PolicyRejected for texts that cannot be read.
    """
    policy, complaints = policy_file.examine(text)
    if policy is None:
        raise PolicyRejected(complaints)
    return Snapshot.build(policy, number)
