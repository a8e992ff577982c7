"""The OpenAPI document at /openapi.json and the page made of it at /docs: public, and whole without any other host.

Pure: owns no state but the two texts, made once per process at the first request. Litestar's own pages load scripts
from other hosts, so none of them is served.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from litestar import Litestar, Request, Response, Router, get
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import (
    Components,
    License,
    OAuthFlow,
    OAuthFlows,
    SecurityScheme,
    Server,
    Tag,
)
from litestar.response import Redirect

from service import VERSION
from service.web.http.documented_headers import described_headers
from service.web.http.operations import SCOPES, SECURITY_SCHEME
from service.web.http.problem_documents import problem_responses
from service.web.openapi.documentation_page import page
from service.web.openapi.documented_frame import framed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litestar.handlers.http_handlers import HTTPRouteHandler
    from litestar.routes import BaseRoute

DOCUMENT_PATH, PAGE_PATH = "/openapi.json", "/docs"
CACHEABLE: Final = "public, max-age=300"
NO_ISSUER: Final = "https://issuer.example"
TAGS: Final = {
    "Me": "Who the token says you are, as the policy sees you.",
    "Timesheets": "A person's weeks: entries in whole minutes, from draft over submitted to approved.",
    "Approvals": "What waits for you, and many weeks approved or sent back with one request.",
    "Reports": "Hours added up, of the timesheets that you may read.",
    "Uploads": "A machine client imports contractors' hours, all rows or none.",
    "Decision log": "What was decided, for whom, under which policy version, and why.",
    "Proofs": "Checkpoints, tiles, proofs, bundles and exports: evidence that is judged without trust in this service.",
    "Legal holds": "Records and people that may not be erased for now.",
    "Policy": "Versions of the policy: read, propose and activate them while the service runs.",
    "Directory": "People, teams, memberships and client grants: what relations are made of.",
    "Revocations": "Tokens that are refused before they expire.",
    "Health": "For operators and load balancers. Public.",
    "Metadata": "Where a client learns how to get a token. Public.",
}
DESCRIPTION: Final = """\
Timesheets, where every request is decided by a policy and every decision is recorded before it is answered.

Send an access token of the authorization server as `Authorization: Bearer ...`. Its scopes say what you were granted; \
the policy says what of it applies to whom. Answers with a decision carry `Decision-Id` and `Decision-Leaf`.

A change of a timesheet needs `If-Match` with the `ETag` that you have seen, so that nobody changes or approves what \
they have not read. Problems are RFC 9457 documents; unknown fields and parameters are refused by name. Lists are \
paged: send `next_cursor` back as `cursor`, or follow the `Link`. A change may carry an `Idempotency-Key`: sent \
again with it, it is made once."""


def openapi_config(public_url: str, issuer: str) -> OpenAPIConfig:
    """What the document says beside its operations. `public_url` is where callers reach the service ("" means wherever
    they got the document from), `issuer` the authorization server."""
    return OpenAPIConfig(
        title="Timewarden",
        version=VERSION,
        summary="Timesheets decided by a policy, with a provable decision log",
        description=DESCRIPTION,
        license=License(name="Apache License 2.0", identifier="Apache-2.0"),
        servers=[Server(url=public_url.rstrip("/") or "/")],
        tags=[Tag(name=name, description=says) for name, says in TAGS.items()],
        components=Components(
            security_schemes=_security_schemes((issuer or NO_ISSUER).rstrip("/")),
            responses=dict(problem_responses()),
            headers=dict(described_headers()),
        ),
        operation_id_creator=_operation_id,
        openapi_router=_NoPages(path="/", route_handlers=[]),
        render_plugins=[JsonRenderPlugin()],
    )


def documentation_routes() -> list[Any]:
    """The handlers of the document, of the page, and of the root, which leads to the page."""
    made: dict[str, bytes] = {}
    style = resources.files("service.web.openapi").joinpath("static/documentation.css").read_text(encoding="utf-8")
    policy = content_security_policy(style)

    @get(DOCUMENT_PATH, include_in_schema=False)
    async def read_document(request: Request[Any, Any, Any]) -> Response[bytes]:
        if DOCUMENT_PATH not in made:
            made[DOCUMENT_PATH] = json.dumps(document_of(request.app), ensure_ascii=False).encode()
        headers = {"Cache-Control": CACHEABLE}
        return Response(made[DOCUMENT_PATH], media_type="application/json", headers=headers)

    @get(PAGE_PATH, include_in_schema=False)
    async def read_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        if PAGE_PATH not in made:
            made[PAGE_PATH] = page(document_of(request.app), style).encode()
        headers = {"Cache-Control": CACHEABLE, "Content-Security-Policy": policy}
        return Response(made[PAGE_PATH], media_type="text/html", headers=headers)

    @get("/", include_in_schema=False)
    async def read_root() -> Redirect:
        return Redirect("docs")

    return [read_document, read_page, read_root]


def document_of(app: Litestar) -> dict[str, Any]:
    """The OpenAPI 3.1 document of an app, as it is served."""
    return framed(app.openapi_schema.to_schema())


def content_security_policy(style: str) -> str:
    """Nothing may be loaded, run or sent; only this very style sheet is used."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


class _NoPages(Router):
    """Takes Litestar's own documentation pages and serves none of them."""

    def register(self, value: Any) -> list[BaseRoute]:  # noqa: ARG002 — the signature is Litestar's
        return []


def _operation_id(handler: HTTPRouteHandler, _method: object, _path: Sequence[object]) -> str:
    return handler.handler_name


def _security_schemes(issuer: str) -> dict[str, Any]:
    def flow(*, by_person: bool) -> OAuthFlow:
        return OAuthFlow(
            authorization_url=f"{issuer}/authorize" if by_person else None,
            token_url=f"{issuer}/oauth/token",
            scopes=dict(SCOPES),
        )

    return {
        SECURITY_SCHEME: SecurityScheme(
            type="oauth2",
            description=f"Access tokens of `{issuer}`. Its metadata (RFC 8414), at"
            f" `{issuer}/.well-known/openid-configuration`, has the exact addresses of its endpoints; those that stand"
            " here are the usual ones.",
            flows=OAuthFlows(authorization_code=flow(by_person=True), client_credentials=flow(by_person=False)),
        ),
    }
