"""Defined facts before any request: rows that can never match, laws, and the words that replicas must know."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from service.administration.checks import examination
from service.authorization.active import replicas
from service.errors import PolicyRejected
from service.policy import policy_file
from tests import policy_forge

FACTS = """
[directory.people]
country = "string"
level = "int"

[kinds.timesheet.facts.long]
is = "resource.minutes > 2400"
yes = "this week has more than 40 hours"
no = "this week has 40 hours or less"

[kinds.timesheet.facts.short]
is = "resource.minutes < 1200"
yes = "this week has less than 20 hours"
no = "this week has 20 hours or more"

[kinds.timesheet.facts.never]
is = "size(resource.projects) < 0"
yes = "never"
no = "always"

[kinds.timesheet.facts.long_and_short]
is = "resource.minutes > 2400 && resource.minutes < 1200"
yes = "never"
no = "always"

[kinds.timesheet.facts.long_or_short]
is = "resource.minutes > 1200 || resource.minutes < 2400"
yes = "always"
no = "never"

[kinds.policy.facts.early]
is = "resource.number < 10"
yes = "this is one of the first ten versions"
no = "this is a later version"

[request.facts.german]
is = "principal.country == 'DE'"
yes = "you work in Germany"
no = "you do not work in Germany"

[request.facts.austrian]
is = "principal.country in ['AT']"
yes = "you work in Austria"
no = "you do not work in Austria"
"""
SHIPPED = policy_forge.read_shipped()
TEXT = replace(SHIPPED, vocabulary=SHIPPED.vocabulary + FACTS, cases={})


def complaints_about(row: str) -> list[str]:
    found = examination.examine(replace(TEXT, rules=f"{TEXT.rules}{row}\n"), examination.PROPOSAL)
    return [str(complaint) for complaint in found.complaints]


@pytest.mark.parametrize(
    ("when", "reason"),
    [
        ("long and short", "long and short exclude each other"),
        ("german and austrian", "german and austrian exclude each other"),
        ("long and never", "the fact never is never true here"),
        ("long_and_short", "the fact long_and_short is never true, its parts exclude each other"),
        ("mfa and not long_or_short", "the fact long_or_short is never false, its parts exclude each other"),
        ("not long_and_short", None),
        ("long_or_short", None),
        ("not long and short", None),
        ("not german and not austrian", None),
        ("long and german and not never", None),
    ],
)
def test_a_row_whose_facts_exclude_each_other_is_refused(when: str, reason: str | None) -> None:
    found = complaints_about(f"p, allow, role:auditor, read, any, timesheet, any, {when}, read-odd")
    assert len(found) == (reason is not None), found
    assert all(str(reason) in complaint for complaint in found), found


def test_a_row_without_a_resource_cannot_ask_about_it() -> None:
    row = "p, allow, role:auditor, propose, any, policy, any, {}, propose-odd"
    (found,) = complaints_about(row.format("early"))
    assert "the fact early is never true here" in found
    assert complaints_about(row.format("german")) == []


def test_a_fact_that_is_never_true_keeps_no_law() -> None:
    rules = re.sub(r"always,( +)audit-read\b", r"never_here,\1audit-read", SHIPPED.rules)
    assert rules != SHIPPED.rules
    never = '[request.facts.never_here]\nis = "size(principal.roles) < 0"\nyes = "never"\nno = "always"\n'
    with pytest.raises(PolicyRejected) as refused:
        examination.load(replace(SHIPPED, rules=rules, vocabulary=SHIPPED.vocabulary + never, cases={}), 1)
    assert any("read the decision log" in complaint.message for complaint in refused.value.complaints)
    later = never.replace("< 0", "> 0")
    examination.load(replace(SHIPPED, rules=rules, vocabulary=SHIPPED.vocabulary + later, cases={}), 1)


def test_replicas_must_know_what_expressions_read_and_not_their_names() -> None:
    words = replicas.words_of(policy_file.parse(TEXT).vocabulary)
    assert {"attribute resource.minutes", "attribute resource.projects", "syntax of expressions"} < words
    assert not {word for word in words if "long" in word or "german" in word or "country" in word}
    assert words < replicas.words_of_code()
    assert "syntax of expressions" not in replicas.words_of(policy_file.parse(SHIPPED).vocabulary)
