"""The expression for the approvals that a timesheet needs: its meaning, and each wrong expression is named with its
place."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from service.administration.checks import examination
from service.policy import vocabulary_file
from service.policy.approval import APPROVALS, is_complete
from tests import policy_forge

if TYPE_CHECKING:
    from service.policy.attributes import Value

SHIPPED = policy_forge.read_shipped().vocabulary
FOUR_EYES = "size(resource.approvals) >= (resource.minutes > 2400 ? 2 : 1)"
PEOPLE = '\n[directory.people]\ncountry = "string"\n'
NOTHING_NEEDED = "A timesheet could be complete without any approval"


def approval(complete: str) -> str:
    return f"\n[kinds.timesheet.approval]\ncomplete = '''{complete}'''\n"


def test_without_it_a_timesheet_needs_one_approval() -> None:
    read, _ = vocabulary_file.read(SHIPPED)
    assert read is not None
    assert read.approval is None
    assert is_complete(None, {}, ("mia",))
    assert not is_complete(None, {}, ())


def test_the_number_may_follow_from_the_timesheet() -> None:
    read, complaints = vocabulary_file.read(SHIPPED + approval(FOUR_EYES))
    assert read is not None, complaints
    assert read.approval is not None
    for minutes, needed in ((2400, 1), (2401, 2)):
        values: dict[str, Value] = {"resource.minutes": minutes, APPROVALS: ("from", "before")}
        held = [is_complete(read.approval, values, ("mia", "max", "mo")[:given]) for given in range(4)]
        assert held == [given >= needed for given in range(4)]
    # Without a value nothing is complete.
    assert not is_complete(read.approval, {}, ("mia",))
    assert is_complete(read.approval, {}, ("mia", "max")) is False


def test_the_table_and_the_case_on_the_page_of_policies_can_be_copied() -> None:
    page = (policy_forge.POLICIES / "README.md").read_text(encoding="utf-8")
    section = page.split("## Several approvals\n")[1].split("\n## ")[0]
    table, case = re.findall(r"```(?:toml|yaml)\n(.*?)```", section, re.DOTALL)
    text = policy_forge.read_shipped()
    cases = {**text.cases, "weeks.yaml": case}
    snapshot = examination.load(replace(text, vocabulary=f"{text.vocabulary}\n{table}", cases=cases), 1)
    assert snapshot.vocabulary.approval is not None
    assert snapshot.vocabulary.approval.text == FOUR_EYES


@pytest.mark.parametrize(
    ("complete", "message", "remedy"),
    [
        ("true", NOTHING_NEEDED, "ask for size(resource.approvals) >= 1 in every case"),
        ("size(resource.approvals) >= 0", NOTHING_NEEDED, "ask for"),
        ("resource.minutes < 600 || size(resource.approvals) >= 2", NOTHING_NEEDED, "ask for"),
        ("size(resource.approvals) >= (resource.minutes > 2400 ? 1 : 0)", NOTHING_NEEDED, "ask for"),
        ("resource.approvals.all(a, a != 'x')", NOTHING_NEEDED, "ask for"),
        ("size(resource.approvals) > 10", "No timesheet could be complete, even with 10 approvals", "at most 10"),
        ("size(resource.approvals) >= 2 && size(resource.approvals) < 2", "No timesheet could be complete", "fewer"),
        ("size(resource.approvals)", "must be true or false", "compare it"),
        ("size(resource.approval) >= 2", "resource.approval", "resource.approvals"),
        (
            "resource.owner.contry == 'DE' ? size(resource.approvals) > 1 : size(resource.approvals) > 0",
            "contry",
            "cou",
        ),
    ],
)
def test_an_expression_that_cannot_be_meant_is_refused(complete: str, message: str, remedy: str) -> None:
    read, found = vocabulary_file.read(SHIPPED + PEOPLE + approval(complete))
    assert read is None
    assert len(found) == 1
    assert message in found[0].message
    assert remedy in str(found[0].suggestion)
    assert SHIPPED.count("\n") + 6 == found[0].line


@pytest.mark.parametrize("name", ["principal.country", "principal.id", "context.now", "context.weekday"])
def test_it_reads_the_timesheet_alone(name: str) -> None:
    complete = f"size(resource.approvals) >= 1\n && has({name})"
    _, found = vocabulary_file.read(SHIPPED + PEOPLE + approval(complete))
    assert [(found.line - SHIPPED.count("\n"), found.column) for found in found] == [(7, 9)]
    assert "everyone sees it need the same number of approvals" in found[0].message


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("[kinds.timesheet.approval]\n", "'complete' is missing"),
        ("[kinds.timesheet.approval]\ncomplete = 2\n", "'complete' must be an expression in quotes"),
        ("[kinds.timesheet.approval]\nneeds = 2\n", "The key 'needs' is not known here"),
        ("[kinds.log.approval]\ncomplete = 'true'\n", "The key 'approval' is not known here"),
        ("[kinds.timesheet.approval]\ncomplete = '" + "1 + " * 3000 + "'\n", "more than 1000 characters"),
    ],
)
def test_a_wrong_table_is_refused(table: str, message: str) -> None:
    _, found = vocabulary_file.read(SHIPPED + "\n" + table)
    assert message in found[0].message
    assert found[0].line > SHIPPED.count("\n")
