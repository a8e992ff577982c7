"""Which proofs were used already: in Redis, shared by all replicas, so that a proof is good once and not once each.

Redis owns the state: digests that expire by themselves, nothing that must last. Without Redis nothing can be said.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Protocol

from redis.exceptions import RedisError

from service.errors import ReplayUnavailable

if TYPE_CHECKING:
    from redis.asyncio import Redis

LONGEST_SECONDS = 900


class FirstUse(Protocol):
    """Whether a proof is used for the first time; asked once a request, after all else was found good."""

    async def __call__(self, key: str, proof_id: str, seconds: float, /) -> bool: ...


class Replay:
    """`redis`: a client that repeats no command by itself, or its own repetition would look like a replay.

    `timeout`: seconds that an answer may take. `prefix`: of the keys in Redis.
    """

    def __init__(self, redis: Redis, *, timeout: float = 1.0, prefix: str = "timewarden:proof:") -> None:
        self._redis = redis
        self._timeout = timeout
        self._prefix = prefix

    async def first_use(self, key: str, proof_id: str, seconds: float) -> bool:
        """Whether the proof with this id, made with this key (a thumbprint), is seen for the first time within
        `seconds`. Raises ReplayUnavailable when Redis cannot say.
        """
        digest = hashlib.sha256(f"{key}\0{proof_id}".encode()).hexdigest()
        kept_for = min(max(int(seconds) + 1, 1), LONGEST_SECONDS)
        try:
            async with asyncio.timeout(self._timeout):
                return bool(await self._redis.set(self._prefix + digest, b"", nx=True, ex=kept_for))
        except (RedisError, OSError, TimeoutError) as error:
            raise ReplayUnavailable(cause=f"replay store: {type(error).__name__}") from error

    async def close(self) -> None:
        """Let go of the connections."""
        await self._redis.aclose()
