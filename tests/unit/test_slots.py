"""Who waits for others holds no slot: a file's turn, an issuer's word on a token, an issuer's keys."""

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
    """An issuer that says nothing for a while."""

    def __init__(self) -> None:
        self.speaks = asyncio.Event()

    async def ask(self, _token: bytes, /) -> dict[str, Any]:
        await self.speaks.wait()
        return {"active": False}

    async def fetch(self) -> FetchedKeys:
        await self.speaks.wait()
        return FetchedKeys(good_jwks())

    async def close(self) -> None:
        """Nothing is open."""


def worked_on(room: AdmissionQueue, work: Callable[[], Awaitable[object]]) -> asyncio.Task[object]:
    """A request that holds a slot and does this."""
    assert room.enter()

    async def request() -> object:
        HELD.set(_RequestSlot(room))
        return await work()

    return asyncio.create_task(request())


async def until_lent(room: AdmissionQueue, count: int) -> None:
    async with asyncio.timeout(5):
        while room.lent < count:  # noqa: ASYNC110 — for tasks of any kind
            await asyncio.sleep(0)


async def test_who_waits_for_the_issuer_s_word_or_keys_holds_no_slot() -> None:
    room, silent = AdmissionQueue(2, 1.0), Silent()
    asked = issuer(introspection=Introspection("https://issuer.example/introspect", "us", client_secret="secret"))
    opaque, keys = OpaqueTokens(asked, silent), KeySet(asked, silent)
    tasks = [worked_on(room, lambda: opaque.judge(b"opaque")), worked_on(room, lambda: keys.find("unknown", "RS256"))]
    await until_lent(room, 2)
    assert room.working == 0
    silent.speaks.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [InvalidToken, InvalidToken]
    assert (room.working, room.lent) == (2, 0)
    await opaque.close()
    await keys.close()


async def test_who_waits_for_the_turn_of_a_file_holds_no_slot() -> None:
    room, turns, end = AdmissionQueue(2, 1.0), UploadTurns(1, each=1, timeout=5), asyncio.Event()

    async def upload() -> None:
        async with turns.one("client"):
            await end.wait()

    tasks = [worked_on(room, upload) for _ in range(2)]
    await until_lent(room, 1)
    assert room.working == 1
    end.set()
    await asyncio.gather(*tasks)
    assert (room.working, room.lent) == (2, 0)


async def test_who_comes_back_waits_for_a_slot_and_gets_it_before_newcomers() -> None:
    room, arrived, order = AdmissionQueue(1, 1.0), asyncio.Event(), []

    async def slow() -> None:
        async with slot_free():
            await arrived.wait()
        order.append("came back")

    task = worked_on(room, slow)
    await until_lent(room, 1)
    assert room.enter()
    newcomer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    room.wait("a", newcomer)
    arrived.set()
    await asyncio.sleep(0)
    assert order == []
    room.leave()
    await task
    assert (order, newcomer.done(), room.working) == (["came back"], False, 1)


async def test_what_comes_within_its_grace_keeps_its_slot() -> None:
    room = AdmissionQueue(1, 1.0)

    async def quick() -> None:
        async with slot_free(after=60):
            await asyncio.sleep(0)
            assert room.working == 1

    await worked_on(room, quick)
    assert (room.working, room.lent) == (1, 0)


async def test_a_request_that_is_cancelled_while_it_waits_for_others_leaves_nothing_behind() -> None:
    room = AdmissionQueue(1, 1.0)
    assert room.enter()
    slot = _RequestSlot(room)

    async def request() -> None:
        HELD.set(slot)
        try:
            async with slot_free():
                await asyncio.Event().wait()
        finally:
            slot.end()

    task = asyncio.create_task(request())
    await until_lent(room, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (room.working, room.lent) == (0, 0)


async def test_outside_any_request_there_is_nothing_to_lend() -> None:
    async with slot_free():
        assert HELD.get() is None
