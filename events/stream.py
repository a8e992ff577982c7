"""Name and ids of the Redis stream, and the connection to Redis. Owns no state.

A stream holds one epoch of the log. An entry has the id `<position + 1>-0`, because 0-0 is not a valid id. Its only
field, `ce`, holds a CloudEvent in JSON structured mode (there is no CloudEvents binding for Redis).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from uuid import UUID

FIELD = b"ce"
# What a command raises when Redis does not answer, or refuses it.
REDIS_ERRORS: tuple[type[Exception], ...] = (RedisError, OSError)

# The last id of a stream without entries, and the position before the first.
NO_ENTRY = "0-0"
BEFORE_ALL = -1


def open_redis(url: str, *, timeout: float = 5.0) -> Redis:
    """A client whose commands end within `timeout` seconds and are never retried. It connects on first use. Raises
    ValueError for an unusable URL."""
    return Redis.from_url(
        url, socket_timeout=timeout, socket_connect_timeout=timeout, protocol=2, retry=Retry(NoBackoff(), 0)
    )


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
