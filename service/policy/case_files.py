"""Reads policies/cases/*.yaml: the verdicts that a policy must give, a case for each list item. Pure.

The first item may be `defaults` instead: facts and values that the cases of the file share, unless they give their own.
Strict like the other readers: an unknown key, word or value is a complaint with its line. Aliases are refused and tags
make no objects, so a file means what it shows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

import yaml

from service.fields import is_writable
from service.places import Complaint
from service.policy import rule_rows
from service.policy.access_request import ANYONE, FACT_VALUES, NO_STATE, Reason
from service.policy.approval import MAX_APPROVALS
from service.policy.attributes import Attribute
from service.policy.case_values import ROOTS, read_values, values_of_caller
from service.policy.known_words import AGENT
from service.policy.laws import APPROVE
from service.policy.matching import ACTOR
from service.policy.nearest_word import explain_unknown, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from service.policy.access_request import Vocabulary
    from service.policy.attributes import Value

MAX_CASES = 5_000
# A refusal holds a hundred: these and the closing ones.
MAX_COMPLAINTS = 90
LONGEST_WORD = 300
KEYS = (
    "case", "who", "scopes", "action", "kind", "state", "facts", "verdict", "rule", "reason", "near", "missing",
    "told", "listed", "resource", "principal", "context", "approvals_needed",
)  # fmt: skip
REQUIRED = ("case", "who", "action", "kind", "verdict")
DEFAULTS = "defaults"
KEYS_OF_DEFAULTS = ("facts", *ROOTS)
UNKNOWN = FACT_VALUES[None]
_ANSWERS = {word: value for value, word in FACT_VALUES.items()}
# Remedies by a part of a complaint of PyYAML.
_ADVICE = {
    "mapping values are not allowed": "write one key in a line, and put a text with a colon and a blank in quotes",
    "'\\t'": "indent by blanks, not by tabs",
}
# More known words are not listed.
_MAX_LISTED = 20
_DIMENSIONS = ("who", "state", "scope", "fact")
_NUMBERS_OF_APPROVALS = (*(str(number) for number in range(1, MAX_APPROVALS + 1)), UNKNOWN)
_REASONS = tuple(reason.value for reason in (Reason.ALLOWED, Reason.DENY_RULE, Reason.NO_RULE))


@dataclass(frozen=True, slots=True)
class Case:
    """An access request and its expected verdict. `listed` is None if the case expects nothing of lists.

    `near`: the rules that come nearest to allowing. `missing`: the conditions that the nearest lacks, pairs (dimension,
    word) as in `NearRule`. `told`: sentences for the caller. Each is empty if the case expects nothing of it.

    `values`: those of attributes, by dotted name. `facts` holds what the case says, and of the facts that it does not
    mention those that follow from the values. `approvals_needed`: how many approvals the timesheet needs in all, a
    number or `unknown`; empty if the case expects nothing of it.

    `defaults`: the facts and attributes that it takes from the defaults of its file, each with its line there.
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
    values: Mapping[str, Value] = field(default_factory=dict)
    approvals_needed: str = ""
    defaults: Mapping[str, int] = field(default_factory=dict)

    @property
    def asked_facts(self) -> Mapping[str, bool | None]:
        """The facts of the case. Unless it names an actor or the fact itself, no agent acts."""
        has_actor = any(word.startswith(ACTOR) for word in self.who)
        return self.facts if has_actor else {AGENT: False, **self.facts}


@dataclass(frozen=True, slots=True)
class CaseDefaults:
    """The facts and the values of attributes that the cases of a file share, and the line of each."""

    facts: Mapping[str, bool | None] = field(default_factory=dict)
    values: Mapping[str, Value] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Cases:
    """The cases of all files, in order, and every complaint."""

    cases: list[Case] = field(default_factory=list)
    complaints: list[Complaint] = field(default_factory=list)


def read(files: Mapping[str, str], vocabulary: Vocabulary) -> Cases:
    """The cases of these files (name to text), each checked against the vocabulary."""
    found = Cases()
    for name in sorted(files):
        reader = _Reader(f"cases/{name}", vocabulary, found)
        reader.read_text(files[name].removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}"))
        if len(found.cases) > MAX_CASES or len(found.complaints) >= MAX_COMPLAINTS:
            reason = "too many complaints" if found.complaints else f"more than {MAX_CASES} cases"
            found.complaints.append(Complaint(f"cases/{name}", 0, 0, f"Reading stopped here: {reason}"))
            break
    names: dict[str, Case] = {}
    for case in found.cases:
        first = names.setdefault(case.name, case)
        if first is not case:
            message = f"The name of this case is already used in {first.file} line {first.line}"
            found.complaints.append(Complaint(case.file, case.line, 1, message))
    return found


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without aliases, which could expand a short text into a huge one."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it untyped
            raise yaml.MarkedYAMLError(problem="cases must not use aliases", problem_mark=event.start_mark)
        return super().compose_node(parent, index)


