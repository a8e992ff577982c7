"""The OpenAPI document at /openapi.json and the page made of it at /docs: public, and whole without any other host.

Pure: owns no state but the two texts, made and compressed once per process at the first request. Litestar's own pages
load scripts from other hosts, so none of them is served.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from litestar import Litestar, MediaType, Request, Response, Router, get
from litestar.openapi import OpenAPIConfig, spec
from litestar.response import Redirect

from service import VERSION
from service.web.http.operations import SCOPES, SECURITY_SCHEME
from service.web.openapi.document import document_of
from service.web.openapi.documentation_page import page, read_static

if TYPE_CHECKING:
    from litestar.routes import BaseRoute

_CODING: Final = re.compile(r"([\w*-]+)\s*(?:;\s*q=([01](?:\.[0-9]{0,3})?))?\s*(?:,|$)")
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


def openapi_config(public_url: str, issuer: str) -> OpenAPIConfig:
    """What the document says beside its operations. `public_url` is where callers reach the service ("" means wherever
    they got the document from), `issuer` the authorization server."""
    return OpenAPIConfig(
        title="Timewarden",
        version=VERSION,
        summary="Timesheets decided by a policy, with a provable decision log",
        description=read_static("description.md"),
        license=spec.License(name="Apache License 2.0", identifier="Apache-2.0"),
        servers=[spec.Server(url=public_url.rstrip("/") or "/")],
        tags=[spec.Tag(name=name, description=says) for name, says in TAGS.items()],
        components=spec.Components(security_schemes=_security_schemes(issuer or "https://issuer.example")),
        operation_id_creator=lambda handler, _method, _path: handler.handler_name,
        openapi_router=_NoPages(path="/", route_handlers=[]),
    )


def documentation_routes() -> list[Any]:
    """The handlers of the document, of the page, and of the root, which leads to the page."""
    policy = content_security_policy(style := read_static("documentation.css"))

    @cache
    def form(app: Litestar, kind: str, *, zipped: bool) -> tuple[bytes, dict[str, str]]:
        document = document_of(app)
        text = page(document, style) if kind == MediaType.HTML else json.dumps(document, ensure_ascii=False)
        body = gzip.compress(text.encode(), mtime=0) if zipped else text.encode()
        said = {"ETag": f'"{hashlib.sha256(body).hexdigest()[:32]}"', "Vary": "Accept-Encoding"}
        return body, {**said, "Content-Encoding": "gzip"} if zipped else said

    def answer(request: Request[Any, Any, Any], kind: str, **headers: str) -> Response[bytes]:
        body, said = form(request.app, kind, zipped=takes_gzip(request.headers.get("accept-encoding", "")))
        return Response(body, media_type=kind, headers={"Cache-Control": "public, max-age=300", **said, **headers})

    @get("/openapi.json", include_in_schema=False)
    async def read_document(request: Request[Any, Any, Any]) -> Response[bytes]:
        return answer(request, MediaType.JSON)

    @get("/docs", include_in_schema=False)
    async def read_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        return answer(request, MediaType.HTML, **{"Content-Security-Policy": policy})

    @get("/", include_in_schema=False)
    async def read_root() -> Redirect:
        return Redirect("docs")

    return [read_document, read_page, read_root]


def takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding header (RFC 9110 section 12.5.3) allows gzip, which has to be named for that."""
    weights = dict(_CODING.findall(accepted.lower()))
    weight = next((weights[name] for name in ("gzip", "x-gzip", "*") if name in weights), "0")
    return float(weight or "1") > 0


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


def _security_schemes(issuer: str) -> dict[str, Any]:
    issuer = issuer.rstrip("/")
    token, scopes = f"{issuer}/oauth/token", dict(SCOPES)
    flows = spec.OAuthFlows(
        authorization_code=spec.OAuthFlow(authorization_url=f"{issuer}/authorize", token_url=token, scopes=scopes),
        client_credentials=spec.OAuthFlow(token_url=token, scopes=scopes),
    )
    says = (
        f"Access tokens of `{issuer}`. Its metadata (RFC 8414), at `{issuer}/.well-known/openid-configuration`, has the"
        " exact addresses of its endpoints; those that stand here are the usual ones."
    )
    return {SECURITY_SCHEME: spec.SecurityScheme(type="oauth2", description=says, flows=flows)}
