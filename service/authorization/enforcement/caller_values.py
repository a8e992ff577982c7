"""The attributes of a caller and of the sign-in, which expressions read: in this process, or in SQL. Pure.

A statement gets those that it needs as one JSON object, the parameter `:asker`, which `attribute_sql` reads. It
computes itself what only Postgres knows in its snapshot, such as the time.
"""

from __future__ import annotations

from datetime import UTC
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import msgspec

from service.authorization.enforcement.attribute_values import ID
from service.policy.attributes import WEEKDAYS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from service.identity.principal import Principal
    from service.policy.attributes import Value
    from service.policy.expressions.expression import Expression

CLIENT, KIND, ROLES = "principal.client", "principal.kind", "principal.roles"
NOW, WEEKDAY, SIGN_IN_AGE = "context.now", "context.weekday", "context.sign_in_age"
ACR, METHODS = "context.acr", "context.methods"
DELEGATED, ACTORS = "context.delegated", "context.actors"
# Their values change between two requests with the same token.
OF_THE_MOMENT: Final = frozenset({NOW, WEEKDAY, SIGN_IN_AGE})
# In the parameter: when the person signed in, in Unix seconds, from which SQL computes the age.
SIGNED_IN_AT: Final = "context.signed_in_at"
# In the parameter: the attributes that a token claims, where the statement finds those of the directory itself.
CLAIMED: Final = "claimed"
_ROLE: Final = "role:"
# Values of facts, by expression and what it read: some hundred bytes each.
MAX_FACTS_KEPT: Final = 16_384


def caller_values(
    principal: Principal, roles: Collection[str], directory: Mapping[str, Value], at: datetime
) -> dict[str, Value]:
    """All attributes of the caller and the sign-in at a time. `roles`: the caller's in the directory; `directory`: what
    else it holds of the caller. A missing value is not there."""
    at = at.astimezone(UTC)
    values: dict[str, Value] = {**_token_values(principal, roles), **directory}
    values[NOW] = at
    values[WEEKDAY] = WEEKDAYS[at.weekday()]
    if principal.authenticated_at is not None:
        values[SIGN_IN_AGE] = max(0, int(at.timestamp()) - principal.authenticated_at)
    return values


def evaluate_facts(defined: Mapping[str, Expression], values: Mapping[str, Value]) -> dict[str, bool | None]:
    """The facts with these expressions, from the values of all attributes. One that does not ask for the moment is
    worked out once for the same values."""
    facts: dict[str, bool | None] = {}
    for name, expression in defined.items():
        if OF_THE_MOMENT.isdisjoint(expression.attributes):
            read = tuple(values.get(attribute) for attribute, _ in expression.types)
            # True equals 1, and must not be taken for it.
            facts[name] = _evaluate(expression, read, tuple(map(type, read)))
        else:
            facts[name] = expression.evaluate(values)
    return facts


@lru_cache(MAX_FACTS_KEPT)
def _evaluate(expression: Expression, read: tuple[Value, ...], _types: tuple[type, ...]) -> bool | None:
    names = (attribute for attribute, _ in expression.types)
    return expression.evaluate(dict(zip(names, read, strict=True)))


def asker_values(
    principal: Principal, roles: Collection[str], directory: Mapping[str, Value], asked: Collection[str]
) -> dict[str, Value]:
    """The members of the parameter `:asker`: the attributes that are asked for."""
    if not asked:
        return {}
    known = {**_token_values(principal, roles), **directory}
    values: dict[str, Value] = {name: known[name] for name in asked if name in known}
    if SIGN_IN_AGE in asked and principal.authenticated_at is not None:
        values[SIGNED_IN_AT] = principal.authenticated_at
    return values


def write_asker(values: Mapping[str, Value], claimed: Mapping[str, Value] | None = None) -> str:
    """The parameter `:asker`. A statement that finds itself what the directory holds puts what is `claimed` over it."""
    return msgspec.json.encode({**values, CLAIMED: claimed} if claimed else values).decode()


def _token_values(principal: Principal, roles: Collection[str]) -> dict[str, Value]:
    """The attributes that the token supplies, with all roles."""
    values: dict[str, Value] = {
        **({ID: str(principal.person)} if principal.person is not None else {}),
        CLIENT: principal.client,
        KIND: str(principal.kind),
        ROLES: tuple(sorted({role.removeprefix(_ROLE) for role in principal.roles}.union(roles))),
        DELEGATED: bool(principal.actors),
        ACTORS: tuple(sorted(set(principal.actors))),
    }
    if principal.acr is not None:
        values[ACR] = principal.acr
    if principal.methods is not None:
        values[METHODS] = tuple(sorted(principal.methods))
    return values
