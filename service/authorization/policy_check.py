"""From policy texts to a snapshot that may decide: read, build, laws, cases, in this one place. Pure.

Bootstrap, propose, activate and the tests all come through here. It takes some tens of milliseconds of CPU for a policy
of ordinary size and grows with rows and cases: a server calls it in a thread.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from service.authorization import (
    case_files,
    known_words,
    laws,
    policy_cases,
    policy_file,
    policy_redundancy,
    vocabulary_file,
)
from service.authorization.engine import Snapshot
from service.errors import PolicyRejected
from service.places import Complaint

if TYPE_CHECKING:
    from service.authorization.policy_file import PolicyText
    from service.authorization.question import Question, Verdict, Vocabulary


# The number of texts that no version holds yet.
PROPOSAL = 0


def load(text: PolicyText, number: int) -> Snapshot:
    """A warm snapshot of the version. Raises PolicyRejected with every complaint of the first step that has any:
    reading (all files), building, then laws and cases together, and for a PROPOSAL rules that contradict each other or
    can never hold, and states left out. A stored version is not asked for the latter: going back to it must stay
    possible.
    """
    policy, complaints = policy_file.examine(text)
    if policy is None:
        raise PolicyRejected(complaints)
    found = case_files.read(text.cases, policy.vocabulary)
    if found.complaints:
        raise PolicyRejected(found.complaints)
    snapshot = Snapshot.build(policy, number)

    def decide(question: Question) -> Verdict:
        return snapshot.decide(replace(question, who=snapshot.close(question.who)))

    complaints = laws.check(policy.rules, policy.vocabulary, decide)
    complaints += policy_cases.run(policy, snapshot, found.cases)
    if number == PROPOSAL:
        complaints += policy_redundancy.findings(policy).complaints + _left_out(policy.vocabulary)
    if snapshot.errors:
        complaints.append(
            Complaint("policy.csv", 0, 0, f"{snapshot.errors} questions could not be decided; see the log")
        )
    if complaints:
        raise PolicyRejected(complaints)
    return snapshot


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


def warnings(text: PolicyText) -> list[Complaint]:
    """What is odd about the rules of a readable policy and refuses nothing. Raises PolicyRejected."""
    return policy_redundancy.findings(policy_file.parse(text)).warnings


def untried(text: PolicyText) -> list[str]:
    """What the cases of a policy leave untried, one sentence each. Raises PolicyRejected as `load`."""
    snapshot = load(text, PROPOSAL)
    cases = case_files.read(text.cases, snapshot.vocabulary).cases
    return [str(one) for one in policy_cases.untried(snapshot.policy, snapshot, cases)]
