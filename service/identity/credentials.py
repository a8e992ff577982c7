"""The credentials of a request, and the interface of checks of a bound key. Pure: owns no state.

The verifier checks the token alone. A SenderCheck then checks whether this sender may use it (RFC 9449, RFC 8705).
"""

from __future__ import annotations

import re
from contextlib import nullcontext
from typing import TYPE_CHECKING, Protocol

from service.errors import MissingToken
from service.identity.refusals import malformed_credentials, refusal
from service.values import Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    Charge = Callable[[], AbstractAsyncContextManager[None]]

BEARER = "bearer"
DPOP = "dpop"
_TOKEN68 = re.compile(rb"[A-Za-z0-9._~+/-]+=*")


def parse_authorization(authorization_headers: Sequence[bytes]) -> tuple[str, bytes]:
    """The scheme, BEARER or DPOP, and the token (RFC 6750 section 2.1, RFC 9449 section 7.1). Takes every Authorization
    header of the request.

    Raises MissingToken if there is none or it has another scheme (RFC 6750 section 3.1: the challenge then has no error
    code), and MalformedCredentials if there are two, or if the header has no scheme. Whether the rest is one token is
    left to `check_form`.
    """
    if not authorization_headers:
        raise MissingToken
    if len(authorization_headers) > 1:
        raise malformed_credentials("two-headers")
    scheme, _, rest = authorization_headers[0].strip(b" \t").partition(b" ")
    if not scheme:
        raise malformed_credentials("empty-header")
    known = scheme.lower().decode("latin-1")
    if known not in {BEARER, DPOP}:
        raise MissingToken
    return known, rest.lstrip(b" ")


def check_form(token: bytes) -> None:
    """Raise MalformedCredentials unless this is one token."""
    if _TOKEN68.fullmatch(token) is None:
        raise malformed_credentials("not-a-bearer-token")


class RequestCredentials(Struct, frozen=True):
    """The parts of one request that authenticate its sender.

    `authorization` and `dpop`: every header of that name, as received. `method`: as received. `url`: configured public
    base and path, never the Host header. `client_certificate`: DER, only from a trusted proxy. `charge`: a context
    manager around each introspection of a token that was not valid before. It raises TooManyRequests to prevent the
    introspection, and an exception inside it means that the token is not valid.
    """

    authorization: tuple[bytes, ...]
    dpop: tuple[bytes, ...] = ()
    method: str = "GET"
    url: str = ""
    client_certificate: bytes | None = None
    charge: Charge = nullcontext


class SenderCheck(Protocol):
    """Called at every use of a token, cached or not.

    `scheme` is `bearer` or `dpop`. `cnf` is the token's confirmation, empty if it is not bound (RFC 7800 section 3).
    Raises InvalidToken if possession is not proved or cannot be checked.
    """

    async def __call__(
        self, scheme: str, token: bytes, cnf: Mapping[str, object], credentials: RequestCredentials, /
    ) -> None: ...


async def refuse_bound_tokens(
    scheme: str, token: bytes, cnf: Mapping[str, object], credentials: RequestCredentials, /
) -> None:
    """The check of a service that can verify no proof: refuses every token that is bound or sent as bound."""
    del token, credentials
    if cnf or scheme != BEARER:
        raise refusal("sender-constrained")
