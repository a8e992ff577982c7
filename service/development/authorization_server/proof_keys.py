"""A client's DPoP key, which makes proofs (RFC 9449 section 4.2). Each object owns its key, in memory."""

from __future__ import annotations

import base64
import hashlib
import time
import uuid

from joserfc import jwt
from joserfc.jwk import ECKey


class ProofKey:
    """A new P-256 key. Tokens are bound to its `thumbprint` (RFC 7638)."""

    def __init__(self) -> None:
        self._key = ECKey.generate_key("P-256", auto_kid=False)
        self.thumbprint: str = self._key.thumbprint()

    def proof(self, method: str, url: str, token: str | None = None, nonce: str | None = None) -> str:
        """The value of the DPoP header of one request. `token`: the access token that the request sends, if any."""
        claims: dict[str, str | int] = {
            "jti": str(uuid.uuid4()),
            "htm": method,
            "htu": url.partition("#")[0].partition("?")[0],
            "iat": int(time.time()),
        }
        claims |= {"ath": _s256(token)} if token is not None else {}
        claims |= {"nonce": nonce} if nonce is not None else {}
        header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": self._key.as_dict(private=False)}
        return jwt.encode(header, claims, self._key, algorithms=["ES256"])


def _s256(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode("ascii")).digest()).rstrip(b"=").decode()