class _Unreadable(Exception):
    """An item cannot be read. The complaint is already recorded."""


@dataclass(slots=True)
class _Reader:
    file: str
    vocabulary: Vocabulary
    found: Cases
    defaults: CaseDefaults = field(default_factory=CaseDefaults)

    def read_text(self, text: str) -> None:
        try:
            root = yaml.compose(text, Loader=_Loader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            place = (mark.line + 1, mark.column + 1) if mark else (0, 0)
            advice = next((advice for part, advice in _ADVICE.items() if part in str(error.problem)), None)
            self.found.complaints.append(Complaint(self.file, *place, f"This is not YAML: {error.problem}", advice))
            return
        except (yaml.YAMLError, RecursionError) as error:
            self.found.complaints.append(Complaint(self.file, 0, 0, f"This is not YAML: {type(error).__name__}"))
            return
        except (ValueError, OverflowError):
            # PyYAML reads an escape or a directive as a number of any size.
            message = "This is not YAML: an escape such as \\UFFFFFFFF is no character"
            self.found.complaints.append(Complaint(self.file, 0, 0, message))
            return
        if not isinstance(root, yaml.SequenceNode):
            self.found.complaints.append(
                Complaint(self.file, 1, 1, "The file must be a list of cases, each starting with -")
            )
            return
        kinds, complaints = set[str](), len(self.found.complaints)
        for position, item in enumerate(root.value):
            if len(self.found.cases) > MAX_CASES or len(self.found.complaints) >= MAX_COMPLAINTS:
                return
            try:
                if position == 0 and _has_defaults(item):
                    self.defaults = self._parse_defaults(item)
                    continue
                case = self._parse_case(item)
            except _Unreadable:
                continue
            self.found.cases.append(case)
            kinds.add(case.kind)
        if len(self.found.complaints) == complaints:
            self._complain_of_unused_defaults(kinds)

    def _parse_defaults(self, item: yaml.Node) -> CaseDefaults:
        """The defaults of the file. They may hold the words of every kind: a case takes those that its kind has."""
        fields = self._parse_mapping(self._parse_mapping(item, (DEFAULTS,))[DEFAULTS], KEYS_OF_DEFAULTS)
        attributes, facts = dict[str, Attribute](), set(self.vocabulary.request_facts)
        for kind in self.vocabulary.actions:
            attributes |= self.vocabulary.known_attributes(kind)
            facts |= self.vocabulary.facts.get(kind, frozenset())
        values: dict[str, Value] = {}
        lines: dict[str, int] = {}
        for root in ROOTS:
            if root in fields:
                read = read_values(fields[root], root, attributes, self._complain)
                values |= read
                lines |= dict.fromkeys(read, fields[root].start_mark.line + 1)
        for name in sorted(values.keys() & values_of_caller(()).keys()):
            at = fields[name.partition(".")[0]]
            self._complain(at, f"The attribute '{name}' has no default: it follows from `who`", "give it in a case")
        nodes = self._parse_mapping(fields["facts"], facts) if "facts" in fields else {}
        given = self._parse_answers(nodes)
        for (_, name), fact in self.vocabulary.definitions.items():
            if name in given and fact.evaluate(values) is not None:
                message = f"The fact '{name}' follows from the values of these defaults"
                self._complain(nodes[name], message, "leave it out, or leave a value out")
        lines |= {name: node.start_mark.line + 1 for name, node in nodes.items()}
        return CaseDefaults(given, values, lines)

    def _complain_of_unused_defaults(self, kinds: Collection[str]) -> None:
        """A complaint for each default that no case of these kinds takes."""
        known = set(self.vocabulary.request_facts)
        for kind in kinds:
            known |= self.vocabulary.known_attributes(kind).keys() | self.vocabulary.facts.get(kind, frozenset())
        self.found.complaints += [
            Complaint(self.file, line, 1, f"No case of this file is of a kind that has the default '{name}'")
            for name, line in self.defaults.lines.items()
            if name not in known
        ]

    def _parse_case(self, item: yaml.Node) -> Case:
        fields = self._parse_mapping(item, (*KEYS, DEFAULTS))
        if DEFAULTS in fields:
            self._complain(item, f"'{DEFAULTS}' must be the first item of the file")
        for key in REQUIRED:
            if key not in fields:
                self._complain(item, f"The case lacks '{key}'", f"a case has: {', '.join(KEYS)}")
        kind = self._parse_word(fields["kind"], self.vocabulary.actions.keys(), "kind")
        allowed = self._parse_word(fields["verdict"], ("allow", "deny"), "verdict") == "allow"
        states = self.vocabulary.states.get(kind, frozenset())
        who = tuple(self._parse_who(word, kind) for word in self._parse_list(fields["who"]))
        values, facts, defaults = self._parse_facts_and_values(fields, kind, who)
        reason = fields.get("reason")
        listed = fields.get("listed")
        case = Case(
            name=self._parse_scalar(fields["case"]),
            file=self.file,
            line=item.start_mark.line + 1,
            kind=kind,
            action=self._parse_word(fields["action"], self.vocabulary.actions[kind], f"action of the kind '{kind}'"),
            state=self._parse_word(fields["state"], states, f"state of the kind '{kind}'")
            if "state" in fields
            else NO_STATE,
            who=who,
            scopes=self._parse_words(fields.get("scopes"), self.vocabulary.scopes, "scope"),
            facts=facts,
            allowed=allowed,
            rules=tuple(self._parse_scalar(node) for node in self._parse_list(fields.get("rule"))),
            reason=Reason(self._parse_word(reason, _REASONS, "reason")) if reason else None,
            listed=_ANSWERS[self._parse_word(listed, ("true", "false"), "answer")] if listed else None,
            near=tuple(self._parse_scalar(node) for node in self._parse_list(fields.get("near"))),
            missing=frozenset(
                self._parse_condition(condition, kind) for condition in self._parse_list(fields.get("missing"))
            ),
            told=tuple(self._parse_scalar(node) for node in self._parse_list(fields.get("told"))),
            values=values,
            approvals_needed=self._parse_word(fields["approvals_needed"], _NUMBERS_OF_APPROVALS, "number of approvals")
            if "approvals_needed" in fields
            else "",
            defaults=defaults,
        )
        for key in ("near", "missing", "told"):
            if key in fields and allowed:
                self._complain(fields[key], f"'{key}' belongs to denied cases: it says why the request was not allowed")
        if case.approvals_needed and (case.kind, case.action) != APPROVE:
            self._complain(fields["approvals_needed"], "'approvals_needed' belongs to cases that approve a timesheet")
        if case.listed is not None and (case.action, bool(states)) != ("read", True):
            self._complain(fields["listed"], "'listed' belongs to reads of kinds that have lists")
        if case.listed is not None and case.listed is not allowed:
            self._complain(
                fields["listed"], "'listed' must agree with 'verdict': a row is listed exactly when it may be read"
            )
        return case

    def _parse_who(self, node: yaml.Node, kind: str) -> str:
        word = self._parse_scalar(node)
        self._check_who(node, word, kind)
        return word

    def _check_who(self, node: yaml.Node, word: str, kind: str) -> None:
        known = self.vocabulary.relations.get(kind, frozenset()) | {ANYONE}

        def is_known(part: str) -> bool:
            return part in known or any(form.fullmatch(part) for form in rule_rows.FORMS)

        if not is_known(word):
            suggestion = _advise_list(word, is_known) or rule_rows.suggest_who(word, known)
            self._complain(node, explain_unknown(word, f"relation to the kind '{kind}'"), suggestion)

    def _parse_condition(self, node: yaml.Node, kind: str) -> tuple[str, str]:
        """`scope read:audit`, `who manager`, `state submitted`, `fact mfa` or `fact not mfa`."""
        dimension, _, word = self._parse_scalar(node).partition(" ")
        if dimension not in _DIMENSIONS or not word:
            self._complain(
                node, "This is not a condition of a row", "write: scope X, who X, state X, fact X or fact not X"
            )
        known: Mapping[str, Collection[str]] = {
            "scope": self.vocabulary.scopes,
            "state": self.vocabulary.states.get(kind, frozenset()),
            "fact": self._known_facts(kind),
        }
        if dimension == "who":
            self._check_who(node, word, kind)
            return dimension, word
        words = [part.strip() for part in word.split(" or ")] if dimension == "state" else [word.removeprefix("not ")]
        for part in words:
            if part not in known[dimension]:
                self._complain(node, explain_unknown(part, dimension), nearest(part, known[dimension]))
        return dimension, " or ".join(sorted(words)) if dimension == "state" else word

    def _parse_facts_and_values(
        self, fields: Mapping[str, yaml.Node], kind: str, who: tuple[str, ...]
    ) -> tuple[dict[str, Value], dict[str, bool | None], dict[str, int]]:
        """The values of attributes, the facts, and which of both are defaults.

        A fact that the case gives comes before what follows from values, and that before a default fact."""
        known = self.vocabulary.known_attributes(kind)
        given: dict[str, Value] = {}
        for root in ROOTS:
            if root in fields:
                given |= read_values(fields[root], root, known, self._complain)
        own = {**values_of_caller(who), **given}
        values = {**{name: value for name, value in self.defaults.values.items() if name in known}, **own}
        facts = self._evaluate_facts(values, kind) | self._parse_facts(fields.get("facts"), kind, given)
        of_kind = self._known_facts(kind)
        shared = {name: fact for name, fact in self.defaults.facts.items() if name in of_kind and name not in facts}
        return values, shared | facts, {name: self.defaults.lines[name] for name in (*shared, *(values.keys() - own))}

    def _evaluate_facts(self, values: Mapping[str, Value], kind: str) -> dict[str, bool | None]:
        """The defined facts that are true or false with these values."""
        defined = {name: fact for (of, name), fact in self.vocabulary.definitions.items() if of in {kind, ""}}
        found = {name: fact.evaluate(values) for name, fact in defined.items()}
        return {name: value for name, value in found.items() if value is not None}

    def _parse_facts(self, node: yaml.Node | None, kind: str, values: Mapping[str, Value]) -> dict[str, bool | None]:
        fields = self._parse_mapping(node, self._known_facts(kind)) if node is not None else {}
        facts = self._parse_answers(fields)
        for name, value in self._evaluate_facts(values, kind).items():
            if name in facts and facts[name] is not value:
                message = f"The fact '{name}' is {FACT_VALUES[value]} with the values of this case"
                self._complain(fields[name], message, "leave it out, or change a value")
        return facts

    def _parse_answers(self, fields: Mapping[str, yaml.Node]) -> dict[str, bool | None]:
        return {name: _ANSWERS[self._parse_word(value, tuple(_ANSWERS), "answer")] for name, value in fields.items()}

    def _known_facts(self, kind: str) -> frozenset[str]:
        return self.vocabulary.facts.get(kind, frozenset()) | self.vocabulary.request_facts

    def _parse_words(self, node: yaml.Node | None, known: Collection[str], what: str) -> tuple[str, ...]:
        return tuple(self._parse_word(word, known, what) for word in self._parse_list(node))

    def _parse_list(self, node: yaml.Node | None) -> list[yaml.Node]:
        """A list as it is, a single word as a list, nothing as an empty list."""
        if node is None:
            return []
        return list(node.value) if isinstance(node, yaml.SequenceNode) else [node]

    def _parse_mapping(self, node: yaml.Node, known: Collection[str]) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            self._complain(node, "This must be keys with values", f"known keys: {', '.join(sorted(known))}")
        fields: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = self._parse_word(key, known, "key")
            if name in fields:
                self._complain(key, f"The key '{name}' is here twice")
            fields[name] = value
        return fields

    def _parse_word(self, node: yaml.Node, known: Collection[str], what: str) -> str:
        word = self._parse_scalar(node)
        if word not in known:
            listed = f"known: {', '.join(sorted(known))}" if len(known) <= _MAX_LISTED else None
            suggestion = _advise_list(word, known.__contains__) or nearest(word, known) or listed
            self._complain(node, explain_unknown(word, what), suggestion)
        return word

    def _parse_scalar(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode) or not str(node.value).strip() or len(node.value) > LONGEST_WORD:
            self._complain(node, "This must be a word or a sentence")
        word = str(node.value).strip()
        if not is_writable(word):
            self._complain(node, "A word or sentence must be on a single line, without control characters")
        return word

    def _complain(self, node: yaml.Node, message: str, suggestion: str | None = None) -> NoReturn:
        mark = node.start_mark
        self.found.complaints.append(Complaint(self.file, mark.line + 1, mark.column + 1, message, suggestion))
        raise _Unreadable


def _has_defaults(item: yaml.Node) -> bool:
    return isinstance(item, yaml.MappingNode) and any(key.value == DEFAULTS for key, _ in item.value)


def _advise_list(text: str, is_known: Callable[[str], bool]) -> str | None:
    """The suggestion for several known words in one text."""
    words = [word for word in re.split(r"[\s,]+", text) if word]
    return f"write a list: [{', '.join(words)}]" if len(words) > 1 and all(map(is_known, words)) else None
