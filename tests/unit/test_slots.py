"""A request holds no slot while it waits for the turn of a file, for introspection or for an issuer's keys."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from service.errors import InvalidToken
from service.identity.issuer import Introspection
from service.identity.key_source import FetchedKeys
from service.identity.keys import KeySet
from service.identity.opaque_tokens import OpaqueTokens
from service.slots import HELD, slot_free
from service.web.http.admission import _RequestSlot
from service.web.http.admission_queue import AdmissionQueue
from service.web.uploads.upload_turns import UploadTurns
from tests.token_forge import good_jwks, issuer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Silent:
    """An issuer that answers only after `answers` is set."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()

    async def introspect(self, _token: bytes, /) -> dict[str, Any]:
        await self.answers.wait()
        return {"active": False}

    async def fetch(self) -> FetchedKeys:
        await self.answers.wait()
        return FetchedKeys(good_jwks())

    async def close(self) -> None:
        """Nothing is open."""


def start_request(queue: AdmissionQueue, work: Callable[[], Awaitable[object]]) -> asyncio.Task[object]:
    """Start a request that holds a slot and does `work`."""
    assert queue.try_acquire()

    async def request() -> object:
        HELD.set(_RequestSlot(queue))
        return await work()

    return asyncio.create_task(request())


async def wait_until_lent(queue: AdmissionQueue, count: int) -> None:
    async with asyncio.timeout(5):
        while queue.lent < count:  # noqa: ASYNC110 — for tasks of any kind
            await asyncio.sleep(0)


async def test_a_request_that_waits_for_an_issuer_holds_no_slot() -> None:
    queue, silent = AdmissionQueue(2, 1.0), Silent()
    asked = issuer(introspection=Introspection("https://issuer.example/introspect", "us", client_secret="secret"))
    opaque, keys = OpaqueTokens(asked, silent), KeySet(asked, silent)
    tasks = [
        start_request(queue, lambda: opaque.introspect(b"opaque")),
        start_request(queue, lambda: keys.find("unknown", "RS256")),
    ]
    await wait_until_lent(queue, 2)
    assert queue.working == 0
    silent.answers.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [InvalidToken, InvalidToken]
    assert (queue.working, queue.lent) == (2, 0)
    await opaque.close()
    await keys.close()


async def test_a_request_that_waits_for_the_turn_of_a_file_holds_no_slot() -> None:
    queue, turns, end = AdmissionQueue(2, 1.0), UploadTurns(1, each=1, timeout=5), asyncio.Event()

    async def upload() -> None:
        async with turns.take("client"):
            await end.wait()

    tasks = [start_request(queue, upload) for _ in range(2)]
    await wait_until_lent(queue, 1)
    assert queue.working == 1
    end.set()
    await asyncio.gather(*tasks)
    assert (queue.working, queue.lent) == (2, 0)


async def test_a_returning_request_gets_a_slot_before_new_requests() -> None:
    queue, arrived, order = AdmissionQueue(1, 1.0), asyncio.Event(), []

    async def slow() -> None:
        async with slot_free():
            await arrived.wait()
        order.append("came back")

    task = start_request(queue, slow)
    await wait_until_lent(queue, 1)
    assert queue.try_acquire()
    newcomer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    queue.wait("a", newcomer)
    arrived.set()
    await asyncio.sleep(0)
    assert order == []
    queue.release()
    await task
    assert (order, newcomer.done(), queue.working) == (["came back"], False, 1)


async def test_a_wait_within_the_grace_keeps_the_slot() -> None:
    queue = AdmissionQueue(1, 1.0)

    async def quick() -> None:
        async with slot_free(after=60):
            await asyncio.sleep(0)
            assert queue.working == 1

    await start_request(queue, quick)
    assert (queue.working, queue.lent) == (1, 0)


async def test_a_request_that_is_cancelled_while_its_slot_is_lent_leaves_nothing_behind() -> None:
    queue = AdmissionQueue(1, 1.0)
    assert queue.try_acquire()
    slot = _RequestSlot(queue)

    async def request() -> None:
        HELD.set(slot)
        try:
            async with slot_free():
                await asyncio.Event().wait()
        finally:
            slot.end()

    task = asyncio.create_task(request())
    await wait_until_lent(queue, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (queue.working, queue.lent) == (0, 0)


async def test_outside_any_request_there_is_nothing_to_lend() -> None:
    async with slot_free():
        assert HELD.get() is None
