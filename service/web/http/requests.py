"""What happens around every request: its id, its log line, the limits of its headers and body, the headers of answers.

Owns no state. A request that is refused here is logged but not recorded, because nothing was decided.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

import structlog
from litestar import Response
from litestar.enums import ScopeType
from litestar.exceptions import LitestarException
from litestar.handlers import HTTPRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.params import CookieParameter, HeaderParameter, ParameterKwarg

from service import metrics
from service.errors import BodyTooLarge, HeadersTooLarge, InvalidField, MalformedRequest, UnsupportedMediaType
from service.ids import make_id
from service.log_lines import REQUEST_ID, RequestLine, write_request_line
from service.metric_families import OTHER
from service.places import FieldError
from service.policy.nearest_word import nearest
from service.tracing import begin_request
from service.web.http.head_requests import HeadOnly
from service.web.http.incoming_body import IncomingBody, announces_body
from service.web.http.not_modified import NotModifiedFilter
from service.web.http.paging import NEXT_CURSOR, next_link
from service.web.http.problems import NoSuchRoute, find_methods
from service.web.http.request_headers import headers_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from litestar import Litestar, Request
    from litestar.types import ASGIApp, Message, Receive, Scope, Send

    from service.authorization.enforcement.changes import Caller
    from service.tracing import RequestSpan
    from service.web.http.request_headers import Headers

    Header = tuple[bytes, bytes]

MAX_HEADER_BYTES: Final = 32_768
MAX_URL_BYTES: Final = 8_192
# Any other word may be a method too (RFC 9110 section 9.1), so metrics count others together.
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"})
BODY_METHODS: Final = frozenset({"POST", "PUT", "PATCH"})
JSON: Final = ("application/json",)
UTF_8: Final = frozenset({b"utf-8", b"utf8", b"us-ascii"})
_CHARSET: Final = re.compile(rb';\s*charset\s*=\s*"?([^\s";]*)')
_WHOLE_NUMBER: Final = re.compile(r"-?[0-9]{1,19}")
# An empty segment, or a slash inside one.
_AMBIGUOUS_PATH: Final = re.compile(rb"//|%2[Ff]|^/v1/.*/$")
_REQUEST_ID: Final = re.compile(rb"[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
# The second of the four fields of a traceparent.
_TRACE_ID: Final = slice(3, 35)
_TRACEPARENT: Final = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
DEFAULT_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# A year; browsers ignore it over plain http (RFC 6797 section 8.1).
STRICT_TRANSPORT_SECURITY: Final = "max-age=31536000"
VARY: Final = (b"Authorization", b"Origin")
_VARY: Final = b", ".join(VARY)
_ZERO: Final = (b"0",)
_log = structlog.get_logger("requests")
_CURSOR: Final = NEXT_CURSOR.lower().encode()


class RequestFrame:
    """The ASGI application that is served. It wraps `app`, so that unknown routes too get an id and a log line.
    `direct` answers some requests in place of `app`. `https`: callers use https."""

    def __init__(self, app: Litestar, direct: ASGIApp | None = None, *, https: bool = False) -> None:
        self.app = app
        self._answer: ASGIApp = direct or app
        always = (
            {**DEFAULT_HEADERS, "Strict-Transport-Security": STRICT_TRANSPORT_SECURITY} if https else DEFAULT_HEADERS
        )
        self.always = [(name.lower().encode(), value.encode()) for name, value in always.items()]
        self._always_names = frozenset(name for name, _ in self.always)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return
        headers, method = headers_of(scope), scope["method"]
        request_id, trace = request_id_of(headers), _parse_traceparent(headers)
        known_method = method if method in METHODS else OTHER
        span = begin_request(known_method, trace)
        trace = trace if span is None else span.traceparent
        body = IncomingBody(scope, receive) if (has_body := announces_body(headers)) else None
        scope["state"] = {
            **scope.get("state", {}),
            "request_id": request_id,
            "trace": trace,
            "method": method,
            "has_body": has_body,
        }
        started = time.perf_counter()
        status, milliseconds = 0, 0.0
        decision: str | None = None
        is_logged = False

        async def send_framed(message: Message) -> None:
            nonlocal status, milliseconds, decision
            if message["type"] == "http.response.start":
                status, milliseconds = message["status"], round((time.perf_counter() - started) * 1000, 1)
                message["headers"] = framed = self._frame(scope, message["headers"], request_id, trace)
                decision = next((value.decode() for name, value in framed if name == b"decision-id"), None)
            await send(message)
            # After the first part of the body is on its way: the caller need not wait for the line.
            if message["type"] == "http.response.body" and not is_logged:
                write_line()

        def write_line() -> None:
            nonlocal is_logged
            is_logged = True
            # Ids only: never a token, a subject, a name or a text. tests/integration/test_request_lines.py
            caller: Caller | None = scope["state"].get("caller")
            write_request_line(
                RequestLine(
                    request_id=request_id,
                    method=method,
                    route=scope.get("path_template", ""),
                    status=status,
                    milliseconds=milliseconds,
                    client=caller.principal.client if caller else None,
                    decision=decision,
                    trace_id=None if trace is None else trace[_TRACE_ID],
                    timestamp=datetime.now(UTC),
                )
            )

        receive_body = receive if body is None else body.receive
        answer = NotModifiedFilter(scope, send_framed).send if b"if-none-match" in headers else send_framed
        former = REQUEST_ID.set(request_id)
        try:
            if method == "HEAD":
                # Decided and recorded as a GET; only its head is sent (RFC 9110 section 9.3.2).
                scope["method"] = "GET"
                head = HeadOnly(receive_body, answer)
                await self._answer(scope, head.receive, head.send)
            else:
                await self._answer(scope, receive_body, answer)
        except Exception as error:
            _log_cut_off(error, status, decision)
            raise
        finally:
            if status and not is_logged:
                write_line()
            REQUEST_ID.reset(former)
            route = scope.get("path_template", "")
            _measure(known_method, route, status, started)
            _end_span(span, route, status, decision)
        if body is not None:
            # Also after a success of a route that takes no body.
            await body.discard_rest()

    def _frame(self, scope: Scope, headers: Iterable[Header], request_id: str, trace: str | None) -> list[Header]:
        """The headers of an answer, with those that every answer has. Names are in lower case."""
        given = [(name.lower(), value) for name, value in headers]
        present = dict(given)
        own = {b"x-request-id": request_id.encode()}
        if trace is not None:
            own[b"traceparent"] = trace.encode()
        for name, value in scope["state"].get("answer_headers", {}).items():
            own[name.lower().encode()] = value.encode()
        if _CURSOR in present:
            next_page = next_link(scope["path"], scope["query_string"], present[_CURSOR].decode())
            own[b"link"] = next_page.encode()
        own[b"vary"] = _merge_vary(given) if b"vary" in present else _VARY
        if not own.keys().isdisjoint(present) or _CURSOR in present:
            given = [header for header in given if header[0] not in own and header[0] != _CURSOR]
        always = self.always
        if not (self._always_names.isdisjoint(present) and self._always_names.isdisjoint(own)):
            always = [header for header in always if header[0] not in present and header[0] not in own]
        return [*given, *always, *own.items()]


def _measure(method: str, route: str, status: int, started: float) -> None:
    # A caller who left before the answer began has got none.
    if status:
        metrics.REQUEST_SECONDS.observe((method, route, str(status)), time.perf_counter() - started)


def _end_span(span: RequestSpan | None, route: str, status: int, decision: str | None) -> None:
    if span is not None:
        span.end(route=route, status=status, decision=decision)


def _log_cut_off(error: Exception, status: int, decision: str | None) -> None:
    """Log the error that breaks an answer after its start: too late for a problem, so the caller sees a body without
    its end."""
    if status:
        _log.error("answer_cut_off", problem=_name_problem(error), decision=decision, exc_info=error)


def _name_problem(error: BaseException) -> str:
    """The class of the error inside the groups and errors that Litestar wraps around it."""
    while True:
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        elif isinstance(error, LitestarException) and error.__cause__ is not None:
            error = error.__cause__
        else:
            return type(error).__name__


class RequestBounds(ASGIMiddleware):
    """Refuses requests that are too large or have a wrong media type, before the token is verified. It checks the
    declared size against the route's `request_max_body_size`; Litestar checks the real size. A route that accepts other
    than JSON lists its `media_types` in its `opt`."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        check_head(scope)
        headers = headers_of(scope)
        declared = headers.get(b"content-length", _ZERO)[0]
        length = int(declared) if declared.isdigit() else 0
        if length and length > (max_bytes := max_body_bytes(scope)):
            raise BodyTooLarge(f"The request body must not exceed {max_bytes} bytes")
        if scope.get("method") in BODY_METHODS:
            has_body = b"transfer-encoding" in headers or length > 0
            _check_media_type(headers, accepted_media_types(scope), has_body=has_body)
        await next_app(scope, receive, send)


