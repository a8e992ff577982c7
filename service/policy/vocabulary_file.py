"""Reads vocabulary.toml: the words that rules may use, each with its sentences for callers. Pure.

Strict: an unknown key, a misspelt word or a word that the code cannot supply is a complaint with its line.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.places import Complaint
from service.policy import known_words
from service.policy.access_request import Vocabulary
from service.policy.approval import read_approval
from service.policy.attributes import RESOURCE, known_attributes
from service.policy.directory_tables import LONGEST_NAME, NAME, SPELLING, WORD, read_directory
from service.policy.expressions.expression import Flaw, compile_expression
from service.policy.nearest_word import describe_foreign_letter
from service.policy.relation_tables import read_paths
from service.policy.sentences import check_sentence
from service.policy.toml_places import FILE, Complaints, advise_toml

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from service.policy.attributes import Attribute
    from service.policy.expressions.expression import Expression
    from service.policy.paths import Path

RESERVED = frozenset({"any", "anyone", "always", "and", "or", "not", "role", "person", "client", "via"})
SCOPE = re.compile(r"[a-z][a-z0-9:._/-]{0,126}")
# Keys of one kind alone.
_MORE = {"timesheet": ("approval",)}
ANSWERS = frozenset({"yes", "no", "unknown"})
# The member that declares a word which the service does not have.
MADE_OF = {"fact": "expression", "relation": "path"}
LONGEST_SENTENCE = 300
OLDEST_SIGN_IN = 31 * 24 * 3600
# Every record of a decision holds every fact.
MAX_REQUEST_FACTS = 50
# Of each kind, and of the sign-in.
MAX_DEFINED_FACTS = 50
_TOML_PLACE = re.compile(r"\(at line (\d+), column (\d+)\)$")
# More decimal digits than Python converts to a number.
_TOO_MANY_DIGITS = re.compile(r"[0-9][0-9_]{4299,}")


def read(text: str) -> tuple[Vocabulary | None, list[Complaint]]:
    """The vocabulary and no complaints, or None and every complaint."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        place = _TOML_PLACE.search(str(error))
        line, column = (int(place[1]), int(place[2])) if place else (0, 0)
        message = _TOML_PLACE.sub("", str(error)).strip()
        return None, [Complaint(FILE, line, column, f"This is not TOML: {message}", advise_toml(message))]
    except (ValueError, OverflowError):
        long = _TOO_MANY_DIGITS.search(text)
        line = text.count("\n", 0, long.start()) + 1 if long else 0
        return None, [Complaint(FILE, line, 1 if long else 0, "This is not TOML: a number has too many digits")]
    reader = _Reader(Complaints(text))
    vocabulary = reader.read_document(document)
    return (None, reader.complaints.found) if reader.complaints.found else (vocabulary, [])


