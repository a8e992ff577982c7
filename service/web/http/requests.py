"""Every request's frame: its id, its log line, the bounds of its headers and body, and the headers of every answer.

Owns no state. What is refused here is refused before anything is decided, so it is logged and not recorded.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, Final

import structlog
from litestar.enums import ScopeType
from litestar.handlers import HTTPRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.params import CookieParameter, HeaderParameter, ParameterKwarg
from uuid_utils import uuid7

from service.errors import BodyTooLarge, HeadersTooLarge, InvalidField, UnsupportedMediaType
from service.places import FieldError
from service.web.http.head_requests import HeadOnly
from service.web.http.incoming_body import IncomingBody
from service.web.http.not_modified import UnlessKnown
from service.web.http.paging import NEXT_CURSOR, next_link

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from litestar import Litestar, Request
    from litestar.types import ASGIApp, Message, Receive, Scope, Send

    Header = tuple[bytes, bytes]

log = structlog.get_logger("requests")
MAX_HEADER_BYTES: Final = 32_768
MAX_URL_BYTES: Final = 8_192
WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
JSON: Final = ("application/json",)
UTF_8: Final = frozenset({b"utf-8", b"utf8", b"us-ascii"})
_CHARSET: Final = re.compile(rb';\s*charset\s*=\s*"?([^\s";]*)')
_WHOLE: Final = re.compile(r"-?[0-9]{1,19}")
_REQUEST_ID: Final = re.compile(rb"[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_TRACE: Final = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
ALWAYS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# A year; browsers ignore it over plain http (RFC 6797 section 8.1).
TRANSPORT: Final = "max-age=31536000"
VARY: Final = (b"Authorization", b"Origin")
_CURSOR: Final = NEXT_CURSOR.lower().encode()


class RequestFrame:
    """The ASGI application that is served: it wraps `app`, so that also unknown routes get an id and a log line.
    `https`: callers reach it so."""

    def __init__(self, app: Litestar, *, https: bool = False) -> None:
        self.app = app
        always = {**ALWAYS, "Strict-Transport-Security": TRANSPORT} if https else ALWAYS
        # What every answer carries.
        self.always = [(name.lower().encode(), value.encode()) for name, value in always.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return
        request_id, trace, method = request_id_of(scope), _trace(scope), scope["method"]
        scope["state"] = {**scope.get("state", {}), "request_id": request_id, "trace": trace, "method": method}
        started = time.perf_counter()
        body, refused = IncomingBody(scope, receive), False

        async def send_framed(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start":
                refused = message["status"] >= 400  # noqa: PLR2004 — RFC 9110 section 15.5
                own = {b"vary": _vary(message["headers"]), b"x-request-id": request_id.encode()}
                if trace is not None:
                    own[b"traceparent"] = trace.encode()
                for name, value in scope["state"].get("answer_headers", {}).items():
                    own[name.lower().encode()] = value.encode()
                given = [header for header in message["headers"] if header[0].lower() != _CURSOR]
                for _, cursor in (header for header in message["headers"] if header[0].lower() == _CURSOR):
                    link = next_link(scope["path"], scope["query_string"], cursor.decode())
                    own[b"link"] = link.encode()
                message["headers"] = _framed(given, own, self.always)
                log.info(
                    "request",
                    method=method,
                    route=scope.get("path_template", ""),
                    status=message["status"],
                    milliseconds=round((time.perf_counter() - started) * 1000, 1),
                    decision=next((value.decode() for name, value in given if name == b"decision-id"), None),
                )
            await send(message)

        answer = UnlessKnown(scope, send_framed)
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            if method == "HEAD":
                # Decided and recorded as a GET; only its head is sent (RFC 9110 section 9.3.2).
                scope["method"] = "GET"
                head = HeadOnly(body.receive, answer.send)
                await self.app(scope, head.receive, head.send)
            else:
                await self.app(scope, body.receive, answer.send)
        if refused:
            await body.finish()


class RequestBounds(ASGIMiddleware):
    """Refuses what is too large or of another media type, before the token is looked at. It bounds what a request may
    declare by what its route takes (`request_max_body_size`); Litestar bounds by the same what it really sends. A route
    that takes other than JSON says so in its `opt`, as `media_types`."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        headers = scope["headers"]
        if sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
            raise HeadersTooLarge
        if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_URL_BYTES:
            raise HeadersTooLarge("The URL is too long")
        length = next((value for name, value in headers if name == b"content-length"), b"0")
        most = longest_body_of(scope)
        if length.isdigit() and int(length) > most:
            raise BodyTooLarge(f"The request body may have {most} bytes at the most")
        chunked = any(name == b"transfer-encoding" for name, _ in headers)
        if scope.get("method") in WITH_BODY and (chunked or (length.isdigit() and int(length) > 0)):
            kind = next((value for name, value in headers if name == b"content-type"), b"")
            if any(name == b"content-encoding" and value.lower() != b"identity" for name, value in headers):
                raise UnsupportedMediaType("Send the body as it is, without a Content-Encoding")
            taken = media_types_of(scope)
            given = kind.split(b";")[0].strip().lower().decode("latin-1")
            if given not in taken and not (given == "" and taken == JSON):
                raise UnsupportedMediaType(f"Send the body as {' or '.join(taken)}")
            if any(one not in UTF_8 for one in _CHARSET.findall(kind.lower())):
                raise UnsupportedMediaType("Send the body as UTF-8")
        await next_app(scope, receive, send)


