"""The facts of a kind under one policy version: those of the code, and those that its vocabulary declares. Pure."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from service.authorization.enforcement.attribute_sql import caller_column, collect_members, read_member
from service.authorization.enforcement.declared_relations import paths_under, with_paths
from service.authorization.enforcement.fact_statements import GIVEN_VALUES, OF_OWNER
from service.policy.attributes import PRINCIPAL
from service.policy.sentences import attributes_in

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.authorization.enforcement.fact_statements import KindFacts
    from service.authorization.engine.engine import Snapshot
    from service.policy.access_request import Vocabulary
    from service.policy.attributes import Attribute
    from service.policy.expressions.expression import Expression
    from service.policy.paths import Path

    Definitions = tuple[tuple[str, Expression], ...]
    Attributes = tuple[tuple[str, Attribute], ...]

# Versions that declare the same share prepared statements and what is remembered under them.
MAX_DECLARATIONS_KEPT: Final = 64
# Can be read anywhere at no cost.
_PLAIN_COLUMN: Final = re.compile(r"[a-z_]+\.[a-z_]+")
_RESOURCE, _PRINCIPAL = "resource.", "principal."


def facts_under(base: KindFacts, snapshot: Snapshot) -> KindFacts:
    """The facts of a kind as the version of a snapshot has them; `base` itself if it declares nothing that concerns the
    kind. Every lookup and every list takes its facts from the snapshot that decides."""
    return snapshot.memoize("facts", base, lambda: _facts_of(base, snapshot.vocabulary))


def mentioned_attributes(kind: str, vocabulary: Vocabulary) -> frozenset[str]:
    """The attributes that facts about this kind or about the sign-in read, or their sentences show. Records of the kind
    hold their values."""
    names: set[str] = set()
    for (of, _), expression in vocabulary.definitions.items():
        if of in {"", kind}:
            names |= expression.attributes
    if kind == "timesheet" and vocabulary.approval is not None:
        names |= vocabulary.approval.attributes
    for key, sentence in vocabulary.descriptions.items():
        if key.startswith(("fact.", "who.")) and (key.count(".") == 2 or key.split(".")[1] == kind):  # noqa: PLR2004
            names |= attributes_in(sentence)
    return frozenset(names)


def _facts_of(base: KindFacts, vocabulary: Vocabulary) -> KindFacts:
    known = vocabulary.known_attributes(base.kind)
    mentioned = mentioned_attributes(base.kind, vocabulary)
    definitions = tuple(
        sorted(
            ((fact, found) for (kind, fact), found in vocabulary.definitions.items() if kind == base.kind),
            key=lambda named: named[0],
        )
    )
    attributes = tuple((name, known[name]) for name in sorted(mentioned & known.keys()))
    paths = tuple(sorted(paths_under(base.kind, vocabulary).items(), key=lambda named: named[0]))
    return _declare(_relate(base, paths), definitions, attributes)


@lru_cache(MAX_DECLARATIONS_KEPT)
def _relate(base: KindFacts, paths: tuple[tuple[str, Path], ...]) -> KindFacts:
    return with_paths(base, dict(paths))


@lru_cache(MAX_DECLARATIONS_KEPT)
def _declare(base: KindFacts, definitions: Definitions, attributes: Attributes) -> KindFacts:
    """The facts with these definitions; `attributes` are all that are mentioned."""
    of_row = {**base.attributes, **_declared_columns(base, attributes)}
    caller = {
        name: attribute for name, attribute in attributes if name.startswith(_PRINCIPAL) and name not in PRINCIPAL
    }
    personal = frozenset(name for name, attribute in attributes if attribute.personal)
    if not definitions and of_row == base.attributes and not caller:
        return base
    read = frozenset[str]().union(*(expression.attributes for _, expression in definitions))
    computed = {name for name in read & of_row.keys() if not _PLAIN_COLUMN.fullmatch(of_row[name])}
    columns = {name: f'{GIVEN_VALUES}."{name}"' if name in computed else sql for name, sql in of_row.items()}
    types = dict(attributes)
    asked = {name for name in read if not name.startswith(_RESOURCE)}
    inputs = {**columns, **{name: caller_column(name, types[name].type) for name in asked}}
    return replace(
        base,
        facts={**base.facts, **{fact: expression.sql(inputs) for fact, expression in definitions}},
        attributes=columns,
        computed={name: of_row[name] for name in computed},
        defined=dict(definitions),
        asked=frozenset(asked),
        caller=caller,
        personal=personal,
        owner_facts=frozenset(
            fact for fact, expression in definitions if base.by_owner and _is_about_owner(expression.attributes)
        ),
    )


def _is_about_owner(names: Iterable[str]) -> bool:
    return all(name.startswith(OF_OWNER) for name in names if name.startswith(_RESOURCE))


def _declared_columns(base: KindFacts, attributes: Attributes) -> dict[str, str]:
    """The SQL of mentioned attributes of the resource that the directory holds."""
    columns: dict[str, str] = {}
    for name, attribute in attributes:
        prefix, _, word = name.rpartition(".")
        if name not in base.attributes and (documents := base.documents.get(prefix)) is not None:
            read = read_member if prefix == "resource.owner" else collect_members
            columns[name] = read(documents, word, attribute.type)
    return columns
