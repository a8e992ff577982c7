"""Suggestions for the usual mistakes in a row of policy.csv, where the nearest known word would mislead. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

DECLARE_A_FACT = "declare a fact in vocabulary.toml with this expression"
COMMENTS = "comments start with # and take a whole line"
WITHOUT_QUOTES = "write words without quotes; an expression belongs into a fact of vocabulary.toml"
_SEPARATOR = re.compile(r" ?[|/;&+]+ ?| (?:or|and) | ", re.IGNORECASE)
_ALTERNATIVES = re.compile(r"\|| or ", re.IGNORECASE)
_EVERY = frozenset({"any", "all", "*"})
# Words and signs that elsewhere mean everybody, everything or no condition.
_EVERYBODY = frozenset({"*", "all", "every", "everyone", "everybody"})
_NO_LIMIT = frozenset({*_EVERYBODY, "none", "-", "null"})
NO_CONDITION = frozenset({*_NO_LIMIT, "true", "any"})
_COMPARED = re.compile(r"(not\s+)?([A-Za-z0-9_]+)\s*(==|=|is)\s*(true|false)", re.IGNORECASE)
_EMAIL = re.compile(r"\S+@\S+\.\S+")
_EXPRESSION = re.compile(r"[<>=]|\b(?:resource|principal|context)\.")
_NEGATED = re.compile(r"(not\s+)?!\s*(?!always\b)([A-Za-z0-9_]+)")
_EXCLUDED = re.compile(r"(?:not\s+|!\s*)(\S+)")


def advise_states(text: str, known: Collection[str]) -> str | None:
    """The suggestion for states that something else than `or` joins, and for all states except one."""
    if text in _NO_LIMIT:
        return "write any"
    excluded = _EXCLUDED.fullmatch(text)
    if excluded and excluded[1] in known:
        return f"name the other states: {' or '.join(sorted(set(known) - {excluded[1]}))}"
    states = _split_words(text)
    several = len(states) > 1 and all(state in known for state in states)
    return f"join states by or: {' or '.join(states)}" if several else None


def advise_who(text: str, is_who: Callable[[str], bool]) -> str | None:
    """The suggestion for several words under who, for `not`, and for all people. A row asks for one word."""
    if text in _EVERYBODY:
        return "write anyone"
    if _EMAIL.fullmatch(text):
        return "a person is person:UUID, with the id in the directory"
    excluded = _EXCLUDED.fullmatch(text)
    if excluded and is_who(excluded[1]):
        return f"a row cannot exclude {excluded[1]}: write a deny row with {excluded[1]}"
    words = _split_words(text)
    if len(words) == 1 or not all(map(is_who, words)):
        return None
    return f"who is one word{': write a row for each' if _ALTERNATIVES.search(text) else ''}"


def respell_who(text: str, is_who: Callable[[str], bool]) -> str:
    """A question about a word with a prefix that is right in lower case and with -, or an empty text."""
    plain = re.sub(r"[\s_]+", "-", text.lower())
    return f"did you mean '{plain}'? " if is_who(plain) else ""


def advise_action(text: str, known: Collection[str]) -> str | None:
    """The suggestion for several actions, or for all of them."""
    actions = _split_words(text)
    several = len(actions) > 1 and all(action in known for action in actions)
    return "write a row for each action" if several or text in _EVERY else None


def advise_condition(text: str) -> str | None:
    """The suggestion for a condition in another language than that of rows."""
    if compared := _COMPARED.fullmatch(text):
        holds = bool(compared[1]) is (compared[4].lower() == "false")
        return f"write {'' if holds else 'not '}{compared[2]}"
    if _EXPRESSION.search(text):
        return DECLARE_A_FACT
    if _ALTERNATIVES.search(text):
        return "write a row for each, or declare a fact with || in vocabulary.toml"
    if "&" in text:
        return "join facts by and"
    if negated := _NEGATED.fullmatch(text):
        return f"write {'' if negated[1] else 'not '}{negated[2]}"
    return None


def advise_scope(text: str, known: Collection[str]) -> str | None:
    """The suggestion for no scope, for several scopes, and for one whose halves are exchanged."""
    if text in _NO_LIMIT:
        return "write any"
    scopes = _split_words(text)
    if len(scopes) > 1 and all(scope in known for scope in scopes):
        return "a row asks for one scope"
    resource, _, action = text.partition(":")
    exchanged = f"{action}:{resource}"
    return f"did you mean '{exchanged}'?" if exchanged in known else None


def advise_first_field(text: str, effects: Collection[str]) -> str:
    """The suggestion for a row that does not start with p or g, by its first field."""
    if text in effects:
        return "write p before the effect"
    if re.match(r"[pg]\b", text):
        return "separate the fields by commas"
    return COMMENTS


def advise_relation(word: str, *, negated: bool) -> str:
    """The suggestion for a relation, a role or the like among the facts. In an allow row, under who, `not manager`
    would turn into its opposite."""
    what = "a form of who" if ":" in word else "a relation"
    return f"'{word}' is {what}: write it under who{' of a deny row' if negated else ''}"


def _split_words(text: str) -> list[str]:
    """The words that a separator of any language joins. Repeated blanks are joined first: a row may have hundreds."""
    return _SEPARATOR.split(" ".join(text.split()))
