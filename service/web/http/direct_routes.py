"""Direct routes: the hottest handlers, called without Litestar's router, injection and response classes.

A direct route answers plain requests alone: a bearer token, no query but the page of a list, no body, and none of the
headers that Litestar acts on. Litestar answers every other request, also to the same path: the same handlers are its
routes. Both routes use the same middleware, except idempotency, which plain requests do not need. So both give the same
answer (tests/integration/test_direct_routes.py). Owns no state.
"""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
from litestar.enums import MediaType, ScopeType

from service.errors import TimewardenError
from service.web.http.paging import MAX_CURSOR_CHARS, MAX_LIMIT
from service.web.http.request_headers import headers_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from litestar import Litestar, Response
    from litestar.handlers import HTTPRouteHandler
    from litestar.middleware import ASGIMiddleware
    from litestar.types import ASGIApp, Receive, Scope, Send

    from service.web.http.problems import Problems

# The `opt` of a direct handler.
DIRECT: Final = {"direct": True}
# Headers that CORS, DPoP, idempotency or a body need; Litestar and its hooks act on them.
NOT_PLAIN: Final = frozenset({b"origin", b"dpop", b"idempotency-key", b"transfer-encoding", b"expect"})
_UUID: Final = "([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})"
_PARAMETER: Final = re.compile(r"\{(\w+):str\}")
# What Litestar accepts as the first Host, which it checks before it routes (RFC 3986 section 3.2.2).
_HOST: Final = re.compile(rb"[0-9A-Za-z!$&'()*+,;=\-._~:\[\]@%]*")
# The query of a page. Litestar reads or refuses all others.
_LIMIT: Final = re.compile(rb"[1-9][0-9]{0,2}")
_CURSOR: Final = re.compile(rb"[A-Za-z0-9_-]{1,%d}" % MAX_CURSOR_CHARS)
# Where `_find` leaves the arguments of the page, in the ASGI scope.
_PAGE: Final = "timewarden.page"
_ENCODER: Final = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class _DirectRoute:
    """`answers` is the handler behind the middlewares. `parameters` are the names of the path's parameters, which are
    ids; `template` is the route's name in records and log lines. `is_paged`: the handler takes a limit and a cursor."""

    pattern: re.Pattern[str]
    template: str
    handler: HTTPRouteHandler
    parameters: Sequence[str]
    is_paged: bool
    answers: ASGIApp


