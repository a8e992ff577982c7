"""Rules that read an attribute which is missing when they are decided get a warning, unless they ask `has()`."""

from __future__ import annotations

import pytest

from service.administration.checks import examination
from service.administration.checks.missing_values import find_missing_values
from service.policy import policy_file
from tests import policy_forge

WORDS = """
[kinds.timesheet.facts.late]
is = "resource.submitted_at - resource.period_start > duration('192h')"
yes = "it was handed in late"
no = "it was handed in at once"

[kinds.timesheet.facts.late_or_long]
is = "resource.minutes > 2400 || resource.submitted_at - resource.period_start > duration('192h')"
yes = "it was handed in late or is long"
no = "it was handed in at once and is short"

[kinds.timesheet.facts.untouched]
is = "context.now - resource.state_since > duration('24h')"
yes = "nobody changed it for a day"
no = "it was changed within a day"

[kinds.access_request.facts.temporary]
is = "resource.relation == 'temporary_approver'"
yes = "it is for a temporary approver"
no = "it is for another relation"

[kinds.access_request.facts.surely_temporary]
is = "has(resource.relation) && resource.relation == 'temporary_approver'"
yes = "it is for a temporary approver"
no = "it is not known to be for a temporary approver"
"""


def find_warnings(row: str) -> list[str]:
    text = policy_forge.with_more(f"p, {row}, odd\n", WORDS)
    found = [str(warning) for warning in find_missing_values(policy_file.parse(text))]
    assert set(found) <= {str(warning) for warning in examination.examine(text, examination.PROPOSAL).warnings}
    return found


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (
            "deny, anyone, request, any, access_request, any, temporary",
            "names a refusal, so this row denies it as if 'temporary' held",
        ),
        (
            "deny, anyone, request, any, access_request, any, not temporary",
            "names a refusal, so this row denies it as if 'not temporary' held",
        ),
        (
            "allow, anyone, request, any, access_request, any, temporary and mfa",
            "'resource.relation' is missing for an access request that names a refusal, so this row never allows it",
        ),
        (
            "deny, owner, create, any, timesheet, any, not untouched",
            "'resource.state_since' is missing for a new timesheet, so this row denies it as if 'not untouched' held",
        ),
        (
            "allow, owner, create, any, timesheet, any, late",
            "'resource.submitted_at' is missing for a new timesheet, so this row never allows it",
        ),
        (
            "deny, owner, delete, draft, timesheet, any, late",
            "'resource.submitted_at' is missing for a draft, so this row denies it as if 'late' held",
        ),
        (
            "deny, owner, delete, draft, timesheet, any, late_or_long",
            "'resource.submitted_at' is missing for a draft, so this row denies it as if 'late_or_long' held",
        ),
        (
            "deny, manager, read, any, timesheet, any, mfa and late",
            "'resource.submitted_at' is missing for a draft, so this row denies it as if 'late' held",
        ),
        (
            "deny, anyone, request, any, access_request, any, temporary and mfa",
            "'resource.relation' is missing for an access request that names a refusal, so this row denies it as if",
        ),
    ],
)
def test_a_rule_that_a_missing_attribute_decides_gets_a_warning(row: str, says: str) -> None:
    (warning,) = find_warnings(row)
    assert says in warning
    assert "(rule 'odd') (say has(resource." in warning


@pytest.mark.parametrize(
    "row",
    [
        "deny, anyone, request, any, access_request, any, surely_temporary",
        "deny, anyone, grant, any, access_request, any, temporary",
        "allow, owner, delete, draft, timesheet, any, late_or_long",
        "deny, owner, delete, rejected, timesheet, any, late",
        "allow, owner, delete, draft or rejected, timesheet, any, late",
        "deny, manager, approve, any, timesheet, any, late",
        "deny, owner, delete, draft, timesheet, any, untouched",
    ],
)
def test_other_rules_get_no_such_warning(row: str) -> None:
    assert find_warnings(row) == []


def test_the_shipped_policy_gets_no_such_warning() -> None:
    assert find_missing_values(policy_file.parse(policy_forge.read_shipped())) == []
