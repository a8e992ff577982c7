"""The headers that answers carry, described once for the OpenAPI document. Pure: owns no state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from litestar.openapi.spec import Example, OpenAPIHeader, OpenAPIType, Reference, Schema

if TYPE_CHECKING:
    from collections.abc import Mapping

ETAG: Final = "ETag"
LOCATION: Final = "Location"
REQUEST: Final = "X-Request-Id"
DECISION: Final = ("Decision-Id", "Decision-Leaf")

# Name to what it says and an example.
MEANINGS: Final[Mapping[str, tuple[str, str]]] = {
    "Decision-Id": (
        "The recorded decision behind this answer; `/v1/decisions/{decision_id}` explains it",
        "0198c0de-0000-7000-8000-000000000000",
    ),
    "Decision-Leaf": (
        "The hash of the sealed record: keep it, and an omission from the log can be proved",
        "1c9a6f0e2d4b8a7c5e3f1d0b9a8c7e6f5d4c3b2a190817263544536271809fae",
    ),
    "Audit-Positions": ("From which position of the log on, and up to which, which is not in it", "7-157"),
    "Content-Disposition": ("The name of the file", 'attachment; filename="hours-by-team-2026-11-01-2026-11-30.csv"'),
    "DPoP-Nonce": (
        "A nonce for the next proof (RFC 9449 section 8.2); on every answer to a request with a DPoP token or proof",
        "AAAAAAHJw4A2m1Ggq0m3nq7p1s5eQ3rT",
    ),
    "ETag": ("The version of the resource; send it back in If-Match to change it", '"7"'),
    "Idempotent-Replayed": ("This is the answer to the same request, sent before with this Idempotency-Key", "true"),
    "Link": (
        "The next page (RFC 8288), with the same filters; none on the last page",
        '</v1/timesheets?state=submitted&cursor=bGlzdA>; rel="next"',
    ),
    "Location": ("Where the new resource is", "/v1/timesheets/0198c0de-0000-7000-8000-000000000000"),
    "RateLimit": ("Requests that are left, and seconds until there are more", '"client";r=1199;t=60'),
    "RateLimit-Policy": (
        "The limit that this request counts against: requests in a window of seconds",
        '"client";q=1200;w=60',
    ),
    "Retry-After": ("Seconds after which the same request may succeed", "2"),
    "WWW-Authenticate": (
        "The challenge (RFC 6750, RFC 9449): what was wrong with the token or its proof, or the scope that is needed",
        'Bearer realm="timewarden", error="invalid_token"',
    ),
    "X-Request-Id": ("Names this request in our logs; your own, if you sent a short plain one", "0198c0de-4f2a"),
}


def described_headers() -> dict[str, OpenAPIHeader]:
    """Every header, for the document's shared parts."""
    return {
        name: OpenAPIHeader(
            schema=Schema(type=OpenAPIType.STRING), description=says, examples={"example": Example(value=example)}
        )
        for name, (says, example) in MEANINGS.items()
    }


def headers(*names: str) -> dict[str, OpenAPIHeader | Reference]:
    """References to headers by name, for an answer."""
    return {name: Reference(ref=f"#/components/headers/{name}") for name in names}
