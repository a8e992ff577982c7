"""Cases: the shipped policy passes its own and leaves nothing untried, a failed case refuses, wrong files are named."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.administration.checks import case_results, examination
from service.administration.checks.trial import trial
from service.authorization.engine.row_conditions import is_listed
from service.errors import PolicyRejected
from service.policy import case_files, policy_file
from service.policy.access_request import Reason
from tests import policy_forge
from tests.example_count import example_count
from tests.unit.test_engine_differential import access_request, build, policies, requests

if TYPE_CHECKING:
    from service.places import Complaint
    from service.policy.access_request import Rule
    from service.policy.policy_file import PolicyText

VOCABULARY = policy_file.parse(policy_forge.read_shipped()).vocabulary
SNAPSHOT = examination.build(policy_forge.read_shipped(), 1)
SHIPPED = case_files.read(policy_forge.read_shipped().cases, VOCABULARY).cases
CASE = """\
- case: an owner reads their own sheet
  who: owner
  scopes: read:timesheets
  action: read
  kind: timesheet
  state: draft
  verdict: allow
"""


def complaints_of(yaml: str) -> list[Complaint]:
    return case_files.read({"odd.yaml": yaml}, VOCABULARY).complaints


def find_complaints(text: policy_file.PolicyText) -> list[str]:
    with pytest.raises(PolicyRejected) as error:
        examination.load(text, 1)
    return [str(complaint) for complaint in error.value.complaints]


@pytest.mark.parametrize("case", SHIPPED, ids=lambda case: case.name)
def test_the_shipped_policy_passes_the_case(case: case_files.Case) -> None:
    (result,) = case_results.run_cases(SNAPSHOT.policy, SNAPSHOT, [case])
    assert result.problems == ()


def find_untried(text: PolicyText) -> list[str]:
    """The rules of a correct policy that its cases leave untried."""
    found = examination.examine(text, examination.PROPOSAL)
    assert found.snapshot is not None
    assert found.complaints == ()
    return [
        str(complaint) for complaint in case_results.find_untried(found.snapshot.policy, found.snapshot, found.tried)
    ]


def test_every_rule_and_word_has_an_allowed_and_a_denied_case() -> None:
    assert find_untried(policy_forge.read_shipped()) == []


def test_a_rule_whose_cases_fail_is_not_called_untried() -> None:
    text = policy_forge.read_shipped()
    row = "p, deny, manager, approve, any, timesheet, any, mfa, not-with-mfa\n"
    tested = trial(replace(text, rules=text.rules + row))
    assert any("'a manager approves a submitted sheet'" in complaint.message for complaint in tested.complaints)
    assert tested.untried == ()


@pytest.mark.parametrize("word", ["role:controler", "group:night-shft"])
def test_a_role_or_group_that_no_case_has_may_be_misspelt(word: str) -> None:
    text = policy_forge.read_shipped()
    row = f"p, allow, {word}, read, approved, timesheet, read:timesheets, always, read-more\n"
    form, _, name = word.partition(":")
    hints = find_untried(replace(text, rules=text.rules + row))
    assert any(f"No case has the {form} '{name}'. Is it spelled correctly?" in hint for hint in hints)
    case = CASE.replace("who: owner", f'who: "{word}"').replace("draft", "approved").replace("an owner", f"a {form}")
    assert find_untried(replace(text, rules=text.rules + row, cases={**text.cases, "odd.yaml": case})) == []


def test_four_eyes_are_turned_on_by_what_the_page_says_and_both_of_its_cases_are_needed() -> None:
    before = policy_forge.read_shipped()
    after = policy_forge.four_eyes_as_written(before)

    assert examination.load(after, 2).number == 2
    assert trial(after).good
    assert len(find_complaints(replace(after, cases=before.cases))) == 2


def test_reads_of_timesheets_say_whether_they_are_listed() -> None:
    reads = [case for case in SHIPPED if (case.kind, case.action) == ("timesheet", "read")]
    assert {case.listed for case in reads} == {True, False}


def test_a_policy_that_fails_a_case_is_refused_with_the_case_and_what_it_got() -> None:
    text = policy_forge.read_shipped()
    changed = text.rules.replace("manager,            reject, ", "owner,              reject, ")
    assert changed != text.rules
    complaint, explained = find_complaints(replace(text, rules=changed))
    assert complaint.startswith("cases/approval.yaml:")
    assert "as missing, got reject-team lacking who owner and state submitted" in explained
    assert "Case 'a manager sends a sheet back': expected allow, got deny (no-rule)" in complaint


@pytest.mark.parametrize(
    ("addition", "got"),
    [
        ("  rule: read-team\n", "expected a decision by read-team, got read-own"),
        ("  rule: read-all\n", "there is no rule 'read-all'"),
        ("  reason: no-rule\n", "expected the reason no-rule, got allowed"),
    ],
)
def test_another_rule_or_reason_fails_the_case(addition: str, got: str) -> None:
    text = replace(policy_forge.read_shipped(), cases={"odd.yaml": CASE + addition})
    (complaint,) = find_complaints(text)
    assert got in complaint


def test_a_case_can_leave_rule_reason_and_list_open() -> None:
    snapshot = examination.load(replace(policy_forge.read_shipped(), cases={"a.yaml": CASE}), 7)
    assert (snapshot.number, snapshot.errors) == (7, 0)


def test_a_fact_that_a_case_leaves_out_is_unknown() -> None:
    case = CASE.replace("read", "approve").replace("draft", "submitted").replace("owner", "manager")
    cases = case_files.read(
        {"a.yaml": case.replace("verdict: allow", "verdict: deny\n  rule: never-for-owner")}, VOCABULARY
    )
    assert cases.complaints == []
    snapshot = examination.load(policy_forge.read_shipped(), 1)
    assert not any(result.problems for result in case_results.run_cases(snapshot.policy, snapshot, cases.cases))


def test_an_untried_rule_or_word_is_reported_and_refuses_nothing() -> None:
    text = replace(policy_forge.read_shipped(), cases={"a.yaml": CASE})
    hints = find_untried(text)
    assert any("No case is decided by the rule 'approve-team'" in hint for hint in hints)
    assert any("No denied case uses the state 'draft'" in hint for hint in hints)
    assert not any("the rule 'read-own'" in hint for hint in hints)


@pytest.mark.parametrize(
    ("yaml", "line", "message"),
    [
        ("- case: [", 1, "not YAML"),
        ("case: x", 1, "must be a list of cases"),
        ("", 1, "must be a list of cases"),
        ("- just words", 1, "must be keys with values"),
        (CASE.replace("  kind: timesheet\n", ""), 1, "lacks 'kind'"),
        (CASE.replace("kind: timesheet", "kind: timeshet"), 5, "'timeshet' is not a known kind"),
        (CASE.replace("action: read", "action: raed"), 4, "not a known action"),
        (CASE.replace("who: owner", "who: [owner, ownr]"), 2, "'ownr' is not a known relation"),
        (CASE.replace("who: owner", "who: \u043ewner"), 2, "it has the character U+043E (CYRILLIC SMALL LETTER O)"),
        (CASE.replace("action: read", "action: re\u0430d"), 4, "it has the character U+0430 (CYRILLIC SMALL LETTER A)"),
        (CASE.replace("who: owner", "who: {owner: 1}"), 2, "must be a word"),
        (CASE.replace("read:timesheets", "reed:timesheets"), 3, "not a known scope"),
        (CASE.replace("state: draft", "state: any"), 6, "not a known state"),
        (CASE.replace("state: draft", "facts: {mfaa: true}"), 6, "not a known key"),
        (CASE.replace("state: draft", "facts: {mfa: yes}"), 6, "'yes' is not a known answer"),
        (CASE.replace("verdict: allow", "verdict: permit"), 7, "not a known verdict"),
        (CASE + "  verdict: deny\n", 8, "The key 'verdict' is here twice"),
        (CASE + "  colour: red\n", 8, "not a known key"),
        (CASE + "  reason: because\n", 8, "not a known reason"),
        (CASE + "  listed: false\n", 8, "listed exactly when it may be read"),
        (CASE.replace("read\n", "edit\n") + "  listed: true\n", 8, "belongs to reads"),
        (CASE + CASE, 8, "already used in cases/odd.yaml line 1"),
        (CASE.replace("who: owner", "who: &a [owner]") + "  rule: *a\n", 8, "aliases"),
        (CASE.replace("who: owner", "who: !!python/name:os.system x"), 2, "not a known relation"),
        ("[" * 100_000, 0, "not YAML"),
        ("a: \x07", 0, "not YAML"),
    ],
)  # fmt: skip
def test_a_wrong_case_file_is_named_by_its_line(yaml: str, line: int, message: str) -> None:
    found = complaints_of(yaml)
    assert len(found) == 1, [str(complaint) for complaint in found]
    assert (found[0].file, found[0].line) == ("cases/odd.yaml", line), str(found[0])
    assert message in found[0].message


@pytest.mark.parametrize(
    ("old", "new", "suggestion"),
    [
        ("verdict: allow", "verdict: allow\n  expect: allow", "known: action, approvals_needed, case,"),
        ("action: read", "action: browse", "known: approve, create, delete, edit,"),
        ("who: owner", "who: owner, manager", "write a list: [owner, manager]"),
        ("who: owner", "who: role:hr role:payroll", "write a list: [role:hr, role:payroll]"),
        ("who: owner", "scopes: read:audit read:policies\n  who: owner", "write a list: [read:audit, read:policies]"),
        ("case: a", "case: a: b", "put a text with a colon and a blank in quotes"),
        ("  who", "\twho", "indent by blanks, not by tabs"),
    ],
)
def test_a_case_in_another_form_is_shown_the_form(old: str, new: str, suggestion: str) -> None:
    case = "- case: a\n  who: owner\n  action: read\n  kind: timesheet\n  verdict: allow\n"
    (found,) = complaints_of(case.replace(old, new))
    assert suggestion in (found.suggestion or "")


def test_wrong_cases_refuse_the_policy() -> None:
    text = replace(policy_forge.read_shipped(), cases={"odd.yaml": CASE + "  colour: red\n"})
    (complaint,) = find_complaints(text)
    assert complaint.startswith("cases/odd.yaml:8:3: 'colour' is not a known key")


def test_a_request_that_cannot_be_decided_refuses_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.authorization.engine.engine.matches", lambda *_: False)
    assert any(
        "could not be decided" in complaint
        for complaint in find_complaints(replace(policy_forge.read_shipped(), cases={}))
    )


def test_cases_use_only_reasons_that_rules_can_give() -> None:
    assert {case.reason for case in SHIPPED} <= {Reason.ALLOWED, Reason.DENY_RULE, Reason.NO_RULE, None}


DENIED = """\
- case: an app without the scope
  who: owner
  scopes: create:timesheets
  action: read
  kind: timesheet
  state: draft
  verdict: deny
