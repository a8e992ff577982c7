"""The WWW-Authenticate value of an error (RFC 6750, 9449, 9470, 9728). Pure: owns no state."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from service.errors import (
    InsufficientScope,
    InvalidProof,
    InvalidToken,
    MalformedCredentials,
    NonceRequired,
    StepUpNeeded,
    TimewardenError,
    Unauthenticated,
)
from service.identity.credentials import BEARER, DPOP

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

REALM = "timewarden"
_CODES: Mapping[type[TimewardenError], str] = {
    MalformedCredentials: "invalid_request",
    InvalidToken: "invalid_token",
    NonceRequired: "use_dpop_nonce",
    InvalidProof: "invalid_dpop_proof",
    StepUpNeeded: "insufficient_user_authentication",
    InsufficientScope: "insufficient_scope",
}
# Errors that other credentials might correct.
CHALLENGED = (*_CODES, Unauthenticated)
# Characters that RFC 6750 section 3 forbids in a description or a scope; the others need no escape inside quotes.
_UNSAFE = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")


def build_challenge(
    error: TimewardenError,
    *,
    realm: str = REALM,
    resource_metadata: str | None = None,
    dpop_algorithms: Sequence[str] = (),
    dpop_required: bool = False,
    scheme: str = BEARER,
) -> str | None:
    """The header's value for `error`; None for errors that other credentials would not correct.

    `resource_metadata` is the URL of our protected-resource metadata. `dpop_algorithms`: those of proofs, empty if DPoP
    is not offered; `dpop_required`: only DPoP is. `scheme`: the request's, in lower case; the challenge uses the same.
    A missing token gets no error code (RFC 6750 section 3.1, RFC 9449 section 7.2).
    """
    details = _describe_error(error)
    if details is None:
        return None
    first, last = ("realm", realm), ("resource_metadata", resource_metadata)
    algorithms = ("algs", " ".join(dpop_algorithms))
    if dpop_algorithms and (scheme == DPOP or dpop_required or isinstance(error, InvalidProof)):
        return _format("DPoP", [first, *details, algorithms, last])
    bearer = _format("Bearer", [first, *details, last])
    if dpop_algorithms and isinstance(error, Unauthenticated):
        return f"{bearer}, {_format('DPoP', [algorithms])}"
    return bearer


def _describe_error(error: TimewardenError) -> list[tuple[str, str | None]] | None:
    """The parameters of the challenge for the error; None if it gets no challenge."""
    if not isinstance(error, CHALLENGED):
        return None
    code = next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), None)
    if code is None:
        return []
    more: list[tuple[str, str | None]] = []
    if isinstance(error, StepUpNeeded):
        age = None if error.max_age is None else str(error.max_age)
        more = [("acr_values", error.acr_values), ("max_age", age)]
    if isinstance(error, InsufficientScope):
        more = [("scope", " ".join(error.scopes))]
    return [("error", code), ("error_description", error.public), *more]


def _format(scheme: str, parameters: Iterable[tuple[str, str | None]]) -> str:
    shown = [f'{name}="{_remove_unsafe(value)}"' for name, value in parameters if value is not None]
    return f"{scheme} " + ", ".join(shown)


@lru_cache(maxsize=1_024)
def _remove_unsafe(value: str) -> str:
    return _UNSAFE.sub("", value)
