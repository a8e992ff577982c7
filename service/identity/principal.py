"""The Principal: the authenticated caller, with client, scopes, roles and facts of the sign-in. Pure: owns no state.

`tokens` makes it from a verified token. The directory sets `person`, because only it links tokens to people.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from service.values import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID


ClaimedValue: TypeAlias = "str | int | bool | tuple[str, ...] | None"
# The name of an actor that is not known to be a client: it may be a person, whose subject must reach no record. No rule
# can name it.
UNLISTED: Final = "(unlisted)"


class PrincipalKind(StrEnum):
    """A person acting through a client, or a client acting for itself (client credentials)."""

    USER = "user"
    CLIENT = "client"


class Principal(Struct, frozen=True):
    """The authenticated caller.

    `issuer` and `subject` identify the caller in tokens, and never reach the decision log or a log line. `client` is
    the acting client's id. `roles` are words `role:X`. Times are Unix seconds. `authenticated_at` is `auth_time` and
    `methods` is `amr`; each is None if the token does not have it. `is_remembered`: the `person` was looked up for an
    earlier request, so the statement of facts checks that the token is still theirs.

    `actors` are those that act for the caller by delegation (RFC 8693 section 4.1), the current one first: client ids,
    or UNLISTED. `agent`: whether one of them, or the acting client, is declared an agent; None if an actor is UNLISTED.
    `attributes` are values that the token claims, by the name of the attribute, with any type; None stands for a claim
    that no attribute can have.
    """

    kind: PrincipalKind
    issuer: str
    subject: str
    client: str
    scopes: frozenset[str]
    roles: frozenset[str]
    token_id: str | None
    issued_at: int
    expires_at: int
    authenticated_at: int | None = None
    methods: frozenset[str] | None = None
    acr: str | None = None
    person: UUID | None = None
    issuer_name: str = ""
    is_remembered: bool = False
    actors: tuple[str, ...] = ()
    agent: bool | None = False
    attributes: Mapping[str, ClaimedValue] = msgspec.field(default_factory=dict)
