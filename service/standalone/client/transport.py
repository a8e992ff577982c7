"""The HTTP part of the client: tokens, If-Match, idempotency keys, retries, pages.

Owns the HTTP connections; nothing is durable.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from contextlib import asynccontextmanager
from datetime import date
from typing import TYPE_CHECKING, Any, TypeVar

import httpx2
import msgspec

from .problems import KINDS, Problem
from .shapes import ApiResult, Receipt, VersionedResult
from .tokens import Tokens, require_secure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from types import TracebackType
    from typing import Self

BUSY = (httpx2.codes.TOO_MANY_REQUESTS, httpx2.codes.SERVICE_UNAVAILABLE)
# A proxy got no answer in time: the request may have arrived.
UNKNOWN = (httpx2.codes.BAD_GATEWAY, httpx2.codes.GATEWAY_TIMEOUT)
# The first attempt, whose connection broke, may still be running.
IN_PROGRESS = "idempotency-key-in-use"
NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
# An upload without a key may be repeated, as its rows are recognised, but not while the first may still be running.
BROKEN = (*NOT_SENT, httpx2.NetworkError, httpx2.RemoteProtocolError)
WITHOUT_KEY, UPLOADS = ("/v1/policies", "/v1/replays", "/v1/audit"), "/v1/uploads"
# Seconds. The response to a large file comes after its last row is decided.
TIMEOUT, UPLOAD_TIMEOUT = httpx2.Timeout(10), httpx2.Timeout(10, write=120, read=600)
JSON, MERGE_PATCH = "application/json", "application/merge-patch+json"
ACCEPT = "application/json, application/problem+json"
MOST = 200
FIRST_WAIT, LONGEST_WAIT = 0.1, 30.0

A = TypeVar("A", bound=ApiResult)


class _Page(msgspec.Struct):
    items: list[msgspec.Raw]
    next_cursor: str | None = None


class Transport:
    """The API at `url`. `token` is an access token, or a source of tokens: `client_credentials`, `refreshing`, or your
    own function (see Tokens). `on_answer` is called with every response, also those that are retried.

    Every method raises a Problem for an error response, and httpx2.TransportError without a response. Before that it
    retries: after 429, 502, 503, 504 and broken connections, up to `attempts` times, as soon as Retry-After allows;
    once with another token after a token was refused. A change is repeated with the same Idempotency-Key. Changes of
    the policy have none and are not repeated if they may have arrived. Uploads have a longer timeout; one without a key
    is not repeated after a timeout, as the service may still be working on it.
    """

    def __init__(
        self,
        url: str,
        token: str | Tokens,
        *,
        http: httpx2.AsyncClient | None = None,
        attempts: int = 4,
        on_answer: Callable[[httpx2.Response], None] | None = None,
    ) -> None:
        self._url, self._token, self._attempts, self._on_answer = (
            require_secure(url).rstrip("/"),
            token,
            attempts,
            on_answer,
        )
        self._http, self._borrowed = http or httpx2.AsyncClient(timeout=TIMEOUT), http is not None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._borrowed:
            await self._http.aclose()

    async def call(
        self,
        shape: type[A],
        method: str,
        path: str,
        *,
        body: object = None,
        query: Mapping[str, Any] | None = None,
        version: int | None = None,
        key: str | None = None,
    ) -> A:
        """Call any route, for those without a method here; returns the response as `shape`."""
        answer = await self.send(method, path, body=body, query=query, version=version, key=key)
        return decode(shape, answer)

    async def pages(self, shape: type[A], path: str, **query: Any) -> AsyncIterator[A]:
        """Every item of a list; pages are fetched as needed."""
        query["limit"] = MOST
        while True:
            answer = await self.send("GET", path, query=query)
            page, receipt = msgspec.json.decode(answer.content, type=_Page), receipt_of(answer)
            for raw in page.items:
                item = msgspec.json.decode(raw, type=shape)
                item.receipt = receipt
                yield item
            if page.next_cursor is None:
                return
            query["cursor"] = page.next_cursor

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        file: tuple[str, bytes] | None = None,
        query: Mapping[str, Any] | None = None,
        version: int | None = None,
        key: str | None = None,
    ) -> httpx2.Response:
        """Like `call`, but returns the raw response. `file` is a media type and an encoded body."""
        kind, content = file or (None if body is None else JSON, None if body is None else msgspec.json.encode(body))
        asked = _asked(query)
        upload = path == UPLOADS
        kept = not upload or (file is None and asked.keys().isdisjoint(("mode", "dry_run")))
        keyed = key is not None or (method != "GET" and not path.startswith(WITHOUT_KEY) and kept)
        headers = {"Accept": ACCEPT} | ({"Idempotency-Key": f'"{key or uuid.uuid4()}"'} if keyed else {})
        headers |= {"If-Match": f'"{version}"'} if version is not None else {}
        headers |= {"Content-Type": kind} if kind is not None else {}
        request = self._http.build_request(
            method,
            self._url + path,
            content=content,
            params=asked or None,
            headers=headers,
            timeout=UPLOAD_TIMEOUT if upload else httpx2.USE_CLIENT_DEFAULT,
        )
        attempt, refused, repeatable = 1, None, keyed or method == "GET"
        passing = BROKEN if upload else NOT_SENT
        while True:
            token = await self._token_for(refused)
            request.headers["Authorization"] = f"Bearer {token}"
            wait = min(FIRST_WAIT * 2**attempt, LONGEST_WAIT) * random.random()  # noqa: S311 — spreads callers out
            try:
                # No redirects: the token is for this API only.
                answer = await self._http.send(request, follow_redirects=False)
            except httpx2.TransportError as error:
                # A request without a key that may have arrived must not be repeated.
                if attempt >= self._attempts or not (repeatable or isinstance(error, passing)):
                    raise
            else:
                if self._on_answer is not None:
                    self._on_answer(answer)
                if answer.is_success:
                    return answer
                problem = problem_of(answer)
                if problem.slug == "invalid-token" and refused is None and not isinstance(self._token, str):
                    refused = token
                    continue
                wait += _retry_after(answer)
                later = answer.status_code in (BUSY + UNKNOWN if repeatable else BUSY) or problem.slug == IN_PROGRESS
                if not later or attempt >= self._attempts or wait > LONGEST_WAIT:
                    raise problem
            attempt += 1
            await asyncio.sleep(wait)

    @asynccontextmanager
    async def stream(self, path: str, *, query: Mapping[str, Any] | None = None) -> AsyncIterator[httpx2.Response]:
        """GET a large file, whose body is read as it comes. Not repeated if it breaks off."""
        headers = {"Authorization": f"Bearer {await self._token_for(None)}"}
        async with self._http.stream(
            "GET",
            self._url + path,
            params=_asked(query),
            headers=headers,
            timeout=UPLOAD_TIMEOUT,
            follow_redirects=False,
        ) as answer:
            if not answer.is_success:
                await answer.aread()
                raise problem_of(answer)
            yield answer

    async def _amend(self, shape: type[A], path: str, fields: Mapping[str, Any], version: int | None) -> A:
        """Change fields by a merge patch (RFC 7396), where None removes one."""
        file = (MERGE_PATCH, msgspec.json.encode(fields))
        return decode(shape, await self.send("PATCH", path, file=file, version=version))

    async def _token_for(self, refused: str | None) -> str:
        return self._token if isinstance(self._token, str) else await self._token(refused)


def decode(shape: type[A], answer: httpx2.Response) -> A:
    """Decode a response as a shape, with its receipt. Raises msgspec.ValidationError if it does not fit."""
    found = msgspec.json.decode(answer.content, type=shape)
    found.receipt = receipt_of(answer)
    if isinstance(found, VersionedResult):
        found.version = _version(answer)
    return found


def details(*, actions: bool = False, names: bool = False) -> dict[str, str]:
    """The parameters that ask for more than an answer has by itself."""
    return ({"include": "actions"} if actions else {}) | ({"names": "true"} if names else {})


def receipt_of(answer: httpx2.Response) -> Receipt:
    """The receipt of a response."""
    names = ("Decision-Id", "Decision-Leaf", "X-Request-Id")
    return Receipt(answer.status_code, *(answer.headers.get(name) for name in names))


def problem_of(answer: httpx2.Response) -> Problem:
    """The typed error of an error response, from Timewarden or a proxy."""
    try:
        members = answer.json()
    except (ValueError, RecursionError):
        members = {}
    kind = KINDS.get(answer.status_code, Problem)
    challenge = answer.headers.get("WWW-Authenticate", "")
    return kind(receipt_of(answer), members if isinstance(members, dict) else {}, challenge)


def _version(answer: httpx2.Response) -> int | None:
    """The version in the ETag, which a compressing proxy may have made weak; None without one."""
    tag = answer.headers.get("ETag", "").removeprefix("W/").strip('"')
    return int(tag) if tag.isascii() and tag.isdigit() else None


def _retry_after(answer: httpx2.Response) -> float:
    """Retry-After in seconds; 0 for a date, which Timewarden never sends."""
    value = answer.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else 0.0


def _asked(query: Mapping[str, Any] | None) -> dict[str, str]:
    """The parameters of a query string, without those that are None."""
    return {name: _format(value) for name, value in (query or {}).items() if value is not None}


def _format(value: object) -> str:
    """A value in a query string."""
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, date) else str(value)
