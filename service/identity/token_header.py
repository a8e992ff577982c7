"""The JOSE header's checks, in the order of reading it. Pure: owns no state.

Nothing in a header ever causes a fetch, and no key in it is ever used (RFC 8725 sections 3.1, 3.10, 3.11).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.identity.issuer import NO_TYPE, short_type
from service.identity.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.identity.issuer import Issuer

MAX_KID = 256
_EXTENSIONS = ("crit", "b64", "zip")
_EMBEDDED_KEYS = ("jwk", "jku", "x5u", "x5c")


def check_extensions(header: Mapping[str, Any]) -> None:
    """Refuse what changes the meaning of the rest. We understand no critical extension (RFC 7515 section 4.1.11)."""
    if any(name in header for name in _EXTENSIONS):
        raise refusal("critical")
    if any(name in header for name in _EMBEDDED_KEYS):
        raise refusal("embedded-key")


def token_type(header: Mapping[str, Any], issuer: Issuer) -> str:
    """The token's `typ` as it is compared, one that the issuer may use; NO_TYPE when absent, where allowed."""
    if "typ" not in header:
        typ = NO_TYPE
    else:
        given = header["typ"]
        if not isinstance(given, str) or not given.isascii() or not given:
            raise refusal("header")
        typ = short_type(given)
    if typ not in issuer.accepted_types:
        raise refusal("type")
    return typ


def algorithm(header: Mapping[str, Any], issuer: Issuer) -> str:
    """The `alg`, one of the issuer's allow-list, compared with case."""
    given = header.get("alg")
    if not isinstance(given, str):
        raise refusal("header")
    if given not in issuer.algorithms:
        raise refusal("algorithm")
    return given


def key_id(header: Mapping[str, Any]) -> str | None:
    """The `kid`, a bounded string that is only ever looked up; None when absent."""
    if "kid" not in header:
        return None
    given = header["kid"]
    if not isinstance(given, str) or not 0 < len(given) <= MAX_KID:
        raise refusal("header")
    return given
