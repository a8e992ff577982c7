"""Attributes and facts that a vocabulary declares: what they mean, and every wrong one is named with its place."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest

from service.policy import vocabulary_file
from service.policy.attributes import AttributeType
from service.policy.expressions.expression import Expression, compile_expression
from service.policy.sentences import attributes_in, fill_sentence, show_value
from tests import policy_forge

if TYPE_CHECKING:
    from service.places import Complaint
    from service.policy.access_request import Vocabulary
    from service.policy.attributes import Value

SHIPPED = policy_forge.read_shipped().vocabulary
COUNTRIES = """
[directory.people]
country = "string"
level = { type = "int", personal = true, description = "the grade" }

[directory.teams]
region = "string"

[directory.projects]
customer = "string"
"""
OVERTIME = """
[kinds.timesheet.facts.overtime]
is = "resource.minutes > 2400"
yes = "this week has {resource.minutes:hours}"
no = "this week has 40 hours or less"
"""
SAME_COUNTRY = """
[kinds.timesheet.facts.same_country]
is = '''
resource.owner.country == principal.country
    || "EMEA" in resource.owner.teams.region
'''
yes = "you work in the same country"
no = "this person works in {resource.owner.country}"
"""


def vocabulary(*texts: str) -> Vocabulary:
    found, complaints = vocabulary_file.read(SHIPPED + "".join(texts))
    assert found is not None, [str(complaint) for complaint in complaints]
    return found


def complaint(*texts: str) -> Complaint:
    _, found = vocabulary_file.read(SHIPPED + "".join(texts))
    assert len(found) == 1, [str(complaint) for complaint in found]
    return found[0]


def test_a_declared_fact_is_a_word_with_an_expression() -> None:
    read = vocabulary(COUNTRIES, OVERTIME, SAME_COUNTRY)
    assert {"overtime", "same_country"} < read.facts["timesheet"]
    fact = read.definitions[("timesheet", "same_country")]
    assert fact.attributes == {"principal.country", "resource.owner.country", "resource.owner.teams.region"}
    assert fact.evaluate({"resource.owner.country": "AT", "principal.country": "DE"}) is None
    assert fact.evaluate({"resource.owner.teams.region": ("EMEA",)}) is True
    assert read.people["level"].personal
    assert (read.people["level"].type, read.people["level"].description) == (AttributeType.INT, "the grade")
    known = read.known_attributes("timesheet")
    assert known["resource.projects.customer"].type is AttributeType.STRINGS
    assert known["principal.country"] == known["resource.owner.country"]
    assert not any(name.startswith("resource.") for name in read.known_attributes(""))


def test_a_declared_fact_of_the_sign_in_reads_no_resource() -> None:
    office = '[request.facts.office_hours]\nis = "{}"\nyes = "it is a weekday"\nno = "it is {{context.weekday}}"\n'
    definition = "!(context.weekday in ['saturday', 'sunday'])"
    read = vocabulary(office.format(definition))
    assert read.definitions[("", "office_hours")].evaluate({"context.weekday": "sunday"}) is False
    found = complaint(office.format("resource.minutes > 3"))
    assert found.message == "There is no attribute 'resource.minutes' here"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("resource.minutes > 2400", "resource.minute > 2400", "no attribute 'resource.minute' here"),
        ("resource.minutes > 2400", "resource.minutes > 40.5", "> does not take int and double"),
        ("resource.minutes > 2400", "resource.minutes", "must be true or false"),
        ("resource.minutes > 2400", "x" * 10_000, "more than 1000 characters"),
        ('"resource.minutes > 2400"', "7", "must be an expression in quotes"),
        (".overtime]", ".acted_for_owner2]\nif = 3", "The key 'if' is not known here"),
        ("{resource.minutes:hours}", "{resource.minutes:days}", "no format 'days'"),
        ("{resource.minutes:hours}", "{resource.minutes:date}", "shows timestamp"),
        ("{resource.minutes:hours}", "{resource.hours}", "no attribute 'resource.hours'"),
        ("{resource.minutes:hours}", "{resource.minutes:hours", "not closed"),
        ('yes = "this week has {resource.minutes:hours}"\n', "", "needs a sentence"),
    ],
)
def test_a_wrong_fact_is_named_with_its_line(old: str, new: str, message: str) -> None:
    assert old in OVERTIME
    found = complaint(OVERTIME.replace(old, new))
    assert message in f"{found.message} {found.suggestion}"
    assert found.line > SHIPPED.count("\n")


def test_a_misspelt_kind_is_not_said_to_have_no_attributes() -> None:
    misspelt = '[kinds.timeshet.facts.overtime]\nis = "true"\nyes = "y"\nno = "n"\n'
    _, found = vocabulary_file.read(SHIPPED + misspelt)
    assert "The service has no kind 'timeshet'" in found[0].message
    assert not [str(complaint) for complaint in found if "no attributes" in complaint.message]
    of_kind = complaint(misspelt.replace("timeshet", "log"))
    assert "The kind 'log' has no attributes that a fact could read" in of_kind.message


def test_a_misspelt_table_is_named_where_it_stands() -> None:
    found = complaint('[kinds.timesheet.fact.overtime]\nis = "true"\nyes = "y"\nno = "n"\n')
    assert (found.message, found.suggestion) == ("The key 'fact' is not known here", "did you mean 'facts'?")
    assert found.line > SHIPPED.count("\n")
    found = complaint('[requests.facts.weekend]\nis = "true"\nyes = "y"\nno = "n"\n')
    assert "'requests' is not known here" in found.message
    assert found.line > SHIPPED.count("\n")


@pytest.mark.parametrize(
    ("table", "message", "suggestion"),
    [
        (
            "kinds.timesheet.facts",
            "no fact 'mine' without an expression",
            'is = "EXPRESSION" declares one of your own; known',
        ),
        (
            "kinds.timesheet.relations",
            "no relation 'mine' without a path",
            'is = "PATH" declares one of your own; known',
        ),
    ],
)
def test_a_word_without_its_expression_is_told_what_declares_it(table: str, message: str, suggestion: str) -> None:
    found = complaint(f'[{table}.mine]\nyes = "y"\nno = "n"\n')
    assert message in found.message
    assert suggestion in (found.suggestion or "")


def test_a_complaint_points_into_the_expression() -> None:
    found = complaint(COUNTRIES, SAME_COUNTRY.replace("teams.region", "teams.reigon"))
    text = (SHIPPED + COUNTRIES + SAME_COUNTRY).splitlines()[found.line - 1]
    assert text[found.column - 1 :].startswith("resource.owner.teams.re")
    found = complaint(OVERTIME.replace("resource.minutes > 2400", "true && resource.minuts > 2400"))
    assert (found.column, found.suggestion) == (len('is = "true && ') + 1, "did you mean 'resource.minutes'?")
    # The file writes the text with escapes, so the complaint points at the key.
    found = complaint(OVERTIME.replace("resource.minutes >", r"\u0074rue && resource.minuts >"))
    assert found.column == 1


def test_a_fact_that_the_service_supplies_cannot_be_defined() -> None:
    for text in (
        SHIPPED.replace('yes = "you locked this', 'is = "true"\nyes = "you locked this'),
        SHIPPED.replace("mfa = {", 'mfa = { is = "true",'),
    ):
        _, (found,) = vocabulary_file.read(text)
        assert "so it cannot be defined" in found.message
    _, (found,) = vocabulary_file.read(SHIPPED.replace("max_age = 900", 'is = "true", max_age = 900'))
    assert "either 'is' or 'max_age'" in found.message


def test_a_kind_without_attributes_has_no_declared_facts() -> None:
    fact = OVERTIME.replace("kinds.timesheet", "kinds.log").replace("{resource.minutes:hours}", "40 hours")
    assert complaint(fact).suggestion == "declare it under [request.facts]"


def test_facts_are_bounded() -> None:
    facts = [OVERTIME.replace("overtime", f"overtime_{number}") for number in range(51)]
    assert "more than 50" in complaint(*facts).message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[directory.persons]\n", "The key 'persons' is not known"),
        ('[directory.people]\ncountry = "text"\n', "needs a type"),
        ('[directory.teams]\nsince = "timestamp"\n', "needs a type"),
        ('[directory.people]\n"Country" = "string"\n', "is not a name"),
        ('[directory.people]\nteams = "string"\n', "a meaning of its own"),
        ('[directory.projects]\nleads = "string"\n', "a meaning of its own"),
        ('[directory.people]\nin = "string"\n', "a meaning of its own"),
        ('[directory.people]\ncountry = { type = "string", secret = true }\n', "'secret' is not known"),
        ('[directory.people]\ncountry = { type = "string", personal = 1 }\n', "must be true or false"),
        ("[directory]\npeople = 3\n", "must be a table"),
        ("[directory.people]\n" + "".join(f'a{n} = "int"\n' for n in range(51)), "more than 50 attributes"),
    ],
)
def test_a_wrong_attribute_is_named_with_its_line(text: str, message: str) -> None:
    found = complaint(text)
    assert message in found.message
    assert found.line > SHIPPED.count("\n")


def test_a_sentence_shows_no_personal_attribute() -> None:
    found = complaint(COUNTRIES, OVERTIME.replace("{resource.minutes:hours}", "{resource.owner.level}"))
    assert "'resource.owner.level' is personal" in found.message


def test_a_sentence_shows_values_in_words() -> None:
    sentence = "this week has {resource.minutes:hours} on {resource.projects} since {resource.submitted_at:date}"
    assert attributes_in(sentence) == {"resource.minutes", "resource.projects", "resource.submitted_at"}
    values: dict[str, Value] = {"resource.minutes": 2_590, "resource.projects": ("A", "B")}
    assert fill_sentence(sentence, values) == "this week has 43 hours 10 minutes on A, B since unknown"
    assert [show_value(value, "hours") for value in (60, 2_580, 45, 0, -61)] == [
        "1 hour", "43 hours", "45 minutes", "0 hours", "-1 hour 1 minute",
    ]  # fmt: skip
    assert show_value(tuple(map(str, range(12)))) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"
    assert (show_value(()), show_value(value=True), show_value("x" * 200)) == ("none", "true", "x" * 100 + "...")


def test_the_examples_of_the_page_are_understood() -> None:
    page = (policy_forge.POLICIES / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    found, complaints = vocabulary_file.read(SHIPPED + "\n".join(blocks))
    assert [str(complaint) for complaint in complaints] == []
    assert found is not None
    assert {name for _, name in found.definitions} == {"overtime", "same_country", "office_hours"}
    table = page.split("| you can write | examples |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| .*? \| (.*) \|$", table, re.MULTILINE)
    written = [text.replace("\\|", "|") for row in rows for text in re.findall(r"`([^`]*)`", row)]
    expressions = [text for text in written if re.match(r"(principal|resource|context)\.|size\(r|has\(", text)]
    assert len(expressions) == 6
    for text in expressions:
        complete = f"({text}) > 0" if "?" in text else text
        compiled = compile_expression(complete, found.known_attributes("timesheet"))
        assert isinstance(compiled, Expression), (text, compiled)


@pytest.mark.parametrize(
    "text",
    [
        "".join(OVERTIME.replace("overtime", f"f{number}").replace("2400", "2400 &&" * 9) for number in range(5_000)),
        "".join(OVERTIME.replace("overtime", f"f{number}").replace("minutes:", "mints:") for number in range(5_000)),
        "".join(
            OVERTIME.replace("overtime", f"f{number}").replace(
                " > 2400", f" > {number} && resource.minutes > 2400" * 30
            )
            for number in range(50)
        ),
    ],
    ids=["flawed expressions", "flawed sentences", "as many and as long as can be"],
)
def test_a_hostile_vocabulary_costs_little(text: str) -> None:
    began = time.process_time()
    vocabulary_file.read(SHIPPED + text)
    assert time.process_time() - began < 10
