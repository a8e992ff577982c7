"""Fetches an issuer's JWK Set over HTTP, within hard limits. Owns only its connections.

The address comes from configuration or from the issuer's own metadata, never from a token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from service.identity.issuer import is_safe_url
from service.identity.outbound import MAX_BYTES, NoAnswer, Outbound
from service.identity.strict_json import read_object

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx2

    from service.identity.issuer import Issuer

DEFAULT_MAX_AGE = 300.0
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age\s*=\s*\"?([0-9]{1,10})\"?\s*(?:,|$)", re.IGNORECASE)
_NO_CACHING = re.compile(r"(?:^|[\s,])no-(?:store|cache)\s*(?:,|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FetchedKeys:
    """The bytes of a JWK Set, and for how many seconds its server allows caching."""

    body: bytes
    max_age: float = DEFAULT_MAX_AGE


class KeySource(Protocol):
    """Where one issuer's keys come from."""

    async def fetch(self) -> FetchedKeys:
        """Fetch once. Raises NoAnswer, also for metadata that names no safe address."""

    async def close(self) -> None:
        """Close the connections."""


class HttpKeySource:
    """The source over HTTP. `timeout`: seconds for one document in total; `max_bytes`: its maximum size."""

    def __init__(
        self,
        issuer: Issuer,
        *,
        connect: Callable[[], httpx2.AsyncClient] | None = None,
        timeout: float = 3.0,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._issuer = issuer
        self._outbound = Outbound(connect=connect, timeout=timeout, max_bytes=max_bytes)

    async def fetch(self) -> FetchedKeys:
        """The issuer's JWK Set. Its address is discovered each time unless it is configured."""
        return await self._get(self._issuer.jwks_url or await self._discover())

    async def close(self) -> None:
        """Close the connections."""
        await self._outbound.close()

    async def _discover(self) -> str:
        """The `jwks_uri` of the first metadata document found (RFC 8414 section 3, OpenID Connect Discovery 4)."""
        failure = NoAnswer("no-metadata")
        for url in metadata_urls(self._issuer):
            try:
                document = await self._get(url)
            except NoAnswer as error:
                failure = error
                continue
            return self._jwks_uri(document.body, url)
        raise failure

    def _jwks_uri(self, body: bytes, source: str) -> str:
        try:
            metadata = read_object(body)
        except ValueError as error:
            raise NoAnswer("metadata-not-json") from error
        # RFC 8414 section 3.3: it must be identical, or a server could impersonate another issuer.
        if metadata.get("issuer") != self._issuer.issuer:
            raise NoAnswer("metadata-of-another-issuer")
        url = metadata.get("jwks_uri")
        if not isinstance(url, str) or not is_safe_url(url):
            raise NoAnswer("metadata-without-safe-jwks-uri")
        # Metadata read over https must not make us ask, over plain http, what listens on this machine.
        if urlsplit(source).scheme == "https" and urlsplit(url).scheme != "https":
            raise NoAnswer("metadata-without-safe-jwks-uri")
        return url

    async def _get(self, url: str) -> FetchedKeys:
        answer = await self._outbound.send("GET", url, {"Accept": "application/jwk-set+json, application/json"})
        return FetchedKeys(answer.body, _parse_max_age(answer.headers.get("cache-control", "")))


def metadata_urls(issuer: Issuer) -> tuple[str, ...]:
    """The possible URLs of the issuer's metadata: as configured, or RFC 8414 (path inserted), then OpenID Connect."""
    if issuer.discovery_url is not None:
        return (issuer.discovery_url,)
    parts = urlsplit(issuer.issuer)
    path = parts.path.rstrip("/")
    origin = f"{parts.scheme}://{parts.netloc}"
    return (
        f"{origin}/.well-known/oauth-authorization-server{path}",
        f"{origin}{path}/.well-known/openid-configuration",
    )


def _parse_max_age(cache_control: str) -> float:
    if _NO_CACHING.search(cache_control):
        return 0.0
    found = _MAX_AGE.search(cache_control)
    return float(found[1]) if found else DEFAULT_MAX_AGE
