"""Expressions of a policy: what can be written, what each says, and what is refused, with its place and remedy."""

from __future__ import annotations

import time
import unicodedata
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.policy.attributes import CONTEXT, MAX_INT, PRINCIPAL, RESOURCE, Attribute, AttributeType
from service.policy.expressions.expression import Expression, Flaw, compile_expression
from tests.example_count import example_count

if TYPE_CHECKING:
    from service.policy.attributes import Value

KNOWN = {
    **PRINCIPAL,
    **CONTEXT,
    **RESOURCE["timesheet"],
    "principal.country": Attribute(AttributeType.STRING, "a country"),
    "resource.owner.country": Attribute(AttributeType.STRING, "a country"),
    "resource.owner.level": Attribute(AttributeType.INT, "a level", personal=True),
    "resource.owner.remote": Attribute(AttributeType.BOOL, "works at home"),
}
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
VALUES: dict[str, Value] = {
    "principal.country": "DE",
    "resource.owner.country": "DE",
    "resource.owner.level": 3,
    "resource.owner.remote": False,
    "resource.minutes": 2_580,
    "resource.projects": ("APOLLO", "GEMINI"),
    "resource.approvals": (),
    "resource.submitted_at": NOW - timedelta(hours=49),
    "context.now": NOW,
}


def compiled(text: str) -> Expression:
    expression = compile_expression(text, KNOWN)
    assert isinstance(expression, Expression), expression
    return expression


def flaw(text: str) -> Flaw:
    found = compile_expression(text, KNOWN)
    assert isinstance(found, Flaw), found
    return found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("resource.minutes > 2400", True),
        ("resource.minutes * 2 - 60 <= 5_000".replace("_", ""), False),
        ("-resource.minutes < 0", True),
        ("resource.owner.country == principal.country", True),
        ('principal.country in ["AT", "CH"]', False),
        ('"APOLLO" in resource.projects && size(resource.projects) == 2', True),
        ("resource.projects.size() > 2", False),
        ('resource.projects.exists(p, p.startsWith("GEM"))', True),
        ('resource.projects.all(p, p.endsWith("O"))', False),
        ('resource.projects.all(p, p.contains("I") || p == "APOLLO")', True),
        ("resource.approvals.exists(a, a == principal.id)", False),
        ("resource.approvals.all(a, a == principal.id)", True),
        ("size(resource.approvals) >= (resource.minutes > 2400 ? 2 : 1)", False),
        ('context.now - resource.submitted_at > duration("48h")', True),
        ('resource.submitted_at + duration("2h") == context.now - duration("47h")', True),
        ('context.now > timestamp("2026-03-02T13:30:00+02:00")', True),
        ("!resource.owner.remote", True),
        ('"team:" + principal.country == "team:DE"', True),
        ("has(resource.minutes) && !has(principal.id)", True),
        # Missing values.
        ("principal.id == resource.owner.id", None),
        ('principal.id == "x" && resource.minutes > 9000', False),
        ('principal.id == "x" || resource.minutes > 2400', True),
        ('!(principal.id == "x")', None),
        ("size(principal.groups) == 0", None),
        ("principal.groups.exists(g, true)", None),
        ("principal.groups.all(g, true)", None),
        ("principal.id in resource.approvals", None),
        ("resource.projects.exists(p, p == principal.id)", None),
        ('resource.projects.exists(p, p == "APOLLO" || p == principal.id)', True),
        ('resource.projects.all(p, p == "APOLLO" && principal.id == "x")', False),
        ("has(principal.id) ? principal.id == resource.owner.id : resource.minutes > 0", True),
    ],
)
def test_an_expression_means_what_cel_says(text: str, *, value: bool | None) -> None:
    assert compiled(text).evaluate(VALUES) is value


@pytest.mark.parametrize("value", ["3", 3.0, True, MAX_INT + 1, (3,), None])
def test_a_value_of_another_type_is_missing(value: Value) -> None:
    assert compiled("resource.owner.level > 2").evaluate({"resource.owner.level": value}) is None
    assert compiled("has(resource.owner.level)").evaluate({"resource.owner.level": value}) is False


