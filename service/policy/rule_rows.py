"""Reads policy.csv strictly: a row is understood in full, or is a complaint with its place and a suggestion. Pure.

casbin's own reader is not used: it drops in silence what it does not understand, such as a misspelt `deny` or `p`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.places import Complaint
from service.policy.access_request import ANY, ANYONE, Condition, Effect, Rule
from service.policy.nearest_word import describe_foreign_letter, explain_unknown, nearest
from service.policy.row_advice import (
    COMMENTS,
    NO_CONDITION,
    WITHOUT_QUOTES,
    advise_action,
    advise_condition,
    advise_first_field,
    advise_relation,
    advise_scope,
    advise_states,
    advise_who,
    respell_who,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from service.policy.access_request import Vocabulary

FILE = "policy.csv"
MAX_ROWS = 10_000
# A chain of so many links closes in a tenth of a second.
MAX_LINKS = 1_000
LONGEST_ROW = 1_000
# A refusal holds a hundred: these, those of the last row and the closing ones.
MAX_COMPLAINTS = 90
ALWAYS = "always"
EFFECTS = frozenset(effect.value for effect in Effect)
# The words of rows that ask for nothing, by column.
NOTHING = {"who": "write anyone", "state": "write any", "scope": "write any", "when": "write always"}
SPELLING_OF_NAMES = "NAME has lower-case letters, digits and -, at most 63 characters"
P_COLUMNS = ("effect", "who", "action", "state", "kind", "scope", "when", "rule name")
ROLE = re.compile(r"role:[a-z0-9][a-z0-9-]{0,62}")
GROUP = re.compile(r"group:[a-z0-9][a-z0-9-]{0,62}")
PERSON = re.compile(r"person:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
CLIENT = re.compile(r"(client|via|actor):[A-Za-z0-9][A-Za-z0-9._~:@/|+=-]{0,199}")
FORMS = (ROLE, GROUP, PERSON, CLIENT)
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST_NAME = 80
PLAIN = re.compile(r"[\t !$-&(-~]*")


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a row, trimmed, with the place where it starts."""

    text: str
    line: int
    column: int


@dataclass(slots=True)
class PolicyRows:
    """The rules and role links in the order of the file, and every complaint."""

    rules: list[Rule] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    complaints: list[Complaint] = field(default_factory=list)

    def complain(self, at: Field, message: str, suggestion: str | None = None) -> None:
        self.complaints.append(Complaint(FILE, at.line, at.column, message, suggestion))


def read(text: str, vocabulary: Vocabulary) -> PolicyRows:
    """The rows of the text, and at most a hundred complaints."""
    rows = PolicyRows()
    names: dict[str, int] = {}
    contents: dict[object, int] = {}
    links: dict[tuple[str, str], Field] = {}
    count = 0
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.removesuffix("\r")
        if not line.strip(" \t") or line.lstrip(" \t").startswith("#"):
            continue
        count += 1
        if count > MAX_ROWS or len(rows.complaints) >= MAX_COMPLAINTS:
            reason = f"more than {MAX_ROWS} rows" if count > MAX_ROWS else "too many complaints"
            rows.complaints.append(Complaint(FILE, number, 1, f"Reading stopped here: {reason}"))
            break
        fields = _split_fields(rows, line, number)
        if fields and fields[0].text == "p":
            _read_p_row(rows, fields, vocabulary, names, contents)
        elif fields:
            _read_g_row(rows, fields, links)
    if not rows.rules and not rows.complaints:
        rows.complaints.append(Complaint(FILE, 0, 0, "The policy is empty: without p rows nobody may do anything"))
    rows.links.extend(links)
    if len(links) > MAX_LINKS:
        rows.complaints.append(Complaint(FILE, 0, 0, f"There are more than {MAX_LINKS} g rows"))
        return rows
    _check_cycles(rows, links)
    return rows


