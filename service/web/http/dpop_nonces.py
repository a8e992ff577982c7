"""Sends a server nonce with every answer to a request that uses DPoP (RFC 9449 section 8.2). Owns no state.

A nonce is new every minute and valid for five, so a client that keeps the newest one is never refused for its nonce.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from litestar.datastructures import MutableScopeHeaders

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from litestar.types import Message, Scope

    from service.identity.nonces import Nonces

NONCE: Final = "DPoP-Nonce"


def nonce_hook(nonces: Nonces) -> Callable[[Message, Scope], Awaitable[None]]:
    """A `before_send` hook, for refusals too."""

    async def add_nonce(message: Message, scope: Scope) -> None:
        if message["type"] == "http.response.start" and any(_is_dpop(*header) for header in scope["headers"]):
            MutableScopeHeaders.from_message(message)[NONCE] = nonces.current()

    return add_nonce


def _is_dpop(name: bytes, value: bytes) -> bool:
    return name == b"dpop" or (name == b"authorization" and value.lstrip(b" \t")[:5].lower() == b"dpop ")
