"""Cross-origin requests of browser apps (CORS): only the configured origins, without cookies. Pure: owns no state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litestar.config.cors import CORSConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

ALLOWED_HEADERS = [
    "Authorization",
    "DPoP",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "X-Request-Id",
    "traceparent",
]
EXPOSED_HEADERS = [
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


def make_cors_config(origins: Sequence[str]) -> CORSConfig | None:
    """The CORS rules for browser apps of these origins; None without origins. Exposes the headers that they need (RFC
    9449 section 7.1, and our own)."""
    if not origins:
        return None
    return CORSConfig(
        allow_origins=list(origins),
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=[*ALLOWED_HEADERS],
        expose_headers=EXPOSED_HEADERS,
    )
