"""Cases that give values of attributes: facts follow from them, a failed case shows them, a wrong value is named."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from service.administration.checks import case_results, examination
from service.administration.checks.case_changes import compare_cases
from service.authorization.enforcement.caller_values import caller_values
from service.identity.principal import Principal, PrincipalKind
from service.policy import case_files, policy_file
from service.policy.attributes import CONTEXT, PRINCIPAL, WEEKDAYS
from tests import policy_forge

WORDS = """
[directory.people]
country = "string"
level = { type = "int", personal = true }

[kinds.timesheet.facts.overtime]
is = "resource.minutes > 2400"
yes = "this week has {resource.minutes:hours}"
no = "this week has 40 hours or less"

[kinds.timesheet.facts.same_country]
is = "resource.owner.country == principal.country"
yes = "you work in this country"
no = "this person works in {resource.owner.country}"

[request.facts.auditing]
is = "'auditor' in principal.roles && !context.delegated"
yes = "you are an auditor"
no = "you are not an auditor"
"""
ROW = "p, allow, role:auditor, read, any, timesheet, any, same_country and auditing and not overtime, read-country\n"
CASE = """\
- case: an auditor reads a sheet of their country
  who: role:auditor
  action: read
  kind: timesheet
  state: submitted
  resource: {minutes: 2400, owner.country: NO, submitted_at: 2026-03-02, projects: [A, B]}
  principal: {country: NO}
  verdict: allow
  rule: read-country
  listed: true
"""
TEXT = policy_forge.read_shipped()
TEXT = replace(TEXT, vocabulary=TEXT.vocabulary + WORDS, rules=TEXT.rules + ROW, cases={})
VOCABULARY = policy_file.parse(TEXT).vocabulary


def read(case: str) -> case_files.Case:
    found = case_files.read({"odd.yaml": case}, VOCABULARY)
    assert [str(complaint) for complaint in found.complaints] == []
    return found.cases[0]


def problems_of(case: str) -> tuple[str, ...]:
    snapshot = examination.build(TEXT, 1)
    return case_results.run_cases(snapshot.policy, snapshot, [read(case)])[0].problems


def test_facts_follow_from_values() -> None:
    case = read(CASE)
    assert case.facts == {"same_country": True, "overtime": False, "auditing": True}
    # `NO` is Norway here, because the attribute is a string.
    assert case.values["principal.country"] == "NO"
    assert case.values["resource.submitted_at"] == datetime(2026, 3, 2, tzinfo=UTC)
    assert case.values["resource.projects"] == ("A", "B")
    assert problems_of(CASE) == ()
    nested = CASE.replace("owner.country: NO", "owner: {country: NO, level: 3}")
    assert read(nested).values == {**case.values, "resource.owner.level": 3}


def test_a_fact_without_a_value_is_unknown_unless_the_case_says_more() -> None:
    without = CASE.replace("minutes: 2400, ", "")
    assert "overtime" not in read(without).facts
    assert "expected allow" in problems_of(without)[0]
    assert problems_of(without + "  facts: {overtime: false}\n") == ()
    assert read(CASE.replace("role:auditor", "role:payroll")).facts["auditing"] is False


def test_a_failed_case_shows_what_its_expressions_saw() -> None:
    found = problems_of(CASE.replace("2400", "2580").replace("\n  principal: {country: NO}", ""))
    assert found[1:] == (
        "auditing is true (context.delegated = false, principal.roles = auditor)",
        "overtime is true (resource.minutes = 2580)",
        "same_country is unknown (principal.country = unknown, resource.owner.country = NO)",
    )


def failures(rows: str, words: str = "") -> list[str]:
    """The complaints about the shipped cases with these rows and words."""
    text = policy_forge.read_shipped()
    text = replace(text, rules=text.rules + rows, vocabulary=text.vocabulary + words)
    return [str(complaint) for complaint in examination.examine(text, examination.PROPOSAL).complaints]


def test_a_case_that_fails_for_an_unknown_fact_says_where_to_give_it_once_for_each_file() -> None:
    found = failures("p, deny, anyone, lock, approved, timesheet, any, not mfa, lock-mfa\n")
    assert len(found) == 3
    assert found[1].endswith(
        "expected allow, got deny (deny-rule by lock-mfa); mfa is unknown"
        " (say what is unknown in the case, or in the defaults of its file)"
    )
    assert found[2].endswith("expected the reason no-rule, got deny-rule; mfa is unknown")
    # A fact that the case gives needs no words, nor does an unknown one of a rule that decided nothing.
    assert all("agent is" not in complaint for complaint in found)
    (wrong, *_) = failures("p, deny, manager, approve, any, timesheet, any, always, none-approved\n")
    assert "mfa" not in wrong
    assert "say what is unknown" not in wrong


def test_a_failed_case_shows_that_a_fact_lacks_the_approvals() -> None:
    second = """
