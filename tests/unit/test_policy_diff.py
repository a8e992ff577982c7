"""The diff of two policies: it names rows and words, and reports exactly the verdicts that change."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.administration.checks import verdict_changes as changed
from service.administration.checks.diff import compare_policies
from service.administration.checks.verdict_changes import MAX_CHANGES, verdict_changes
from service.policy import policy_file
from service.policy.matching import FORMER
from tests import policy_forge
from tests.example_count import example_count
from tests.unit.test_engine_differential import access_request, build, links, policies, requests

if TYPE_CHECKING:
    from service.administration.checks.verdict_changes import VerdictChange
    from service.policy.access_request import Rule
    from service.policy.policy_file import Policy

APPROVE = "p, allow, manager, approve, {}, timesheet, approve:timesheets, {}, approve-team"
MANAGER = "a manager with approve:timesheets"
ME = "p, allow, anyone, read, any, me, any, always, me"
Request = tuple[str, str, frozenset[str], frozenset[str], dict[str, bool | None]]

# One kind is enough here, and its states are those of the vocabulary.
sheet_policies = policies.map(lambda rules: [replace(rule, action=rule.action.removeprefix("log.")) for rule in rules])
sheet_requests = requests.map(lambda request: (request[0].removeprefix("log."), *request[1:]))


def sentences_of(before: list[str], after: list[str]) -> list[str]:
    found = compare_policies(policy_forge.policy(*before), policy_forge.policy(*after))
    return [verdict.sentence for verdict in found.verdicts]


@pytest.mark.parametrize(
    ("before", "after", "sentences"),
    [
        ([APPROVE.format("submitted", "always")], [APPROVE.format("submitted or rejected", "always")],
         ["a manager with approve:timesheets may now approve a rejected timesheet"]),
        ([APPROVE.format("submitted", "always")], [APPROVE.format("submitted", "mfa")],
         [f"{MANAGER} may no longer approve a submitted timesheet when mfa is false or unknown"]),
        ([APPROVE.format("submitted", "mfa")], [APPROVE.format("submitted", "not mfa")],
         ["a manager with approve:timesheets may now approve a submitted timesheet when mfa is false",
          "a manager with approve:timesheets may no longer approve a submitted timesheet when mfa is true"]),
        ([ME], [ME, "p, allow, role:auditor, read, any, log, read:audit, always, audit"],
         ["a caller with the role auditor and read:audit may now read the decision log"]),
        ([ME], [ME, "p, allow, group:payroll, read, any, log, read:audit, always, audit"],
         ["a member of the group payroll with read:audit may now read the decision log"]),
        ([ME], [ME, "p, allow, owner, read, any, timesheet, any, always, own"],
         ["the owner may now read a timesheet in any state"]),
        ([APPROVE.format("submitted", "always")],
         [APPROVE.format("submitted", "always"), "p, deny, owner, approve, any, timesheet, any, always, never"],
         ["a manager who is also the owner with approve:timesheets may no longer approve a submitted timesheet"]),
        ([APPROVE.format("submitted", "always")],
         [APPROVE.format("submitted", "always"), "p, deny, role:new, approve, any, timesheet, any, always, no"],
         ["a manager with the role new and approve:timesheets may no longer approve a submitted timesheet"]),
        ([ME], ["p, allow, anyone, read, any, me, any, always, renamed"], []),
        ([ME, "p, allow, role:payroll, read, any, log, any, always, pay"],
         [ME, "p, allow, role:payroll, read, any, log, any, always, pay", "g, role:lead, role:payroll"],
         ["a caller with the role lead may now read the decision log"]),
        ([ME, "p, allow, client:job, read, any, log, any, always, job"], [ME],
         ["the client job for itself may no longer read the decision log"]),
        ([ME], [ME, "p, allow, actor:assistant, read, any, log, any, always, job"],
         ["a caller for whom assistant acts may now read the decision log"]),
        (["p, allow, role:auditor, read, any, log, any, always, audit"],
         ["p, allow, role:auditor, read, any, log, any, always, audit",
          "p, deny, client:job, read, any, log, any, always, no"],
         ["a caller for whom job acts with the role auditor may no longer read the decision log",
          "the client job for itself with the role auditor may no longer read the decision log",
          "a user of the client job with the role auditor may no longer read the decision log"]),
    ],
)  # fmt: skip
def test_changed_verdicts_are_described_in_sentences(before: list[str], after: list[str], sentences: list[str]) -> None:
    assert sentences_of(before, after) == sentences


def test_rows_are_added_removed_changed_and_renamed() -> None:
    before = [ME, "p, allow, owner, read, any, timesheet, any, always, own", APPROVE.format("submitted", "always")]
    after = [ME.replace(", me", ", me"), APPROVE.format("submitted", "mfa"), "g, role:a, role:b"]
    after[0] = "p, allow, anyone, read, any, me, any, always, myself"
    after.append("p, allow, role:a, read, any, log, any, always, log")
    found = compare_policies(policy_forge.policy(*before), policy_forge.policy(*after))
    assert [(row.change, row.name, row.line) for row in found.rows] == [
        ("changed", "myself", 1),
        ("changed", "approve-team", 2),
        ("added", "log", 4),
        ("removed", "own", 2),
        ("added", "", 0),
    ]
    assert found.rows[1].before == APPROVE.format("submitted", "always")
    assert found.rows[1].after == APPROVE.format("submitted", "mfa")
    assert (found.same, found.files) == (False, ("policy.csv",))


def test_a_shorter_maximum_age_is_reported_although_no_row_changes() -> None:
    before = policy_forge.read_shipped()
    after = replace(before, vocabulary=before.vocabulary.replace("max_age = 900", "max_age = 300"))
    found = compare_policies(policy_file.parse(before), policy_file.parse(after))
    assert found.words == ("the fact recent_sign_in holds for 300 seconds after sign-in, 900 before",)
    assert (found.rows, found.verdicts, found.same) == ((), (), False)


def test_a_policy_does_not_differ_from_itself() -> None:
    policy = policy_file.parse(policy_forge.read_shipped())
    found = compare_policies(policy, policy)
    assert (found.same, found.rows, found.words, found.files, found.verdicts) == (True, (), (), (), ())


def test_a_diff_that_is_too_large_names_where_it_was_cut_short() -> None:
    rows = [f"p, allow, role:r{n}, read, any, log, any, always, r-{n}" for n in range(2 * MAX_CHANGES)]
    found = compare_policies(policy_forge.policy(ME), policy_forge.policy(ME, *rows))
    assert (len(found.verdicts), found.cut_short) == (MAX_CHANGES, ("read of the kind log",))


def test_a_diff_that_is_cut_short_reports_gains_and_losses_and_small_actions_completely() -> None:
    """Many gains do not hide a few losses."""
    row = "p, allow, {}, {}, any, log, any, always, {}"
    gained = [row.format(f"role:new-{n}", "read", f"n-{n}") for n in range(2 * MAX_CHANGES)]
    lost = [row.format(f"role:old-{n}", "read", f"o-{n}") for n in range(3)]
    before = policy_forge.policy(ME, *lost, "p, allow, role:a, read, any, policy, any, always, a")
    found = compare_policies(before, policy_forge.policy(ME, *gained))
    assert found.cut_short == ("read of the kind log",)
    assert len(found.verdicts) == MAX_CHANGES
    assert sum(not told.allowed for told in found.verdicts if told.kind == "log") == 3
    assert [told.allowed for told in found.verdicts if told.kind == "policy"] == [False]


def test_a_request_is_reported_completely_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of its facts would read as if the others made no difference."""
    monkeypatch.setattr(changed, "MAX_CELLS", 6)
    before = policy_forge.policy(ME, "p, allow, role:a, read, any, log, any, always, a")
    found = compare_policies(
        before, policy_forge.policy(ME, "p, allow, role:a, read, any, log, any, mfa and recent_sign_in, a")
    )
    assert (found.verdicts, found.cut_short) == ((), ("read of the kind log",))


