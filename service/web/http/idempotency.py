"""Idempotency-Key: a change that is sent twice is made once and answered twice. An ASGI middleware.

Owns no state: responses are stored in the transaction of the change. Only the response of a successful change is
stored, so a refused request can be sent again with the same key.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Final

from litestar import Request
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware

from service.authorization.enforcement.fact_statements import person_or_client
from service.authorization.enforcement.stored_responses import IdempotentChange
from service.errors import BodyTooLarge, InvalidField, KeyReused, MalformedRequest, TimewardenError
from service.places import FieldError
from service.values import replace
from service.web.http.request_headers import headers_of
from service.web.http.requests import max_body_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litestar.types import ASGIApp, HTTPRequestEvent, HTTPScope, Message, Receive, ReceiveMessage, Scope, Send

    from service.authorization.enforcement.changes import Caller
    from service.authorization.enforcement.idempotent_replay import IdempotentReplay
    from service.authorization.enforcement.stored_responses import StoredResponse, StoredResponses
    from service.log.log import Receipt
    from service.web.http.problems import Problems

FIELD: Final = "header.Idempotency-Key"
CHANGE_METHODS: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
# Routes that take no key. A policy change names the version that it expects, and takes effect after its transaction. A
# replay is a job of its own.
PREFIXES_WITHOUT_KEY: Final = ("/v1/policies", "/v1/replays", "/v1/audit")
STORED_HEADERS: Final = frozenset({"content-type", "etag", "location", "link"})
MAX_KEY_CHARS: Final = 255
# An RFC 8941 string, or the same without quotes, as many clients send it.
_QUOTED: Final = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_BARE: Final = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x7e]+")


class Idempotency(ASGIMiddleware):
    """`kept` finds stored responses. `again` decides whether one may be returned once more. `problems` answers a commit
    that failed. A route that takes a key with some of its bodies only has `keyed` in its `opt`: a function that returns
    the maximum size of such a body, or raises InvalidField."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, kept: StoredResponses, again: IdempotentReplay, problems: Problems) -> None:
        self._kept = kept
        self._again = again
        self._problems = problems

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        sent = headers_of(scope).get(b"idempotency-key", ())
        caller: Caller | None = scope["state"].get("caller")
        if scope["type"] != ScopeType.HTTP or not sent or caller is None or scope["method"] not in CHANGE_METHODS:
            await next_app(scope, receive, send)
            return
        key = read_key([value.decode("latin-1") for value in sent])
        template = scope.get("path_template", "")
        if template.startswith(PREFIXES_WITHOUT_KEY):
            raise InvalidField(
                FieldError(FIELD, "is not supported by this route: a request that is sent twice is carried out twice")
            )
        body = await _read_body(receive, *_body_limit(scope))
        name, fingerprint = _hash_key(caller, scope, key), _hash_request(scope, body)
        kept = await self._kept.find(name)
        if kept is None:
            await self._handle_first(scope, receive, send, next_app, (caller, name, fingerprint), body)
            return
        if kept.fingerprint != fingerprint:
            raise KeyReused(FieldError(FIELD, "was used for another request"), public=KeyReused.summary)
        await _send_stored(send, kept, await self._again.decide(caller, kept.about))

    async def _handle_first(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        next_app: ASGIApp,
        request_key: tuple[Caller, bytes, bytes],
        body: bytes,
    ) -> None:
        """Handle a request whose key is new. Its response is sent after it is committed with the change."""
        caller, name, fingerprint = request_key
        change = IdempotentChange(name, fingerprint)
        scope["state"]["caller"] = replace(caller, idempotent=change)
        messages: list[Message] = []
        answered = asyncio.Event()

        async def collect(message: Message) -> None:
            messages.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                answered.set()

        try:
            await next_app(scope, _replay_body(body, answered), collect)
            status, headers, content = _parse_response(messages)
            if 200 <= status < 300:  # noqa: PLR2004 — RFC 9110 section 15.3
                await change.store(status, headers, content)
        except TimewardenError as error:
            # Litestar believes that it has answered, but nothing was sent, so the problem is answered here.
            request: Request[Any, Any, Any] = Request(scope)
            answer = self._problems.answer(scope, error)
            await answer.to_asgi_response(None, request)(scope, receive, send)
            return
        finally:
            await change.roll_back()
        for message in messages:
            await send(message)