@pytest.mark.parametrize(
    ("text", "place", "message", "suggestion"),
    [
        ("resource.minute > 3", (1, 1), "no attribute 'resource.minute'", "did you mean 'resource.minutes'?"),
        ("resource.reason == ''", (1, 1), "no attribute 'resource.reason'", "policies/README.md"),
        ("resource.owner.contry == ''", (1, 1), "no attribute 'resource.owner.contry'", "'resource.owner.country'"),
        ("resourc.minutes > 3", (1, 1), "no attribute 'resourc.minutes'", "did you mean 'resource.minutes'?"),
        ("true &&\n  principal.contry == 'DE'", (2, 3), "no attribute 'principal.contry'", "'principal.country'"),
        ("country == 'DE'", (1, 1), "no attribute 'country'", "quotes"),
        ("true || resource.owner.teams.region == 'x'", (1, 9), "no attribute 'resource.owner.teams.region'", None),
        ("resource", (1, 1), "'resource' alone", "resource.approvals"),
        ("resource.minutes > 40.0", (1, 18), "> does not take int and double", "write 40"),
        ('resource.minutes > "40"', (1, 18), "> does not take int and string", None),
        ("resource.minutes > 40h", (1, 22), "'h' was not expected", 'duration("48h")'),
        ("resource.minutes > 2,400", (1, 21), "',' was not expected", "without separators"),
        ("not resource.owner.remote", (1, 1), "'not' was not expected", "write !"),
        ("resource.projects contains 'X'", (1, 19), "'contains' was not expected", '"X" in LIST'),
        ("role:auditor in principal.roles", (1, 5), "':' was not expected", "quotes"),
        ("resource.minutes > 2400;", (1, 24), "';' was not expected", "join its parts by &&"),
        ("resource.submitted_at != null", (1, 26), "no null", "has(NAME)"),
        ("resource.minutes > null", (1, 18), "> does not take int and null", "has(NAME)"),
        ("'x' in resource.projects.leads", (1, 8), "no attribute 'resource.projects.leads'", "'resource.projects'"),
        ("resource.submitted_at > '2026-01-31'", (1, 23), "timestamp and string", 'timestamp("2026'),
        ("'a' in 'abc'", (1, 5), "in does not take string and string", 'TEXT.contains("x")'),
        ("resource.minutes in 7", (1, 18), "in does not take int and int", "a list, on its right"),
        ("resource.projects > 2", (1, 19), "> does not take list<string> and int", "size(LIST)"),
        ("resource.state == 'draft'", (1, 1), "no attribute 'resource.state'", "states in the row"),
        ("principal.city == 'x'", (1, 1), "no attribute 'principal.city'", "declare city under [directory.people]"),
        ("'x' in resource.projects.sector", (1, 8), "no attribute", "declare sector under [directory.projects]"),
        ("resource.minutes && true", (1, 18), "&& does not take int and bool", "compare"),
        ("resource.minutes", (1, 1), "must be true or false", None),
        ("resource.minutes > 3 and true", (1, 22), "'and' was not expected", "&&"),
        ("resource.minutes = 3", (1, 18), "'=' was not expected", "=="),
        ("resource.minutes > ", (1, 20), "ends too early", None),
        ('principal.country == "DE', (1, 22), "not closed", None),
        ("", (1, 1), "empty", None),
        ("resource.minutes / 2 > 3", (1, 18), "cannot divide", "multiply"),
        ("resource.minutes * resource.days > 3", (1, 18), "by a constant only", None),
        ("resource.owner.level * 1000 * 1000 > 3", (1, 29), "too large", "smaller"),
        ("resource.minutes > 9007199254740992", (1, 20), "from -9007199254740991 to", None),
        ('principal.country.matches("D.*")', (1, 26), "matches() cannot be used", "startsWith"),
        ("foo(3)", (1, 1), "foo() cannot be used", "known: all, contains"),
        ("string(resource.minutes) == '3'", (1, 1), "string() cannot be used", "values of one type"),
        ('resource.projects == ["A"]', (1, 19), "does not compare lists", "in, size()"),
        ('resource.projects[0] == "A"', (1, 18), "no place", "exists()"),
        ("principal.country in []", (1, 22), "one or more constants", None),
        ('"A" in [principal.country]', (1, 8), "one or more constants", None),
        ("resource.projects.exists_one(p, p == 'A')", (1, 29), "only exists and all", None),
        ("resource.projects.exists(p, resource.approvals.exists(a, a == p))", (1, 54), "cannot be nested", "in list"),
        ("resource.projects.exists(resource, true)", (1, 25), "cannot be the name", "short"),
        ("has(minutes)", (1, 1), "name of an attribute", "has(resource.submitted_at)"),
        ("has_resource.minutes", (1, 1), "no attribute 'has_resource'", None),
        ('context.now > timestamp("2026-01-01")', (1, 15), "not a timestamp", "2026-01-31T00:00:00Z"),
        ('context.now > timestamp("1650-01-01T00:00:00Z")', (1, 15), "not a timestamp", "from 1900"),
        ("context.now > timestamp(resource.minutes)", (1, 15), "takes a string constant", None),
        ('context.now - context.now > duration("2d")', (1, 29), "not a duration", "48h"),
        ("context.now + (context.now - context.now) == context.now", (1, 13), "constant duration only", None),
        ("resource.owner.remote < true", (1, 23), "true and false", "=="),
        ("'\\u0000' == principal.country", (1, 1), "U+0000", None),
        ("(" * 40 + "true" + ")" * 40, (1, 1), "nested too deeply", "split"),
        ("true && " * 125 + "true", (1, 1), "more than 1000 characters", "split"),
    ],
)
def test_what_cannot_be_written_is_refused_with_its_place(
    text: str, place: tuple[int, int], message: str, suggestion: str | None
) -> None:
    found = flaw(text)
    assert ((found.line, found.column), message in found.message) == (place, True), found
    assert (suggestion or "") in (found.suggestion or ""), found


