"""A deny that people without a value of an attribute meet gets a warning, unless its fact shows that this is meant."""

from __future__ import annotations

import pytest

from service.administration.checks import examination
from service.administration.checks.people_without_values import find_people_without_values
from service.policy import policy_file
from tests import policy_forge

WORDS = """
[directory.people]
country = "string"
level = "int"
languages = "list<string>"

[directory.teams]
region = "string"

[kinds.timesheet.facts.same_country]
is = "resource.owner.country == principal.country"
yes = "this person works in your country"
no = "this person works in another country"

[kinds.timesheet.facts.known_countries]
is = "has(resource.owner.country) && has(principal.country)"
yes = "both countries are known"
no = "a country is not known"

[kinds.timesheet.facts.surely_abroad]
is = "has(resource.owner.country) && has(principal.country) && resource.owner.country != principal.country"
yes = "this person works in another country"
no = "this person is not known to work in another country"

[kinds.timesheet.facts.not_at_home]
is = "!has(principal.country) || principal.country != 'PT'"
yes = "you do not work in Portugal"
no = "you work in Portugal"

[kinds.timesheet.facts.told]
is = "principal.country != 'PT'"
yes = "you do not work in Portugal"
no = "you work in Portugal"
unknown = "the directory does not say in which country you work"

[kinds.timesheet.facts.long_abroad]
is = "principal.country != 'PT' && resource.minutes > 2400"
yes = "you work abroad, and this week is long"
no = "you work in Portugal, or this week is short"

[kinds.timesheet.facts.northern]
is = "resource.owner.teams.region.exists(r, r == 'north')"
yes = "a team of this person is in the north"
no = "no team of this person is in the north"

[request.facts.speaks_german]
is = "principal.languages.exists(l, l == 'de')"
yes = "you speak German"
no = "you do not speak German"

[request.facts.junior]
is = "(has(principal.level) ? principal.level : 1) < 3"
yes = "your level is below 3"
no = "your level is 3 or above"
"""
BOTH = "has(principal.country) && has(resource.owner.country)"
OR_TOLD = "; to deny them, give the fact a sentence 'unknown')"


def find_warnings(*rows: str) -> list[str]:
    rules = "".join(f"p, {row}, odd-{number}\n" for number, row in enumerate(rows, 1))
    text = policy_forge.with_more(rules, WORDS)
    found = [str(warning) for warning in find_people_without_values(policy_file.parse(text))]
    assert set(found) <= {str(warning) for warning in examination.examine(text, examination.PROPOSAL).warnings}
    return found


@pytest.mark.parametrize(
    ("row", "says", "remedy"),
    [
        (
            "deny, manager, approve, any, timesheet, any, not same_country",
            "principal.country or resource.owner.country has no value, because 'same_country' is unknown then (rule",
            f"add a fact with {BOTH} to 'when'",
        ),
        (
            "deny, manager, approve, any, timesheet, any, same_country and mfa",
            "principal.country or resource.owner.country has no value, because 'same_country' is unknown then (rule",
            f"write {BOTH} && (...) in the fact",
        ),
        (
            "deny, manager, approve, any, timesheet, any, long_abroad",
            "where principal.country has no value, because 'long_abroad' is unknown then",
            "write has(principal.country) && (...) in the fact",
        ),
        (
            "deny, anyone, read, any, directory, any, not speaks_german",
            "where principal.languages has no value, because 'speaks_german' is unknown then",
            "add a fact with has(principal.languages) to 'when'",
        ),
    ],
)
def test_a_deny_that_people_without_a_value_meet_gets_a_warning(row: str, says: str, remedy: str) -> None:
    (warning,) = find_warnings(row)
    assert says in warning
    assert warning.endswith(f"(rule 'odd-1') (to spare people without a value, {remedy}{OR_TOLD}")


@pytest.mark.parametrize(
    "row",
    [
        "deny, manager, approve, any, timesheet, any, surely_abroad",
        "deny, manager, approve, any, timesheet, any, not surely_abroad",
        "deny, manager, approve, any, timesheet, any, not_at_home",
        "deny, manager, approve, any, timesheet, any, told",
        "deny, manager, approve, any, timesheet, any, not told",
        "deny, manager, approve, any, timesheet, any, known_countries and not same_country",
        "deny, manager, approve, any, timesheet, any, northern",
        "deny, manager, approve, any, timesheet, any, junior",
        "deny, manager, approve, any, timesheet, any, not mfa",
        "allow, role:auditor, read, any, timesheet, read:timesheets, same_country",
    ],
)
def test_other_rows_get_no_such_warning(row: str) -> None:
    assert find_warnings(row) == []


def test_rows_with_one_fact_get_one_warning() -> None:
    rows = [
        f"deny, manager, {action}, any, timesheet, any, not same_country" for action in ("approve", "reject", "read")
    ]
    (warning,) = find_warnings(*rows)
    assert "This row and 2 more also deny where principal.country or" in warning
    assert "(rule 'odd-1')" in warning


def test_the_shipped_policy_gets_no_such_warning() -> None:
    assert find_people_without_values(policy_file.parse(policy_forge.read_shipped())) == []