def read_key(values: Sequence[str]) -> str:
    """The key in the header: a structured-field string (RFC 8941 section 3.3.3), or bare. Raises InvalidField."""
    text = values[0].strip()
    quoted = _QUOTED.fullmatch(text)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text
    if len(values) > 1 or not (quoted or _BARE.fullmatch(text)) or not 1 <= len(key) <= MAX_KEY_CHARS:
        raise InvalidField(
            FieldError(FIELD, f'must be one string of 1 to {MAX_KEY_CHARS} characters, such as "8e03978e"')
        )
    return key


def _body_limit(scope: HTTPScope) -> tuple[int, str]:
    """The maximum size of a body that is held in memory, and the sentence for a larger one."""
    max_bytes = max_body_bytes(scope)
    keyed = scope["route_handler"].opt.get("keyed", max_body_bytes)(scope)
    if keyed < max_bytes:
        return keyed, f"With an Idempotency-Key the body must not exceed {keyed} bytes; without one {max_bytes}"
    return max_bytes, f"The request body must not exceed {max_bytes} bytes"


async def _read_body(receive: Receive, max_bytes: int, too_large: str) -> bytes:
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise MalformedRequest("The request ended before its body did")
        parts.append(message["body"])
        size += len(message["body"])
        more = message["more_body"]
        if size > max_bytes:
            raise BodyTooLarge(too_large)
    return b"".join(parts)


def _hash_key(caller: Caller, scope: HTTPScope, key: str) -> bytes:
    """A hash of the caller, the path and the key: two callers may use the same key."""
    person, client = person_or_client(caller.principal)
    whose = [caller.principal.issuer, str(person) if person else "", client or "", caller.principal.client]
    return hashlib.sha256(json.dumps([*whose, scope["method"], scope["path"], key]).encode()).digest()


def _hash_request(scope: HTTPScope, body: bytes) -> bytes:
    """A hash of every part of the request that can change its effect."""
    conditions = sorted(value.decode("latin-1") for name, value in scope["headers"] if name == b"if-match")
    kinds = [value.decode("latin-1") for name, value in scope["headers"] if name == b"content-type"]
    parts = [scope["method"], scope["path"], scope["query_string"].decode("latin-1"), conditions, kinds]
    return hashlib.sha256(json.dumps(parts).encode() + b"\x00" + body).digest()


def _replay_body(body: bytes, answered: asyncio.Event) -> Receive:
    """A `receive` that returns the body that was read, and hides a disconnect until the response is complete: a caller
    who left will send the request again and needs the stored response."""
    events: list[HTTPRequestEvent] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> ReceiveMessage:
        if events:
            return events.pop()
        await answered.wait()
        return {"type": "http.disconnect"}

    return receive


def _parse_response(messages: Sequence[Message]) -> tuple[int, dict[str, str], bytes]:
    status, headers, body = 0, {}, b""
    for message in messages:
        if message["type"] == "http.response.start":
            status = message["status"]
            decoded = {name.decode().lower(): value.decode("latin-1") for name, value in message["headers"]}
            headers = {name: value for name, value in decoded.items() if name in STORED_HEADERS}
        elif message["type"] == "http.response.body":
            body += message["body"]
    return status, headers, body


async def _send_stored(send: Send, kept: StoredResponse, receipt: Receipt) -> None:
    """Send the stored response, with the decision that allows it now."""
    headers = {
        **kept.headers,
        "decision-id": str(receipt.uid),
        "decision-leaf": receipt.leaf,
        "idempotent-replayed": "true",
        **({} if kept.status == 204 else {"content-length": str(len(kept.body))}),  # noqa: PLR2004 — No Content
    }
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": kept.status, "headers": raw})
    await send({"type": "http.response.body", "body": kept.body, "more_body": False})
