"""A comment in an expression, such as `2400 // 60`, is refused in a proposal. A stored version goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from service.administration.checks import examination
from tests.policy_forge import with_more

BEFORE = "is = '''"


def complaints_about(expression: str, number: int = examination.PROPOSAL) -> list[str]:
    fact = f"\n[kinds.timesheet.facts.long]\nyes = 'it is long'\nno = 'it is not'\n{BEFORE}{expression}'''\n"
    return [str(complaint) for complaint in examination.examine(with_more(words=fact), number).complaints]


@pytest.mark.parametrize(
    ("expression", "column"),
    [
        ("resource.minutes > 2400 // 60", len(BEFORE) + 25),
        ("resource.minutes > 2400 // 40 hours", len(BEFORE) + 25),
        ('resource.projects.exists(p, p == "//") // or http://x', len(BEFORE) + 40),
        ("resource.minutes > 2400\n  // overtime", 3),
    ],
)
def test_a_proposal_with_a_comment_in_an_expression_is_refused(expression: str, column: int) -> None:
    (found,) = complaints_about(expression)
    assert "What stands behind // is a comment, and has no effect" in found
    assert "instead of a division, multiply the other side of the comparison" in found
    assert "lines of vocabulary.toml that start with #" in found
    assert f":{column}: " in found


@pytest.mark.parametrize(
    "expression",
    [
        'resource.projects.exists(p, p.startsWith("http://site"))',
        'resource.projects.exists(p, p == """a" // b""")',
        'resource.projects.exists(p, p == "\\\\" || p == "//")',
    ],
)
def test_a_text_with_two_slashes_is_no_comment(expression: str) -> None:
    assert complaints_about(expression) == []


def test_a_stored_version_with_a_comment_goes_on() -> None:
    assert complaints_about("resource.minutes > 2400 // 60", 7) == []


def test_a_comment_in_the_number_of_approvals_is_refused() -> None:
    text = with_more(words='\n[kinds.timesheet.approval]\ncomplete = "size(resource.approvals) >= 2 // 1"\n')
    (found,) = examination.examine(text, examination.PROPOSAL).complaints
    assert "is a comment" in found.message
    assert not examination.examine(text, 7).complaints
    plain = replace(text, vocabulary=text.vocabulary.replace(" // 1", ""))
    assert not examination.examine(plain, examination.PROPOSAL).complaints
