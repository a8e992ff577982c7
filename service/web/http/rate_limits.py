"""Rate limits: per person and client with a valid token, per address otherwise. 429 beyond them.

Counters live in Redis, which changes them atomically, so workers and replicas share them. While Redis does not answer,
each process counts for itself, in a bounded number of counters. A counter matters for a minute, so nothing is durable.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import time
from collections import OrderedDict
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware

from events.redis_errors import name_error
from events.stream import REDIS_ERRORS, open_redis
from service import metrics
from service.batches import Batches
from service.errors import MalformedCredentials, NonceRequired, TooManyRequests, Unauthenticated
from service.identity.trusted_proxies import TrustedProxies
from service.web.http.request_headers import headers_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from litestar.types import ASGIApp, Receive, Scope, Send

    from service.authorization.enforcement.changes import Caller

log = structlog.get_logger("rate_limits")
WINDOW_SECONDS: Final = 60
# When Redis does not answer within the timeout, it is tried again after the pause.
RETRY_PAUSE_SECONDS: Final = 5.0
REDIS_TIMEOUT_SECONDS: Final = 0.5
# The braces keep all counters on one node of a Redis Cluster: one script counts many of them.
PREFIX: Final = "{timewarden:limits}:"
# A script holds up Redis while it runs; so many counters take it less than a millisecond.
MAX_COUNTERS_PER_SCRIPT: Final = 100
# About 5 MB in a process. The least recently used counter is dropped first, and starts at zero.
MAX_LOCAL_COUNTERS: Final = 20_000
# Health checks must be answered under any load.
UNLIMITED: Final = frozenset({"/health/live", "/health/ready"})
# A verifier of the log reads one tile for every 256 records, so tiles have a counter of their own with a higher limit.
TILES: Final = "/v1/log/tile/{level}/{index}"
TILE_LIMIT_FACTOR: Final = 20

# Counts requests as `LocalCounters` does. KEYS are counters; ARGV holds the window in milliseconds, then the limit and
# the cost of each. Returns for each whether it was within its limit, what remains, and how many milliseconds of the
# window are left.
SPEND: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local window = tonumber(ARGV[1])
local found = {}
for place, key in ipairs(KEYS) do
    local limit, cost = tonumber(ARGV[2 * place]), tonumber(ARGV[2 * place + 1])
    local counter = redis.call('HMGET', key, 'begun', 'current', 'previous')
    local begun, current, previous = tonumber(counter[1]) or now, tonumber(counter[2]) or 0, tonumber(counter[3]) or 0
    if now < begun or now >= begun + 2 * window then
        begun, current, previous = now, 0, 0
    elseif now >= begun + window then
        begun, current, previous = begun + window, 0, current
    end
    local left = begun + window - now
    local used = math.floor(previous * left / window) + current
    local allowed, spent = used + cost <= limit, 0
    if allowed then
        spent = math.max(-current, cost)
        redis.call('HSET', key, 'begun', begun, 'current', current + spent, 'previous', previous)
        redis.call('PEXPIREAT', key, begun + 2 * window)
    end
    found[#found + 1] = {allowed and 1 or 0, math.max(0, limit - used - spent), left}
end
return found
"""


@dataclass(frozen=True, slots=True)
class Allowance:
    """Whether a request is within its limit, how many requests remain, and in how many seconds the window resets."""

    allowed: bool
    remaining: int
    reset: int


class Spending(NamedTuple):
    """A request of weight `cost` against the counter `key`, which may count `limit` a minute."""

    key: str
    limit: int
    cost: int