[kinds.timesheet.facts.second]
is = "size(resource.approvals) > 0"
yes = "it was approved once"
no = "nobody approved it"
"""
    found = failures("p, deny, manager, approve, any, timesheet, any, second, only-first\n", second)
    assert "second is unknown (resource.approvals = unknown)" in found[0]


def test_a_denied_case_is_told_the_values() -> None:
    denied = CASE.replace("2400", "2580").replace("allow\n  rule: read-country\n  listed: true", "deny")
    assert problems_of(denied + "  told: this week has 43 hours\n") == ()
    (problem, *_) = problems_of(denied + "  told: this week has 44 hours\n")
    assert 'got: "this week has 43 hours", "this is not your own timesheet; needs' in problem


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("minutes: 2400", "minute: 2400", "no attribute 'resource.minute' here (did you mean 'resource.minutes'?)"),
        ("minutes: 2400", "minutes: 40.5", "'resource.minutes' is of type int (write a whole number"),
        ("minutes: 2400", "minutes: 9007199254740993", "is of type int"),
        ("minutes: 2400", "minutes: [1]", "is of type int"),
        ("2026-03-02", "2026-03-02T12:00:00", "is of type timestamp (write 2026-03-02 or"),
        ("2026-03-02", "1800-03-02", "is of type timestamp"),
        ("projects: [A, B]", "projects: {A: B}", "is of type string"),
        ("owner.country: NO", "owner.country: NO, owner: {country: SE}", "'resource.owner.country' is here twice"),
        ("owner.country: NO", "owner: {land: SE}", "no attribute 'resource.owner.land'"),
        ("principal: {country: NO}", "principal: NO", "must be names of attributes"),
        ("principal: {country: NO}", "principal: {minutes: 3}", "no attribute 'principal.minutes'"),
        ("verdict: allow", "verdict: allow\n  facts: {overtime: true}", "'overtime' is false with the values"),
        ("resource:", "resources:", "not a known key (did you mean 'resource'?)"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(old: str, new: str, message: str) -> None:
    assert old in CASE
    found = case_files.read({"odd.yaml": CASE.replace(old, new)}, VOCABULARY).complaints
    assert len(found) == 1
    assert message in str(found[0])
    assert found[0].line > 1


def test_a_kind_without_a_row_knows_the_caller_alone() -> None:
    case = "- {case: x, who: anyone, action: read, kind: me, verdict: allow, resource: {minutes: 3}}\n"
    (found,) = case_files.read({"odd.yaml": case}, VOCABULARY).complaints
    assert found.message == "There is no attribute 'resource.minutes' here"


DEFAULTS = """\
- defaults:
    facts: {mfa: true, overtime: false}
    principal: {country: NO}
    resource: {owner.country: NO}