"""


@pytest.mark.parametrize(
    "addition",
    [
        "  near: read-own\n",
        "  near: [read-own]\n  missing: [scope read:timesheets]\n",
        "  missing: scope read:timesheets\n",
        "  told: needs scope read:timesheets\n",
    ],
)
def test_a_case_can_expect_near_misses_and_missing_conditions(addition: str) -> None:
    examination.load(replace(policy_forge.read_shipped(), cases={"a.yaml": DENIED + addition}), 1)


@pytest.mark.parametrize(
    ("addition", "got"),
    [
        ("  near: read-team\n", "expected read-team as the nearest, got read-own lacking scope read:timesheets"),
        ("  near: [read-own, read-team]\n", "expected read-own, read-team as the nearest"),
        ("  near: read-all\n", "there is no rule 'read-all'"),
        ("  told: you are tired\n", 'expected the sentences: "you are tired", got: "needs scope read:timesheets'),
        ('  told: ["a; b", c]\n', 'expected the sentences: "a; b", "c", got: "needs scope read:timesheets"'),
        ("  missing: who manager\n", "expected who manager as missing, got read-own lacking scope read:timesheets"),
        ("  missing: [who owner, scope read:timesheets]\n", "expected scope read:timesheets and who owner as missing"),
    ],
)
def test_a_case_that_expects_another_explanation_fails(addition: str, got: str) -> None:
    (complaint,) = find_complaints(replace(policy_forge.read_shipped(), cases={"a.yaml": DENIED + addition}))
    assert complaint.startswith("cases/a.yaml:1:1: Case 'an app without the scope'")
    assert got in complaint


@pytest.mark.parametrize(
    ("addition", "message"),
    [
        ("  missing: [scope reed:timesheets]\n", "'reed:timesheets' is not a known scope"),
        ("  missing: [state dratf]\n", "'dratf' is not a known state"),
        ("  missing: [who ownr]\n", "'ownr' is not a known relation"),
        ("  missing: [fact not mfaa]\n", "'mfaa' is not a known fact"),
        ("  missing: [colour red]\n", "not a condition of a row"),
        ("  missing: scope\n", "not a condition of a row"),
    ],
)
def test_a_missing_condition_is_spelled_in_the_words_of_the_vocabulary(addition: str, message: str) -> None:
    (found,) = complaints_of(DENIED + addition)
    assert (found.line, message in found.message) == (8, True), str(found)


def test_an_allowed_case_has_no_near_miss() -> None:
    (found,) = complaints_of(CASE + "  near: read-own\n")
    assert "'near' belongs to denied cases" in found.message


def test_listed_is_tested_on_the_compiled_list_and_not_taken_from_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    text = replace(policy_forge.read_shipped(), cases={"a.yaml": CASE + "  listed: true\n"})
    examination.load(text, 1)
    monkeypatch.setattr("service.authorization.engine.row_conditions.fold_rule", lambda *_: None)
    (complaint,) = find_complaints(text)
    assert complaint.endswith("expected it listed, got not listed")


@settings(max_examples=example_count(100, uncut=150))
@given(given_rules=policies, asked=st.lists(requests, min_size=10, max_size=20))
def test_a_row_is_listed_exactly_when_a_single_read_of_it_is_allowed(
    given_rules: list[Rule], asked: list[tuple[object, ...]]
) -> None:
    snapshot = build(given_rules, [])
    for request in asked:
        row = access_request(snapshot, request)
        words = snapshot.vocabulary
        shown = is_listed(
            snapshot.rules_of(row.kind, row.action), row, words.relations["timesheet"], words.facts["timesheet"]
        )
        assert shown is snapshot.decide(row).allowed


APPROVAL = """
[kinds.timesheet.approval]
complete = "size(resource.approvals) >= (resource.minutes > 2400 ? 2 : 1)"
"""
APPROVES = """\
- case: a week of {minutes} minutes needs {needed}
  who: manager
  scopes: approve:timesheets
  action: approve
  kind: timesheet
  state: submitted
  facts: {{acted_for_owner: false}}
  resource: {resource}
  verdict: allow
  approvals_needed: {needed}
