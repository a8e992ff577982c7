"""Rules for a change that read what the change sets get a warning: they are decided on the week before it."""

from __future__ import annotations

import pytest

from service.administration.checks import examination
from service.administration.checks.earlier_values import find_earlier_values
from service.policy import policy_file
from tests import policy_forge

WORDS = """
[directory.projects]
customer = "string"

[kinds.timesheet.facts.overtime]
is = "resource.minutes > 2400 && resource.days < 6"
yes = "this week has more than 40 hours"
no = "this week has 40 hours or less"

[kinds.timesheet.facts.for_acme]
is = "'ACME' in resource.projects.customer"
yes = "this week has hours for ACME"
no = "this week has no hours for ACME"

[kinds.timesheet.facts.this_year]
is = "resource.period_start >= timestamp('2026-01-01T00:00:00Z') && size(resource.approvals) < 2"
yes = "the week is of this year"
no = "the week is of an earlier year"

[kinds.timesheet.relations.project_lead]
is = "resource.projects.leads - resource.owner"
yes = "you lead a project of this week"
no = "you lead no project of this week"
"""
LINE = len(policy_forge.read_shipped().rules.splitlines()) + 1


def find_warnings(row: str) -> list[str]:
    text = policy_forge.with_more(f"p, {row}, odd\n", WORDS)
    found = [str(warning) for warning in find_earlier_values(policy_file.parse(text))]
    assert set(found) <= {str(warning) for warning in examination.examine(text, examination.PROPOSAL).warnings}
    return found


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ("deny, owner, edit, any, timesheet, any, overtime", "resource.days and resource.minutes"),
        ("allow, manager, edit, draft, timesheet, any, mfa and not for_acme", "resource.projects.customer"),
        ("deny, importer, upload, any, timesheet, any, not overtime", "resource.days and resource.minutes"),
        ("deny, owner, create, any, timesheet, any, overtime", "resource.days and resource.minutes"),
        ("allow, project_lead, edit, draft, timesheet, create:timesheets, always", "resource.projects"),
    ],
)
def test_a_rule_for_a_change_of_hours_that_reads_them_gets_a_warning(row: str, names: str) -> None:
    (warning,) = find_warnings(row)
    assert warning.startswith(f"policy.csv:{LINE}:1: This row reads {names} as before the change")
    assert "(rule 'odd')" in warning
    assert "restrict 'submit'" in warning


@pytest.mark.parametrize(
    "row",
    [
        "deny, owner, submit, any, timesheet, any, overtime",
        "deny, owner, edit, any, timesheet, any, not this_year",
        "deny, project_lead, approve, any, timesheet, any, overtime",
        "deny, manager, edit, any, timesheet, any, mfa",
    ],
)
def test_other_rules_get_no_such_warning(row: str) -> None:
    assert find_warnings(row) == []


def test_the_shipped_policy_gets_no_such_warning() -> None:
    assert find_earlier_values(policy_file.parse(policy_forge.read_shipped())) == []
