"""Serves the OpenAPI document at /openapi.json and its page at /docs: public, and without files from other hosts.

Owns only the two texts, which are made and compressed once per process, at the first request. Litestar's own pages load
scripts from other hosts, so they are not served.
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
from service.web.openapi.document import build_document
from service.web.openapi.documentation_page import read_static, render_page

if TYPE_CHECKING:
    from litestar.routes import BaseRoute

_CODING: Final = re.compile(r"([\w*-]+)\s*(?:;\s*q=([01](?:\.[0-9]{0,3})?))?\s*(?:,|$)")
TAGS: Final = {
    "Me": "The caller: your person, roles and capabilities under the active policy.",
    "Timesheets": "A person's weeks: entries in whole minutes. A timesheet is a draft, then submitted, then approved.",
    "Approvals": "Your pending approvals; approve or reject many timesheets with one request.",
    "Reports": "Sums of hours over the timesheets that you may read.",
    "Uploads": "Import of hours by a machine client, for example those of contractors.",
    "Decision log": "Every decision: for whom, under which policy version, and why.",
    "Proofs": "Checkpoints, tiles, proofs, bundles and exports: evidence to verify without trusting the service.",
    "Legal holds": "Records and people that must not be erased.",
    "Policy": "Versions of the policy: read, propose and activate them while the service runs.",
    "Access requests": "Ask for a relation for a time, and grant what others ask for.",
    "Directory": "People, teams, memberships and client grants, which the relations of the policy are computed from.",
    "Revocations": "Tokens that are refused before they expire.",
    "Health": "For operators and load balancers. Public.",
    "Metadata": "How a client gets a token. Public.",
}


def openapi_config(public_url: str, issuer: str, contact_url: str = "") -> OpenAPIConfig:
    """The parts of the document beside its operations. `public_url` is where callers reach the service ("": the host
    that served the document), `issuer` the authorization server, `contact_url` a page or address of its operators."""
    return OpenAPIConfig(
        title="Timewarden",
        version=VERSION,
        summary="Timesheets decided by a policy, with a provable decision log",
        description=read_static("description.md"),
        contact=spec.Contact(name="The operators of this service", url=contact_url or None),
        license=spec.License(name="Apache License 2.0", identifier="Apache-2.0"),
        servers=[spec.Server(url=public_url.rstrip("/") or "/")],
        tags=[spec.Tag(name=name, description=description) for name, description in TAGS.items()],
        components=spec.Components(security_schemes=_security_schemes(issuer or "https://issuer.example")),
        operation_id_creator=lambda handler, _method, _path: handler.handler_name,
        openapi_router=_NoPages(path="/", route_handlers=[]),
    )


def documentation_routes() -> list[Any]:
    """The handlers of the document, of the page, and of the root, which redirects to the page."""
    style, script = read_static("documentation.css"), read_static("builder.js")
    policy = content_security_policy(style, script)

    @cache
    def render(app: Litestar, kind: str, *, zipped: bool) -> tuple[bytes, dict[str, str]]:
        document = build_document(app)
        text = (
            render_page(document, style, script) if kind == MediaType.HTML else json.dumps(document, ensure_ascii=False)
        )
        body = gzip.compress(text.encode(), mtime=0) if zipped else text.encode()
        headers = {"ETag": f'"{hashlib.sha256(body).hexdigest()[:32]}"', "Vary": "Accept-Encoding"}
        return body, {**headers, "Content-Encoding": "gzip"} if zipped else headers

    def answer(request: Request[Any, Any, Any], kind: str, **more: str) -> Response[bytes]:
        body, headers = render(request.app, kind, zipped=accepts_gzip(request.headers.get("accept-encoding", "")))
        return Response(body, media_type=kind, headers={"Cache-Control": "public, max-age=300", **headers, **more})

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


def accepts_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding header (RFC 9110 section 12.5.3) allows gzip, by name or by `*`."""
    weights = dict(_CODING.findall(accepted.lower()))
    weight = next((weights[name] for name in ("gzip", "x-gzip", "*") if name in weights), "0")
    return float(weight or "1") > 0


def content_security_policy(style: str, script: str) -> str:
    """A policy that allows nothing but this style sheet, this script, and its requests to this service."""
    styles, scripts = (
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in (style, script)
    )
    return (
        f"default-src 'none'; style-src {styles}; script-src {scripts}; connect-src 'self'; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


class _NoPages(Router):
    """Accepts Litestar's own documentation pages and serves none of them."""

    def register(self, value: Any) -> list[BaseRoute]:  # noqa: ARG002 — the signature is Litestar's
        return []


def _security_schemes(issuer: str) -> dict[str, Any]:
    issuer = issuer.rstrip("/")
    token, scopes = f"{issuer}/oauth/token", dict(SCOPES)
    flows = spec.OAuthFlows(
        authorization_code=spec.OAuthFlow(authorization_url=f"{issuer}/authorize", token_url=token, scopes=scopes),
        client_credentials=spec.OAuthFlow(token_url=token, scopes=scopes),
    )
    description = (
        f"Access tokens of `{issuer}`. Its metadata (RFC 8414), at `{issuer}/.well-known/openid-configuration`, has the"
        " exact addresses of its endpoints; the addresses here are the usual ones."
    )
    return {SECURITY_SCHEME: spec.SecurityScheme(type="oauth2", description=description, flows=flows)}