class DirectRoutes:
    """Answers requests to the DIRECT handlers of `app`, behind the same `middleware`, and passes others on to
    `otherwise`, which wraps it."""

    def __init__(
        self, app: Litestar, middleware: Sequence[ASGIMiddleware], problems: Problems, otherwise: ASGIApp
    ) -> None:
        self._otherwise = otherwise
        self._problems = problems
        # By method and depth of the path, which leaves few to compare a path with.
        self._routes: dict[tuple[str, int], list[_DirectRoute]] = defaultdict(list)
        for handler in _direct_handlers(app):
            (method,) = handler.http_methods
            for path in sorted(handler.paths):
                self._routes[method, path.count("/")].append(self._make_route(handler, path, middleware))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._find(scope) if scope["type"] == ScopeType.HTTP else None
        if route is None:
            await self._otherwise(scope, receive, send)
            return
        scope["path_template"] = route.template
        scope["route_handler"] = route.handler
        try:
            await route.answers(scope, receive, send)
        except Exception as error:  # noqa: BLE001 — it is answered, as Litestar does
            await send_json(self._answer_error(scope, error), send)

    def _find(self, scope: Any) -> _DirectRoute | None:
        """The direct route of a plain request."""
        path: str = scope["path"]
        for route in self._routes.get((scope["method"], path.count("/")), ()):
            if found := route.pattern.fullmatch(path):
                page = _read_page(scope["query_string"], is_paged=route.is_paged)
                if page is None or not _is_plain(scope):
                    return None
                scope["path_params"] = dict(zip(route.parameters, found.groups(), strict=True))
                scope[_PAGE] = page
                return route
        return None

    def _make_route(self, handler: HTTPRouteHandler, path: str, middleware: Sequence[ASGIMiddleware]) -> _DirectRoute:
        names = _PARAMETER.findall(path)
        pattern = re.compile(_UUID.join(re.escape(part) for part in _PARAMETER.split(path)[::2]))
        accepted = inspect.signature(handler.fn).parameters
        given = {"caller", "scope", *names}
        if any(found.default is found.empty and found.name not in given for found in accepted.values()):
            raise TypeError(f"{handler.fn.__name__} has a parameter that only Litestar can fill")
        answers = self._call(handler.fn, needs_scope="scope" in accepted)
        for layer in reversed(middleware):
            # Without the checks of Litestar's wrapper: each of ours acts on every HTTP request.
            answers = partial(layer.handle, next_app=answers)
        is_paged = accepted.keys() >= {"limit", "cursor"}
        return _DirectRoute(pattern, _PARAMETER.sub(r"{\1}", path), handler, names, is_paged, answers)

    def _call(self, handler: Callable[..., Awaitable[Response[Any]]], *, needs_scope: bool) -> ASGIApp:
        """The handler as an ASGI application, which answers the errors that it raises."""

        async def respond(scope: Any, _receive: Receive, send: Send) -> None:
            arguments: dict[str, Any] = {"caller": scope["state"]["caller"], **scope["path_params"], **scope[_PAGE]}
            if needs_scope:
                arguments["scope"] = scope
            try:
                response = await handler(**arguments)
            except Exception as error:  # noqa: BLE001 — it is answered, as Litestar does
                response = self._answer_error(scope, error)
            await send_json(response, send)

        return respond

    def _answer_error(self, scope: Scope, error: Exception) -> Response[Any]:
        """The answer to an error, which is logged if nobody expected it."""
        if isinstance(error, TimewardenError):
            return self._problems.answer(scope, error)
        return self._problems.answer_unexpected(scope, error)


async def send_json(response: Response[Any], send: Send) -> None:
    """Send a response as Litestar does, with its own media type or JSON."""
    body = _ENCODER.encode(response.content)
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in response.headers.items()]
    headers += [
        (b"content-type", (response.media_type or MediaType.JSON).encode()),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": response.status_code or 200, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _direct_handlers(app: Litestar) -> Iterable[HTTPRouteHandler]:
    """The handlers whose `opt` says DIRECT."""
    handlers = (handler for route in app.routes for handler in getattr(route, "route_handlers", ()))
    return dict.fromkeys(handler for handler in handlers if handler.opt.get("direct"))


def _is_plain(scope: Any) -> bool:
    """Whether Litestar has nothing to do for this request that a direct route leaves out, but for its query."""
    headers = headers_of(scope)
    tokens = headers.get(b"authorization", ())
    return (
        len(tokens) == 1
        and tokens[0][:7].lower() == b"bearer "
        and NOT_PLAIN.isdisjoint(headers)
        and _HOST.fullmatch(headers.get(b"host", (b"",))[0]) is not None
        and not scope["state"]["has_body"]
    )


def _read_page(query: bytes, *, is_paged: bool) -> dict[str, int | str] | None:
    """The limit and the cursor in a query; None if it has anything else, which Litestar reads or refuses."""
    found: dict[str, int | str] = {}
    for part in query.split(b"&") if query else ():
        name, _, value = part.partition(b"=")
        if name == b"limit" and "limit" not in found and _LIMIT.fullmatch(value) and int(value) <= MAX_LIMIT:
            found["limit"] = int(value)
        elif name == b"cursor" and "cursor" not in found and _CURSOR.fullmatch(value):
            found["cursor"] = value.decode()
        else:
            return None
    return found if is_paged or not found else None
