"""From the Authorization headers of a request to a scheme and one token (RFC 6750 section 2.1, RFC 9449 section 7.1).

Pure: owns no state.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from service.errors import MalformedCredentials, MissingToken

if TYPE_CHECKING:
    from collections.abc import Sequence

BEARER = "bearer"
DPOP = "dpop"
_TOKEN68 = re.compile(rb"[A-Za-z0-9._~+/-]+=*")


def credentials(authorization_headers: Sequence[bytes]) -> tuple[str, bytes]:
    """The scheme, BEARER or DPOP, and the token. Pass every Authorization header of the request.

    Raises MissingToken when there is none or for another scheme (RFC 6750 section 3.1: no error code then), and
    MalformedCredentials when there are two, or when the header is not a scheme with one token.
    """
    if not authorization_headers:
        raise MissingToken
    if len(authorization_headers) > 1:
        raise MalformedCredentials("Send exactly one Authorization header", cause="two-headers")
    scheme, _, rest = authorization_headers[0].strip(b" \t").partition(b" ")
    if not scheme:
        raise MalformedCredentials("The Authorization header is empty", cause="empty-header")
    known = scheme.lower().decode("latin-1")
    if known not in {BEARER, DPOP}:
        raise MissingToken
    token = rest.lstrip(b" ")
    if _TOKEN68.fullmatch(token) is None:
        raise MalformedCredentials(
            "The Authorization header must be the word Bearer or DPoP, a space, and one token",
            cause="not-a-bearer-token",
        )
    return known, token
