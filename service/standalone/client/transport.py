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

from .problems import KINDS, UNCHANGED, Problem
from .proofs import NEEDS_NONCE, ProofMaker
from .shapes import ApiResult, Receipt, VersionedResult
from .tokens import OAuthTokens, Tokens, require_secure, stays_here

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from types import TracebackType
    from typing import Self

    from .proofs import ProofSigner

REFUSED = "invalid-token"
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
    own function (see Tokens). `dpop` is the key that the tokens are bound to, unless their source has it. `on_answer`
    is called with every response, also those that are retried.

    Every method raises a Problem for an error response, and httpx2.TransportError without a response. Before that it
    retries: after 429, 502, 503, 504 and broken connections, up to `attempts` times, as soon as Retry-After allows;
    once with another token after a token was refused, or with the nonce that the service demands. A change is repeated
    with the same Idempotency-Key. Changes of the policy, replays and legal holds have none and are repeated only if
    nothing was changed for certain. Uploads have a longer timeout; one without a key is not repeated after a timeout,
    as the service may still be working on it.
    """

    def __init__(
        self,
        url: str,
        token: str | Tokens,
        *,
        http: httpx2.AsyncClient | None = None,
        attempts: int = 4,
        on_answer: Callable[[httpx2.Response], None] | None = None,
        dpop: ProofSigner | None = None,
    ) -> None:
        self._url, self._token, self._attempts, self._on_answer = (
            require_secure(url).rstrip("/"),
            token,
            attempts,
            on_answer,
        )
        key = dpop or (token.dpop if isinstance(token, OAuthTokens) else None)
        self._proofs = ProofMaker(key) if key is not None else None
        self._http = http or httpx2.AsyncClient(timeout=TIMEOUT, trust_env=not stays_here(url))
        self._borrowed = http is not None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(self._token, OAuthTokens):
                await self._token.finish()
        finally:
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
        async for raw, receipt in self.raw_pages(path, **query):
            item = msgspec.json.decode(raw, type=shape)
            item.receipt = receipt
            yield item

    async def raw_pages(self, path: str, **query: Any) -> AsyncIterator[tuple[msgspec.Raw, Receipt]]:
        """Every item of a list as JSON, with the receipt of its page."""
        query["limit"] = MOST
        while True:
            answer = await self.send("GET", path, query=query)
            page, receipt = msgspec.json.decode(answer.content, type=_Page), receipt_of(answer)
            for raw in page.items:
                yield raw, receipt
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
        asked = _encode_query(query)
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
        attempt, refused, repeatable = 1, dict[str, str](), keyed or method == "GET"
        passing = BROKEN if upload else NOT_SENT
        while True:
            token = await self._authorize(request, refused)
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
                    if self._proofs is not None:
                        self._proofs.learn(answer)
                    return answer
                problem = problem_of(answer)
                if self._is_correctable(answer, problem, refused):
                    refused[problem.slug] = token
                    continue
                wait += _retry_after(answer)
                later = _may_repeat(problem, repeatable=repeatable, upload=upload)
                if not later or attempt >= self._attempts or wait > LONGEST_WAIT:
                    raise problem
            attempt += 1
            await asyncio.sleep(wait)

    @asynccontextmanager
    async def stream(self, path: str, *, query: Mapping[str, Any] | None = None) -> AsyncIterator[httpx2.Response]:
        """GET a large file, whose body is read as it comes. Not repeated if it breaks off."""
        asked, refused = _encode_query(query), dict[str, str]()
        while True:
            request = self._http.build_request("GET", self._url + path, params=asked or None, timeout=UPLOAD_TIMEOUT)
            token = await self._authorize(request, refused)
            answer = await self._http.send(request, stream=True, follow_redirects=False)
            try:
                if answer.is_success:
                    yield answer
                    return
                await answer.aread()
            finally:
                await answer.aclose()
            problem = problem_of(answer)
            if not self._is_correctable(answer, problem, refused):
                raise problem
            refused[problem.slug] = token

    async def _authorize(self, request: httpx2.Request, refused: Mapping[str, str]) -> str:
        """Give a request a token and, if that is bound to a key, a proof of its own; returns the token. `refused`: the
        tokens of earlier attempts by the kind of the refusal."""
        token = self._token if isinstance(self._token, str) else await self._token(refused.get(REFUSED))
        request.headers["Authorization"] = f"{'Bearer' if self._proofs is None else 'DPoP'} {token}"
        if self._proofs is not None:
            request.headers.update(self._proofs.make(request.method, str(request.url), token))
        return token

    def _is_correctable(self, answer: httpx2.Response, problem: Problem, refused: Mapping[str, str]) -> bool:
        """Whether another token, or the nonce of the answer, could change a refusal; each is tried once."""
        learned = self._proofs is not None and self._proofs.learn(answer)
        if problem.slug == REFUSED:
            return REFUSED not in refused and not isinstance(self._token, str)
        return learned and problem.slug in NEEDS_NONCE and problem.slug not in refused

    async def _amend(
        self,
        shape: type[A],
        path: str,
        fields: Mapping[str, Any],
        version: int | None,
        query: Mapping[str, Any] | None = None,
    ) -> A:
        """Change fields by a merge patch (RFC 7396), where None removes one."""
        file = (MERGE_PATCH, msgspec.json.encode(fields))
        return decode(shape, await self.send("PATCH", path, file=file, query=query, version=version))


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


def _may_repeat(problem: Problem, *, repeatable: bool, upload: bool) -> bool:
    """Whether a refused request may be sent again. A change without a key may be if the first one changed nothing; an
    upload without a key, if the first one has ended."""
    match problem.receipt.status:
        case httpx2.codes.TOO_MANY_REQUESTS:
            return True
        case httpx2.codes.SERVICE_UNAVAILABLE:
            return repeatable or upload or problem.slug in UNCHANGED
        case httpx2.codes.BAD_GATEWAY | httpx2.codes.GATEWAY_TIMEOUT:
            # A proxy got no answer in time: the request may have arrived.
            return repeatable
        case _:
            # The first attempt, whose connection broke, may still be running.
            return problem.slug == "idempotency-key-in-use"


def _version(answer: httpx2.Response) -> int | None:
    """The version that the ETag begins with, which a compressing proxy may have made weak; None without one."""
    tag = answer.headers.get("ETag", "").removeprefix("W/").strip('"').partition("-")[0]
    return int(tag) if tag.isascii() and tag.isdigit() else None


def _retry_after(answer: httpx2.Response) -> float:
    """Retry-After in seconds; 0 for a date, which Timewarden never sends."""
    value = answer.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else 0.0


def _encode_query(query: Mapping[str, Any] | None) -> dict[str, list[str]]:
    """The parameters of a query string, without those that are None. A list is repeated."""
    return {
        name: [_format(item) for item in (value if isinstance(value, list | tuple) else [value])]
        for name, value in (query or {}).items()
        if value is not None
    }


def _format(value: object) -> str:
    """A value in a query string."""
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, date) else str(value)
