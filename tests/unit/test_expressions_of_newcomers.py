"""Expressions as authors write them who know CEL, Rego, SQL, JavaScript or Python: the complaint has a remedy."""

from __future__ import annotations

import pytest

from service.policy.attributes import Attribute, AttributeType, known_attributes
from service.policy.expressions.expression import Flaw, compile_expression

PEOPLE = {
    "country": Attribute(AttributeType.STRING, "where they work"),
    "remote": Attribute(AttributeType.BOOL, "whether they work at home"),
}
KNOWN = known_attributes("timesheet", PEOPLE, {}, {})
EXISTS = 'write LIST.exists(x, x == "A") or LIST.all(x, x == "A")'
PRESENT = "has(NAME) says whether an attribute has a value"
RANGE = "X >= 1 && X <= 3"


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("principal.remote == True", "write true"),
        ("principal.country == None", PRESENT),
        ("principal.country is not null", PRESENT),
        ("principal.country == undefined", PRESENT),
        ("principal.country == \N{LEFT DOUBLE QUOTATION MARK}DE\N{RIGHT DOUBLE QUOTATION MARK}", "straight quotes"),
        ("principal.country == `DE`", "put a text in quotes"),
        ('principal.country in ("DE", "AT")', 'write a list in brackets: ["DE", "AT"]'),
        ('principal.country in {"DE", "AT"}', 'write a list in brackets: ["DE", "AT"]'),
        ('principal.country not in ["DE"]', "write !(X in LIST)"),
        ('principal.country IN ["DE"]', "write in"),
        ('principal.country !in ["DE"]', "write !(X in LIST)"),
        ('principal.country.in(["DE"])', "write X in LIST"),
        ('principal.country like "D%"', 'write TEXT.startsWith("x")'),
        ('principal.country =~ "D.*"', 'write TEXT.startsWith("x")'),
        ('startsWith(principal.country, "D")', 'write TEXT.startsWith("x")'),
        ('principal.country.startswith("D")', 'write TEXT.startsWith("x")'),
        ('principal.country.lower() == "de"', 'X in ["DE", "de"]'),
        ('principal.country.equals("DE")', "write =="),
        ('principal.country == "DE" || "AT"', 'X == "DE" || X == "AT"'),
        ('principal.country ?? "DE" == "DE"', 'write has(X) ? X : "DE"'),
        ('principal?.country == "DE"', "write principal.country"),
        ('{{ principal.country }} == "DE"', "write the name alone: principal.country"),
        ('user.country == "DE"', "did you mean 'principal.country'?"),
        ('request.principal.country == "DE"', "did you mean 'principal.country'?"),
        ('owner.country == "DE"', "did you mean 'resource.owner.country'?"),
        ('principal.remote == "true"', "write NAME or !NAME, without a comparison"),
        ("not(principal.remote)", "write !"),
        ("!resource.minutes > 3", "write !(X > 3)"),
        ("len(resource.projects) > 1", "write size(X)"),
        ("resource.projects.length > 1", "write size(resource.projects)"),
        ("resource.projects.isEmpty()", "write size(X) == 0"),
        ("resource.projects == []", "write size(LIST) == 0"),
        ('resource.projects.includes("A")', 'write "X" in LIST'),
        ('principal.has_role("payroll")', '"X" in LIST'),
        ('principal.roles in ["payroll"]', EXISTS),
        ('resource.projects.any(p, p == "A")', EXISTS),
        ('resource.projects.exists(p => p == "A")', EXISTS),
        ('any(p == "A" for p in resource.projects)', EXISTS),
        ('some p in resource.projects; p == "A"', EXISTS),
        ('resource.projects.exists("A")', EXISTS),
        ('resource.projects.filter(p, p == "A").size() > 0', EXISTS),
        ('resource["minutes"] > 3', "write the name with a dot, such as resource.minutes"),
        ('resource.minutes > "2400"', "write numbers without quotes and texts with quotes"),
        ("1 < resource.minutes < 3", f"write {RANGE}"),
        ("resource.minutes between 1 and 3", f"write {RANGE}"),
        ("resource.minutes >= 1 && <= 3", f"name the value again: {RANGE}"),
        ("resource.minutes => 3", "write >="),
        ("resource.minutes <> 3", "write !="),
        ("resource.minutes := 3", "write =="),
        ("resource.minutes =! 3", "write !="),
        ("resource.minutes > 40 hours", "write a duration"),
        ("resource.minutes > 3 when principal.remote", "write && between conditions"),
        ('(principal.remote ? 1 : "x") == 1', "both sides must be of one type"),
        ("context.now - 48 < resource.submitted_at", 'write duration("48h")'),
        ("resource.minutes // 60 > 40", "what stands behind // is a comment"),
        ("size(resource.projects // 2) > 1", "multiply the other side of the comparison"),
        ("principal.remote || resource.minutes // 60 > 40", "multiply the other side of the comparison"),
        ("resource.minutes > 3 # more", "write comments as lines of vocabulary.toml that start with #"),
        ("resource.minutes > 3 -- more", "write comments as lines of vocabulary.toml that start with #"),
        ("resource.minutes > 3 /* more */", "write comments as lines of vocabulary.toml that start with #"),
        ("resource.minutes > 3,", "leave it out"),
        ("resource.minutes > 3)", "leave it out"),
        ("resource.minutes > 3 ? true", "write CONDITION ? A : B"),
        ("if resource.minutes > 3 then true else false", "write CONDITION ? A : B"),
        ("resource.minutes > 3 &&", "write a value behind its last sign"),
        ("context.now > now()", "write context.now"),
        ("now > resource.submitted_at", "write context.now"),
        ("context.now > 2026-01-01", 'write timestamp("2026-01-31T00:00:00Z")'),
        ('context.now > date("2026-01-01")', 'write timestamp("2026-01-31T00:00:00Z")'),
        ("context.now.getHours() > 18", "compare context.now with a timestamp"),
        ("context.hour > 18", "compare context.now with a timestamp"),
        ("context.now - resource.submitted_at > 48", 'write duration("48h")'),
        ("context.now - resource.submitted_at > timedelta(days=2)", 'write duration("48h")'),
        ("mfa && principal.remote", "name mfa under 'when' in the row"),
        ("principal.mfa", "name mfa under 'when' in the row"),
        ("manager", "name manager under 'who' in the row"),
        ("overtime && principal.remote", "facts and relations stand in rows of policy.csv"),
        ("math.greatest(1, 2) > 2", "names begin with principal, resource or context"),
    ],
)
def test_the_complaint_says_what_to_write_instead(text: str, instead: str) -> None:
    found = compile_expression(text, KNOWN)
    assert isinstance(found, Flaw)
    assert instead in (found.suggestion or ""), found


def test_an_open_bracket_is_named() -> None:
    found = compile_expression("(resource.minutes > 3", KNOWN)
    assert isinstance(found, Flaw)
    assert found.message == "A bracket is not closed"
