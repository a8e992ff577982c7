"""Reads policies/cases/*.yaml: what a policy must answer, one case a list item. Pure.

Strict like the other readers: every key, word and value is known or complained about with its line. There are no
aliases, and no object is ever made from a tag, so a file means what it shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

import yaml

from service.fields import writable
from service.places import Complaint
from service.policy import rule_rows
from service.policy.access_request import ANYONE, NO_STATE, Reason
from service.policy.vocabulary_file import nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from service.policy.access_request import Vocabulary

MAX_CASES = 5_000
# A refusal tells of a hundred: of these and of what is said last.
MAX_COMPLAINTS = 90
LONGEST_WORD = 300
KEYS = (
    "case", "who", "scopes", "action", "kind", "state", "facts", "verdict", "rule", "reason", "near", "missing",
    "told", "listed",
)  # fmt: skip
REQUIRED = ("case", "who", "action", "kind", "verdict")
_ANSWERS = {"true": True, "false": False, "unknown": None}
_DIMENSIONS = ("who", "state", "scope", "fact")
_REASONS = tuple(one.value for one in (Reason.ALLOWED, Reason.DENY_RULE, Reason.NO_RULE))


@dataclass(frozen=True, slots=True)
class Case:
    """Who asks for what, and what the answer must be. `listed` is None where the case says nothing of lists.

    `near`: the rules that came nearest to allowing; `missing`: what the nearest lacked, pairs (dimension, word) as in
    `Missing`; `told`: sentences that the caller is told. Each is empty where the case says nothing of it.
    """

    name: str
    file: str
    line: int
    kind: str
    action: str
    state: str
    who: tuple[str, ...]
    scopes: tuple[str, ...]
    facts: Mapping[str, bool | None]
    allowed: bool
    rules: tuple[str, ...]
    reason: Reason | None
    listed: bool | None
    near: tuple[str, ...] = ()
    missing: frozenset[tuple[str, str]] = frozenset()
    told: tuple[str, ...] = ()


@dataclass(slots=True)
class Cases:
    """Every case of every file, in order, and every complaint."""

    cases: list[Case] = field(default_factory=list)
    complaints: list[Complaint] = field(default_factory=list)


def read(files: Mapping[str, str], vocabulary: Vocabulary) -> Cases:
    """The cases of these files (name to text), each checked against the vocabulary."""
    found = Cases()
    for name in sorted(files):
        reader = _Reader(f"cases/{name}", vocabulary, found)
        reader.text(files[name].removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}"))
        if len(found.cases) > MAX_CASES or len(found.complaints) >= MAX_COMPLAINTS:
            reason = "too many complaints" if found.complaints else f"more than {MAX_CASES} cases"
            found.complaints.append(Complaint(f"cases/{name}", 0, 0, f"Reading stopped here: {reason}"))
            break
    names: dict[str, Case] = {}
    for case in found.cases:
        first = names.setdefault(case.name, case)
        if first is not case:
            message = f"A case of this name is already in {first.file} line {first.line}"
            found.complaints.append(Complaint(case.file, case.line, 1, message))
    return found


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases, which can make a short text unfold into a huge one."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it untyped
            raise yaml.MarkedYAMLError(problem="aliases are not used in cases", problem_mark=event.start_mark)
        return super().compose_node(parent, index)


class _Wrong(Exception):
    """One item cannot be read; the complaint is already noted."""


@dataclass(slots=True)
class _Reader:
    file: str
    vocabulary: Vocabulary
    found: Cases

    def text(self, text: str) -> None:
        try:
            root = yaml.compose(text, Loader=_Loader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            place = (mark.line + 1, mark.column + 1) if mark else (0, 0)
            self.found.complaints.append(Complaint(self.file, *place, f"This is not YAML: {error.problem}"))
            return
        except (yaml.YAMLError, RecursionError) as error:
            self.found.complaints.append(Complaint(self.file, 0, 0, f"This is not YAML: {type(error).__name__}"))
            return
        except (ValueError, OverflowError):
            # PyYAML takes an escape or a directive for a number, however large.
            said = "This is not YAML: an escape such as \\UFFFFFFFF stands for no character"
            self.found.complaints.append(Complaint(self.file, 0, 0, said))
            return
        if not isinstance(root, yaml.SequenceNode):
            self.found.complaints.append(Complaint(self.file, 1, 1, "The file must be a list of cases, each with a -"))
            return
        for item in root.value:
            if len(self.found.cases) > MAX_CASES or len(self.found.complaints) >= MAX_COMPLAINTS:
                return
            try:
                self.found.cases.append(self._case(item))
            except _Wrong:
                continue

    def _case(self, item: yaml.Node) -> Case:
        fields = self._mapping(item, KEYS)
        for key in REQUIRED:
            if key not in fields:
                self._wrong(item, f"The case lacks '{key}'", f"a case has: {', '.join(KEYS)}")
        kind = self._word(fields["kind"], self.vocabulary.actions.keys(), "kind")
        allowed = self._word(fields["verdict"], ("allow", "deny"), "verdict") == "allow"
        states = self.vocabulary.states.get(kind, frozenset())
        reason = fields.get("reason")
        listed = fields.get("listed")
        case = Case(
            name=self._scalar(fields["case"]),
            file=self.file,
            line=item.start_mark.line + 1,
            kind=kind,
            action=self._word(fields["action"], self.vocabulary.actions[kind], f"action of the kind '{kind}'"),
            state=self._word(fields["state"], states, f"state of the kind '{kind}'") if "state" in fields else NO_STATE,
            who=tuple(self._who(one, kind) for one in self._list(fields["who"])),
            scopes=self._words(fields.get("scopes"), self.vocabulary.scopes, "scope"),
            facts=self._facts(fields.get("facts"), kind),
            allowed=allowed,
            rules=tuple(self._scalar(one) for one in self._list(fields.get("rule"))),
            reason=Reason(self._word(reason, _REASONS, "reason")) if reason else None,
            listed=_ANSWERS[self._word(listed, ("true", "false"), "answer")] if listed else None,
            near=tuple(self._scalar(one) for one in self._list(fields.get("near"))),
            missing=frozenset(self._condition(one, kind) for one in self._list(fields.get("missing"))),
            told=tuple(self._scalar(one) for one in self._list(fields.get("told"))),
        )
        for key in ("near", "missing", "told"):
            if key in fields and allowed:
                self._wrong(fields[key], f"Only what is denied has '{key}': why it was not allowed")
        if case.listed is not None and (case.action, bool(states)) != ("read", True):
            self._wrong(fields["listed"], "Only reads of things that are listed say whether they are listed")
        if case.listed is not None and case.listed is not allowed:
            self._wrong(fields["listed"], "A thing is listed exactly when reading it is allowed")
        return case

    def _who(self, node: yaml.Node, kind: str) -> str:
        word = self._scalar(node)
        self._known_who(node, word, kind)
        return word

    def _known_who(self, node: yaml.Node, word: str, kind: str) -> None:
        known = self.vocabulary.relations.get(kind, frozenset()) | {ANYONE}
        forms = (rule_rows.ROLE, rule_rows.PERSON, rule_rows.CLIENT)
        if word not in known and not any(form.fullmatch(word) for form in forms):
            self._wrong(node, f"'{word}' is not a known relation to the kind '{kind}'", nearest(word, known))

    def _condition(self, node: yaml.Node, kind: str) -> tuple[str, str]:
        """`scope read:audit`, `who manager`, `state submitted`, `fact mfa` or `fact not mfa`."""
        dimension, _, word = self._scalar(node).partition(" ")
        if dimension not in _DIMENSIONS or not word:
            self._wrong(node, "This is no condition of a row", "write: scope X, who X, state X, fact X or fact not X")
        known: Mapping[str, Collection[str]] = {
            "scope": self.vocabulary.scopes,
            "state": self.vocabulary.states.get(kind, frozenset()),
            "fact": self.vocabulary.facts.get(kind, frozenset()) | self.vocabulary.request_facts,
        }
        if dimension == "who":
            self._known_who(node, word, kind)
            return dimension, word
        words = [part.strip() for part in word.split(" or ")] if dimension == "state" else [word.removeprefix("not ")]
        for one in words:
            if one not in known[dimension]:
                self._wrong(node, f"'{one}' is not a known {dimension}", nearest(one, known[dimension]))
        return dimension, " or ".join(sorted(words)) if dimension == "state" else word

    def _facts(self, node: yaml.Node | None, kind: str) -> dict[str, bool | None]:
        known = self.vocabulary.facts.get(kind, frozenset()) | self.vocabulary.request_facts
        fields = self._mapping(node, known) if node is not None else {}
        return {name: _ANSWERS[self._word(value, tuple(_ANSWERS), "answer")] for name, value in fields.items()}

    def _words(self, node: yaml.Node | None, known: Collection[str], what: str) -> tuple[str, ...]:
        return tuple(self._word(one, known, what) for one in self._list(node))

    def _list(self, node: yaml.Node | None) -> list[yaml.Node]:
        """A list as it is, one word as a list of one, nothing as an empty list."""
        if node is None:
            return []
        return list(node.value) if isinstance(node, yaml.SequenceNode) else [node]

    def _mapping(self, node: yaml.Node, known: Collection[str]) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            self._wrong(node, "Keys with values are wanted here", f"known keys: {', '.join(sorted(known))}")
        fields: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = self._word(key, known, "key")
            if name in fields:
                self._wrong(key, f"'{name}' stands here twice")
            fields[name] = value
        return fields

    def _word(self, node: yaml.Node, known: Collection[str], what: str) -> str:
        word = self._scalar(node)
        if word not in known:
            self._wrong(node, f"'{word}' is not a known {what}", nearest(word, known))
        return word

    def _scalar(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode) or not str(node.value).strip() or len(node.value) > LONGEST_WORD:
            self._wrong(node, "One word or sentence is wanted here")
        word = str(node.value).strip()
        if not writable(word):
            self._wrong(node, "A word or sentence has no control characters and stands on one line")
        return word

    def _wrong(self, node: yaml.Node, message: str, suggestion: str | None = None) -> NoReturn:
        mark = node.start_mark
        self.found.complaints.append(Complaint(self.file, mark.line + 1, mark.column + 1, message, suggestion))
        raise _Wrong