def _split_fields(rows: PolicyRows, line: str, number: int) -> list[Field]:
    """The fields of a row, if its type and number of fields are right. Empty after a complaint."""
    whole = Field(line, number, len(line) - len(line.lstrip(" \t")) + 1)
    if len(line) > LONGEST_ROW:
        rows.complain(whole, f"The row is longer than {LONGEST_ROW} characters")
        return []
    # Most rows are plain, which a single match shows.
    for column, character in enumerate("" if PLAIN.fullmatch(line) else line, start=1):
        if character != "\t" and (character in "\"'#" or not _is_plain(character)):
            shown = character if character in "\"'#" else f"U+{ord(character):04X}"
            suggestion = WITHOUT_QUOTES if character in "\"'" else COMMENTS if character == "#" else None
            rows.complain(Field(line, number, column), f"A row must not contain the character {shown}", suggestion)
            return []
    fields, column = [], 1
    for part in line.split(","):
        fields.append(Field(part.strip(" \t"), number, column + len(part) - len(part.lstrip(" \t"))))
        column += len(part) + 1
    kind = fields[0]
    if kind.text not in {"p", "g"}:
        rows.complain(
            kind,
            f"A row starts with p or g, not '{kind.text}'{describe_foreign_letter(kind.text)}",
            advise_first_field(kind.text, EFFECTS),
        )
        return []
    wanted = len(P_COLUMNS) + 1 if kind.text == "p" else 3
    if len(fields) != wanted:
        shape = f"p, {', '.join(P_COLUMNS)}" if kind.text == "p" else "g, role, role that it includes"
        found = f"A {kind.text} row has {wanted} fields, this one has {len(fields)}"
        rows.complain(kind, found, f"the form is: {shape}")
        return []
    names = ("", *P_COLUMNS) if kind.text == "p" else ("", "role", "included role")
    blank = [(at, name) for at, name in zip(fields, names, strict=True) if not at.text]
    for at, name in blank:
        rows.complain(at, f"The {name} is blank", NOTHING.get(name))
    return [] if blank else fields


def _is_plain(character: str) -> bool:
    return character.isprintable() and (character.isascii() or character.isalnum())


def _read_p_row(
    rows: PolicyRows, fields: list[Field], vocabulary: Vocabulary, names: dict[str, int], contents: dict[object, int]
) -> None:
    before = len(rows.complaints)
    _, effect, who, action, state, kind, scope, when, name = fields
    _check_known(rows, effect, EFFECTS, "effect")
    if not _check_known(rows, kind, vocabulary.actions.keys(), "kind"):
        return
    actions = vocabulary.actions[kind.text]
    advice = (
        advise_action(action.text, actions) or nearest(action.text, actions) or f"known: {', '.join(sorted(actions))}"
    )
    _check_known(rows, action, actions, f"action of the kind '{kind.text}'", advice)
    states = _read_states(rows, state, vocabulary.states.get(kind.text, frozenset()), kind.text)
    relations = vocabulary.relations.get(kind.text, frozenset())
    _check_who(rows, who, relations, kind.text)
    if scope.text != ANY:
        _check_known(rows, scope, vocabulary.scopes | {ANY}, "scope", advise_scope(scope.text, vocabulary.scopes))
    conditions = _read_when(
        rows, when, vocabulary.facts.get(kind.text, frozenset()) | vocabulary.request_facts, relations
    )
    if not NAME.fullmatch(name.text) or len(name.text) > LONGEST_NAME:
        message = f"'{name.text}' is not a rule name{describe_foreign_letter(name.text)}"
        rows.complain(name, message, "lower-case words joined by -, such as read-own")
    elif name.text in names:
        rows.complain(name, f"The rule name '{name.text}' is already used in line {names[name.text]}")
    names.setdefault(name.text, name.line)
    if len(rows.complaints) > before:
        return
    rule = Rule(
        name=name.text, effect=Effect(effect.text), who=who.text, action=action.text, states=states, kind=kind.text,
        scope=scope.text, when=conditions, line=name.line,
    )  # fmt: skip
    content = (rule.effect, rule.who, rule.action, rule.states, rule.kind, rule.scope, frozenset(rule.when))
    if content in contents:
        rows.complain(fields[0], f"This row repeats line {contents[content]}", "remove one of them")
        return
    contents[content] = name.line
    rows.rules.append(rule)


def _check_known(rows: PolicyRows, at: Field, known: Collection[str], what: str, suggestion: str | None = None) -> bool:
    """Whether a word is known. Complains about another, with this suggestion in place of the nearest known word."""
    if at.text in known:
        return True
    rows.complain(at, explain_unknown(at.text, what), suggestion or nearest(at.text, known))
    return False


def _is_who(word: str, relations: Collection[str]) -> bool:
    return word == ANYONE or word in relations or any(form.fullmatch(word) for form in FORMS)


def suggest_who(word: str, relations: Collection[str]) -> str | None:
    """The suggestion for an unknown word under who: a relation, or a role or group without its prefix."""
    suggestion = nearest(word, relations)
    if suggestion is None or suggestion.startswith("did you mean") or not ROLE.fullmatch(f"role:{word}"):
        return suggestion
    return f"{suggestion}; a role is written role:{word}, a group group:{word}"


