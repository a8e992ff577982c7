"""Introspection answers that name no subject (RFC 7662 section 2.2 lets them): a client's own token only where the
issuer is configured so, and nobody's otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from service.errors import InvalidToken
from service.identity.issuer import Introspection
from service.identity.opaque_tokens import OpaqueTokens
from service.identity.principal import PrincipalKind
from tests.token_forge import AUDIENCE, ISSUER, NOW, issuer

if TYPE_CHECKING:
    from collections.abc import Mapping

ANSWER = {
    "active": True,
    "iss": ISSUER,
    "aud": AUDIENCE,
    "client_id": "payroll-import",
    "scope": "batch:upload",
    "iat": NOW - 10,
    "exp": NOW + 600,
    "token_type": "Bearer",
}


class Says:
    """An issuer's word, given beforehand."""

    def __init__(self, **changed: Any) -> None:
        self.answer = {**ANSWER, **changed}

    async def introspect(self, _token: bytes, /) -> Mapping[str, Any]:
        return self.answer

    async def close(self) -> None:
        """Nothing is open."""


def opaque(says: Says, *, subject_optional: bool) -> OpaqueTokens:
    asked = Introspection(f"{ISSUER}introspect", "api", client_secret="s", subject_optional=subject_optional)
    return OpaqueTokens(issuer(introspection=asked), says, clock=lambda: float(NOW))


async def test_a_token_without_subject_is_the_clients_own_if_the_issuer_allows_it() -> None:
    principal = (await opaque(Says(), subject_optional=True).introspect(b"token")).principal
    assert (principal.kind, principal.client, principal.subject) == (
        PrincipalKind.CLIENT,
        "payroll-import",
        "payroll-import",
    )


@pytest.mark.parametrize(
    ("changed", "subject_optional"),
    [
        ({}, False),
        ({"username": "ana"}, True),
        ({"sub": ""}, True),
        ({"sub": None}, True),
        ({"sub": 7}, True),
    ],
)
async def test_otherwise_a_token_without_subject_is_refused(changed: dict[str, Any], *, subject_optional: bool) -> None:
    with pytest.raises(InvalidToken) as refused:
        await opaque(Says(**changed), subject_optional=subject_optional).introspect(b"token")
    assert refused.value.cause == "subject"


async def test_a_named_subject_is_a_person_all_the_same() -> None:
    principal = (await opaque(Says(sub="ana"), subject_optional=True).introspect(b"token")).principal
    assert (principal.kind, principal.subject) == (PrincipalKind.USER, "ana")
