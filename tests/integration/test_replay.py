"""A proof is good once for all replicas together, in a real Redis, and without one nobody guesses."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from events.stream import open_redis
from service.development.local_servers import start_redis
from service.errors import InvalidProof, ReplayStoreUnavailable
from service.identity.credentials import RequestCredentials
from service.identity.dpop import Proofs
from service.identity.nonces import Nonces
from service.identity.used_proofs import MAX_STORED_SECONDS, UsedProofs
from tests.dpop_forge import proof_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

URL = "https://api.example/v1/timesheets"
TOKEN = b"an.access.token"
KEY = proof_key()


@asynccontextmanager
async def replica(url: str) -> AsyncIterator[UsedProofs]:
    """The store of one process, with connections of its own."""
    store = UsedProofs(open_redis(url, timeout=1.0))
    try:
        yield store
    finally:
        await store.close()


def proofs(store: UsedProofs) -> Proofs:
    return Proofs(store.add, Nonces("s" * 32), algorithms=["ES256"])


def request(proof: bytes) -> RequestCredentials:
    return RequestCredentials((), (proof,), "GET", URL)


async def test_a_proof_that_one_replica_took_is_a_replay_at_the_other(redis_url: str) -> None:
    async with replica(redis_url) as first, replica(redis_url) as two:
        proof = KEY.proof("GET", URL, TOKEN)
        await proofs(first).check(request(proof), TOKEN, KEY.thumbprint)
        for store in (two, first):
            with pytest.raises(InvalidProof, match="used before"):
                await proofs(store).check(request(proof), TOKEN, KEY.thumbprint)
        await proofs(two).check(request(KEY.proof("GET", URL, TOKEN)), TOKEN, KEY.thumbprint)


async def test_of_many_uses_at_the_same_moment_one_is_the_first(redis_url: str) -> None:
    async with replica(redis_url) as first, replica(redis_url) as two:
        uses = [store.add(KEY.thumbprint, "proof-1", 60) for _ in range(25) for store in (first, two)]
        assert sorted(await asyncio.gather(*uses)) == [False] * 49 + [True]


async def test_only_digests_are_kept_and_each_for_a_bounded_time(redis_url: str) -> None:
    async with replica(redis_url) as store:
        assert await store.add("thumbprint", "secret-proof-id", 120.5)
        assert await store.add("thumbprint", "forever", 1e9)
        assert await store.add("thumbprint", "at once", -5)
        redis = open_redis(redis_url)
        keys = [key.decode() async for key in redis.scan_iter()]
        lives = sorted([await redis.ttl(key) for key in keys])
        digest = hashlib.sha256(b"thumbprint\0at once").hexdigest()
        shortest = await redis.ttl(f"timewarden:proof:{digest}")
        values = {await redis.get(key) for key in keys}
        await redis.aclose()
    assert all(key.startswith("timewarden:proof:") and len(key) == len("timewarden:proof:") + 64 for key in keys)
    assert not any(word in key for key in keys for word in ("thumbprint", "secret", "forever"))
    assert values <= {b"", None}
    # On a busy machine some seconds have passed, and the shortest life may be over: Redis then says -2. A key that
    # never expires would be -1.
    assert MAX_STORED_SECONDS - 5 <= lives[-1] <= MAX_STORED_SECONDS
    assert 115 <= lives[-2] <= 121
    assert shortest in {-2, 0, 1}


async def test_a_used_proof_is_dropped_when_it_could_not_be_accepted_any_more(redis_url: str) -> None:
    async with replica(redis_url) as store:
        assert await store.add("thumbprint", "short", 0)
        assert not await store.add("thumbprint", "short", 0)
        await asyncio.sleep(1.2)
        assert await store.add("thumbprint", "short", 0)


async def test_no_proof_is_checked_while_redis_is_down_and_all_are_afterwards(tmp_path: Path) -> None:
    redis = start_redis(tmp_path, preferred_port=0)
    port = redis.port
    async with replica(redis.url) as store:
        assert await store.add("thumbprint", "before", 60)
        redis.kill()
        for _ in range(3):
            with pytest.raises(ReplayStoreUnavailable):
                await store.add("thumbprint", "meanwhile", 60)
        with start_redis(tmp_path, preferred_port=port) as again:
            assert again.port == port
            assert await store.add("thumbprint", "meanwhile", 60)
            assert not await store.add("thumbprint", "meanwhile", 60)


async def test_a_redis_that_hangs_is_given_up_while_it_hangs(tmp_path: Path) -> None:
    with start_redis(tmp_path, preferred_port=0) as redis:
        async with replica(redis.url) as store:
            assert await store.add("thumbprint", "before", 60)
            os.kill(redis.pid, signal.SIGSTOP)
            try:
                with pytest.raises(ReplayStoreUnavailable):
                    await store.add("thumbprint", "meanwhile", 60)
            finally:
                os.kill(redis.pid, signal.SIGCONT)


async def test_a_redis_without_room_takes_no_proof(tmp_path: Path) -> None:
    with start_redis(tmp_path, preferred_port=0) as redis:
        async with replica(redis.url) as store:
            redis.ask("CONFIG SET maxmemory-policy noeviction", "CONFIG SET maxmemory 1")
            with pytest.raises(ReplayStoreUnavailable) as caught:
                await store.add("thumbprint", "one", 60)
            assert "thumbprint" not in str(caught.value.cause)
