"""Name and ids of the Redis stream, and the connection to Redis. Owns no state.

A stream holds one epoch of the log. An entry has the id `<position + 1>-0`, because 0-0 is not a valid id. Its only
field, `ce`, holds a CloudEvent in JSON structured mode (there is no CloudEvents binding for Redis).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs, urlsplit

from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError

if TYPE_CHECKING:
    from uuid import UUID

FIELD = b"ce"
# The errors of redis-py. Some errors of its client of a Redis Cluster do not derive from RedisError.
CLIENT_ERRORS: tuple[type[Exception], ...] = (RedisError, RedisClusterException)
# The errors of a command that Redis does not answer, or refuses.
REDIS_ERRORS: tuple[type[Exception], ...] = (*CLIENT_ERRORS, OSError)

# The last id of a stream without entries, and the position before the first.
NO_ENTRY = "0-0"
BEFORE_ALL = -1


# URLs of one server, of the master that Sentinels name, and of a Redis Cluster; with an s after redis: over TLS.
SCHEMES = ("redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
SENTINEL_PORT, REDIS_PORT = 26379, 6379


class SentinelRedis(Redis):
    """A client of the master that Sentinels name; closes its connections to them too."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001 - redis-py's
        await super().aclose(close_connection_pool)
        await cast("Any", self.connection_pool).sentinel_manager.aclose()


def open_redis(url: str, *, timeout: float = 5.0) -> Redis:
    """A client whose commands end within `timeout` seconds and are never retried. It connects on first use. Raises
    ValueError for an unusable URL, which it never quotes.

    The client of a Redis Cluster has the same commands, and finds the node of each key.
    """
    check_redis_url(url)
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
    }
    scheme, _, kind = urlsplit(url).scheme.partition("+")
    if not kind:
        return Redis.from_url(url, **options)
    plain, nodes = _split_nodes(url, scheme, SENTINEL_PORT if kind == "sentinel" else REDIS_PORT)
    found = parse_url(plain)
    options |= {name: found[name] for name in ("username", "password") if name in found}
    options |= {"ssl": True} if scheme == "rediss" else {}
    if kind == "cluster":
        return cast("Redis", RedisCluster(startup_nodes=[ClusterNode(*node) for node in nodes], **options))
    service, _, database = urlsplit(url).path.strip("/").partition("/")
    word = parse_qs(urlsplit(url).query).get("sentinel_password", [None])[0]
    to_sentinels = {**options, "username": None, "password": word}
    sentinel = cast("Any", Sentinel)(nodes, sentinel_kwargs=to_sentinels, db=int(database or 0), **options)
    return cast("Redis", sentinel.master_for(service, redis_class=SentinelRedis))


def check_redis_url(url: str) -> None:
    """Raises ValueError, which quotes nothing, for a URL that `open_redis` cannot use."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ValueError("must begin with redis:// or rediss://, also with +sentinel or +cluster before the colon")
    kind = parts.scheme.partition("+")[2]
    path = parts.path.strip("/")
    if kind == "sentinel" and not re.fullmatch(r"[A-Za-z0-9._-]+(/[0-9]+)?", path):
        raise ValueError("must name the master that the Sentinels watch: redis+sentinel://host:26379/NAME")
    if kind == "cluster" and path not in {"", "0"}:
        raise ValueError("must name no database: a Redis Cluster has only the database 0")
    # A slash or number sign ends the hosts. What follows an @ before it would be looked up and named as a host.
    if "@" in parts.path + parts.fragment:
        raise ValueError("must have escapes before the @: %2F for a slash, %23 for a number sign")
    try:
        _split_nodes(url, "redis", REDIS_PORT)
    except ValueError:
        # Its message may quote a part of a password.
        raise ValueError("must name hosts with ports") from None
    if not kind:
        try:
            cast("Any", Redis.from_url(url)).connection_pool.make_connection()
        except (TypeError, ValueError):
            raise ValueError("must have only parameters that redis-py knows, with values that fit") from None


def _split_nodes(url: str, scheme: str, port: int) -> tuple[str, list[tuple[str, int]]]:
    """The URL with its first host only and without a path, and all its hosts with their ports."""
    user, at, hosts = urlsplit(url).netloc.rpartition("@")
    split = [urlsplit(f"{scheme}://{host}") for host in hosts.split(",")]
    nodes = [(part.hostname or "localhost", part.port or port) for part in split]
    return f"{scheme}://{user}{at}{split[0].netloc}", nodes


def stream_name(prefix: str, epoch: UUID) -> str:
    """The stream of one epoch of the log."""
    return f"{prefix}:{epoch}"


def id_of(position: int | None) -> str:
    """The entry id of the event at a position; NO_ENTRY for no position."""
    return NO_ENTRY if position is None or position == BEFORE_ALL else f"{position + 1}-0"


def position_of(stream_id: bytes | str) -> int:
    """The position of an entry id; BEFORE_ALL for NO_ENTRY. Raises ValueError for an id that no relay wrote."""
    text = stream_id.decode() if isinstance(stream_id, bytes) else stream_id
    number, _, rest = text.partition("-")
    if rest != "0" or not number.isdecimal():
        raise ValueError(f"{text} is not the id of an event")
    return int(number) - 1
