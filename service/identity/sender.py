"""Checks that this sender may use this token: every member of the token's `cnf` is checked, or the token is refused.

Owns no state. The configuration determines which members can be checked; a member that cannot be is never ignored.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from events.stream import open_redis
from service.identity.credentials import DPOP
from service.identity.dpop import Proofs
from service.identity.jwk_set import digest64
from service.identity.mtls import ClientCertificates
from service.identity.nonces import Nonces
from service.identity.refusals import refusal
from service.identity.used_proofs import UsedProofs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.identity.credentials import RequestCredentials

KEY: Final = "jkt"
CERTIFICATE: Final = "x5t#S256"


class SenderConstraint:
    """A SenderCheck. `proofs`: None if DPoP is not configured. `certificates`: whether a trusted proxy passes client
    certificates on. `dpop_required`: tokens that are not bound to a key by DPoP are refused."""

    def __init__(self, proofs: Proofs | None, *, certificates: bool = False, dpop_required: bool = False) -> None:
        self._proofs = proofs
        self._checked = {KEY} if proofs is not None else set()
        if certificates:
            self._checked.add(CERTIFICATE)
        self._dpop_required = dpop_required

    async def __call__(
        self, scheme: str, token: bytes, cnf: Mapping[str, object], credentials: RequestCredentials, /
    ) -> None:
        """Raises InvalidToken if the binding is violated or cannot be checked, InvalidProof or NonceRequired for a bad
        proof, and ReplayStoreUnavailable if the proof cannot be checked now."""
        if not cnf.keys() <= self._checked:
            raise refusal("sender-constrained")
        if scheme == DPOP and KEY not in cnf:
            raise refusal("unbound-as-dpop")
        if scheme != DPOP and KEY in cnf:
            # RFC 9449 section 7.2: otherwise a thief could use the token as a bearer token.
            raise refusal("bound-as-bearer")
        if self._dpop_required and KEY not in cnf:
            raise refusal("dpop-required")
        if CERTIFICATE in cnf:
            _check_certificate(cnf[CERTIFICATE], credentials.client_certificate)
        if self._proofs is not None and KEY in cnf:
            key = cnf[KEY]
            if not isinstance(key, str) or not key.isascii():
                raise refusal("sender-constrained")
            await self._proofs.check(credentials, token, key)


@dataclass(frozen=True, slots=True)
class Senders:
    """The parts that check sender-constrained tokens. `algorithms`: those of DPoP proofs, empty if proofs cannot be
    checked. `used_proofs` must be closed at the end."""

    check: SenderConstraint
    algorithms: tuple[str, ...]
    nonces: Nonces
    used_proofs: UsedProofs | None
    certificates: ClientCertificates | None


def build_senders(
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
    """Build the parts that this configuration allows: DPoP proofs need a public URL and Redis, client certificates need
    a header. `secret`: the same on every replica. Raises Misconfigured for invalid values."""
    used_proofs = UsedProofs(open_redis(redis_url, timeout=1.0)) if redis_url else None
    nonces = Nonces(secret)
    certificates = ClientCertificates(certificate_header, trusted_proxies) if certificate_header else None
    offered = algorithms if used_proofs and public_url else ()
    proofs = None
    if used_proofs and offered:
        proofs = Proofs(used_proofs.add, nonces, algorithms=offered, nonce_required=nonce_required)
    check = SenderConstraint(proofs, certificates=certificates is not None, dpop_required=dpop_required)
    return Senders(check, offered, nonces, used_proofs, certificates)


def _check_certificate(expected: object, given: bytes | None) -> None:
    if not isinstance(expected, str) or not expected.isascii():
        raise refusal("sender-constrained")
    if given is None:
        raise refusal("no-certificate")
    if not hmac.compare_digest(expected.encode(), digest64(given).encode()):
        raise refusal("other-certificate")
