"""Who asks: from the Authorization headers to an Ask in the request's state, before any body is read.

An ASGI middleware on every route but the public ones, which are listed here and nowhere else. Owns no state.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware

from service.authorization.enforcement.changes import Caller
from service.errors import MalformedCredentials
from service.identity.presented import Presented
from service.identity.principal import PrincipalKind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from litestar import Request
    from litestar.types import ASGIApp, Receive, Scope, Send

    from service.identity.mtls import ClientCertificates
    from service.identity.principal import Principal
    from service.identity.tokens import Tokens

# Routes that answer without a decision (design, promise 1): health, well-known metadata, the OpenAPI document and page,
# and of the log the checkpoint and its hash tiles.
PUBLIC_ROUTES: Final = frozenset(
    {
        "/",
        "/health/live",
        "/health/ready",
        "/.well-known/oauth-protected-resource",
        "/openapi.json",
        "/docs",
        "/v1/log/checkpoint",
        "/v1/log/tile/{level}/{index}",
    }
)
# The metadata of a resource whose identifier has a path stands behind that path too (RFC 9728 section 3.1).
_METADATA: Final = "/.well-known/oauth-protected-resource/"


class Authentication(ASGIMiddleware):
    """`tokens` verifies; `person_for` gives the person behind a principal, made on first valid use.

    `public_url`: the base that callers use, from configuration. `certificates`: takes the client certificate that a
    trusted proxy passed on; None when no proxy does.
    """

    scopes = (ScopeType.HTTP,)

    def __init__(
        self,
        tokens: Tokens,
        person_for: Callable[[Principal], Awaitable[UUID]],
        *,
        public_url: str = "",
        certificates: ClientCertificates | None = None,
    ) -> None:
        self._tokens = tokens
        self._person_for = person_for
        self._public_url = public_url.rstrip("/")
        self._certificates = certificates

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        template = scope.get("path_template", "")
        # OPTIONS tells which methods a path has, which the OpenAPI document tells anybody.
        is_public = template in PUBLIC_ROUTES or template.startswith(_METADATA)
        if scope["state"]["method"] != "OPTIONS" and not is_public:
            if _names_a_token(scope["query_string"]):
                # RFC 9700 section 4.3.2: a token in a URL ends in logs and histories.
                raise MalformedCredentials("Send the token in the Authorization header, never in the URL")
            principal = await self._tokens.verify(self._presented(scope))
            if principal.kind is PrincipalKind.USER:
                person = await self._person_for(principal)
                principal = replace(principal, person=person)
            state: dict[str, Any] = scope["state"]
            state["caller"] = Caller(principal, state["request_id"], state["method"], template, state["trace"])
        await next_app(scope, receive, send)

    def _presented(self, scope: Scope) -> Presented:
        path = scope.get("raw_path") or quote(scope["path"]).encode()
        return Presented(
            authorization=tuple(value for name, value in scope["headers"] if name == b"authorization"),
            dpop=tuple(value for name, value in scope["headers"] if name == b"dpop"),
            method=scope["state"]["method"],
            url=self._public_url + path.partition(b"?")[0].decode("latin-1"),
            client_certificate=self._certificate(scope),
            asking=scope["state"].get("asking", nullcontext),
        )

    def _certificate(self, scope: Scope) -> bytes | None:
        if self._certificates is None:
            return None
        peer = scope["client"]
        return self._certificates.of(peer[0] if peer else None, scope["headers"])


async def provide_caller(request: Request[Any, Any, Any]) -> Caller:
    """The dependency that handlers name `caller`."""
    caller: Caller = request.scope["state"]["caller"]
    return caller


def _names_a_token(query: bytes) -> bool:
    return any(part.split(b"=", 1)[0] == b"access_token" for part in query.split(b"&"))
