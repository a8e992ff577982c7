"""What the OpenAPI document says of every operation: its scope, its problems, its headers. Pure: owns no state."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example

SECURITY_SCHEME: Final = "oauth"
COMMON: Final = (400, 401, 403, 422, 503)
ROW: Final = (*COMMON, 404)
BODY: Final = (413, 415)
CHANGE: Final = (*ROW, 409, 412, 428)


class WrongField(msgspec.Struct):
    """A field that is wrong, and what is wanted."""

    field: str
    message: str


class Problem(msgspec.Struct, omit_defaults=True):
    """An RFC 9457 problem document. `type` is `urn:timewarden:problem:<slug>`; further members depend on it."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str | None = None
    decision_id: str | None = None
    required_scope: list[str] | None = None
    reasons: list[str] | None = None
    rules: list[str] | None = None
    fields: list[WrongField] | None = None


MEANING: Final = {
    400: ("malformed-request", "The request is malformed"),
    401: ("invalid-token", "Missing or invalid token"),
    403: ("insufficient-scope", "The token lacks the scope that this needs"),
    404: ("not-found", "There is no such resource, or it is not for you to know"),
    409: ("wrong-state", "The resource is not in a state that allows this, or contradicts another"),
    412: ("precondition-failed", "The resource has changed since the version that you named; read it again"),
    413: ("body-too-large", "The request body is too large"),
    415: ("unsupported-media-type", "The request body has an unsupported media type"),
    422: ("invalid-field", "A field of the request is not valid"),
    428: ("precondition-required", "Send If-Match with the ETag of the version that you have seen"),
    503: ("log-unavailable", "Temporarily unavailable; nothing was changed"),
}


def operation(summary: str, *, scope: str | None, problems: tuple[int, ...] = COMMON, tag: str) -> dict[str, Any]:
    """Keyword arguments for a handler: summary, scope and the problems that it may answer with."""
    needs = f"Needs the scope `{scope}`." if scope else "Any valid token will do."
    return {
        "summary": summary,
        "description": f"{summary}. {needs} What the policy allows beyond that, the decision log explains.",
        "security": [{SECURITY_SCHEME: [scope] if scope else []}],
        "responses": {status: problem(status) for status in sorted(set(problems))},
        "tags": [tag],
    }


def problem(status: int) -> ResponseSpec:
    """The answer for a status, with an example."""
    slug, title = MEANING[status]
    return ResponseSpec(
        data_container=Problem,
        description=HTTPStatus(status).phrase,
        media_type="application/problem+json",  # type: ignore[arg-type]  # Litestar passes any text through
        generate_examples=False,
        examples=[
            Example(
                summary=slug,
                value={"type": f"urn:timewarden:problem:{slug}", "title": title, "status": status, "detail": title},
            )
        ],
    )
