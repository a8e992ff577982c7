"""How this service proves itself to an authorization server: by a secret, or by a JWT that it signs. Pure.

RFC 6749 section 2.3.1 (client_secret_basic) and RFC 7523 section 2.2 (private_key_jwt).
"""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

from jwt.exceptions import PyJWTError
from uuid_utils.compat import uuid7

from service.errors import Misconfigured
from service.identity.signatures import JWS

if TYPE_CHECKING:
    from service.identity.issuer import Introspection

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTION_SECONDS = 60


def authentication(ours: Introspection, audience: str) -> tuple[dict[str, str], dict[str, str]]:
    """The headers and form fields of one request. `audience`: the issuer, to which alone an assertion is addressed.

    Raises Misconfigured when the private key cannot sign.
    """
    if ours.client_secret is not None:
        # RFC 6749 appendix B: both parts are form-encoded before they are joined.
        pair = f"{quote_plus(ours.client_id)}:{quote_plus(ours.client_secret)}"
        return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}, {}
    return {}, {"client_assertion_type": ASSERTION_TYPE, "client_assertion": _assertion(ours, audience)}


def _assertion(ours: Introspection, audience: str) -> str:
    now = int(time.time())
    claims = {
        "iss": ours.client_id,
        "sub": ours.client_id,
        "aud": audience,
        "jti": str(uuid7()),
        "iat": now,
        "exp": now + _ASSERTION_SECONDS,
    }
    header = {"kid": ours.private_key_id} if ours.private_key_id else None
    try:
        return JWS.encode(json.dumps(claims).encode(), ours.private_key or "", ours.private_key_algorithm, header)
    except (PyJWTError, ValueError, TypeError) as error:
        raise Misconfigured("The private key for introspection cannot sign with its algorithm") from error
