"""Names and ids of the Redis stream, and the connection to Redis. Owns nothing.

One stream holds one epoch of the log. An entry's id is `<position + 1>-0`, because 0-0 is no valid id; its one field
`ce` holds a CloudEvent in JSON structured form (there is no CloudEvents binding for Redis).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

if TYPE_CHECKING:
    from uuid import UUID

FIELD = b"ce"

# The id of a stream to which nothing was ever added, and the position before the first.
NOTHING = "0-0"
BEFORE_ALL = -1


def open_redis(url: str, *, timeout: float = 5.0) -> Redis:
    """A client whose every command ends within `timeout` seconds and is never repeated behind our back.

    Raises ValueError for an unusable URL; connects on first use.
    """
    return Redis.from_url(
        url, socket_timeout=timeout, socket_connect_timeout=timeout, protocol=2, retry=Retry(NoBackoff(), 0)
    )


def stream_name(prefix: str, epoch: UUID) -> str:
    """The stream of one epoch of the log."""
    return f"{prefix}:{epoch}"


def id_of(position: int | None) -> str:
    """The id under which the event at a position is kept; NOTHING for no position."""
    return NOTHING if position is None or position == BEFORE_ALL else f"{position + 1}-0"


def position_of(stream_id: bytes | str) -> int:
    """The position that an id stands for; BEFORE_ALL for NOTHING. Raises ValueError for an id that is not ours."""
    text = stream_id.decode() if isinstance(stream_id, bytes) else stream_id
    number, _, rest = text.partition("-")
    if rest != "0" or not number.isdecimal():
        raise ValueError(f"{text} is no id of an event")
    return int(number) - 1
