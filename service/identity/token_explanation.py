"""Why a token is taken or refused, check by check, without a word of its content. Pure: owns no state.

The checks are the verifier's own: it tells each one's name before it makes it, so that nothing is judged twice here.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.errors import InvalidToken, TryLater
from service.identity.token_format import MAX_TOKEN_BYTES

if TYPE_CHECKING:
    from service.identity.tokens import Tokens
    from service.identity.verified_tokens import VerifiedToken

CHECKS = {
    "introspection": "its issuer says that it is active (an opaque token)",
    "shape": f"three parts of base64url, at most {MAX_TOKEN_BYTES} bytes, strict JSON",
    "header": "no extensions, no embedded keys, a proper key id",
    "issuer": "from an issuer that is configured, to the letter",
    "type": "of a type that its issuer may use",
    "algorithm": "signed with an algorithm that its issuer may use",
    "key": "signed with a key that its issuer publishes, fit for the algorithm",
    "signature": "the signature is right",
    "time": "expires properly, not yet expired, issued and valid already",
    "client": "names its client in one way",
    "audience": "meant for this API",
    "use": "an access token, not an ID, refresh or logout token",
    "subject": "names its subject properly",
    "kind": "tells a person from a client acting for itself",
    "scopes": "scopes can be read",
    "roles": "roles and groups can be read",
    "token-id": "its identifier is proper",
    "sign-in": "describes the sign-in properly, or not at all",
    "sender": "says properly which key its sender must hold, if any",
}
BOUND = {"jkt": "a DPoP proof with each request", "x5t#S256": "the client certificate that it is bound to"}


@dataclass(frozen=True, slots=True)
class TokenCheck:
    """One check: `outcome` is `passed`, `failed` or `unknown` (the issuer cannot be asked); `told` is a sentence."""

    name: str
    outcome: str
    told: str


@dataclass(frozen=True, slots=True)
class TokenExplanation:
    """`verdict`: `accepted`, `refused` or `not judged`; `cause`: a slug. The rest is known of accepted tokens alone."""

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


async def explain(tokens: Tokens, token: bytes, now: float | None = None) -> TokenExplanation:
    """Judge the token and tell of each check. Revocation and the sender's proof belong to requests: see `needs`."""
    met: list[str] = []
    try:
        verified = await tokens.judge(token, met.append)
    except InvalidToken as error:
        return TokenExplanation("refused", _checks(met, "failed", error.public), error.cause)
    except TryLater as error:
        return TokenExplanation("not judged", _checks(met, "unknown", f"{error.public} ({error.cause})"), error.slug)
    return _accepted(verified, _checks(met), time.time() if now is None else now)


def _accepted(verified: VerifiedToken, checks: tuple[TokenCheck, ...], now: float) -> TokenExplanation:
    asker = verified.principal
    return TokenExplanation(
        "accepted",
        checks,
        issuer=asker.issuer_name,
        kind=str(asker.kind),
        client=asker.client,
        scopes=tuple(sorted(asker.scopes)),
        roles=tuple(sorted(role.removeprefix("role:") for role in asker.roles)),
        expires_in=int(asker.expires_at - now),
        needs=tuple(BOUND.get(name, "proof of a kind that this API does not know") for name in sorted(verified.cnf)),
    )


def _checks(met: list[str], last: str = "passed", told: str | None = None) -> tuple[TokenCheck, ...]:
    """All that were met passed, but perhaps the last one."""
    checks = [TokenCheck(name, "passed", CHECKS[name]) for name in met]
    if checks and told is not None:
        checks[-1] = TokenCheck(met[-1], last, told)
    return tuple(checks)
