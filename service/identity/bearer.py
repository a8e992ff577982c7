"""From the Authorization headers of a request to one bearer token (RFC 6750 section 2.1). Pure: owns no state."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from service.errors import MalformedCredentials, MissingToken

if TYPE_CHECKING:
    from collections.abc import Sequence

_B64TOKEN = re.compile(rb"[A-Za-z0-9._~+/-]+=*")


def bearer_token(authorization_headers: Sequence[bytes | str]) -> bytes:
    """The token. Pass every Authorization header of the request.

    Raises MissingToken when there is none or for another scheme (RFC 6750 section 3.1: no error code then), and
    MalformedCredentials when there are two, or when the header is not `Bearer` with one token.
    """
    if not authorization_headers:
        raise MissingToken
    if len(authorization_headers) > 1:
        raise MalformedCredentials("Send exactly one Authorization header", cause="two-headers")
    scheme, _, rest = _bytes(authorization_headers[0]).strip(b" \t").partition(b" ")
    if not scheme:
        raise MalformedCredentials("The Authorization header is empty", cause="empty-header")
    if scheme.lower() != b"bearer":
        raise MissingToken
    token = rest.lstrip(b" ")
    if _B64TOKEN.fullmatch(token) is None:
        raise MalformedCredentials(
            "The Authorization header must be the word Bearer, a space, and one token", cause="not-a-bearer-token"
        )
    return token


def _bytes(header: bytes | str) -> bytes:
    if isinstance(header, bytes):
        return header
    try:
        return header.encode("latin-1")
    except UnicodeEncodeError as error:
        raise MalformedCredentials("The Authorization header must be ASCII", cause="not-ascii") from error