"""


def with_approvals(
    needed: str, minutes: int | str, resource: str = "{{minutes: {}}}", table: str = APPROVAL
) -> PolicyText:
    text = policy_forge.read_shipped()
    case = APPROVES.format(needed=needed, minutes=minutes, resource=resource.format(minutes))
    return replace(text, vocabulary=text.vocabulary + table, cases={**text.cases, "approvals.yaml": case})


@pytest.mark.parametrize(
    ("needed", "minutes", "resource"),
    [
        ("2", 2460, "{{minutes: {}}}"),
        ("1", 2400, "{{minutes: {}}}"),
        ("2", 2460, "{{minutes: {}, approvals: [mia]}}"),
        ("unknown", 0, "{{days: 5}}"),
    ],
)
def test_a_case_says_how_many_approvals_a_timesheet_needs(needed: str, minutes: int, resource: str) -> None:
    assert find_untried(with_approvals(needed, minutes, resource)) == []
    assert find_untried(with_approvals("1", minutes, resource, table="")) == []


def test_another_number_of_approvals_fails_the_case_with_the_values_that_were_seen() -> None:
    (complaint,) = find_complaints(with_approvals("1", 2460))
    assert "expected approvals_needed: 1, got 2 (resource.minutes = 2460)" in complaint
    assert complaint.startswith("cases/approvals.yaml:1:1: ")
    (complaint,) = find_complaints(with_approvals("2", 2460, table=""))
    assert "expected approvals_needed: 2, got 1" in complaint


def test_a_policy_whose_cases_say_nothing_of_approvals_gets_a_hint() -> None:
    text = policy_forge.read_shipped()
    assert find_untried(replace(text, vocabulary=text.vocabulary + APPROVAL)) == [
        "vocabulary.toml: No case says how many approvals a timesheet needs (add approvals_needed: 2 to a case)"
    ]


@pytest.mark.parametrize("number", ["0", "11", "two", "-1"])
def test_a_number_of_approvals_that_no_timesheet_can_need_is_refused(number: str) -> None:
    (complaint,) = complaints_of(APPROVES.format(needed=number, minutes=1, resource="{}"))
    assert complaint.line == 10
    assert "is not a known number of approvals" in complaint.message


def test_only_an_approval_of_a_timesheet_needs_approvals() -> None:
    (complaint,) = complaints_of(CASE + "  approvals_needed: 2\n")
    assert (complaint.line, complaint.column) == (8, 21)
    assert "belongs to cases that approve a timesheet" in complaint.message
