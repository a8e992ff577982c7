"""What a request presents to say who asks, and the seam for checking possession of a bound key. Pure: owns no state.

The verifier judges the token alone; a SenderCheck then judges whether this sender may use it (RFC 9449, RFC 8705). The
web counts what a request makes us ask of an issuer: it hands in how, as `asking`.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from service.identity.credentials import BEARER
from service.identity.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    Asking = Callable[[], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class Presented:
    """The parts of one request that speak of its sender.

    `authorization` and `dpop`: every header of that name, as received. `method`: as received. `url`: configured public
    base and path, never the Host header. `client_certificate`: DER, from a trusted proxy alone. `asking` is entered
    around each question about a token that the issuer has not vouched for before; it raises TooManyRequests instead of
    letting it be asked. Left by an exception, the question was in vain.
    """

    authorization: tuple[bytes, ...]
    dpop: tuple[bytes, ...] = ()
    method: str = "GET"
    url: str = ""
    client_certificate: bytes | None = None
    asking: Asking = nullcontext


class SenderCheck(Protocol):
    """Asked at every use of a token, remembered or not.

    `scheme` is `bearer` or `dpop`; `cnf` is the token's own, empty when it is bound to nothing (RFC 7800 section 3).
    Raises InvalidToken when possession is not proved, or when it cannot be checked.
    """

    async def __call__(self, scheme: str, token: bytes, cnf: Mapping[str, object], presented: Presented, /) -> None: ...


async def unbound_tokens_alone(scheme: str, token: bytes, cnf: Mapping[str, object], presented: Presented, /) -> None:
    """The check of a service that knows no proof: refuses each token that is bound, and each that claims to be."""
    del token, presented
    if cnf or scheme != BEARER:
        raise refusal("sender-constrained")