"""
# A case that leaves its values to the defaults.
BARE = CASE.replace("  resource: {minutes: 2400, owner.country: NO, submitted_at: 2026-03-02, projects: [A, B]}\n", "")
BARE = BARE.replace("  principal: {country: NO}\n", "")
ABOUT_THE_LOG = "- {case: an auditor reads the log, who: 'role:auditor', action: read, kind: log, verdict: deny}\n"


def test_the_cases_of_a_file_share_its_defaults() -> None:
    case = read(DEFAULTS + BARE)
    assert case.facts == {"mfa": True, "overtime": False, "same_country": True, "auditing": True}
    assert case.values["resource.owner.country"] == "NO"
    assert problems_of(DEFAULTS + BARE) == ()
    assert problems_of(BARE) != ()
    # A kind takes the defaults that it has.
    found = case_files.read({"odd.yaml": DEFAULTS + BARE + ABOUT_THE_LOG}, VOCABULARY)
    assert found.complaints == []
    assert found.cases[1].values["principal.country"] == "NO"
    assert "resource.owner.country" not in found.cases[1].values
    assert found.cases[1].facts == {"mfa": True, "auditing": True}


def test_the_defaults_of_a_file_say_nothing_about_another() -> None:
    other = BARE.replace("an auditor", "another auditor")
    found = case_files.read({"a.yaml": DEFAULTS + BARE, "b.yaml": other}, VOCABULARY)
    assert found.complaints == []
    assert found.cases[1].facts == {"auditing": True}


def test_a_case_overrides_a_default() -> None:
    other_country = BARE + "  resource: {owner.country: SE}\n"
    assert read(DEFAULTS + other_country).facts["same_country"] is False
    # A value of the case comes before a default fact, and a fact of the case before both.
    assert read(DEFAULTS + BARE + "  resource: {minutes: 2580}\n").facts["overtime"] is True
    said = BARE + "  facts: {same_country: unknown, mfa: false}\n"
    assert read(DEFAULTS + said).facts == {"same_country": None, "mfa": False, "overtime": False, "auditing": True}
    with_id, person = (
        DEFAULTS.replace("{country: NO}", "{country: NO, id: x}", 1),
        "0190b2c4-0000-7000-8000-000000000001",
    )
    assert read(with_id + BARE).values["principal.id"] == "x"
    assert read(with_id + BARE.replace("role:auditor", f"person:{person}")).values["principal.id"] == person


def test_a_failed_case_shows_which_values_are_defaults() -> None:
    seen = ("principal.country = NO by default (line 3)", "resource.owner.country = NO by default (line 4)")
    assert problems_of(DEFAULTS + BARE.replace("verdict: allow", "verdict: deny").replace("  listed: true\n", ""))[
        1:
    ] == (
        "auditing is true (context.delegated = false, principal.roles = auditor)",
        "overtime is false by default (line 2)",
        f"same_country is true ({', '.join(seen)})",
    )


def test_a_value_moved_into_the_defaults_changes_no_case() -> None:
    before = policy_file.parse(replace(TEXT, cases={"odd.yaml": CASE}))
    moved = "- defaults: {principal: {country: NO}}\n" + CASE.replace("  principal: {country: NO}\n", "")
    assert list(compare_cases(before, policy_file.parse(replace(TEXT, cases={"odd.yaml": moved})))) == []
    other = moved.replace("NO}}", "SE}}")
    (change,) = compare_cases(before, policy_file.parse(replace(TEXT, cases={"odd.yaml": other})))
    assert (change.change, change.line) == ("changed", 2)


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        ("facts:", "fact:", "2:5", "'fact' is not a known key (did you mean 'facts'?)"),
        ("- defaults:", "- default:", "1:3", "'default' is not a known key (did you mean 'defaults'?)"),
        ("mfa", "mfe", "2:13", "'mfe' is not a known key (did you mean 'mfa'?)"),
        ("mfa: true", "mfa: yes", "2:18", "'yes' is not a known answer"),
        ("owner.country", "owner.land", "4:16", "There is no attribute 'resource.owner.land' here"),
        ("principal: {", "principal: {roles: a, ", "3:16", "'principal.roles' has no default: it follows from `who`"),
        ("overtime: false", "same_country: true", "2:38", "'same_country' follows from the values of these defaults"),
        ("overtime: false", "locked_by_asker: false, overtime: unknown, agent: maybe", "2:74", "not a known answer"),
        ("resource: {", "resource: {number: 3, ", "4:1", "No case of this file is of a kind that has the default"),
        ("principal:", "scopes: [read:timesheets]\n    principal:", "3:5", "'scopes' is not a known key"),
        ("- defaults:\n", "- defaults: {}\n- defaults:\n", "2:3", "'defaults' must be the first item of the file"),
        ("- defaults:", "- case: x\n  defaults:", "1:3", "'case' is not a known key"),
    ],
)
def test_a_wrong_default_is_named_with_its_place(old: str, new: str, place: str, message: str) -> None:
    assert old in DEFAULTS
    found = case_files.read({"odd.yaml": DEFAULTS.replace(old, new, 1) + BARE}, VOCABULARY).complaints
    assert len(found) == 1
    assert f"cases/odd.yaml:{place}: " in str(found[0])
    assert message in str(found[0])


OFFICE = """
[request.facts.office_day]
is = "{}"
yes = "it is a day of the office"
no = "it is {{context.weekday}}"
"""
ON_A_DAY = """\
- case: nobody reads on this day
  who: role:auditor
  action: read
  kind: log
  context: {weekday: DAY}
  verdict: deny
