"""Puts the console together. Owns nothing: its parts are handed in."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from litestar import Litestar, Request
from litestar.config.allowed_hosts import AllowedHostsConfig
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.utils import normalize_path

from service.console import administrator, approver, auditor, author, employee, operator
from service.console.failure_answers import answer_failure
from service.console.protection import HEAD_MARK, HttpRequest, refuse_other_origins, set_security_headers
from service.console.sessions import AttemptCookies, SessionStore
from service.console.sign_in import (
    CALLBACK,
    begin_sign_in,
    finish_sign_in,
    read_health,
    show_signed_out,
    show_start,
    sign_out,
)
from service.console.sign_in_server import SignInServer, origin_of
from service.console.static_files import read_static_file
from service.console.visits import Console, Visit, open_visit, recognize_visitor, resume_session
from service.standalone.client import Unauthenticated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    import httpx2
    from litestar import Response
    from litestar.types import Message, Scope
    from redis.asyncio import Redis

# In the order of the navigation.
ROOMS = (employee.ROOM, administrator.ROOM, approver.ROOM, auditor.ROOM, author.ROOM, operator.ROOM)
# The largest form: the files of a policy, or a file to import.
MAX_BODY_BYTES = 4_000_000


class ConsoleApplication(Litestar):
    """Answers HEAD like GET, without the body (RFC 9110 section 9.3.2). Handlers can ask `is_head`. `greet` is called
    with each request that no handler answers, before its page is made."""

    def __init__(self, greet: Callable[[HttpRequest], Awaitable[None]], **parts: Any) -> None:
        self._greet = greet
        super().__init__(**parts)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        answer = send
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope, answer = {**scope, "method": "GET", HEAD_MARK: True}, send_head
        if scope["type"] == "http" and not self._has_handler(scope):
            await self._greet(Request(scope))
        await super().__call__(scope, receive, answer)

    def _has_handler(self, scope: Any) -> bool:
        try:
            # The router remembers what it found.
            self.asgi_router.handle_routing(path=normalize_path(scope["path"]), method=scope["method"])
        except HTTPException:
            return False
        return True


def connect(
    *,
    url: str,
    api: str,
    issuer: str,
    audience: str,
    audience_parameter: str,
    client: str,
    secret: str,
    scopes: Sequence[str],
    keys: Sequence[str],
    redis: Redis,
    http: httpx2.AsyncClient,
) -> Console:
    """The parts of a console. `keys` encrypt sessions, newest first; `scopes` are asked for at every sign-in."""
    url = url.rstrip("/")
    server = SignInServer(
        http,
        issuer=issuer,
        client=client,
        secret=secret,
        redirect_uri=url + CALLBACK,
        scopes=tuple(scopes),
        audience=audience,
        audience_parameter=audience_parameter,
    )
    return Console(url, api, http, server, SessionStore(redis, keys), AttemptCookies(keys), ROOMS)


def create(console: Console) -> Litestar:
    """The application."""

    async def find_visit(request: HttpRequest) -> AsyncIterator[Visit]:
        visit = await open_visit(console, request)
        try:
            yield visit
        except Unauthenticated:
            # Before the answer sends the person to sign in again, because that cannot wait for Redis.
            await visit.keep_form()
            raise

    async def find_session(request: HttpRequest) -> Visit:
        return await resume_session(console, request)

    async def before(request: HttpRequest) -> None:
        refuse_other_origins(request, origin_of(console.url))

    async def add_headers(message: Message, scope: Scope) -> None:
        set_security_headers(message, scope, secure=console.secure, form_targets=console.server.origins)

    def fail(request: HttpRequest, error: Exception) -> Response[Any]:
        return answer_failure(request, error)

    parts = urlsplit(console.url)
    return ConsoleApplication(
        partial(recognize_visitor, console),
        route_handlers=[
            show_start,
            begin_sign_in,
            finish_sign_in,
            sign_out,
            show_signed_out,
            read_health,
            read_static_file,
            *(handler for room in console.rooms for handler in room.handlers),
        ],
        dependencies={
            "console": Provide(lambda: console, sync_to_thread=False),
            "visit": Provide(find_visit),
            "resumed": Provide(find_session),
        },
        before_request=before,
        before_send=[add_headers],
        exception_handlers={Exception: fail},
        allowed_hosts=AllowedHostsConfig(allowed_hosts=[parts.netloc, parts.hostname or ""]),
        openapi_config=None,
        logging_config=None,
        request_max_body_size=MAX_BODY_BYTES,
    )
