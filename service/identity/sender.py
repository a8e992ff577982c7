"""Whether this sender may use this token: every member of the token's `cnf` is checked, or the token is refused.

Owns no state. Which members can be checked depends on the configuration; what cannot be checked is never passed over.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from service.identity.credentials import DPOP
from service.identity.jwk_thumbprint import digest64
from service.identity.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.identity.dpop import Proofs
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


def _check_certificate(wanted: object, given: bytes | None) -> None:
    if not isinstance(wanted, str) or not wanted.isascii():
        raise refusal("sender-constrained")
    if given is None:
        raise refusal("no-certificate")
    if not hmac.compare_digest(wanted.encode(), digest64(given).encode()):
        raise refusal("other-certificate")
