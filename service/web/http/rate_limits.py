"""Rate limits: per person and client for those with a token, per address for everybody else. 429 beyond them.

Counters live in Redis, changed atomically there, so that workers and replicas share them; while Redis does not answer,
each process counts for itself, in a bounded number of counters. They are worth nothing beyond their minute, so nothing
here is durable.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections import OrderedDict
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any, Final, cast

import structlog
from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware

from service.errors import MalformedCredentials, NonceWanted, TooManyRequests, Unauthenticated
from service.identity.trusted_proxies import TrustedProxies

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from limits import RateLimitItem
    from litestar.types import ASGIApp, Receive, Scope, Send

    from service.authorization.enforcement.changes import Caller

log = structlog.get_logger("rate_limits")
WINDOW: Final = 60
# While Redis does not answer it is asked again after so many seconds, and is given so long to answer.
PAUSE: Final = 5.0
PATIENCE: Final = 0.5
PREFIX: Final = "timewarden:limits"
# Of one process, about 5 MB: whose counter was used least goes first, and begins anew.
MAX_LOCAL_COUNTERS: Final = 20_000
# Who asks these must get an answer whatever others do.
UNLIMITED: Final = frozenset({"/health/live", "/health/ready"})
# Whoever verifies the log reads a tile for every 256 records, and most of them once: they have a counter of their own,
# with room for so many times as much.
TILES: Final = "/v1/log/tile/{level}/{index}"
TILES_WEIGH: Final = 20


@dataclass(frozen=True, slots=True)
class Allowance:
    """Whether a request is within its limit, how much is left, and after how many seconds there is more."""

    allowed: bool
    remaining: int
    reset: int


class Counters:
    """The shared counters. Without a `redis_url` each process counts for itself."""

    def __init__(self, redis_url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._own = LocalCounters(clock)
        self._storage: RedisStorage | None = None
        self._failures: tuple[type[Exception], ...] = (OSError, TimeoutError)
        self._clock = clock
        self._down_until: float | None = None
        if redis_url:
            self._storage = RedisStorage(
                f"async+{redis_url}",
                implementation="redispy",
                key_prefix=PREFIX,
                socket_timeout=PATIENCE,
                socket_connect_timeout=PATIENCE,
            )
            self._shared = SlidingWindowCounterRateLimiter(self._storage)
            failures = self._storage.base_exceptions
            self._failures += failures if isinstance(failures, tuple) else (failures,)

    async def spend(self, limit: RateLimitItem, key: str, cost: int = 1) -> Allowance:
        """Count one request that weighs `cost`; a negative cost gives back. Never fails: without Redis the process's
        own counters answer."""
        if self._storage is None or (self._down_until is not None and self._clock() < self._down_until):
            return self._own.spend(limit, key, cost)
        try:
            spent = await _spend(self._shared, limit, key, cost)
        except self._failures as error:
            if self._down_until is None:
                log.warning(
                    "rate limits hold for each process alone: Redis does not answer", error=type(error).__name__
                )
            self._down_until = self._clock() + PAUSE
            return self._own.spend(limit, key, cost)
        if self._down_until is not None:
            self._down_until = None
            log.info("rate limits are shared again")
        return spent

    async def close(self) -> None:
        """Give Redis's connections back."""
        if self._storage is not None:
            await cast("Any", self._storage.bridge).storage.aclose()