def check_head(scope: Scope) -> None:
    """Raises HeadersTooLarge, NoSuchRoute or MalformedRequest for a head that no route accepts."""
    if sum(map(len, chain.from_iterable(scope["headers"]))) > MAX_HEADER_BYTES:
        raise HeadersTooLarge
    if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_URL_BYTES:
        raise HeadersTooLarge("The URL is too long")
    if _AMBIGUOUS_PATH.search(scope["raw_path"]):
        # The framework and some proxies read it as another path. Relative to it, a link to `//v1` names a host.
        raise NoSuchRoute
    hosts = headers_of(scope).get(b"host", ())
    if scope["http_version"] == "1.1" and (len(hosts) != 1 or not hosts[0]):
        # RFC 9112 section 3.2: of several, a proxy may take another one. The server adds an empty one.
        raise MalformedRequest("Send exactly one Host header")


def _check_media_type(headers: Headers, accepted: Sequence[str], *, has_body: bool) -> None:
    """Raises UnsupportedMediaType for a body that is none of the `accepted`, or is compressed."""
    # Many clients name a media type also where they send nothing. It matters to routes that choose by it.
    if not has_body and accepted == JSON:
        return
    if any(value.lower() != b"identity" for value in headers.get(b"content-encoding", ())):
        raise UnsupportedMediaType("Send the body as it is, without a Content-Encoding")
    kind = headers.get(b"content-type", (b"",))[0]
    given = kind.split(b";")[0].strip().lower().decode("latin-1")
    if given not in accepted and not (given == "" and (accepted == JSON or not has_body)):
        raise UnsupportedMediaType(f"Send the body as {' or '.join(accepted)}")
    if any(charset not in UTF_8 for charset in _CHARSET.findall(kind.lower())):
        raise UnsupportedMediaType("Send the body as UTF-8")


