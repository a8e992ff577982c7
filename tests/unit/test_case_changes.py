"""Changes of cases: every difference is reported, and fewer cases than before are a warning."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from service.administration.checks import case_results, examination
from service.administration.checks.case_changes import compare_cases
from service.policy.policy_file import PolicyText, parse
from tests import policy_forge

if TYPE_CHECKING:
    import pytest

SHIPPED = policy_forge.read_shipped()
FILE = "import.yaml"


def with_cases(yaml: str) -> PolicyText:
    return replace(SHIPPED, cases={**SHIPPED.cases, FILE: yaml})


def test_a_case_that_is_added_removed_or_changed_is_reported_with_its_place() -> None:
    own = SHIPPED.cases[FILE]
    end = len(own.splitlines()) + 1
    added = f"{own}- case: new\n  who: anyone\n  action: read\n  kind: log\n  verdict: deny\n"
    changed = own.replace("verdict: allow", "verdict: deny", 1)
    before, longer, other = (parse(text) for text in (SHIPPED, with_cases(added), with_cases(changed)))
    assert [
        (case_change.change, case_change.name, case_change.file, case_change.line)
        for case_change in compare_cases(before, longer)
    ] == [("added", "new", f"cases/{FILE}", end)]
    assert [(case_change.change, case_change.name) for case_change in compare_cases(longer, before)] == [
        ("removed", "new")
    ]
    assert [case_change.change for case_change in compare_cases(before, other)] == ["changed"]
    assert list(compare_cases(before, before)) == []


COUNTRIES = """
[directory.people]
country = "string"

