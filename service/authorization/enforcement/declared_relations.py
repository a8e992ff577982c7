"""The relations of a kind under one policy version: those of the code, and those with a path. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from service.authorization.enforcement.path_sql import PathSql
from service.policy.known_words import DELEGATE
from service.policy.path_parser import default_paths

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.authorization.enforcement.fact_statements import KindFacts
    from service.policy.access_request import Vocabulary
    from service.policy.paths import Path


def paths_under(kind: str, vocabulary: Vocabulary) -> dict[str, Path]:
    """The path of each relation of a kind that the code does not compute, declared or not: a record also tells of
    relations that only other versions ask for."""
    declared = {relation: path for (of, relation), path in vocabulary.paths.items() if of == kind}
    return {**default_paths(kind), **declared}


def with_paths(facts: KindFacts, paths: Mapping[str, Path]) -> KindFacts:
    """The facts with a relation for each of these paths; `facts` itself if they are those of the code."""
    defaults = default_paths(facts.kind)
    if paths == defaults:
        return facts
    sql = PathSql(facts.kind, facts.starts)
    native = {name: found for name, found in facts.relations.items() if name not in defaults}
    reaches = {name: found for name, found in facts.reaches.items() if name not in defaults}
    reached = {name: path for name, path in paths.items() if sql.can_reach(path)}
    return replace(
        facts,
        relations={**native, **{name: sql.holds(path) for name, path in paths.items()}},
        reaches={**reaches, **_without_none({name: sql.find_owners(path) for name, path in reached.items()})},
        on_behalf_of=sql.find_delegator(paths[DELEGATE]) if facts.on_behalf_of else "",
        by_row=frozenset(name for name, path in paths.items() if not path.by_owner),
        points=_without_none({name: sql.find_points(path) for name, path in reached.items()}),
    )


def _without_none(found: Mapping[str, str | None]) -> dict[str, str]:
    return {name: sql for name, sql in found.items() if sql is not None}
