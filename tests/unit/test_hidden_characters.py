"""A policy is what its texts show: nothing in it is invisible, reorders a line, or only looks like a line's end."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from service.administration.checks import examination
from service.errors import Misconfigured, PolicyRejected
from service.identity.issuers_file import read_issuers_file
from service.places import hidden_characters
from tests.policy_forge import read_shipped

if TYPE_CHECKING:
    from pathlib import Path

    from service.policy.policy_file import PolicyText

HIDDEN = ["\v", "\f", "\r", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\0", "\x1b", "\x7f"]
HIDDEN += ["\u202e", "\u2066", "\u200e", "\u200b", "\u00ad", "\ufeff", "\U000e0041"]
FILES = ["model.conf", "policy.csv", "vocabulary.toml", "cases/hours.yaml"]


def with_comment(file: str, comment: str) -> PolicyText:
    """The shipped texts, with a comment as the second line of one file."""
    text = read_shipped()
    if file.startswith("cases/"):
        name = min(text.cases)
        head, _, rest = text.cases[name].partition("\n")
        return replace(text, cases={**text.cases, name: f"{head}\n{comment}\n{rest}"})
    head, _, rest = dict(text.files())[file].partition("\n")
    changed = f"{head}\n{comment}\n{rest}"
    if file == "policy.csv":
        return replace(text, rules=changed)
    return replace(text, model=changed) if file == "model.conf" else replace(text, vocabulary=changed)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("character", HIDDEN, ids=[f"U+{ord(value):04X}" for value in HIDDEN])
def test_a_proposal_with_a_hidden_character_is_refused_with_its_place(file: str, character: str) -> None:
    row = "p, deny, anyone, read, any, timesheet, any, always, nobody-reads"
    with pytest.raises(PolicyRejected) as refused:
        examination.load(with_comment(file, f"# ab{character}{row}"), examination.PROPOSAL)
    (complaint,) = refused.value.complaints
    assert (complaint.line, complaint.column) == (2, 5)
    assert f"U+{ord(character):04X}" in complaint.message
    assert complaint.message.isprintable()


def test_every_line_end_that_python_knows_but_the_common_one_is_told() -> None:
    ends = [chr(code) for code in range(sys.maxunicode + 1) if len(f"a{chr(code)}b".splitlines()) > 1]
    assert set("\n\v\u2028") < set(ends)
    for end in set(ends) - {"\n"}:
        (told,) = hidden_characters("policy.csv", f"a{end}b")
        assert "ends a line in some editors" in told.message


@pytest.mark.parametrize("text", ["a\r\nb\r\n", "a\tb\n", "\ufeffa\n", "ä日本語 😀\u00a0\n"])
def test_what_texts_are_written_with_is_not_hidden(text: str) -> None:
    assert hidden_characters("policy.csv", text) == []


def test_a_version_that_is_stored_already_is_still_read() -> None:
    assert examination.build(with_comment("policy.csv", "# a\u2028b"), 7).number == 7


def test_a_file_of_hidden_characters_is_not_answered_at_length() -> None:
    assert len(hidden_characters("policy.csv", "\u200b" * 1000)) == 10


def test_a_file_of_issuers_with_a_hidden_character_is_refused_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "issuers.toml"
    file.write_text(
        '[[issuer]]\n# a\u2028audience = "c"\nname = "a"\nissuer = "https://a.example/"\naudience = "b"\nspare = 1\n'
    )
    with pytest.raises(Misconfigured, match=r"issuers.toml:2:4: The character U\+2028") as refused:
        read_issuers_file(file)
    assert "issuers.toml:6:1: Unknown key 'spare'" in refused.value.public