@dataclass(slots=True)
class _Reader:
    complaints: Complaints
    descriptions: dict[str, str] = field(default_factory=dict)
    directory: Mapping[str, Mapping[str, Attribute]] = field(default_factory=dict)
    definitions: dict[tuple[str, str], Expression] = field(default_factory=dict)
    # How many texts were compiled, by kind, those with a flaw included.
    compiled: Counter[str] = field(default_factory=Counter)
    approval: Expression | None = None

    def read_document(self, document: dict[str, object]) -> Vocabulary:
        self._check_keys(document, {"kinds", "request", "scopes", "directory"}, ())
        self.directory = read_directory(document, self.complaints)
        actions, states, relations, facts = {}, {}, {}, {}
        paths: dict[tuple[str, str], Path] = {}
        for kind, table in self._read_table(document, ("kinds",)).items():
            at = ("kinds", kind)
            self._check_spelling(kind, WORD, at)
            self._check_known(kind, known_words.ACTIONS, at, "kind")
            body = self._as_table(table, at)
            self._check_keys(body, {"name", "actions", "states", "relations", "facts", *_MORE.get(kind, ())}, at)
            self._describe(f"kind.{kind}", body.get("name"), (*at, "name"))
            actions[kind] = self._read_words(body, (*at, "actions"), known_words.ACTIONS.get(kind, ()))
            states[kind] = self._read_words(body, (*at, "states"), known_words.STATES.get(kind, ()))
            relations[kind] = self._read_answers(body, (*at, "relations"), known_words.RELATIONS.get(kind, ()), {"is"})
            paths |= read_paths(kind, self._read_table(body, (*at, "relations")), self.complaints)
            facts[kind] = self._read_answers(body, (*at, "facts"), known_words.FACTS.get(kind, ()), {"is"})
            if kind == "timesheet" and "approval" in body:
                self._read_approval(body, (*at, "approval"))
        request_facts, thresholds = self._read_request(document)
        for kind, words in facts.items():
            for clash in words & request_facts:
                self.complaints.complain(
                    ("kinds", kind, "facts", clash), f"'{clash}' is already a fact about the sign-in"
                )
        scopes = self._read_words(document, ("scopes",), None, SCOPE)
        self._check_laws(actions, relations, facts)
        return Vocabulary(
            actions=actions,
            states=states,
            relations=relations,
            facts=facts,
            request_facts=request_facts,
            thresholds=thresholds,
            scopes=scopes,
            descriptions=self.descriptions,
            people=self.directory["people"],
            teams=self.directory["teams"],
            projects=self.directory["projects"],
            definitions=self.definitions,
            paths=paths,
            approval=self.approval,
        )

    def _read_request(self, document: dict[str, object]) -> tuple[frozenset[str], dict[str, int]]:
        request = self._read_table(document, ("request",))
        self._check_keys(request, {"facts"}, ("request",))
        thresholds: dict[str, int] = {}
        for name, table in self._read_table(request, ("request", "facts")).items():
            body = self._as_table(table, ("request", "facts", name))
            age = body.get("max_age")
            if age is None:
                continue
            if "is" in body:
                self.complaints.complain(("request", "facts", name), "A fact has either 'is' or 'max_age'")
            if isinstance(age, bool) or not isinstance(age, int) or not 0 < age <= OLDEST_SIGN_IN:
                message = f"max_age must be a whole number of seconds from 1 to {OLDEST_SIGN_IN}"
                self.complaints.complain(("request", "facts", name), message, "write max_age = 900 for 15 minutes")
                age = OLDEST_SIGN_IN
            thresholds[name] = age
        if len(thresholds) > MAX_REQUEST_FACTS:
            self.complaints.complain(
                ("request", "facts"), f"There are more than {MAX_REQUEST_FACTS} facts with a max_age"
            )
        known = known_words.REQUEST_FACTS | thresholds.keys()
        return self._read_answers(request, ("request", "facts"), known, {"is", "max_age"}), thresholds

    def _read_approval(self, parent: Mapping[str, object], at: tuple[str, ...]) -> None:
        table = self._read_table(parent, at)
        self._check_keys(table, {"complete"}, at)
        if "complete" in table:
            attributes = self._find_attributes(at)
            self.approval = read_approval(table["complete"], (*at, "complete"), attributes, self.complaints)
        else:
            self.complaints.complain(at, "'complete' is missing", 'such as complete = "size(resource.approvals) >= 2"')

    def _read_words(
        self,
        parent: Mapping[str, object],
        at: tuple[str, ...],
        known: Collection[str] | None,
        spelling: re.Pattern[str] = WORD,
    ) -> frozenset[str]:
        """The words of a table, each with a description."""
        table = self._read_table(parent, at)
        for word, description in table.items():
            self._check_spelling(word, spelling, (*at, word))
            if known is not None:
                self._check_known(word, known, (*at, word), at[-1].removesuffix("s"))
            key = f"scope.{word}" if at == ("scopes",) else f"{at[-1].removesuffix('s')}.{at[1]}.{word}"
            self._describe(key, description, (*at, word))
        return frozenset(table)

    def _read_answers(
        self, parent: Mapping[str, object], at: tuple[str, ...], known: Collection[str], extra: Collection[str] = ()
    ) -> frozenset[str]:
        """The words of a table, each with a sentence for each answer."""
        table = self._read_table(parent, at)
        dimension = "who" if at[-1] == "relations" else "fact"
        owner = f".{at[1]}" if at[0] == "kinds" else ""
        attributes = self._find_attributes(at)
        for word, sentences in table.items():
            here = (*at, word)
            self._check_spelling(word, NAME if owner else WORD, here)
            body = self._as_table(sentences, here)
            if "is" in body and dimension == "fact":
                self._define(here, body["is"], attributes)
            elif "is" not in body:
                self._check_known(word, known, here, at[-1].removesuffix("s"))
            self._check_keys(body, ANSWERS | set(extra), here)
            for answer in ("yes", "no"):
                self._describe(f"{dimension}{owner}.{word}.{answer}", body.get(answer), (*here, answer), attributes)
            if "unknown" in body:
                self._describe(f"{dimension}{owner}.{word}.unknown", body["unknown"], (*here, "unknown"), attributes)
        return frozenset(table)

    def _find_attributes(self, at: tuple[str, ...]) -> dict[str, Attribute]:
        """The attributes that the facts and sentences of a table may read."""
        return known_attributes(at[1] if at[0] == "kinds" else "", **self.directory)

    def _define(self, at: tuple[str, ...], text: object, attributes: Mapping[str, Attribute]) -> None:
        """Compile the expression of a declared fact."""
        kind, name = at[1] if at[0] == "kinds" else "", at[-1]
        if name in known_words.FACTS.get(kind, known_words.REQUEST_FACTS if not kind else ()):
            self.complaints.complain(
                at, f"The service supplies '{name}', so it cannot be defined", "choose another name"
            )
        elif kind and kind not in RESOURCE:
            # Of a kind that the service does not have, the complaint about the kind says enough.
            if kind in known_words.ACTIONS:
                remedy = "declare it under [request.facts]"
                self.complaints.complain(at, f"The kind '{kind}' has no attributes that a fact could read", remedy)
        elif not isinstance(text, str):
            self.complaints.complain((*at, "is"), "'is' must be an expression in quotes")
        elif self.compiled[kind] == MAX_DEFINED_FACTS:
            self.complaints.complain(at, f"There are more than {MAX_DEFINED_FACTS} defined facts here")
        else:
            self.compiled[kind] += 1
            found = compile_expression(text, attributes)
            if isinstance(found, Flaw):
                self.complaints.complain_inside((*at, "is"), text, found)
            else:
                self.definitions[(kind, name)] = found

    def _check_laws(
        self,
        actions: Mapping[str, frozenset[str]],
        relations: Mapping[str, frozenset[str]],
        facts: Mapping[str, frozenset[str]],
    ) -> None:
        for kind, action in known_words.LAW_ACTIONS:
            if action not in actions.get(kind, ()):
                self.complaints.complain(
                    ("kinds", kind), f"The safety laws need the action '{action}' of the kind '{kind}'"
                )
        if known_words.OWNER not in relations.get("timesheet", ()):
            self.complaints.complain(("kinds", "timesheet"), f"The safety laws need the relation '{known_words.OWNER}'")
        if known_words.ACTED_FOR_OWNER not in facts.get("timesheet", ()):
            self.complaints.complain(
                ("kinds", "timesheet"), f"The safety laws need the fact '{known_words.ACTED_FOR_OWNER}'"
            )

    def _describe(
        self, key: str, sentence: object, at: tuple[str, ...], attributes: Mapping[str, Attribute] | None = None
    ) -> None:
        """Note a sentence. With `attributes`, it may show their values."""
        fits = isinstance(sentence, str) and 0 < len(sentence.strip()) <= LONGEST_SENTENCE and sentence.isprintable()
        if not fits:
            self.complaints.complain(
                at, f"'{'.'.join(at)}' needs a sentence of one line, at most {LONGEST_SENTENCE} characters"
            )
            return
        flaw = check_sentence(str(sentence), attributes, self.complaints.suggest) if attributes is not None else None
        if flaw is not None:
            self.complaints.complain_inside(at, str(sentence), flaw)
        self.descriptions[key] = str(sentence)

    def _check_spelling(self, word: str, spelling: re.Pattern[str], at: tuple[str, ...]) -> None:
        if word in RESERVED:
            self.complaints.complain(at, f"'{word}' is reserved for the language of rows and cannot be declared")
        elif not spelling.fullmatch(word):
            bound = f", at most {LONGEST_NAME} of them" if spelling is NAME else ""
            self.complaints.complain(at, f"'{word}' is not a word{describe_foreign_letter(word)}: {SPELLING}{bound}")

    def _check_known(self, word: str, known: Collection[str], at: tuple[str, ...], what: str) -> None:
        if word not in known:
            renamed = known_words.RENAMED.get((what, word))
            suggestion = f"it was renamed to '{renamed}'" if renamed else self.complaints.suggest(word, known)
            lacking = ""
            if what in MADE_OF and not renamed:
                lacking = f" without {'an' if what == 'fact' else 'a'} {MADE_OF[what]}"
                if suggestion:
                    suggestion = f'is = "{MADE_OF[what].upper()}" declares one of your own; {suggestion}'
            self.complaints.complain(at, f"The service has no {what} '{word}'{lacking}", suggestion)

    def _check_keys(self, table: Mapping[str, object], allowed: Collection[str], at: tuple[str, ...]) -> None:
        for key in table:
            if key not in allowed:
                self.complaints.complain(
                    (*at, key),
                    f"The key '{key}' is not known here{describe_foreign_letter(key)}",
                    self.complaints.suggest(key, allowed),
                )

    def _read_table(self, parent: Mapping[str, object], at: tuple[str, ...]) -> dict[str, object]:
        return self._as_table(parent.get(at[-1], {}), at)

    def _as_table(self, value: object, at: tuple[str, ...]) -> dict[str, object]:
        if isinstance(value, dict):
            return value
        self.complaints.complain(at, f"'{'.'.join(at)}' must be a table")
        return {}
