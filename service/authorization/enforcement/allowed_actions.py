"""Allowed actions: what the caller may do to a row now, with this token, for clients that show buttons. Pure.

The engine evaluates each action on the facts of the read. This is not a decision and not recorded: a client that then
sends the request gets a decision of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.authorization.enforcement.changes import AbortChange
from service.authorization.enforcement.decision_point import decide, evaluate, resource_of
from service.authorization.enforcement.fact_lookup import look_at_listed_row
from service.authorization.enforcement.refusal import refusal_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    import asyncpg

    from service.authorization.enforcement.changes import Permit
    from service.authorization.enforcement.fact_lookup import FactLookup
    from service.authorization.enforcement.visibility import Visibility
    from service.authorization.engine.engine import Snapshot
    from service.identity.principal import Principal


def of_row(permit: Permit, actions: Iterable[str]) -> tuple[str, ...]:
    """Those of `actions` that are allowed on the row that was read, in their order."""
    request = permit.decision.request
    return _filter_allowed(permit.snapshot, request.principal, request.resource.kind, request.lookup, actions)


def require(permit: Permit, action: str) -> None:
    """Decide on another action on what the permit is about, for a request that takes both at once. Aborts the change if
    it is denied; the log then has both decisions."""
    request = permit.decision.request
    also = decide(permit.snapshot, request.principal, action, request.resource, request.lookup)
    if not also.allowed:
        raise AbortChange(refusal_of(permit.snapshot, also), refused=also)


def of_listed_row(visibility: Visibility, row: asyncpg.Record, actions: Iterable[str]) -> tuple[str, ...]:
    """The same for a row of a list that was read with `fact_columns`."""
    lookup = look_at_listed_row(visibility.lookup, row, visibility.facts)
    return _filter_allowed(visibility.snapshot, visibility.principal, visibility.kind, lookup, actions)


@dataclass(frozen=True, slots=True)
class Ground:
    """Why an action on a row is allowed: the caller's relations to it, and the rules."""

    relations: tuple[str, ...]
    rules: tuple[str, ...]


def explain_listed_row(visibility: Visibility, row: asyncpg.Record) -> Ground:
    """Why a row is in a list that was read with `fact_columns`. Evaluated like a single request for the row."""
    lookup = look_at_listed_row(visibility.lookup, row, visibility.facts)
    resource = resource_of(visibility.kind, lookup, None)
    names = evaluate(visibility.snapshot, visibility.principal, visibility.action, resource, lookup).verdict.rules
    rules = visibility.snapshot.index_of(visibility.kind, visibility.action).rules_named(names)
    return Ground(tuple(dict.fromkeys(rule.who for rule in rules)), names)


def _filter_allowed(
    snapshot: Snapshot, principal: Principal, kind: str, lookup: FactLookup, actions: Iterable[str]
) -> tuple[str, ...]:
    resource, known = resource_of(kind, lookup, None), snapshot.vocabulary.actions.get(kind, frozenset())
    return tuple(
        action
        for action in actions
        if action in known and evaluate(snapshot, principal, action, resource, lookup).allowed
    )
