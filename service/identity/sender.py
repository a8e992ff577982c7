"""Whether this sender may use this token: every member of the token's `cnf` is checked, or the token is refused.

Owns no state. Which members can be checked depends on the configuration; what cannot be checked is never passed over.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from events.stream import open_redis
from service.identity.credentials import DPOP
from service.identity.dpop import Proofs
from service.identity.jwk_thumbprint import digest64
from service.identity.mtls import ClientCertificates
from service.identity.nonces import Nonces
from service.identity.refusals import refusal
from service.identity.replay import Replay

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.identity.presented import Presented

KEY: Final = "jkt"
CERTIFICATE: Final = "x5t#S256"


class SenderConstraint:
    """A SenderCheck. `proofs`: None when DPoP is not configured. `certificates`: whether a trusted proxy passes client
    certificates. `dpop_required`: tokens that are not bound to a key by DPoP are refused."""

    def __init__(self, proofs: Proofs | None, *, certificates: bool = False, dpop_required: bool = False) -> None:
        self._proofs = proofs
        self._checked = {KEY} if proofs is not None else set()
        if certificates:
            self._checked.add(CERTIFICATE)
        self._dpop_required = dpop_required

    async def __call__(self, scheme: str, token: bytes, cnf: Mapping[str, object], presented: Presented, /) -> None:
        """Raises InvalidToken when the binding does not hold or cannot be checked, InvalidProof or NonceWanted for a
        bad proof, and ReplayUnavailable when the proof cannot be judged now."""
        if not cnf.keys() <= self._checked:
            raise refusal("sender-constrained")
        if scheme == DPOP and KEY not in cnf:
            raise refusal("unbound-as-dpop")
        if scheme != DPOP and KEY in cnf:
            # RFC 9449 section 7.2: otherwise whoever steals the token simply calls it a bearer token.
            raise refusal("bound-as-bearer")
        if self._dpop_required and KEY not in cnf:
            raise refusal("dpop-required")
        if CERTIFICATE in cnf:
            _check_certificate(cnf[CERTIFICATE], presented.client_certificate)
        if self._proofs is not None and KEY in cnf:
            key = cnf[KEY]
            if not isinstance(key, str) or not key.isascii():
                raise refusal("sender-constrained")
            await self._proofs.check(presented, token, key)


@dataclass(frozen=True, slots=True)
class Senders:
    """How callers prove that a token is theirs: what checks it, and what of it is offered. `algorithms`: of DPoP
    proofs, empty when none can be judged; `replay`: to be closed at the end."""

    check: SenderConstraint
    algorithms: tuple[str, ...]
    nonces: Nonces
    replay: Replay | None
    certificates: ClientCertificates | None


def senders_of(
    *,
    redis_url: str,
    public_url: str,
    secret: str,
    algorithms: tuple[str, ...],
    nonce_required: bool,
    dpop_required: bool,
    certificate_header: str,
    trusted_proxies: Sequence[str],
) -> Senders:
    """What can be checked with this configuration: without a public URL or Redis no DPoP proof, without a header no
    client certificate. `secret`: the same on every replica. Raises Misconfigured for values that cannot be."""
    replay = Replay(open_redis(redis_url, timeout=1.0)) if redis_url else None
    nonces = Nonces(secret)
    certificates = ClientCertificates(certificate_header, trusted_proxies) if certificate_header else None
    offered = algorithms if replay and public_url else ()
    proofs = None
    if replay and offered:
        proofs = Proofs(replay.first_use, nonces, algorithms=offered, nonce_required=nonce_required)
    check = SenderConstraint(proofs, certificates=certificates is not None, dpop_required=dpop_required)
    return Senders(check, offered, nonces, replay, certificates)


def _check_certificate(wanted: object, given: bytes | None) -> None:
    if not isinstance(wanted, str) or not wanted.isascii():
        raise refusal("sender-constrained")
    if given is None:
        raise refusal("no-certificate")
    if not hmac.compare_digest(wanted.encode(), digest64(given).encode()):
        raise refusal("other-certificate")