class Counters:
    """Counters that processes share in Redis. Without a `redis_url` each process counts for itself."""

    def __init__(self, redis_url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._local = LocalCounters(clock)
        self._shared = SharedCounters(redis_url) if redis_url else None
        self._clock = clock
        self._down_until: float | None = None
        # When Redis was asked last, and the question that no request asked.
        self._asked_at = -math.inf
        self._question: asyncio.Task[Allowance] | None = None

    async def spend(self, limit: int, key: str, cost: int = 1) -> Allowance:
        """Count a request of weight `cost`; a negative cost is a refund. Never fails: without Redis the counters of the
        process are used."""
        if self._shared is None or (self._down_until is not None and self._clock() < self._down_until):
            return self._local.spend(limit, key, cost)
        self._asked_at = self._clock()
        try:
            spent = await self._shared.spend(Spending(key, limit, cost))
        except REDIS_ERRORS as error:
            if self._down_until is None:
                log.warning(
                    "rate limits hold for each process alone: Redis does not answer or refuses", error=name_error(error)
                )
            self._down_until = self._clock() + RETRY_PAUSE_SECONDS
            return self._local.spend(limit, key, cost)
        if self._down_until is not None:
            self._down_until = None
            log.info("rate limits are shared again")
        return spent

    def measure(self) -> None:
        """Say whether processes share the counters; nothing if they are not meant to. If no request has asked Redis
        lately, ask for nothing, so that the next measure says how it is."""
        if self._shared is None:
            return
        metrics.LIMITS_SHARED.set(self._down_until is None)
        if self._clock() - self._asked_at >= RETRY_PAUSE_SECONDS and (self._question is None or self._question.done()):
            self._question = asyncio.create_task(self.spend(1, "nobody", cost=0), name="rate limits")

    async def close(self) -> None:
        """Close the connections to Redis."""
        if self._question is not None:
            self._question.cancel()
            await asyncio.gather(self._question, return_exceptions=True)
        if self._shared is not None:
            await self._shared.close()


class SharedCounters:
    """Counters in Redis. One script runs at a time; requests that come meanwhile are counted together by the next, so
    a round trip is shared where there are many."""

    def __init__(self, redis_url: str) -> None:
        self._redis = open_redis(redis_url, timeout=REDIS_TIMEOUT_SECONDS)
        self._script = self._redis.register_script(SPEND)
        self._batches: Batches[Spending, Allowance] = Batches(self._count, size=MAX_COUNTERS_PER_SCRIPT)

    async def spend(self, spending: Spending) -> Allowance:
        """Count a request. Raises one of REDIS_ERRORS within two timeouts if Redis does not answer."""
        return await self._batches.ask(spending)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _count(self, batch: Sequence[Spending]) -> Sequence[Allowance | Exception]:
        numbers = [number for spending in batch for number in (spending.limit, spending.cost)]
        try:
            rows = await self._script(
                keys=[PREFIX + spending.key for spending in batch], args=[WINDOW_SECONDS * 1000, *numbers]
            )
        except REDIS_ERRORS as error:
            # All that wait count for themselves now, instead of one batch after the other.
            self._batches.fail_waiting(error)
            return [error] * len(batch)
        return [Allowance(bool(allowed), remaining, math.ceil(left / 1000)) for allowed, remaining, left in rows]


class LocalCounters:
    """Counters of one process, in memory, with the same sliding window as in Redis: a counter's window begins with its
    first request, and what was spent in the window before counts for the part of it that a minute still covers. At most
    MAX_LOCAL_COUNTERS."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # When the window began, what was spent in it, and what was spent in the window before.
        self._counters: OrderedDict[str, tuple[float, int, int]] = OrderedDict()

    def spend(self, limit: int, key: str, cost: int) -> Allowance:
        """Count `cost` if it is within the limit; a negative cost is a refund."""
        now = self._clock()
        begun, current, previous = self._counters.pop(key, (now, 0, 0))
        if now >= begun + 2 * WINDOW_SECONDS:
            begun, current, previous = now, 0, 0
        elif now >= begun + WINDOW_SECONDS:
            begun, current, previous = begun + WINDOW_SECONDS, 0, current
        left = begun + WINDOW_SECONDS - now
        used = int(previous * left / WINDOW_SECONDS) + current
        allowed = used + cost <= limit
        spent = max(-current, cost) if allowed else 0
        self._counters[key] = (begun, current + spent, previous)
        while len(self._counters) > MAX_LOCAL_COUNTERS:
            self._counters.popitem(last=False)
        return Allowance(allowed, max(0, limit - used - spent), math.ceil(left))

    def __len__(self) -> int:
        return len(self._counters)


class AddressLimits(ASGIMiddleware):
    """Limits requests without a valid token to `rate` a minute for each address (0: no limit). It stands outside
    Authentication, so requests with valid tokens never suffer from other callers at their address.

    `is_public` says whether a route, by its path, checks no token. A request with refused credentials counts as
    `weight` requests. A token that needs introspection is charged `weight` before its issuer is asked, and refunded if
    it is valid, so that an address beyond its limit cannot cause introspections. Tokens with a cached answer are not
    charged.
    """

    scopes = (ScopeType.HTTP,)

    def __init__(
        self, counters: Counters, rate: int, *, weight: int, is_public: Callable[[str], bool], address_of: Addresses
    ) -> None:
        self._counters = counters
        self._limit = rate or None
        self._tiles = max(rate, 1) * TILE_LIMIT_FACTOR
        self._weight = min(weight, rate)
        self._is_public = is_public
        self._address_of = address_of

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        template = scope.get("path_template", "")
        if self._limit is None or template in UNLIMITED:
            await next_app(scope, receive, send)
            return
        if template == TILES:
            key = _counter_key("tiles", self._address_of(scope))
            _apply_limit(scope, "tiles", self._tiles, await self._counters.spend(self._tiles, key))
            await next_app(scope, receive, send)
            return
        key = _counter_key("address", self._address_of(scope))
        presented = b"authorization" in headers_of(scope)
        # Nobody checks a token of a request that has no route.
        if not (template and presented) or self._is_public(template) or scope["state"]["method"] == "OPTIONS":
            _apply_limit(scope, "address", self._limit, await self._counters.spend(self._limit, key))
            await next_app(scope, receive, send)
            return
        state: dict[str, Any] = scope["state"]
        state["charge_introspection"] = lambda: self._charge_introspection(scope, key)
        try:
            await next_app(scope, receive, send)
        except (Unauthenticated, MalformedCredentials) as error:
            if state.get("counted"):
                raise
            # Other refusals are answered further inside, so only invalid credentials arrive here. A required nonce is
            # no failure (RFC 9449 section 8).
            weight = 1 if isinstance(error, NonceRequired) else self._weight
            _apply_limit(scope, "address", self._limit, await self._counters.spend(self._limit, key, weight))
            raise

    @asynccontextmanager
    async def _charge_introspection(self, scope: Scope, key: str) -> AsyncIterator[None]:
        """Charge the address for one introspection, and refund it if the block succeeds. Raises TooManyRequests."""
        if self._limit is None:
            yield
            return
        state: dict[str, Any] = scope["state"]
        _apply_limit(scope, "address", self._limit, await self._counters.spend(self._limit, key, self._weight))
        state["counted"] = True
        yield
        await self._counters.spend(self._limit, key, -self._weight)
        state["counted"] = False


class ClientLimits(ASGIMiddleware):
    """Limits requests with a valid token to `rate` a minute for each person and client. It stands inside
    Authentication."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, counters: Counters, rate: int) -> None:
        self._counters = counters
        self._limit = rate

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        state: dict[str, Any] = scope["state"]
        caller: Caller | None = state.get("caller")
        if caller is not None:
            principal = caller.principal
            key = _counter_key("client", principal.issuer, principal.client, str(principal.person or ""))
            _apply_limit(scope, "client", self._limit, await self._counters.spend(self._limit, key))
        await next_app(scope, receive, send)


class Addresses:
    """Finds the address that a request came from. `proxies`: addresses and networks whose X-Forwarded-For is trusted.

    Raises Misconfigured if one of them is neither.
    """

    def __init__(self, proxies: Sequence[str]) -> None:
        self._proxies = TrustedProxies(proxies)

    def __call__(self, scope: Scope) -> str:
        """The peer's address; behind trusted proxies, the last forwarded address that is not a proxy. IPv6 addresses
        count by their /64 network, because one subscriber has all of it."""
        client = scope.get("client")
        found = client[0] if client else ""
        if found in self._proxies:
            for address in reversed(_forwarded_addresses(scope)):
                found = address
                if address not in self._proxies:
                    break
        return _subscriber_network(found)


def _forwarded_addresses(scope: Scope) -> list[str]:
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return [_strip_port(part.strip()) for part in ",".join(values).split(",") if part.strip()]


def _strip_port(address: str) -> str:
    """Remove the port that some proxies add, such as Azure's: 203.0.113.9:4711, [2001:db8::1]:4711."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0] if address.count(":") == 1 else address


@lru_cache(maxsize=4_096)
def _subscriber_network(address: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, IPv6Address):
        mapped = parsed.ipv4_mapped
        return str(mapped) if mapped else str(ip_network((parsed.packed[:8] + bytes(8), 64)))
    return str(parsed)


@lru_cache(maxsize=4_096)
def _counter_key(*parts: str) -> str:
    """A name for a counter that does not reveal whom it counts."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _apply_limit(scope: Scope, name: str, limit: int, spent: Allowance) -> None:
    """Add the rate limit headers to the answer (draft-ietf-httpapi-ratelimit-headers). Raises TooManyRequests."""
    state: dict[str, Any] = scope["state"]
    state["answer_headers"] = {
        "RateLimit-Policy": f'"{name}";q={limit};w={WINDOW_SECONDS}',
        "RateLimit": f'"{name}";r={spent.remaining};t={spent.reset}',
    }
    if not spent.allowed:
        metrics.RATE_LIMITED.add((name,))
        # In a sliding window there is room again a little after the window's end.
        raise TooManyRequests(max(1, spent.reset + 1))
