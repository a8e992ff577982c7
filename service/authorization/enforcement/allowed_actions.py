"""Hints: which actions the asker may do to a row now, with this token, for clients that show buttons. Pure.

The same engine decides on the same facts as the request itself would have; a hint is no decision and is not recorded,
because nothing follows from it: whoever presses the button is decided anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.authorization.enforcement.decision_point import evaluate, resource_of
from service.authorization.enforcement.relationships import look_at_listed_row

if TYPE_CHECKING:
    from collections.abc import Iterable

    import asyncpg

    from service.authorization.enforcement.changes import Permit
    from service.authorization.enforcement.relationships import FactLookup
    from service.authorization.enforcement.visibility import Visibility
    from service.authorization.engine.engine import Snapshot
    from service.identity.principal import Principal


def of_read(permit: Permit, actions: Iterable[str]) -> tuple[str, ...]:
    """Those of `actions` that whoever was permitted to read the row may do to it, in their order."""
    asked = permit.decision.request
    return _allowed(permit.snapshot, asked.principal, asked.resource.kind, asked.lookup, actions)


def of_listed_row(visibility: Visibility, row: asyncpg.Record, actions: Iterable[str]) -> tuple[str, ...]:
    """The same for a row of a list that was read with its relations, in the snapshot that the list was seen in."""
    lookup = look_at_listed_row(visibility.lookup, row, visibility.facts)
    return _allowed(visibility.snapshot, visibility.principal, visibility.kind, lookup, actions)


@dataclass(frozen=True, slots=True)
class Ground:
    """By what somebody may do something to a row: the relations to it, and the rules that allow."""

    relations: tuple[str, ...]
    rules: tuple[str, ...]


def by_what(visibility: Visibility, row: asyncpg.Record) -> Ground:
    """Why a row is in a list that was read with its relations: asked of the engine, as a single request would be."""
    lookup = look_at_listed_row(visibility.lookup, row, visibility.facts)
    resource = resource_of(visibility.kind, lookup, None)
    names = evaluate(visibility.snapshot, visibility.principal, visibility.action, resource, lookup).verdict.rules
    rules = visibility.snapshot.index_of(visibility.kind, visibility.action).named(names)
    return Ground(tuple(dict.fromkeys(rule.who for rule in rules)), names)


def _allowed(
    snapshot: Snapshot, principal: Principal, kind: str, lookup: FactLookup, actions: Iterable[str]
) -> tuple[str, ...]:
    resource, known = resource_of(kind, lookup, None), snapshot.vocabulary.actions.get(kind, frozenset())
    return tuple(
        action
        for action in actions
        if action in known and evaluate(snapshot, principal, action, resource, lookup).allowed
    )
