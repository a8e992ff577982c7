"""Explains why a token is accepted or refused, check by check, without showing its content. Pure: owns no state.

The checks are the verifier's own: it names each check before it makes it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.errors import InvalidToken, TryLater
from service.identity.jws import MAX_TOKEN_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.identity.tokens import Tokens
    from service.identity.verified_tokens import VerifiedToken

CHECKS = {
    "introspection": "its issuer says that it is active (an opaque token)",
    "shape": f"three parts of base64url, at most {MAX_TOKEN_BYTES} bytes, strict JSON",
    "header": "no extensions, no embedded keys, a proper key id",
    "issuer": "from a configured issuer",
    "type": "of a type that its issuer may use",
    "algorithm": "signed with an algorithm that its issuer may use",
    "key": "signed with a published key of its issuer that fits the algorithm",
    "signature": "the signature is valid",
    "time": "the expiry is valid, not expired, issued and valid already",
    "client": "names exactly one client",
    "audience": "meant for this API",
    "use": "an access token, not an ID, refresh or logout token",
    "subject": "the subject is valid",
    "kind": "belongs clearly to a person or to a client",
    "scopes": "the scopes are valid",
    "roles": "the roles and groups are valid",
    "token-id": "the token identifier is valid",
    "sign-in": "the details of the sign-in are valid or absent",
    "actors": "the actors are valid or absent",
    "sender": "the key that the sender must hold is valid or absent",
}
NEEDS = {"jkt": "a DPoP proof with each request", "x5t#S256": "the client certificate that it is bound to"}

# What a claim of an attribute holds; its value is not shown.
KINDS = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    tuple: "a list of texts",
    type(None): "nothing that an attribute can be",
}


@dataclass(frozen=True, slots=True)
class TokenCheck:
    """One check. `outcome` is `passed`, `failed` or `unknown` (the issuer does not answer); `detail` is a sentence."""

    name: str
    outcome: str
    detail: str


@dataclass(frozen=True, slots=True)
class TokenExplanation:
    """`verdict`: `accepted`, `refused` or `not checked`. `cause`: a slug. Accepted tokens have the other fields."""

    verdict: str
    checks: tuple[TokenCheck, ...]
    cause: str | None = None
    issuer: str | None = None
    kind: str | None = None
    client: str | None = None
    scopes: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    expires_in: int | None = None
    needs: tuple[str, ...] = ()
    actors: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)


async def explain(tokens: Tokens, token: bytes, now: float | None = None) -> TokenExplanation:
    """Verify the token and report each check. Revocation and the sender's proof need a request; see `needs`."""
    steps: list[str] = []
    try:
        verified = await tokens.verify_token(token, steps.append)
    except InvalidToken as error:
        return TokenExplanation("refused", _list_checks(steps, "failed", error.public), error.cause)
    except TryLater as error:
        checks = _list_checks(steps, "unknown", f"{error.public} ({error.cause})")
        return TokenExplanation("not checked", checks, error.slug)
    return _explain_accepted(verified, _list_checks(steps), time.time() if now is None else now)


def _explain_accepted(verified: VerifiedToken, checks: tuple[TokenCheck, ...], now: float) -> TokenExplanation:
    principal = verified.principal
    return TokenExplanation(
        "accepted",
        checks,
        issuer=principal.issuer_name,
        kind=str(principal.kind),
        client=principal.client,
        scopes=tuple(sorted(principal.scopes)),
        roles=tuple(sorted(role.removeprefix("role:") for role in principal.roles)),
        expires_in=int(principal.expires_at - now),
        needs=tuple(NEEDS.get(name, "a kind of proof that this API does not support") for name in sorted(verified.cnf)),
        actors=principal.actors,
        attributes={name: KINDS[type(value)] for name, value in sorted(principal.attributes.items())},
    )


def _list_checks(steps: list[str], outcome: str = "passed", detail: str | None = None) -> tuple[TokenCheck, ...]:
    """The checks that were made; `outcome` and `detail` are those of the last one."""
    checks = [TokenCheck(name, "passed", CHECKS[name]) for name in steps]
    if checks and detail is not None:
        checks[-1] = TokenCheck(steps[-1], outcome, detail)
    return tuple(checks)