def _check_who(rows: PolicyRows, at: Field, relations: frozenset[str], kind: str) -> None:
    word = at.text
    if _is_who(word, relations):
        return
    if advice := advise_who(word, lambda part: _is_who(part, relations)):
        rows.complain(at, f"'{word}' is not a form of who", advice)
        return
    forms = "role:NAME, group:NAME, person:UUID (lower case), client:ID, via:ID, actor:ID"
    if ":" in word:
        message = f"'{word}' is not a form of who{describe_foreign_letter(word)}"
        meant = respell_who(word, lambda part: _is_who(part, relations))
        rows.complain(at, message, f"{meant}the forms are {forms}; {SPELLING_OF_NAMES}")
        return
    suggestion = suggest_who(word, relations | {ANYONE}) or f"a relation, anyone, {forms}"
    rows.complain(at, explain_unknown(word, f"relation to the kind '{kind}'"), suggestion)


def _read_states(rows: PolicyRows, at: Field, known: frozenset[str], kind: str) -> frozenset[str]:
    if at.text == ANY:
        return frozenset()
    if not known:
        rows.complain(at, f"The kind '{kind}' has no states", "write any")
        return frozenset()
    words = at.text.split(" or ")
    advice = None if all(word.strip() in known for word in words) else advise_states(at.text, known)
    if advice:
        rows.complain(at, f"'{at.text}' is not a known state of the kind '{kind}'", advice)
        return frozenset()
    for word in words:
        _check_known(rows, Field(word.strip(), at.line, at.column), known, f"state of the kind '{kind}'")
    states = frozenset(word.strip() for word in words)
    if len(states) < len(words):
        rows.complain(at, "A state is repeated")
    return states


def _read_when(rows: PolicyRows, at: Field, known: frozenset[str], relations: frozenset[str]) -> tuple[Condition, ...]:
    if at.text == ALWAYS:
        return ()
    conditions = []
    for part in at.text.split(" and "):
        words = part.split()
        fact = words[-1] if words else ""
        negated = len(words) > 1
        is_condition = len(words) == 1 or (len(words) == 2 and words[0] == "not")  # noqa: PLR2004 - `not` and a fact
        advice = None if is_condition and fact in known else advise_condition(part.strip())
        if fact not in known and part.strip() in NO_CONDITION:
            advice = f"write {ALWAYS}"
        if advice or not is_condition:
            usual = "always, or facts joined by and, negated by not"
            rows.complain(at, f"'{part.strip()}' is not a condition", advice or usual)
            return ()
        if fact not in known and fact != ANYONE and _is_who(fact, relations):
            advice = advise_relation(fact, negated=negated)
        _check_known(rows, Field(fact, at.line, at.column), known | (set() if negated else {ALWAYS}), "fact", advice)
        if fact == ALWAYS:
            rows.complain(at, "'always' cannot be combined with facts")
        conditions.append(Condition(fact, negated=negated))
    if len({condition.fact for condition in conditions}) < len(conditions):
        rows.complain(at, "A fact is repeated")
    return tuple(conditions)


def _read_g_row(rows: PolicyRows, fields: list[Field], links: dict[tuple[str, str], Field]) -> None:
    _, role, included = fields
    bad = [at for at in (role, included) if not ROLE.fullmatch(at.text)]
    for at in bad:
        rows.complain(
            at,
            f"A g row links roles, and '{at.text}' is not a role{describe_foreign_letter(at.text)}",
            f"write role:NAME; {SPELLING_OF_NAMES}. The directory and tokens say who has a role",
        )
    if bad:
        return
    link = (role.text, included.text)
    if link in links:
        rows.complain(fields[0], f"This row repeats line {links[link].line}", "remove one of them")
        return
    links[link] = fields[0]


def _check_cycles(rows: PolicyRows, links: dict[tuple[str, str], Field]) -> None:
    """Complain about each link on a cycle, or between two.

    Links from roles that nothing includes, and links to roles that include nothing, are removed until none is left.
    """
    left = dict(links)
    while True:
        including, included = {role for role, _ in left}, {other for _, other in left}
        kept = {link: at for link, at in left.items() if link[0] in included and link[1] in including}
        if len(kept) == len(left):
            break
        left = kept
    for (role, other), at in left.items():
        rows.complain(at, f"Roles include each other in a cycle: {role} includes {other}", "remove one of the links")
