"""Bounded HTTP requests to an authorization server: limited time and size, no redirects, no compression.

Owns its HTTP client. Every address comes from configuration or from the issuer's own metadata, never from a token.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx2

from service.identity.issuer import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_BYTES = 256 * 1024


class NoAnswer(Exception):
    """There was no usable answer; `failure` is a slug for logs and readiness."""

    def __init__(self, failure: str) -> None:
        super().__init__(failure)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class OutboundAnswer:
    """An answer with status 200. Header names are in lower case."""

    body: bytes
    headers: Mapping[str, str]


class Outbound:
    """Sends requests. `timeout`: seconds for one exchange in total; `max_bytes`: the maximum size of an answer."""

    def __init__(
        self,
        *,
        connect: Callable[[], httpx2.AsyncClient] | None = None,
        timeout: float = 3.0,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._connect = connect
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._client: httpx2.AsyncClient | None = None

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None = None
    ) -> OutboundAnswer:
        """Send one request. Raises NoAnswer for anything but a complete answer with status 200 within the limits."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._exchange(method, url, {**headers, "Accept-Encoding": "identity"}, form)
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise NoAnswer("timeout") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
            raise NoAnswer("unreachable") from error

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None
    ) -> OutboundAnswer:
        data = dict(form) if form is not None else None
        async with self._http(url).stream(method, url, headers=headers, data=data, follow_redirects=False) as answer:
            if answer.is_redirect:
                raise NoAnswer("redirected")
            if answer.status_code != httpx2.codes.OK:
                raise NoAnswer(f"status-{answer.status_code}")
            if answer.headers.get("content-encoding", "identity") != "identity":
                raise NoAnswer("compressed")
            body = bytearray()
            async for part in answer.aiter_raw():
                body += part
                if len(body) > self._max_bytes:
                    raise NoAnswer("too-large")
            return OutboundAnswer(bytes(body), {name.lower(): value for name, value in answer.headers.items()})

    def _http(self, url: str) -> httpx2.AsyncClient:
        if self._client is None:
            # The environment's proxies are not used for loopback.
            outside = not is_loopback(urlsplit(url).hostname or "")
            self._client = (
                self._connect() if self._connect else httpx2.AsyncClient(trust_env=outside, timeout=self._timeout)
            )
        return self._client
