"""The diff names every word that means something else, although no row changed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from service.administration.checks.diff import compare_policies
from service.policy import policy_file
from tests import policy_forge

if TYPE_CHECKING:
    from service.policy.policy_file import Policy

ROW = "p, allow, manager, approve, submitted, timesheet, approve:timesheets, overtime, approve-team"
FACT = '\n[kinds.timesheet.facts.overtime]\nis = "{}"\nyes = "there is overtime"\nno = "there is none"\n'
OWN = "p, deny, owner, approve, any, timesheet, any, always, own"
FOR_OWNER = "p, deny, anyone, approve, any, timesheet, any, acted_for_owner, for-owner"


def policy(declared: str, *rows: str) -> Policy:
    text = policy_forge.rows(*(rows or (OWN, FOR_OWNER)))
    return policy_file.parse(replace(text, vocabulary=text.vocabulary + declared))


def words_of(before: str, after: str, *rows: str) -> tuple[str, ...]:
    found = compare_policies(policy(before, *rows), policy(after, *rows))
    assert (found.rows, found.verdicts, found.files) == ((), (), ("vocabulary.toml",))
    return found.words


def test_a_fact_with_another_expression_is_a_change_that_names_its_rows() -> None:
    before, after = FACT.format("resource.minutes > 2400"), FACT.format("resource.minutes > 2700")
    assert words_of(before, after, ROW, OWN) == (
        (
            "the fact overtime of the kind timesheet is now `resource.minutes > 2700`, before `resource.minutes > 2400`"
            "; rows: approve-team"
        ),
    )
    assert words_of(before, after) == (
        "the fact overtime of the kind timesheet is now `resource.minutes > 2700`, before `resource.minutes > 2400`",
    )


def test_a_fact_that_is_added_shows_its_expression() -> None:
    assert words_of("", FACT.format("resource.minutes > 2400")) == (
        "added: fact overtime of the kind timesheet, `resource.minutes > 2400`",
    )
    assert words_of(FACT.format("resource.minutes > 2400"), "") == ("removed: fact overtime of the kind timesheet",)


def test_an_expression_over_an_attribute_of_another_type_is_a_change() -> None:
    fact = FACT.format("resource.owner.level == principal.level")
    assert words_of(
        f'\n[directory.people]\nlevel = "int"\n{fact}', f'\n[directory.people]\nlevel = "string"\n{fact}'
    ) == (
        (
            "the fact overtime of the kind timesheet is now `resource.owner.level == principal.level` over attributes"
            " of other types, before `resource.owner.level == principal.level`"
        ),
        "the attribute level of people is now of the type string, before int",
    )


def test_attributes_that_come_go_or_become_personal_are_changes() -> None:
    assert words_of(
        '\n[directory.people]\ncountry = "string"\nlevel = "int"\n[directory.projects]\ncustomer = "string"\n',
        '\n[directory.people]\ncountry = { type = "string", personal = true }\n[directory.teams]\nregion = "string"\n',
    ) == (
        "added: attribute region of teams, string",
        "removed: attribute customer of projects",
        "removed: attribute level of people",
        "the attribute country of people is now personal data",
    )


def test_a_request_fact_with_another_expression_is_a_change() -> None:
    fact = '\n[request.facts.weekend]\nis = "context.weekday == \'{}\'"\nyes = "a"\nno = "b"\n'
    assert words_of(fact.format("sunday"), fact.format("saturday")) == (
        "the fact weekend is now `context.weekday == 'saturday'`, before `context.weekday == 'sunday'`",
    )


def relation(path: str) -> str:
    return f'\n[kinds.timesheet.relations.project_lead]\nis = "{path}"\nyes = "a"\nno = "b"\n'


def test_a_relation_with_another_path_is_a_change() -> None:
    row = "p, allow, project_lead, read, any, timesheet, any, always, read-project"
    assert words_of(relation("resource.projects.leads"), relation("resource.owner.teams.leads"), row, OWN) == (
        (
            "the relation project_lead of the kind timesheet is now `resource.owner.teams.leads`, before"
            " `resource.projects.leads`; rows: read-project"
        ),
    )
    assert words_of("", relation("resource.projects.leads")) == (
        "added: relation project_lead of the kind timesheet, `resource.projects.leads`",
    )


def test_a_path_that_is_written_otherwise_is_no_change() -> None:
    written = (
        "resource.projects.leads | resource.owner.teams.leads",
        "(resource.projects.leads | resource.owner.teams.leads)",
    )
    assert words_of(*map(relation, written)) == ()


@pytest.mark.parametrize("count", [6, 7])
def test_many_rows_are_counted(count: int) -> None:
    actions = ["read", "create", "edit", "delete", "submit", "withdraw", "reopen"][:count]
    row = "p, allow, manager, {}, any, timesheet, any, overtime, rule-{}"
    rows = [row.format(action, number) for number, action in enumerate(actions)]
    before, after = FACT.format("resource.minutes > 2400"), FACT.format("resource.minutes > 2700")
    assert words_of(before, after, *rows)[0].endswith(
        f"; rows: rule-0, rule-1, rule-2, rule-3, rule-4 and {count - 5} more"
    )