"""


def proposed(expression: str, case: str = ON_A_DAY.replace("DAY", "sunday")) -> list[str]:
    """The complaints about values that no attribute has, when this is proposed."""
    text = replace(TEXT, vocabulary=TEXT.vocabulary + OFFICE.format(expression), cases={"odd.yaml": case})
    found = examination.examine(text, examination.PROPOSAL).complaints
    stored = examination.examine(text, 7).complaints
    return [str(complaint) for complaint in found if complaint not in stored]


@pytest.mark.parametrize(
    ("expression", "place", "constant"),
    [
        ("context.weekday in ['Monday', 'tuesday']", "[", "Monday"),
        ("context.weekday == 'Sunday'", "'Sunday", "Sunday"),
        ("'Sunday' != context.weekday", "'Sunday", "Sunday"),
        ("!(context.delegated && context.weekday.startsWith('Mon'))", "'Mon", "Mon"),
        ("'auditor' in principal.roles ? principal.kind == 'person' : true", "'person", "person"),
    ],
)
def test_an_expression_with_a_value_that_no_attribute_of_code_has_is_refused(
    expression: str, place: str, constant: str
) -> None:
    (found,) = proposed(expression)
    attribute = "principal.kind" if constant == "person" else "context.weekday"
    values = "user, client" if constant == "person" else ", ".join(WEEKDAYS)
    assert f"'{constant}' fits no value of {attribute} (its values are {values})" in found
    assert f":{len('is = x') + expression.index(place) + 1}: " in found


@pytest.mark.parametrize(
    "expression",
    [
        "context.weekday in ['monday', 'sunday']",
        "context.weekday.startsWith('s') || context.weekday.contains('day')",
        "'monday or sunday'.contains(context.weekday)",
        "principal.kind != 'client' && principal.country == 'Monday'",
        "context.weekday > 'Monday'",
    ],
)
def test_an_expression_with_values_of_its_attributes_is_not_refused_for_them(expression: str) -> None:
    assert proposed(expression) == []


def test_all_wrong_values_of_a_list_are_named_at_once() -> None:
    (found,) = proposed("context.weekday in ['Monday', 'monday', 'Tuesday']")
    assert "'Monday' and 'Tuesday' fit no value of context.weekday (its values are monday" in found


def test_a_default_that_no_attribute_of_code_has_is_refused_once() -> None:
    case = ON_A_DAY.replace("  context: {weekday: DAY}\n", "")
    defaults = "- defaults:\n    context: {weekday: Monday}\n"
    (found,) = proposed("context.weekday == 'monday'", defaults + case + case.replace("nobody", "no auditor"))
    assert found.startswith("cases/odd.yaml:2:1: 'context.weekday' is never 'Monday'")


def test_a_case_with_a_value_that_no_attribute_of_code_has_is_refused() -> None:
    (found,) = proposed("context.weekday == 'monday'", ON_A_DAY.replace("DAY", "Monday"))
    assert found.startswith("cases/odd.yaml:1:1: 'context.weekday' is never 'Monday'")
    assert found.endswith(f"(its values are {', '.join(WEEKDAYS)})")
    of_kind = ON_A_DAY.replace("context: {weekday: DAY}", "principal: {kind: person}")
    (found,) = proposed("context.weekday == 'monday'", of_kind)
    assert "'principal.kind' is never 'person' (its values are user, client)" in found


@pytest.mark.parametrize(
    ("expression", "place", "message"),
    [
        ("'role:payroll' in principal.roles", "'role", "'role:payroll' fits no name in principal.roles"),
        ("!('group:night' in principal.groups)", "'group", "'group:night' fits no name in principal.groups"),
        ("'group:payroll' in principal.roles", "'group", "'group:payroll' fits no name in principal.roles"),
        ("principal.roles.exists(r, r == 'role:payroll')", "'role", "'role:payroll' fits no name in principal.roles"),
        ("principal.roles.all(r, 'role:payroll' != r)", "'role", "'role:payroll' fits no name in principal.roles"),
        ("principal.groups.exists(g, g.startsWith('group:'))", "'group", "'group:' fits no name in principal.groups"),
        ("principal.roles.exists(r, r in ['a', 'role:b', 'role:c'])", "[", "'role:b' and 'role:c' fit no name in"),
        ("['role:a'].exists(r, r in principal.roles)", "[", "'role:a' fits no name in principal.roles"),
    ],
)
def test_an_expression_with_a_name_that_has_the_prefix_of_rows_is_refused(
    expression: str, place: str, message: str
) -> None:
    (found,) = proposed(expression)
    assert message in found
    assert f":{len('is = x') + expression.index(place) + 1}: " in found


def test_a_name_with_a_prefix_is_shown_without_it() -> None:
    (found,) = proposed("principal.roles.exists(r, r in ['a', 'role:b', 'role:c'])")
    assert found.endswith("(names there have no prefix: write 'b' and 'c')")
    (found,) = proposed("principal.roles.exists(r, r.startsWith('role:'))")
    assert found.endswith("(names there have no prefix)")
    of_case = ON_A_DAY.replace("context: {weekday: DAY}", "principal: {roles: [auditor, 'role:payroll']}")
    (found,) = proposed("'payroll' in principal.roles", of_case)
    assert found.startswith("cases/odd.yaml:1:1: 'principal.roles' never has 'role:payroll'")
    assert found.endswith("(names there have no prefix: write 'payroll')")


def test_the_groups_of_an_owner_have_no_prefix_either() -> None:
    text = TEXT.vocabulary.replace("resource.minutes > 2400", "'group:night' in resource.owner.groups")
    found = examination.examine(replace(TEXT, vocabulary=text, cases={}), examination.PROPOSAL).complaints
    assert "'group:night' fits no name in resource.owner.groups" in " ".join(map(str, found))


@pytest.mark.parametrize(
    "expression",
    [
        "'payroll' in principal.roles",
        "principal.country == 'role:payroll'",
        "principal.roles.exists(r, 'role:payroll'.endsWith(r))",
        "['role:a'].exists(r, r == principal.country)",
    ],
)
def test_an_expression_with_names_as_the_lists_hold_them_is_not_refused_for_them(expression: str) -> None:
    assert proposed(expression) == []


def test_the_values_of_attributes_are_those_that_requests_have() -> None:
    assert set(PRINCIPAL["principal.kind"].values) == set(PrincipalKind)
    monday = datetime(2026, 3, 2, 12, tzinfo=UTC)
    person = Principal(PrincipalKind.USER, "i", "s", "app", frozenset(), frozenset(), None, 0, 1)
    days = [caller_values(person, (), {}, monday + timedelta(days=day))["context.weekday"] for day in range(7)]
    assert tuple(days) == CONTEXT["context.weekday"].values
