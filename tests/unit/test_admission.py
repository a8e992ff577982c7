"""Refusing a flood: what the server's thread may refuse before the event loop looks at a request, and slow bodies."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, cast

import pytest

from service.slots import slot_free
from service.web.http.admission import CHECK_SECONDS, MAX_BODIES_ARRIVING, MAX_CHANGES_PER_CONNECTION, Admission
from service.web.http.incoming_body import MAX_DISCARD_SECONDS, MAX_SMALL_BODY_BYTES
from service.web.http.unread_bodies import UnreadBodies

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from litestar.types import Send

    from service.web.http.requests import RequestFrame


class Endless:
    """An application whose database never answers. Its lifespan lasts until `end`."""

    always: tuple[tuple[bytes, bytes], ...] = ((b"cache-control", b"no-store"),)

    def __init__(self) -> None:
        self.end = asyncio.Event()

    async def __call__(self, *_: object) -> None:
        await self.end.wait()


class Answering(Endless):
    """An application that answers at once."""

    async def __call__(self, *given: object) -> None:
        send = cast("Send", given[2])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"etag", b"1")]})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def change(path: str = "/v1/me", *headers: tuple[bytes, bytes]) -> Any:
    return {"type": "http", "path": path, "method": "POST", "headers": list(headers), "client": ("a", 1)}


async def receive() -> Any:
    raise AssertionError("there is no body")


def none_arrives() -> Any:
    raise AssertionError("there is no body")


@asynccontextmanager
async def overloaded() -> AsyncIterator[tuple[Admission, list[Any]]]:
    """An application that refuses further changes, and the messages that `refuse_early` sent."""
    frame = Endless()
    admission = Admission(cast("RequestFrame", frame), max_wait=60, connections=1, address_of=lambda _: "a")
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    lifespan: Any = {"type": "lifespan"}
    tasks = [asyncio.ensure_future(admission(lifespan, receive, send))]
    tasks += [asyncio.ensure_future(admission(change(), receive, send)) for _ in range(MAX_CHANGES_PER_CONNECTION)]
    await asyncio.sleep(0)
    admission._changes.lag = 61
    yield admission, sent
    frame.end.set()
    await asyncio.gather(*tasks)


async def test_a_request_that_would_be_refused_is_refused_before_the_event_loop_looks_at_it() -> None:
    async with overloaded() as (admission, sent):
        assert admission.refuse_early(change(), sent.append, none_arrives)
        assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
        assert sent[0]["status"] == 503
        assert dict(sent[0]["headers"])[b"content-length"] == str(len(sent[1]["body"])).encode()
        assert admission.load() == (MAX_CHANGES_PER_CONNECTION, 0, 1)


@pytest.mark.parametrize(
    "scope",
    [
        change("/health/live"),
        change("/.well-known/oauth-protected-resource/timesheets"),
        change("/v1/me", (b"content-length", str(MAX_SMALL_BODY_BYTES + 1).encode())),
        change("/v1/me", (b"content-length", b"2"), (b"expect", b"100-continue")),
        change("/v1/me", (b"transfer-encoding", b"chunked")),
        {**change(), "method": "GET"},
    ],
    ids=["health", "metadata", "a large body", "a body that waits", "a chunked body", "a read"],
)
async def test_the_event_loop_looks_at_what_is_exempt_has_no_small_body_or_has_room(scope: Any) -> None:
    async with overloaded() as (admission, sent):
        assert not admission.refuse_early(scope, sent.append, none_arrives)
        assert sent == []


class Part:
    """A part of a body that arrives when it is set."""

    def __init__(self) -> None:
        self.message: dict[str, Any] = {}
        self.cancelled = False

    def done(self) -> bool:
        return bool(self.message)

    def result(self) -> dict[str, Any]:
        return self.message

    def cancel(self) -> None:
        self.cancelled = True


async def test_a_small_body_of_a_refused_request_is_read_to_its_end() -> None:
    async with overloaded() as (admission, sent):
        parts: list[Part] = []

        def receive_part() -> Part:
            parts.append(Part())
            return parts[-1]

        assert admission.refuse_early(change("/v1/me", (b"content-length", b"100")), sent.append, receive_part)
        assert (sent[0]["status"], len(parts)) == (503, 1)
        parts[0].message = {"type": "http.request", "body": b" " * 60, "more_body": True}
        await asyncio.sleep(3 * CHECK_SECONDS)
        assert len(parts) == 2
        parts[1].message = {"type": "http.request", "body": b" " * 40, "more_body": True}
        await asyncio.sleep(3 * CHECK_SECONDS)
        assert (len(parts), admission._unread.waiting) == (2, 0)


def test_a_body_that_does_not_arrive_is_ended_after_a_while() -> None:
    now = 0.0
    part = Part()
    bodies = UnreadBodies(clock=lambda: now)
    bodies.discard(lambda: part, 10)
    bodies.read_on()
    assert (bodies.waiting, part.cancelled) == (1, False)
    now = MAX_DISCARD_SECONDS
    bodies.read_on()
    assert (bodies.waiting, part.cancelled) == (0, True)


async def test_requests_of_the_other_queue_do_not_count_as_ahead() -> None:
    read: Any = {**change(), "method": "GET"}
    async with overloaded() as (admission, sent):
        admission._changes.lag = 0.0
        admission._changes._turn_seconds = 30.0
        admission._changes._refused_at = float("-inf")
        assert not any(admission.refuse_early(read, sent.append, none_arrives) for _ in range(9))
        assert not admission.refuse_early(change(), sent.append, none_arrives)


async def test_requests_that_the_event_loop_has_not_begun_count_as_ahead() -> None:
    async with overloaded() as (admission, sent):
        admission._changes.lag = 0.0
        admission._changes._turn_seconds = 1.0
        admission._changes._refused_at = float("-inf")
        fates = [admission.refuse_early(change(), sent.append, none_arrives) for _ in range(100)]
        assert fates == [False] * 60 + [True] * 40


async def test_a_request_that_passed_and_never_begins_does_not_count_as_ahead_for_long() -> None:
    async with overloaded() as (admission, sent):
        admission._changes.lag = 0.0
        admission._changes._turn_seconds = 30.0
        assert [admission.refuse_early(change(), sent.append, none_arrives) for _ in range(3)] == [False, False, True]
        await asyncio.sleep(3 * CHECK_SECONDS)
        admission._changes._refused_at = float("-inf")
        assert not admission.refuse_early(change(), sent.append, none_arrives)


async def test_nothing_is_refused_early_before_the_start_and_after_the_end() -> None:
    async with overloaded() as (admission, sent):
        pass
    assert not admission.refuse_early(change(), sent.append, none_arrives)
    assert sent == []


class Trickle(Endless):
    """An application whose callers never finish sending their bodies."""

    async def __call__(self, *_: object) -> None:
        async with slot_free():
            await asyncio.Event().wait()


async def test_slow_bodies_from_one_address_leave_room_for_other_addresses() -> None:
    admission = Admission(
        cast("RequestFrame", Trickle()),
        max_wait=60,
        connections=1,
        address_of=lambda scope: cast("Any", scope)["client"][0],
    )
    refused: list[str] = []
    ports = count()

    async def send_slowly(address: str) -> None:
        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                refused.append(address)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        scope = {**change("/v1/uploads", (b"content-length", b"100")), "client": (address, next(ports))}
        await admission(cast("Any", scope), receive, send)

    tasks = []
    for address in ("a", "b"):
        tasks += [asyncio.ensure_future(send_slowly(address)) for _ in range(MAX_BODIES_ARRIVING)]
        for _ in range(MAX_BODIES_ARRIVING):
            await asyncio.sleep(0)
    # The first address takes half, the second half of the rest.
    assert refused.count("a") == MAX_BODIES_ARRIVING // 2
    assert refused.count("b") == MAX_BODIES_ARRIVING * 3 // 4
    refused.clear()
    tasks.append(asyncio.ensure_future(send_slowly("c")))
    for _ in range(20):
        await asyncio.sleep(0)
    assert refused == []
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    # A cancelled request leaves nothing behind.
    assert [(queue.lent, queue.working) for queue in (admission._reads, admission._changes)] == [(0, 0)] * 2


async def test_before_the_process_stops_every_answer_closes_its_connection() -> None:
    admission = Admission(cast("RequestFrame", Answering()), max_wait=60, connections=1, address_of=lambda _: "a")
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await admission(change(), receive, send)
    admission.close_connections()
    await admission(change(), receive, send)
    assert [message["headers"] for message in sent if "headers" in message] == [
        [(b"etag", b"1")],
        [(b"etag", b"1"), (b"connection", b"close")],
    ]