def test_a_hostile_text_costs_little() -> None:
    texts = ["a" * 10_000, "(" * 500 + ")" * 500, "!" * 990 + "true", "[" * 400, "true?" * 199 + "true", "'" * 999]
    texts += ["resource.projects.exists(p," * 30, "-" * 999, "a." * 499, "true" + " || true" * 120, "{" * 999]
    began = time.process_time()
    for text in texts:
        compile_expression(text, KNOWN)
    assert time.process_time() - began < 1


def test_expressions_are_equal_by_text_and_types() -> None:
    again = {**KNOWN, "principal.client": Attribute(AttributeType.INT, "another type, but not read")}
    text = "resource.owner.level > 2"
    assert compile_expression(text, again) == compiled(text)
    assert hash(compile_expression(text, again)) == hash(compiled(text))
    other = {**KNOWN, "resource.owner.level": Attribute(AttributeType.TIMESTAMP, "another type")}
    assert isinstance(compile_expression(text, other), Flaw)
    assert compiled(text).attributes == {"resource.owner.level"}


def test_bounds_tell_which_truth_values_are_possible() -> None:
    enough = compiled("size(resource.approvals) >= (resource.minutes > 2400 ? 2 : 1)")
    assert enough.bounds({"resource.approvals": (0, 0)}) == {False}
    assert enough.bounds({"resource.approvals": (1, 1)}) == {True, False}
    assert enough.bounds({"resource.approvals": (1, 1), "resource.minutes": (0, 2400)}) == {True}
    assert enough.bounds({"resource.approvals": (2, 9)}) == {True}
    nobody = compiled("resource.approvals.all(a, a != principal.id) || principal.id in resource.approvals")
    assert nobody.bounds({"resource.approvals": (0, 0)}) == {True}


PIECES = ["resource.minutes", "principal.country", "resource.projects", "has(", "(", ")", "[", "]", "{", "}", "'", '"']
PIECES += [
    "`",
    "\\",
    "&&",
    "||",
    "!",
    "==",
    "<",
    ">",
    "?",
    ":",
    "+",
    "-",
    "*",
    "/",
    "%",
    ".",
    ",",
    "in",
    "true",
    "null",
]
PIECES += [
    "1",
    "1.0",
    "1u",
    "b'x'",
    "r'x'",
    "'DE'",
    "'" * 3,
    "//",
    "\n",
    " ",
    ".exists(x,",
    ".all(x,",
    ".map(x,",
    "size(",
]
PIECES += [
    "timestamp(",
    "duration(",
    "'48h'",
    "x",
    "\ud800",
    "\u2028",
    "\N{GRINNING FACE}",
    "9" * 30,
    "0x",
    "a.b{",
    "dyn(",
]


@settings(max_examples=example_count(600))
@given(st.one_of(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), st.text(max_size=60)))
@example("has(resource.submitted_at // here\n)")
@example("resource.projects.exists(principal, true)")
@example("'" + "\\u00" * 40)
def test_any_text_is_an_expression_or_has_a_flaw_with_its_place(text: str) -> None:
    found = compile_expression(text, KNOWN)
    if isinstance(found, Expression):
        assert found.evaluate(VALUES) in {True, False, None}
        assert found.sql(dict.fromkeys(found.attributes, "NULL"))
        return
    lines = text.split("\n")
    assert 1 <= found.line <= len(lines)
    assert 1 <= found.column <= len(lines[found.line - 1]) + 1
    assert found.message


@given(st.text(max_size=20, alphabet=st.characters()))
def test_any_value_is_evaluated(value: str) -> None:
    is_german = compiled("principal.country == 'DE' || size(principal.country) > 30")
    found = is_german.evaluate({"principal.country": value})
    unwritable = any(unicodedata.category(character) == "Cs" or character == "\x00" for character in value)
    assert found is (None if unwritable else value == "DE")


def test_nested_members_of_lists_make_no_exponential_sql() -> None:
    known = {**KNOWN, "resource.projects.secret": Attribute(AttributeType.BOOLS, "whether projects are secret")}
    columns = {"resource.owner.remote": "a", "resource.projects.secret": "b"}

    def length(levels: int) -> int:
        text = "(" * levels + "resource.owner.remote" + " in resource.projects.secret)" * levels
        found = compile_expression(text, known)
        assert isinstance(found, Expression)
        return len(found.sql(columns))

    assert length(25) - length(20) == length(20) - length(15)
