"""A policy of any text is accepted, or refused with complaints that can be sent and shown."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.administration.checks import examination
from service.administration.checks.trial import trial
from service.errors import PolicyRejected
from service.places import MAX_MESSAGE_LENGTH
from tests import policy_forge
from tests.example_count import example_count

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.places import Complaint
    from service.policy.policy_file import PolicyText

SHIPPED = policy_forge.read_shipped()
# One action is enough here, and a short policy is read a hundred times a second.
SHORT = replace(SHIPPED, cases={})
CASE = "- case: x\n  who: anyone\n  action: read\n  kind: me\n  verdict: allow\n"

anything = st.text(st.characters() | st.characters(categories=["Cc", "Cs", "Cf"]), max_size=40)
# Characters that readers and parsers look for, and numbers beyond every bound.
PARTS = (
    "- ", "case: ", "who: ", "facts: ", "? ", ": ", "{", "}", "[", "]", "[[", "\n", "\n  ", "\t", '"', "'", "|", ">",
    "&a ", "*a", "!!", "!!python/object:os.system ", "%YAML 9.9\n---\n", "%TAG ! x\n", "---\n", "...\n", "<<", "#", "~",
    "\\", '"\\UFFFFFFFF"', '"\\U00110000"', '"\\uD800"', '"\\x"', '"\\0"', "\\u0000", "= ", ".", "..", "1" * 5000,
    "0x" + "f" * 5000, "1e999", "nan", "-inf", "1979-13-45T99:99:99Z", "12:60", "kinds", "timesheet", "request",
    "max_age", "p, ", "g, ", "role:a", "allow, ", "deny, ", "any, ", "always", "not ", " and ", " or ", ",,,,,,,,",
    "\ufeff", "\x1b[31m", "\u2028", "\ud800",
)  # fmt: skip
made = st.lists(st.sampled_from(PARTS) | anything, max_size=25).map("".join)


def within(text: str) -> st.SearchStrategy[str]:
    """The text with a part of it replaced."""
    places = st.integers(0, len(text))
    return st.builds(
        lambda start, end, new: text[: min(start, end)] + new + text[max(start, end) :], places, places, made
    )


def only_refused(text: PolicyText) -> list[Complaint]:
    """The complaints. Any other exception fails the test."""
    complaints: list[Complaint] = []
    try:
        examination.load(text, examination.PROPOSAL)
    except PolicyRejected as refused:
        complaints = list(refused.complaints)
        msgspec.json.encode(refused.extra)
    assert list(trial(text).complaints) == complaints
    for complaint in complaints:
        assert str(complaint).isprintable()
        assert len(str(complaint)) < 3 * MAX_MESSAGE_LENGTH
    return complaints


def with_text_in(name: str) -> Callable[[str], PolicyText]:
    """The short policy with this text in one of its files."""

    def with_text(text: str) -> PolicyText:
        changed: dict[str, Any] = {name: {"a.yaml": text} if name == "cases" else text}
        return replace(SHORT, **changed)

    return with_text


@settings(max_examples=example_count(150, uncut=300))
@given(made | within(SHIPPED.vocabulary))
@example("a = " + "1" * 5000)
@example("[kinds.me]\nname = 0x" + "f" * 5000)
@example('[kinds.timesheet.actions]\n"\\u0000" = "x"')
def test_any_vocabulary_is_accepted_or_refused(text: str) -> None:
    only_refused(with_text_in("vocabulary")(text))


@settings(max_examples=example_count(150, uncut=300))
@given(made | within(CASE) | within(SHIPPED.cases["import.yaml"]))
@example('- case: "\\UFFFFFFFF"\n')
@example('- case: "\\U00110000"\n')
@example('- case: "\\uD800"\n  who: anyone\n  action: read\n  kind: me\n  verdict: deny\n')
@example('- case: x\n  who: anyone\n  action: "\\uD800"\n  kind: me\n  verdict: deny\n')
@example("%YAML " + "1" * 5000 + ".1\n---\n- x\n")
def test_any_cases_are_accepted_or_refused(text: str) -> None:
    only_refused(with_text_in("cases")(text))


@settings(max_examples=example_count(200))
@given(made | within(SHIPPED.rules))
def test_any_rows_are_accepted_or_refused(text: str) -> None:
    only_refused(with_text_in("rules")(text))


@settings(max_examples=example_count(100))
@given(made | within(SHIPPED.model))
def test_any_model_but_ours_is_refused(text: str) -> None:
    only_refused(with_text_in("model")(text))


@settings(max_examples=example_count(50))
@given(st.dictionaries(anything, made, max_size=3))
def test_any_names_of_case_files_are_accepted_or_refused(cases: dict[str, str]) -> None:
    only_refused(replace(SHORT, cases=cases))


@pytest.mark.parametrize(
    ("text", "file", "line", "says"),
    [
        (with_text_in("vocabulary")("\na = " + "1" * 5000), "vocabulary.toml", 2, "too many digits"),
        (with_text_in("cases")('- case: "\\UFFFFFFFF"\n'), "cases/a.yaml", 0, "is no character"),
        (with_text_in("cases")(CASE.replace("x", '"\\uD800"')), "cases/a.yaml", 1, "without control characters"),
        (with_text_in("cases")(CASE.replace("x", '"a\\Nb"')), "cases/a.yaml", 1, "without control characters"),
        (
            with_text_in("cases")(CASE.replace("case: x", "case: |\n    x\n    y")),
            "cases/a.yaml",
            1,
            "must be on a single line",
        ),
    ],
)
def test_a_text_that_no_parser_accepts_is_refused_with_its_place(
    text: PolicyText, file: str, line: int, says: str
) -> None:
    (complaint,) = only_refused(text)
    assert (complaint.file, complaint.line) == (file, line)
    assert says in complaint.message


def test_a_hundred_complaints_are_reported_and_the_number_of_others() -> None:
    """Searching the text for the place of each would take many minutes."""
    words = "".join(f"A{number} = 1\n" for number in range(30_000))
    complaints = only_refused(replace(SHORT, vocabulary=SHIPPED.vocabulary + words))
    assert len(complaints) == 101
    assert complaints[-1].message == "59,900 more complaints are not listed"
    last = len(SHIPPED.vocabulary.splitlines())
    assert [complaint.line for complaint in complaints[:-1]] == [last + 1 + place // 2 for place in range(100)]
    assert len(msgspec.json.encode([asdict(complaint) for complaint in complaints])) < 50_000
