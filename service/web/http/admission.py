"""Load shedding: a request that cannot be answered in time gets 503 `try-later` at once. The outermost ASGI layer.

Owns two queues (admission_queue.py), one for reads and one for changes, so that changes that wait for a lock never
delay reads. A refusal costs no token check, no Redis, no routing and no record; refusals share one log line a second.
The server's thread refuses most of them before the event loop learns of them (`refuse_early`).
"""

from __future__ import annotations

import asyncio
import signal
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog
from litestar.enums import ScopeType

from service import metrics
from service.slots import HELD
from service.web.http.admission_queue import AdmissionQueue
from service.web.http.incoming_body import IncomingBody, announces_body, length_of_small_body
from service.web.http.refusals import MAX_REFUSALS_WAITING, Refusals
from service.web.http.request_headers import headers_of
from service.web.http.unread_bodies import UnreadBodies

if TYPE_CHECKING:
    from collections.abc import Callable

    from litestar.config.cors import CORSConfig
    from litestar.types import ASGIApp, Message, Receive, Scope, Send

    from service.web.http.requests import RequestFrame
    from service.web.http.unread_bodies import ServerFuture

log = structlog.get_logger("admission")
# Always admitted: they need no decision and no connection of the request pool.
EXEMPT: Final = frozenset({"/health/live", "/health/ready"})
METADATA: Final = "/.well-known/oauth-protected-resource"
READ_METHODS: Final = frozenset({"GET", "HEAD"})
# How many requests are worked on at once for each connection of the pool. While one uses the connection, others check
# tokens, wait for the log's next commit, or write their answer. Most refused changes need no connection, and the others
# also take turns at their locks.
MAX_READS_PER_CONNECTION: Final = 4
MAX_CHANGES_PER_CONNECTION: Final = 4
# How many bodies may be arriving at once. One address may have at most half of them.
MAX_BODIES_ARRIVING: Final = 256
# How often the queues are checked for requests that waited too long. Each check also measures the event loop's delay.
CHECK_SECONDS: Final = 0.05
LOG_SECONDS: Final = 1.0
# The signal after which every answer closes its connection.
CLOSE_CONNECTIONS: Final = signal.SIGUSR1
# Where `refuse_early` leaves the number of a request in its queue for the event loop, in the ASGI scope.
NUMBER: Final = "timewarden.number"


