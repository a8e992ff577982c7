"""Authentication: verifies the token and puts the caller into the request's state, before the body is read.

An ASGI middleware for every route except the public ones, which only this module lists. Owns no state.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote

from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware

from service import metrics
from service.authorization.enforcement.changes import Caller
from service.errors import BadInput, NotApplied
from service.identity.credentials import RequestCredentials
from service.identity.principal import PrincipalKind
from service.identity.refusals import malformed_credentials
from service.tracing import end_stage
from service.web.http.incoming_body import length_of_small_body
from service.web.http.request_headers import headers_of

if TYPE_CHECKING:
    from litestar import Request
    from litestar.types import ASGIApp, Message, Receive, Scope, Send

    from service.identity.mtls import ClientCertificates
    from service.identity.principal import Principal
    from service.identity.tokens import Tokens
    from service.web.http.request_headers import Headers

# Routes that answer without a decision: health, well-known metadata, the OpenAPI document and page, and the log's
# checkpoint and hash tiles.
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
# Statuses of faults. An answer with one of them and without Decision-Id rests on no decision.
FAULTS: Final = frozenset(range(400, 429))
# If the resource identifier has a path, its metadata is served under that path too (RFC 9728 section 3.1).
_METADATA: Final = "/.well-known/oauth-protected-resource/"


def is_public(template: str) -> bool:
    """Whether the route with this path is answered without a decision."""
    return template in PUBLIC_ROUTES or template.startswith(_METADATA)


class Identify(Protocol):
    """Returns a principal with its person, and adds one on first valid use. A `fresh` person is looked up now."""

    async def __call__(self, principal: Principal, *, fresh: bool = False) -> Principal: ...


class Authentication(ASGIMiddleware):
    """`tokens` verifies tokens.

    `public_url`: the configured base URL that callers use. `certificates`: reads the client certificate that a trusted
    proxy passes on; None without such a proxy.
    """

    scopes = (ScopeType.HTTP,)

    def __init__(
        self,
        tokens: Tokens,
        identify: Identify,
        *,
        public_url: str = "",
        certificates: ClientCertificates | None = None,
    ) -> None:
        self._tokens = tokens
        self._identify = identify
        self._public_url = public_url.rstrip("/")
        self._certificates = certificates

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        template = scope.get("path_template", "")
        # OPTIONS lists the methods of a path, which the public OpenAPI document lists too.
        if scope["state"]["method"] != "OPTIONS" and not is_public(template):
            if scope["query_string"] and _has_access_token(scope["query_string"]):
                # RFC 9700 section 4.3.2: URLs end up in logs and browser histories.
                raise malformed_credentials("token-in-url")
            started = time.perf_counter()
            headers = headers_of(scope)
            principal = await self._tokens.verify(self._read_credentials(scope, headers))
            end_stage(metrics.TOKEN, started)
            if principal.kind is PrincipalKind.USER:
                has_body: bool = scope["state"]["has_body"]
                # A large body of a request with a revoked token is not read: the decision would find out after it.
                fresh = has_body and length_of_small_body(scope["headers"]) is None
                principal = await self._identify(principal, fresh=fresh)
                if has_body and principal.is_remembered:
                    next_app = self._hide_faults(principal, next_app)
            state: dict[str, Any] = scope["state"]
            state["caller"] = Caller(principal, state["request_id"], state["method"], template, state["trace"])
        await next_app(scope, receive, send)

    def _hide_faults(self, principal: Principal, next_app: ASGIApp) -> ASGIApp:
        """Wraps `next_app`: raises InvalidToken in place of a fault, answered or raised, if the token was revoked since
        its person was looked up. So does the answer that the gate has found it revoked, which counts as a failure then.
        """

        async def answer_checked(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_checked(message: Message) -> None:
                if message["type"] == "http.response.start" and message["status"] in FAULTS:
                    names = {name.lower() for name, _ in message["headers"]}
                    if b"decision-id" not in names:
                        await self._identify(principal, fresh=True)
                await send(message)

            try:
                await next_app(scope, receive, send_checked)
            except (BadInput, NotApplied) as error:
                if error.decision is None:
                    await self._identify(principal, fresh=True)
                raise

        return answer_checked

    def _read_credentials(self, scope: Scope, headers: Headers) -> RequestCredentials:
        path = scope.get("raw_path") or quote(scope["path"]).encode()
        return RequestCredentials(
            authorization=tuple(headers.get(b"authorization", ())),
            dpop=tuple(headers.get(b"dpop", ())),
            method=scope["state"]["method"],
            url=self._public_url + path.partition(b"?")[0].decode("latin-1"),
            client_certificate=self._certificate(scope),
            charge=scope["state"].get("charge_introspection", nullcontext),
        )

    def _certificate(self, scope: Scope) -> bytes | None:
        if self._certificates is None:
            return None
        peer = scope["client"]
        return self._certificates.read(peer[0] if peer else None, scope["headers"])


async def provide_caller(request: Request[Any, Any, Any]) -> Caller:
    """The dependency that handlers name `caller`."""
    caller: Caller = request.scope["state"]["caller"]
    return caller


def _has_access_token(query: bytes) -> bool:
    return any(part.split(b"=", 1)[0] == b"access_token" for part in query.split(b"&"))
