"""Stores used DPoP proofs in Redis, shared by all replicas, so that a proof can be used only once.

Redis owns the state: digests that expire by themselves, nothing durable. Without Redis no proof can be checked.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Protocol

from events.stream import REDIS_ERRORS
from service.errors import ReplayStoreUnavailable

if TYPE_CHECKING:
    from redis.asyncio import Redis


MAX_STORED_SECONDS = 900
ANSWER_SECONDS = 1.0
PREFIX = "timewarden:proof:"


class AddProof(Protocol):
    """Stores a proof and returns whether it is new. Called once a request, after all other checks."""

    async def __call__(self, key: str, proof_id: str, seconds: float, /) -> bool: ...


class UsedProofs:
    """`redis`: a client without automatic retries, because a repeated command would look like a replayed proof."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def add(self, key: str, proof_id: str, seconds: float) -> bool:
        """Store the proof with this id and key (a thumbprint) for `seconds`. Returns whether it is new. Raises
        ReplayStoreUnavailable if Redis does not answer.
        """
        digest = hashlib.sha256(f"{key}\0{proof_id}".encode()).hexdigest()
        kept_for = min(max(int(seconds) + 1, 1), MAX_STORED_SECONDS)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return bool(await self._redis.set(PREFIX + digest, b"", nx=True, ex=kept_for))
        except REDIS_ERRORS as error:
            raise ReplayStoreUnavailable(cause=f"replay store: {type(error).__name__}") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