def max_body_bytes(scope: Scope) -> int:
    """The maximum size of a body on this route; 0 if the route sets none."""
    handler = scope["route_handler"]
    return (handler.resolve_request_max_body_size() or 0) if isinstance(handler, HTTPRouteHandler) else 0


def accepted_media_types(scope: Scope) -> tuple[str, ...]:
    """The media types that the route accepts."""
    accepted: tuple[str, ...] = scope["route_handler"].opt.get("media_types", JSON)
    return accepted


async def refuse_unknown_parameters(request: Request[Any, Any, Any]) -> Response[None] | None:
    """A `before_request` hook. Raises InvalidField for query parameters that the route does not have, that are not
    UTF-8, that occur twice and are no list, or that are required and missing. Answers OPTIONS, because Litestar's own
    answer names only the methods of a path's first handler."""
    if request.scope["method"] == "OPTIONS":
        return Response(None, status_code=204, headers={"Allow": ", ".join([*find_methods(request), "OPTIONS"])})
    accepted = _query_parameters(request.route_handler, frozenset(request.path_params))
    seen: set[str] = set()
    for name, value in request.query_params.multi_items():
        if name not in accepted:
            close = nearest(name, accepted)
            message = "is not a parameter of this route" + (f"; {close}" if close else "")
            raise InvalidField(FieldError(f"query.{name[:64]}", message))
        parameter = accepted[name]
        if name in seen and not parameter.is_list:
            raise InvalidField(FieldError(f"query.{name}", "may be given only once"))
        # Litestar reads "null" as no value, which would drop the filter, and 1e2 as a hundred.
        if value.lower() == "null" and not parameter.is_text:
            raise InvalidField(FieldError(f"query.{name}", "must have a value; leave it out to get all"))
        if parameter.is_integer and not _WHOLE_NUMBER.fullmatch(value):
            raise InvalidField(FieldError(f"query.{name}", "must be a whole number"))
        if "\ufffd" in value and not _is_utf_8(request.scope["query_string"]):
            raise InvalidField(FieldError(f"query.{name}", "must be UTF-8"))
        seen.add(name)
    needed = [name for name, parameter in accepted.items() if parameter.is_required and name not in seen]
    if needed:
        raise InvalidField(*(FieldError(f"query.{name}", "is missing") for name in needed))
    return None