class LocalCounters:
    """The counters of one process, in memory: the sliding window that Redis counts too. At most MAX_LOCAL_COUNTERS."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # The number of the minute, what was spent in it, and what in the minute before it.
        self._held: OrderedDict[str, tuple[int, int, int]] = OrderedDict()

    def spend(self, limit: RateLimitItem, key: str, cost: int) -> Allowance:
        """Count `cost` if it is within the limit; a negative cost gives back."""
        minute, into = divmod(self._clock(), WINDOW)
        counted, current, previous = self._held.pop(key, (int(minute), 0, 0))
        if counted != minute:
            current, previous = 0, current if counted == minute - 1 else 0
        used = int(previous * (WINDOW - into) / WINDOW) + current
        allowed = used + cost <= limit.amount
        spent = max(-current, cost) if allowed else 0
        self._held[key] = (int(minute), current + spent, previous)
        while len(self._held) > MAX_LOCAL_COUNTERS:
            self._held.popitem(last=False)
        return Allowance(allowed, max(0, limit.amount - used - spent), math.ceil(WINDOW - into))

    def __len__(self) -> int:
        return len(self._held)


class AddressLimits(ASGIMiddleware):
    """Counts requests without a valid token by address: `rate` a minute (0: any number), one whose credentials are
    refused weighing `weight`. It stands outside Authentication. Valid tokens never suffer from their neighbours.

    A token that only its issuer can judge weighs as much before the issuer is asked, and gets it back when it is good:
    an address beyond its limit, or an issuer that fails, does not make us ask on. Tokens whose answer is remembered,
    and those that were good before, are not counted.
    """

    scopes = (ScopeType.HTTP,)

    def __init__(
        self, counters: Counters, rate: int, *, weight: int, public: frozenset[str], proxies: Sequence[str]
    ) -> None:
        self._counters = counters
        self._limit = RateLimitItemPerMinute(rate) if rate else None
        self._tiles = RateLimitItemPerMinute(max(rate, 1) * TILES_WEIGH)
        self._weight = min(weight, rate)
        self._public = public
        self._address_of = Addresses(proxies)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        template = scope.get("path_template", "")
        if self._limit is None or template in UNLIMITED:
            await next_app(scope, receive, send)
            return
        if template == TILES:
            key = _key("tiles", self._address_of(scope))
            _told(scope, "tiles", self._tiles, await self._counters.spend(self._tiles, key))
            await next_app(scope, receive, send)
            return
        key = _key("address", self._address_of(scope))
        presented = any(name == b"authorization" for name, _ in scope["headers"])
        if template in self._public or scope["state"]["method"] == "OPTIONS" or not presented:
            _told(scope, "address", self._limit, await self._counters.spend(self._limit, key))
            await next_app(scope, receive, send)
            return
        state: dict[str, Any] = scope["state"]
        state["asking"] = lambda: self._asking(scope, key)
        try:
            await next_app(scope, receive, send)
        except (Unauthenticated, MalformedCredentials) as error:
            if state.get("counted"):
                raise
            # What the handler refuses was answered further inside; here arrive only credentials that do not hold. To
            # ask for a nonce is no failure (RFC 9449 section 8).
            weight = 1 if isinstance(error, NonceWanted) else self._weight
            _told(scope, "address", self._limit, await self._counters.spend(self._limit, key, weight))
            raise

    @asynccontextmanager
    async def _asking(self, scope: Scope, key: str) -> AsyncIterator[None]:
        """Around a question to an issuer. Raises TooManyRequests."""
        if self._limit is None:
            yield
            return
        state: dict[str, Any] = scope["state"]
        _told(scope, "address", self._limit, await self._counters.spend(self._limit, key, self._weight))
        state["counted"] = True
        yield
        await self._counters.spend(self._limit, key, -self._weight)
        state["counted"] = False


class ClientLimits(ASGIMiddleware):
    """Counts requests with a valid token by person and client: `rate` a minute (0: any number). It stands inside
    Authentication."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, counters: Counters, rate: int) -> None:
        self._counters = counters
        self._limit = RateLimitItemPerMinute(rate) if rate else None

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        state: dict[str, Any] = scope["state"]
        caller: Caller | None = state.get("caller")
        if self._limit is not None and caller is not None:
            one = caller.principal
            key = _key("client", one.issuer, one.client, str(one.person or ""))
            _told(scope, "client", self._limit, await self._counters.spend(self._limit, key))
        await next_app(scope, receive, send)


class Addresses:
    """The address that a request came from. `proxies`: addresses and networks whose X-Forwarded-For is believed.

    Raises Misconfigured for what is neither.
    """

    def __init__(self, proxies: Sequence[str]) -> None:
        self._proxies = TrustedProxies(proxies)

    def __call__(self, scope: Scope) -> str:
        """The peer; behind trusted proxies, the last address that none of them has. IPv6 by its /64, which one
        subscriber holds whole."""
        client = scope.get("client")
        found = client[0] if client else ""
        if found in self._proxies:
            for one in reversed(_forwarded(scope)):
                found = one
                if one not in self._proxies:
                    break
        return _network(found)


def _forwarded(scope: Scope) -> list[str]:
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return [_without_port(part.strip()) for part in ",".join(values).split(",") if part.strip()]


def _without_port(address: str) -> str:
    """Some proxies (Azure's among them) add the port: 203.0.113.9:4711, [2001:db8::1]:4711."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address


@lru_cache(maxsize=4_096)
def _network(address: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, IPv6Address):
        mapped = parsed.ipv4_mapped
        return str(mapped) if mapped else str(ip_network((parsed.packed[:8] + bytes(8), 64)))
    return str(parsed)


def _key(*parts: str) -> str:
    """A name for a counter that says nothing of whom it counts."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


async def _spend(limiter: SlidingWindowCounterRateLimiter, limit: RateLimitItem, key: str, cost: int) -> Allowance:
    allowed = await limiter.hit(limit, key, cost=cost)
    stats = await limiter.get_window_stats(limit, key)
    reset = min(max(math.ceil(stats.reset_time - time.time()), 0), WINDOW)
    return Allowance(allowed, stats.remaining, reset)


def _told(scope: Scope, name: str, limit: RateLimitItem, spent: Allowance) -> None:
    """Have the answer carry what is left (draft-ietf-httpapi-ratelimit-headers). Raises TooManyRequests."""
    state: dict[str, Any] = scope["state"]
    state["answer_headers"] = {
        "RateLimit-Policy": f'"{name}";q={limit.amount};w={WINDOW}',
        "RateLimit": f'"{name}";r={spent.remaining};t={spent.reset}',
    }
    if not spent.allowed:
        # Within a window that slides, room comes back a little after the window's end.
        raise TooManyRequests(max(1, spent.reset + 1))