class Admission:
    """Wraps `frame`. `max_wait` in seconds bounds the time before a request is worked on. `connections` is the size of
    the pool for requests. `address_of` tells callers apart. `cors` lets browser apps read the refusal.
    `open_connections` is how many a worker may have; half of them may wait for refusals."""

    def __init__(
        self,
        frame: RequestFrame,
        *,
        max_wait: float,
        connections: int,
        address_of: Callable[[Scope], str],
        cors: CORSConfig | None = None,
        open_connections: int = 2 * MAX_REFUSALS_WAITING,
    ) -> None:
        self.frame = frame
        self._handle: ASGIApp = frame
        self._reads = AdmissionQueue(connections * MAX_READS_PER_CONNECTION, max_wait)
        self._changes = AdmissionQueue(connections * MAX_CHANGES_PER_CONNECTION, max_wait)
        self._address_of = address_of
        self._refusals = Refusals(frame.always, cors, max_waiting=min(MAX_REFUSALS_WAITING, open_connections // 2))
        self._unread = UnreadBodies()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._next_check: asyncio.TimerHandle | None = None
        self._logged_at = 0.0
        self._logged_refusals = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if str(scope["type"]) == "lifespan":
            self._loop = asyncio.get_running_loop()
            await self._handle(scope, receive, send)
            self._loop = None
            self._stop_checks()
            return
        queue = self._queue_of(scope)
        number: Any = scope.get(NUMBER, queue.begun)
        queue.begun = number
        if _is_exempt(scope):
            await self._handle(scope, receive, send)
            return
        if self._must_refuse(queue, scope) or not (queue.try_acquire() or await self._wait_for_slot(queue, scope)):
            await self._refuse(scope, receive, send)
            return
        slot = _RequestSlot(queue, self._address_of(scope))

        async def send_and_release(message: Message) -> None:
            # Neither a caller who reads slowly nor a stream holds a slot: those have bounds of their own.
            if message["type"] == "http.response.body":
                slot.end()
            await send(message)

        held = HELD.set(slot)
        try:
            await self._handle(scope, receive, send_and_release)
        finally:
            slot.end()
            HELD.reset(held)

    def refuse_early(
        self, scope: Scope, send: Callable[[Message], object], receive: Callable[[], ServerFuture]
    ) -> bool:
        """Refuse a request that would be refused anyway; False if the event loop must look at it.

        The server calls this in its own thread, because waking the event loop costs as much as the refusal. It reads
        the queues while the loop changes them: what it lets pass by mistake is refused later. A request with a large
        body, or one of unknown length, always passes.
        """
        queue = self._queue_of(scope)
        arriving = queue.passed - queue.begun
        if (
            queue.working + arriving < queue.max_working
            or self._loop is None
            or _is_exempt(scope)
            or not queue.is_late(self._address_of(scope), arriving)
            or (length := length_of_small_body(scope["headers"])) is None
        ):
            queue.passed += 1
            scope[NUMBER] = queue.passed  # type: ignore[typeddict-unknown-key]  # ours; the framework ignores it
            return False
        queue.count_refusal()
        if length:
            self._unread.discard(receive, length)
        if self._next_check is None:
            self._loop.call_soon_threadsafe(self._start_checks)
        send_refusal = partial(self._send_refusal, scope, send)
        if not self._refusals.postpone(scope, send_refusal):
            send_refusal()
        return True

    def close_connections(self) -> None:
        """From now on every answer closes its connection, so that the next request goes to another replica."""
        self._handle = partial(_answer_last, self.frame)

    def measure(self) -> None:
        """Set the metrics of both queues."""
        for name, queue in (("reads", self._reads), ("changes", self._changes)):
            metrics.ADMISSION_WORKING.set(queue.working, (name,))
            metrics.ADMISSION_WAITING.set(queue.waiting, (name,))
            metrics.ADMISSION_REFUSED.set(queue.refused, (name,))

    def load(self) -> tuple[int, int, int]:
        """How many requests are worked on, how many wait, and how many were refused since the start."""
        queues = (self._reads, self._changes)
        return (
            sum(queue.working for queue in queues),
            sum(queue.waiting for queue in queues),
            sum(queue.refused for queue in queues),
        )

    def _send_refusal(self, scope: Scope, send: Callable[[Message], object]) -> None:
        for message in self._refusals.make(scope):
            send(message)

    def _queue_of(self, scope: Scope) -> AdmissionQueue:
        return self._reads if scope.get("method") in READ_METHODS else self._changes

    def _must_refuse(self, queue: AdmissionQueue, scope: Scope) -> bool:
        """Whether the request must be refused without waiting; it is then counted as refused."""
        if not self._has_too_many_bodies(queue, scope) and (
            queue.working < queue.max_working or not queue.is_late(self._address_of(scope))
        ):
            return False
        queue.count_refusal()
        self._start_checks()
        return True

    def _has_too_many_bodies(self, queue: AdmissionQueue, scope: Scope) -> bool:
        """Whether this request has a body and too many bodies are arriving, in all or from its address."""
        # The cheap test comes first: usually far fewer are arriving.
        return (
            queue.lent * 2 >= MAX_BODIES_ARRIVING
            and announces_body(headers_of(scope))
            and not queue.can_lend(self._address_of(scope), MAX_BODIES_ARRIVING)
        )

    async def _wait_for_slot(self, queue: AdmissionQueue, scope: Scope) -> bool:
        self._start_checks()
        granted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        queue.wait(self._address_of(scope), granted)
        return await _await_grant(queue, granted)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._refusals.postpone(scope, partial(_end_wait, turn)):
            await turn
        for message in self._refusals.make(scope):
            await send(message)
        if announces_body(headers_of(scope)):
            # The connection can carry the next request only after the body of this one.
            await IncomingBody(scope, receive).discard_rest()

    def _start_checks(self) -> None:
        """Check the queues regularly until no request waits."""
        if self._next_check is None:
            due = asyncio.get_running_loop().time() + CHECK_SECONDS
            self._next_check = asyncio.get_running_loop().call_at(due, self._check_queues, due)

    def _check_queues(self, due: float) -> None:
        now = asyncio.get_running_loop().time()
        self._next_check = None
        for queue in (self._reads, self._changes):
            queue.lag = max(0.0, now - due)
            queue.forget_lost()
            queue.expire()
        self._refusals.release()
        self._unread.read_on()
        if now - self._logged_at >= LOG_SECONDS:
            self._log_refusals(now)
        _, waiting, refused = self.load()
        is_arriving = self._reads.begun < self._reads.passed or self._changes.begun < self._changes.passed
        is_discarding = self._unread.waiting > 0
        if waiting or is_arriving or is_discarding or self._refusals.waiting or refused > self._logged_refusals:
            self._start_checks()
        else:
            self._reads.lag = self._changes.lag = 0.0

    def _log_refusals(self, now: float) -> None:
        """Log how many requests were refused since the last such line, if any."""
        working, waiting, refused = self.load()
        if refused > self._logged_refusals:
            log.warning("overloaded", refused=refused - self._logged_refusals, working=working, waiting=waiting)
            self._logged_refusals, self._logged_at = refused, now

    def _stop_checks(self) -> None:
        """Stop with the application. Send the refusals that wait, and log the last ones."""
        while self._refusals.waiting:
            self._refusals.release()
        if self._next_check is not None:
            self._next_check.cancel()
            self._log_refusals(asyncio.get_running_loop().time())


class _RequestSlot:
    """The slot of one request: held, lent while the request waits for its body or an issuer, or ended."""

    __slots__ = ("_address", "_queue", "_state")

    def __init__(self, queue: AdmissionQueue, address: str = "") -> None:
        self._queue, self._address = queue, address
        self._state = _HELD

    def lend(self) -> None:
        if self._state == _HELD:
            self._state = _LENT
            self._queue.lend(self._address)

    async def take_back(self) -> None:
        if self._state != _LENT:
            return
        if not self._queue.try_acquire():
            granted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            self._queue.wait_again(granted)
            await _await_grant(self._queue, granted)
        if self._state == _LENT:
            self._state = _HELD
            self._queue.end_loan(self._address)
        else:
            # The answer was sent meanwhile.
            self._queue.release()

    def end(self) -> None:
        """Release the slot, or the loan, for good."""
        if self._state == _HELD:
            self._queue.release()
        elif self._state == _LENT:
            self._queue.end_loan(self._address)
        self._state = _ENDED


async def _await_grant(queue: AdmissionQueue, granted: asyncio.Future[bool]) -> bool:
    try:
        return await granted
    except asyncio.CancelledError:
        # The slot may have been granted in the same turn of the loop as the cancellation.
        if granted.done() and not granted.cancelled() and granted.result():
            queue.release()
        raise


def _end_wait(turn: asyncio.Future[None]) -> None:
    # It is done if its caller's connection broke.
    if not turn.done():
        turn.set_result(None)


def _is_exempt(scope: Scope) -> bool:
    return scope["type"] != ScopeType.HTTP or scope["path"] in EXEMPT or scope["path"].startswith(METADATA)


_HELD, _LENT, _ENDED = range(3)


async def _answer_last(frame: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer the last request of a connection."""

    async def send_last(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"connection", b"close")]
        await send(message)

    await frame(scope, receive, send_last)