def _is_utf_8(query: bytes) -> bool:
    """Whether all of a query is UTF-8. The framework has put U+FFFD in place of what is not."""
    try:
        unquote_to_bytes(query).decode()
    except UnicodeDecodeError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _QueryParameter:
    is_required: bool
    is_text: bool
    is_integer: bool
    is_list: bool


@lru_cache(maxsize=1_024)
def _query_parameters(route: HTTPRouteHandler, in_path: frozenset[str]) -> Mapping[str, _QueryParameter]:
    """The query parameters of a route and of its dependencies, by name."""
    dependencies = route.resolve_dependencies()
    filled_otherwise = in_path | dependencies.keys()
    signatures = [route.parsed_fn_signature]
    # The dependencies of searches read query parameters too.
    signatures += [
        dependencies[name].parsed_fn_signature for name in route.parsed_fn_signature.parameters.keys() & dependencies
    ]
    accepted = {}
    for name, field in chain.from_iterable(signature.parameters.items() for signature in signatures):
        definition = field.kwarg_definition
        if isinstance(definition, HeaderParameter | CookieParameter) or not isinstance(definition, ParameterKwarg):
            continue
        if name not in filled_otherwise:
            types = {inner.annotation for inner in (field, *field.inner_types)}
            is_list = any(inner.is_non_string_sequence for inner in (field, *field.inner_types))
            accepted[definition.name or name] = _QueryParameter(field.is_required, str in types, int in types, is_list)
    return accepted


def _merge_vary(given: Iterable[Header]) -> bytes:
    """The Vary header: VARY and the names that the answer adds."""
    added = (word.strip() for name, value in given if name == b"vary" for word in value.split(b","))
    return b", ".join(dict.fromkeys([*VARY, *added]))


def _parse_traceparent(headers: Headers) -> str | None:
    """The caller's `traceparent`, if it is valid and sent once (W3C Trace Context section 3.2). An invalid one is
    ignored (section 3.2.1)."""
    given = headers.get(b"traceparent", ())
    found = _TRACEPARENT.fullmatch(given[0]) if len(given) == 1 else None
    return given[0].decode() if found and found[1].strip(b"0") and found[2].strip(b"0") else None


def request_id_of(headers: Headers) -> str:
    """The caller's X-Request-Id if it is a UUID, else a new id. The log keeps it for good, so it must not hold text."""
    given = headers.get(b"x-request-id")
    return given[0].decode() if given and _REQUEST_ID.fullmatch(given[0]) else str(make_id())