def test_ten_thousand_rows_are_compared_within_the_bound() -> None:
    rows = [f"p, allow, role:r{n}, approve, submitted, timesheet, any, always, r-{n}" for n in range(9_000)]
    found = compare_policies(
        policy_forge.policy(*rows),
        policy_forge.policy(*rows[1:], "p, deny, owner, approve, any, timesheet, any, mfa, no"),
    )
    assert found.cut_short == ("approve of the kind timesheet",)


def test_verdicts_that_differ_in_very_many_cases_are_cut_short_before_memory_is() -> None:
    """Seven facts that rows now ask for make 2,186 differing requests of each row."""
    text = policy_forge.rows(ME)
    names = [f"age_{n}" for n in range(7)]
    ages = [f'[request.facts.{name}]\nmax_age = 60\nyes = "y"\nno = "n"\nunknown = "u"\n' for name in names]
    words = text.vocabulary + "\n" + "\n".join(ages)

    def of(when: str) -> Policy:
        rules = "".join(f"p, allow, role:r{n}, read, any, log, any, {when}, r-{n}\n" for n in range(20))
        return policy_file.parse(replace(text, vocabulary=words, rules=rules))

    found = verdict_changes(of("always"), of(" and ".join(names)))

    assert found.cut_short == [("log", "read")]
    assert 0 < len(found.found) < MAX_CHANGES


def examples(change: VerdictChange) -> list[Request]:
    """Every request that the change is about."""
    names = [name for name, _ in change.facts]
    return [
        (change.action, state, change.who, change.scopes, dict(zip(names, values, strict=True)))
        for state in change.states
        for values in product(*(chosen for _, chosen in change.facts))
    ]


@settings(max_examples=example_count(80, uncut=120))
@given(
    removed=sheet_policies,
    kept=sheet_policies,
    added=sheet_policies,
    old=links,
    new=links,
    asked=st.lists(sheet_requests, min_size=15, max_size=25),
)
def test_exactly_the_verdicts_that_change_are_reported(
    removed: list[Rule],
    kept: list[Rule],
    added: list[Rule],
    old: list[tuple[str, str]],
    new: list[tuple[str, str]],
    asked: list[Request],
) -> None:
    before, after = build([*kept, *removed], old), build([*kept, *added], new)
    changes = verdict_changes(before.policy, after.policy)
    assert changes.cut_short == []
    for change in changes.found:
        for request in examples(change):
            assert after.decide(access_request(after, request)).allowed is change.allowed
            assert before.decide(access_request(before, request)).allowed is not change.allowed
    for request in asked:
        action, state, who, scopes, facts = request
        now = after.decide(access_request(after, request)).allowed
        if before.decide(access_request(before, request)).allowed is now:
            continue
        # A change for who had a word before an erasure is told by the word itself.
        own = who | {word.removeprefix(FORMER) for word in who}
        words = before.close(own) | after.close(own)
        assert any(
            change.allowed is now
            and change.action == action
            and state in change.states
            and change.scopes <= scopes
            and all(facts.get(name) in values for name, values in change.facts)
            for change in changes.found
            if change.who <= words
        ), (request, changes.found)
