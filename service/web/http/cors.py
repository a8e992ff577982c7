"""Cross-origin requests of browser apps (CORS): the configured origins alone, without cookies. Pure: owns no state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litestar.config.cors import CORSConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

SENT = [
    "Authorization",
    "DPoP",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "X-Request-Id",
    "traceparent",
]
READ = [
    "WWW-Authenticate",
    "DPoP-Nonce",
    "ETag",
    "Idempotent-Replayed",
    "Audit-Positions",
    "Content-Disposition",
    "Link",
    "Location",
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
    "Decision-Id",
    "Decision-Leaf",
    "X-Request-Id",
    "traceparent",
]


def cross_origin(origins: Sequence[str]) -> CORSConfig | None:
    """Apps of these origins may call, and may read what they need (RFC 9449 section 7.1 and ours); None for none."""
    if not origins:
        return None
    return CORSConfig(
        allow_origins=list(origins),
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=[*SENT],
        expose_headers=READ,
    )
