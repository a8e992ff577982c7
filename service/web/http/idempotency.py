"""Idempotency-Key: a change that is sent twice is made once, and its answer given twice. An ASGI middleware.

Owns no state: answers are kept by `kept_answers`, in the transaction of the change. Only the answer of a change that
took place is kept, so whatever was refused can be sent again with the same key.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from litestar import Request
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware

from service.authorization.enforcement.relationships import asker
from service.errors import BodyTooLarge, InvalidField, KeyReused, MalformedRequest, TimewardenError
from service.places import FieldError
from service.web.http.requests import longest_body_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litestar.types import ASGIApp, HTTPRequestEvent, HTTPScope, Message, Receive, ReceiveMessage, Scope, Send

    from service.administration.versions.answers_again import AnswersAgain
    from service.authorization.enforcement.changes import Caller
    from service.authorization.enforcement.kept_answers import Kept, KeptAnswers
    from service.log.log import Receipt
    from service.web.http.problems import Problems

FIELD: Final = "header.Idempotency-Key"
CHANGING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
# A change of the policy is guarded by the version that it names, and its effect begins behind its transaction; a
# replay is a job of its own. What is not kept is not promised.
WITHOUT: Final = ("/v1/policies", "/v1/replays", "/v1/audit")
KEPT_HEADERS: Final = frozenset({"content-type", "etag", "location", "link"})
LONGEST: Final = 255
# An RFC 8941 string, or the same without its quotes as many clients send it.
_QUOTED: Final = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_BARE: Final = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x7e]+")


class Idempotency(ASGIMiddleware):
    """`kept` finds answers, `again` decides whether one may be given once more, `problems` tells of a commit that
    failed. A route that takes a key with some of its bodies only says so in its `opt`: `keyed` gives the most bytes of
    such a one, or raises InvalidField."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, kept: KeptAnswers, again: AnswersAgain, problems: Problems) -> None:
        self._kept = kept
        self._again = again
        self._problems = problems

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"idempotency-key"]
        caller: Caller | None = scope["state"].get("caller")
        if scope["type"] != ScopeType.HTTP or not values or caller is None or scope["method"] not in CHANGING:
            await next_app(scope, receive, send)
            return
        key = read_key(values)
        template = scope.get("path_template", "")
        if template.startswith(WITHOUT):
            raise InvalidField(FieldError(FIELD, "is not taken by this route: what is sent twice to it is done twice"))
        body = await _whole(receive, *_most(scope))
        name, fingerprint = _name(caller, scope, key), _fingerprint(scope, body)
        kept = await self._kept.find(name)
        if kept is None:
            await self._first(scope, receive, send, next_app, (caller, name, fingerprint), body)
            return
        if kept.fingerprint != fingerprint:
            raise KeyReused(FieldError(FIELD, "was used for another request"), public=KeyReused.summary)
        await _answer(send, kept, await self._again.permitted(caller, kept.about))

    async def _first(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        next_app: ASGIApp,
        asked: tuple[Caller, bytes, bytes],
        body: bytes,
    ) -> None:
        """Have the request answered, and let the answer out once it is committed with its change."""
        caller, name, fingerprint = asked
        once = self._kept.once(name, fingerprint)
        scope["state"]["caller"] = replace(caller, once=once)
        messages: list[Message] = []
        answered = asyncio.Event()

        async def hear(message: Message) -> None:
            messages.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                answered.set()

        try:
            await next_app(scope, _again(body, answered), hear)
            status, headers, told = _read(messages)
            if 200 <= status < 300:  # noqa: PLR2004 — RFC 9110 section 15.3
                await once.keep(status, headers, told)
        except TimewardenError as error:
            # To Litestar the answer has begun, though nobody has heard of it: the problem is answered from here.
            request: Request[Any, Any, Any] = Request(scope)
            answer = self._problems.answer(request, error)
            await answer.to_asgi_response(None, request)(scope, receive, send)
            return
        finally:
            await once.abandon()
        for message in messages:
            await send(message)


def read_key(values: Sequence[str]) -> str:
    """The key in the header: a structured-field string (RFC 8941 section 3.3.3), or bare. Raises InvalidField."""
    text = values[0].strip()
    quoted = _QUOTED.fullmatch(text)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text
    if len(values) > 1 or not (quoted or _BARE.fullmatch(text)) or not 1 <= len(key) <= LONGEST:
        raise InvalidField(FieldError(FIELD, f'must be one string of 1 to {LONGEST} characters, such as "8e03978e"'))
    return key


def _most(scope: HTTPScope) -> tuple[int, str]:
    """How many bytes the body may have, since it is held here, and what is said of more."""
    most = longest_body_of(scope)
    keyed = scope["route_handler"].opt.get("keyed", longest_body_of)(scope)
    if keyed < most:
        return keyed, f"With an Idempotency-Key the body may have {keyed} bytes at the most; without one {most}"
    return most, f"The request body may have {most} bytes at the most"


async def _whole(receive: Receive, most: int, says: str) -> bytes:
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise MalformedRequest("The request ended before its body did")
        parts.append(message["body"])
        size += len(message["body"])
        more = message["more_body"]
        if size > most:
            raise BodyTooLarge(says)
    return b"".join(parts)


def _name(caller: Caller, scope: HTTPScope, key: str) -> bytes:
    """Whose key it is, and for which path: the same key of another is another."""
    person, client = asker(caller.principal)
    whose = [caller.principal.issuer, str(person) if person else "", client or "", caller.principal.client]
    return hashlib.sha256(json.dumps([*whose, scope["method"], scope["path"], key]).encode()).digest()


def _fingerprint(scope: HTTPScope, body: bytes) -> bytes:
    """All of the request that can change what it does."""
    conditions = sorted(value.decode("latin-1") for name, value in scope["headers"] if name == b"if-match")
    kinds = [value.decode("latin-1") for name, value in scope["headers"] if name == b"content-type"]
    told = [scope["method"], scope["path"], scope["query_string"].decode("latin-1"), conditions, kinds]
    return hashlib.sha256(json.dumps(told).encode() + b"\x00" + body).digest()


def _again(body: bytes, answered: asyncio.Event) -> Receive:
    """A receive that gives the body that was read, and nothing more before all is answered: if the caller leaves
    meanwhile, the answer is kept whole all the same, because they come back for it."""
    whole: list[HTTPRequestEvent] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receiving() -> ReceiveMessage:
        if whole:
            return whole.pop()
        await answered.wait()
        return {"type": "http.disconnect"}

    return receiving


def _read(messages: Sequence[Message]) -> tuple[int, dict[str, str], bytes]:
    status, headers, body = 0, {}, b""
    for message in messages:
        if message["type"] == "http.response.start":
            status = message["status"]
            spelled = {name.decode().lower(): value.decode("latin-1") for name, value in message["headers"]}
            headers = {name: value for name, value in spelled.items() if name in KEPT_HEADERS}
        elif message["type"] == "http.response.body":
            body += message["body"]
    return status, headers, body


async def _answer(send: Send, kept: Kept, receipt: Receipt) -> None:
    """The kept answer, with the decision that lets it out now."""
    headers = {
        **kept.headers,
        "decision-id": str(receipt.uid),
        "decision-leaf": receipt.leaf,
        "idempotent-replayed": "true",
        **({} if kept.status == 204 else {"content-length": str(len(kept.body))}),  # noqa: PLR2004 — nothing is in it
    }
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": kept.status, "headers": raw})
    await send({"type": "http.response.body", "body": kept.body, "more_body": False})
