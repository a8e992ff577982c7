"""OAuth requests in Authlib's interface, after a check of what HTTP and RFC 6749 do not allow. Pure: owns no state."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from authlib.oauth2.rfc6749 import InvalidRequestError, OAuth2Payload, OAuth2Request

if TYPE_CHECKING:
    from collections.abc import Sequence

Parameters = tuple[tuple[str, str], ...]

_MAX_PARAMETERS = 40
_MAX_FORM_BYTES = 16_384
_PRINTABLE = re.compile(r"[\x20-\x7e]*")  # RFC 6749 appendix A: every parameter is at most VSCHAR
_FIT_FOR_DESCRIPTIONS = re.compile(r"[\x20-\x21\x23-\x5b\x5d-\x7e]*")  # RFC 6749 section 4.1.2.1
_QUOTED_BY_AUTHLIB = ("response_type", "redirect_uri", "grant_type")


def form_pairs(raw: bytes) -> Parameters:
    """The pairs of a URL-encoded form in UTF-8, without pairs that have no value (RFC 6749 section 3.1).

    Raises InvalidRequestError if the bytes are no such form, or too many.
    """
    if len(raw) > _MAX_FORM_BYTES:
        raise InvalidRequestError("The request is too long")
    try:
        pairs = parse_qsl(raw.decode("ascii"), errors="strict", max_num_fields=_MAX_PARAMETERS)
    except ValueError as error:
        raise InvalidRequestError("The parameters are not a URL-encoded form in UTF-8") from error
    return tuple(pairs)


def oauth_parameters(raw: bytes) -> Parameters:
    """Like `form_pairs`, for the parameters of the protocol: printable ASCII, only `resource` may repeat (RFC 8707).

    Raises InvalidRequestError; its description never repeats the input.
    """
    pairs = form_pairs(raw)
    if not all(_PRINTABLE.fullmatch(part) for pair in pairs for part in pair):
        raise InvalidRequestError("A parameter has a character that is not printable ASCII")
    for name, value in pairs:
        # Authlib repeats these in error descriptions and raises ValueError where a character is not allowed there.
        if name in _QUOTED_BY_AUTHLIB and not _FIT_FOR_DESCRIPTIONS.fullmatch(value):
            raise InvalidRequestError(f"The parameter {name} has a character that is not allowed")
    names = [name for name, _ in pairs if name != "resource"]
    if len(names) != len(set(names)):
        raise InvalidRequestError("A parameter is repeated")
    return pairs


class ProtocolRequest(OAuth2Request):  # type: ignore[misc]  # Authlib ships no types
    """One request of the protocol. Its parameters are those of the authorization endpoint's query, or of the token
    endpoint's body. `uri` is built from the configured issuer, never from the Host header.
    """

    def __init__(self, method: str, uri: str, parameters: Sequence[tuple[str, str]], authorization: str | None) -> None:
        # Authlib looks the header up by exactly this spelling.
        super().__init__(method, uri, headers={"Authorization": authorization} if authorization else {})
        self.payload = _Payload(parameters)
        self.pairs = tuple(parameters)
        # From our grants to the token issuer: the proven DPoP key, and the data of an earlier grant.
        self.key_thumbprint: str | None = None
        self.family: str | None = None
        self.inherited_format = "jwt"
        self.whole_scope: str | None = None

    @property
    def args(self) -> dict[str, str]:
        return self.payload.data

    @property
    def form(self) -> dict[str, str]:
        return self.payload.data


class _Payload(OAuth2Payload):  # type: ignore[misc]  # Authlib ships no types
    def __init__(self, parameters: Sequence[tuple[str, str]]) -> None:
        self._lists: dict[str, list[str]] = {}
        for name, value in parameters:
            self._lists.setdefault(name, []).append(value)

    @property
    def data(self) -> dict[str, str]:
        return {name: values[0] for name, values in self._lists.items()}

    @property
    def datalist(self) -> dict[str, list[str]]:
        return self._lists