def longest_body_of(scope: Scope) -> int:
    """How many bytes a body may have on this route: none where nobody said."""
    handler = scope["route_handler"]
    return (handler.resolve_request_max_body_size() or 0) if isinstance(handler, HTTPRouteHandler) else 0


def media_types_of(scope: Scope) -> tuple[str, ...]:
    """The media types that the route takes."""
    taken: tuple[str, ...] = scope["route_handler"].opt.get("media_types", JSON)
    return taken


async def refuse_unknown_parameters(request: Request[Any, Any, Any]) -> None:
    """A `before_request` hook: query parameters that the route does not take, or takes once, are refused by name, and
    those that it needs are told when they are missing."""
    route = request.route_handler
    dependencies = route.resolve_dependencies()
    filled_otherwise = request.path_params.keys() | dependencies.keys()
    signatures = [route.parsed_fn_signature]
    # A dependency may take parameters for its route: those of searches do.
    signatures += [
        dependencies[name].parsed_fn_signature for name in route.parsed_fn_signature.parameters.keys() & dependencies
    ]
    taken = {
        field.kwarg_definition.name or name: field
        for signature in signatures
        for name, field in signature.parameters.items()
        if isinstance(field.kwarg_definition, ParameterKwarg)
        and not isinstance(field.kwarg_definition, HeaderParameter | CookieParameter)
        and name not in filled_otherwise
    }
    seen: set[str] = set()
    for name, value in request.query_params.multi_items():
        if name not in taken:
            raise InvalidField(FieldError(f"query.{name[:64]}", "is not a parameter of this route"))
        if name in seen:
            raise InvalidField(FieldError(f"query.{name}", "may be given only once"))
        kinds = {one.annotation for one in (taken[name], *taken[name].inner_types)}
        # Litestar would take the word for no value, and a filter for none; and 1e2 for a hundred.
        if value.lower() == "null" and str not in kinds:
            raise InvalidField(FieldError(f"query.{name}", "must have a value; leave it out to ask for all"))
        if int in kinds and not _WHOLE.fullmatch(value):
            raise InvalidField(FieldError(f"query.{name}", "must be a whole number"))
        seen.add(name)
    needed = [name for name, field in taken.items() if field.is_required and name not in seen]
    if needed:
        raise InvalidField(*(FieldError(f"query.{name}", "is missing") for name in needed))


def _framed(given: Sequence[Header], own: Mapping[bytes, bytes], always: Sequence[Header]) -> list[Header]:
    """The headers of an answer: our own replace those of the same name, the usual ones only fill in."""
    there = {name.lower() for name, _ in given} | own.keys()
    kept = [one for one in given if one[0].lower() not in own]
    return [*kept, *(one for one in always if one[0] not in there), *own.items()]


def _vary(given: Iterable[Header]) -> bytes:
    """On what the answer depends: what every one does, and what this one says."""
    said = (word.strip() for name, value in given if name.lower() == b"vary" for word in value.split(b","))
    return b", ".join(dict.fromkeys([*VARY, *said]))


def _trace(scope: Scope) -> str | None:
    """The caller's `traceparent`, if it is one (W3C Trace Context section 3.2): ids of a trace and of a span. Whatever
    is not is as if it had not been sent (section 3.2.1), and two are none."""
    given = [value for name, value in scope["headers"] if name == b"traceparent"]
    found = _TRACE.fullmatch(given[0]) if len(given) == 1 else None
    return given[0].decode() if found and found[1].strip(b"0") and found[2].strip(b"0") else None


def request_id_of(scope: Scope) -> str:
    """The caller's own id if it is a UUID, else a new one: it stands in the log for good, so it holds no words."""
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    return given.decode() if _REQUEST_ID.fullmatch(given) else str(uuid7())
