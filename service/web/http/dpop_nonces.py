"""Offers a server nonce on every answer to a request that speaks of DPoP (RFC 9449 section 8.2). Owns no state.

Nonces are new once a minute and live for five, so a client that keeps the newest one is never sent back for another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from litestar.datastructures import MutableScopeHeaders

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from litestar.types import Message, Scope

    from service.identity.nonces import Nonces

NONCE: Final = "DPoP-Nonce"


def offering(nonces: Nonces) -> Callable[[Message, Scope], Awaitable[None]]:
    """A `before_send` hook: refusals and answers alike."""

    async def offer(message: Message, scope: Scope) -> None:
        if message["type"] == "http.response.start" and any(_speaks_of_dpop(*header) for header in scope["headers"]):
            MutableScopeHeaders.from_message(message)[NONCE] = nonces.current()

    return offer


def _speaks_of_dpop(name: bytes, value: bytes) -> bool:
    return name == b"dpop" or (name == b"authorization" and value.lstrip(b" \t")[:5].lower() == b"dpop ")