[kinds.timesheet.facts.same_country]
is = "resource.owner.country == principal.country"
yes = "this person works in your country"
no = "this person works in another country"
"""


def change_cases(old: str, new: str) -> list[tuple[str, str, str, int]]:
    before, after = (
        parse(
            replace(SHIPPED, vocabulary=SHIPPED.vocabulary + COUNTRIES, cases={**SHIPPED.cases, "approval.yaml": yaml})
        )
        for yaml in (old, new)
    )
    return [(found.change, found.name, found.file, found.line) for found in compare_cases(before, after)]


def with_defaults(country: str, own: str = "") -> str:
    defaults = f"- defaults: {{principal: {{country: PT}}, resource: {{owner.country: {country}}}}}\n\n- case"
    changed = SHIPPED.cases["approval.yaml"].replace("- case", defaults, 1)
    return changed.replace("  kind: timesheet\n", f"  kind: timesheet\n{own}", 1)


def test_defaults_that_changed_are_one_change_for_all_cases() -> None:
    plain = SHIPPED.cases["approval.yaml"]
    assert change_cases(plain, with_defaults("PT")) == [("changed", "", "cases/approval.yaml", 4)]
    assert change_cases(with_defaults("PT"), with_defaults("DE")) == [("changed", "", "cases/approval.yaml", 4)]
    assert change_cases(with_defaults("DE"), plain) == [("changed", "", "cases/approval.yaml", 1)]


def test_a_case_that_also_changes_itself_is_told_beside_the_defaults() -> None:
    for own in ("  principal: {country: DE}\n", "  facts: {same_country: unknown}\n"):
        changed, defaults = change_cases(with_defaults("PT"), with_defaults("DE", own))
        assert changed[:1] + changed[2:3] == ("changed", "cases/approval.yaml")
        assert changed[1]
        assert defaults == ("changed", "", "cases/approval.yaml", 4)


def test_a_value_that_moved_between_a_case_and_the_defaults_is_no_change() -> None:
    own = "  principal: {country: PT}\n  resource: {owner.country: PT}\n"
    assert change_cases(with_defaults("PT"), with_defaults("PT", own)) == []


def test_a_case_that_moved_to_another_file_is_the_same() -> None:
    moved = {"a-new-name.yaml" if name == FILE else name: f"# first\n{text}" for name, text in SHIPPED.cases.items()}
    assert list(compare_cases(parse(SHIPPED), parse(replace(SHIPPED, cases=moved)))) == []


def test_a_proposal_with_fewer_cases_gets_warnings_and_so_does_each_rule_without_a_case() -> None:
    fewer = replace(SHIPPED, cases={name: text for name, text in SHIPPED.cases.items() if name != FILE})
    found = examination.report(fewer, examination.PROPOSAL, SHIPPED)
    assert found.complaints == ()
    messages = [warning.message for warning in found.warnings]
    assert any("are missing, such as '" in message for message in messages)
    assert any("'upload-contractors' has no case any more" in message for message in messages)
    assert examination.report(SHIPPED, examination.PROPOSAL, SHIPPED).warnings == ()
    assert examination.report(SHIPPED, examination.PROPOSAL, fewer).warnings == ()


def test_a_case_that_another_replaced_is_missing() -> None:
    first = SHIPPED.cases[FILE].split("- case: ")[1].splitlines()[0]
    other = with_cases(SHIPPED.cases[FILE].replace(f"- case: {first}\n", "- case: of another name\n"))
    found = examination.report(other, examination.PROPOSAL, SHIPPED)
    assert [warning.message.partition(" of the ")[0] for warning in found.warnings] == ["1"]
    assert f"is missing: '{first}'" in found.warnings[0].message


def test_a_deny_row_freezes_an_action_once_the_cases_that_expect_otherwise_are_removed() -> None:
    frozen = f"{SHIPPED.rules}p, deny, anyone, lock, any, timesheet, any, always, frozen\n"
    others = {name: text for name, text in SHIPPED.cases.items() if "action: lock" not in text}
    assert examination.report(replace(SHIPPED, rules=frozen), examination.PROPOSAL, SHIPPED).complaints
    found = examination.report(replace(SHIPPED, rules=frozen, cases=others), examination.PROPOSAL, SHIPPED)
    assert found.complaints == ()
    assert any("'frozen' in line" in warning.message for warning in found.warnings)


def test_a_failing_case_hides_no_warning() -> None:
    first = SHIPPED.cases[FILE].split("- case: ")[1].splitlines()[0]
    body = SHIPPED.cases[FILE].replace(f"- case: {first}\n", "- case: of another name\n")
    body += (
        "\n- case: fails\n  who: owner\n  scopes: read:timesheets\n  action: read\n  kind: timesheet\n  state: draft\n"
        "  verdict: deny\n"
    )
    found = examination.report(with_cases(body), examination.PROPOSAL, SHIPPED)
    assert any("'fails'" in complaint.message for complaint in found.complaints)
    assert any(f"is missing: '{first}'" in warning.message for warning in found.warnings)
    assert found.changes == ()


def test_many_rules_without_a_case_get_a_single_warning() -> None:
    found = examination.report(replace(SHIPPED, cases={}), examination.PROPOSAL, SHIPPED)
    assert sum("no case any more" in warning.message for warning in found.warnings) == 1
    assert any("rules have no case any more, such as 'read-own'" in warning.message for warning in found.warnings)


def test_what_a_proposal_leaves_untried_is_reported() -> None:
    row = "p, allow, client:job, read, any, log, any, always, job-reads\n"
    found = examination.report(replace(SHIPPED, rules=SHIPPED.rules + row), examination.PROPOSAL)
    assert (found.complaints, len(found.untried)) == ((), 1)
    assert found.untried[0].line == len(SHIPPED.rules.splitlines()) + 1


def test_cases_that_would_read_too_many_rows_are_not_run_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of cases about thousands of rows would take an hour. The first beyond the limit is named."""
    monkeypatch.setattr(case_results, "MAX_ROW_VISITS", 300)
    found = examination.examine(SHIPPED, examination.PROPOSAL)
    said = [complaint for complaint in found.complaints if "were not run" in complaint.message]
    assert len(said) == len(found.complaints) == 1
    assert said[0].line > 0
    assert "would read more than 300 rows" in said[0].message
