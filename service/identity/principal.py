"""The Principal: who asks, with acting client, scopes, roles and authentication facts. Pure: owns no state.

Made by `tokens` from a verified token; `person` is filled in by the directory, which alone links tokens to people.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID


class PrincipalKind(StrEnum):
    """A person acting through a client, or a client acting for itself (client credentials)."""

    USER = "user"
    CLIENT = "client"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks.

    `issuer` and `subject` identify within the token world and never reach the log or a log line; `client` is the acting
    client's id; `roles` are words `role:X`; times are Unix seconds; `authenticated_at` is `auth_time`, None when the
    token does not say; `methods` is `amr`, None when the token does not say.
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
