"""Load shedding: a request that cannot be answered in time gets 503 `try-later` at once. The outermost ASGI layer.

Owns two queues (admission_queue.py), one for reads and one for changes, so that changes that wait for a lock never
delay reads. A refusal costs a few microseconds: no token check, no Redis, no routing, no record; refusals share one log
line a second.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import cycle
from typing import TYPE_CHECKING, Final

import msgspec
import structlog
from litestar.enums import ScopeType

from service.errors import Overloaded
from service.slots import HELD
from service.web.http.admission_queue import AdmissionQueue
from service.web.http.incoming_body import IncomingBody, announces_body
from service.web.http.problems import PROBLEM_JSON, TYPE_PREFIX
from service.web.http.requests import VARY, request_id_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from litestar.config.cors import CORSConfig
    from litestar.types import Message, Receive, Scope, Send

    from service.web.http.requests import RequestFrame

log = structlog.get_logger("admission")
# Always admitted: they need no decision and no connection of the request pool.
EXEMPT: Final = frozenset({"/health/live", "/health/ready"})
METADATA: Final = "/.well-known/oauth-protected-resource"
READ_METHODS: Final = frozenset({"GET", "HEAD"})
# How many requests are worked on at once for each connection of the pool. While one uses the connection, others check
# tokens, wait for the log's next commit, or write their answer. Changes also take turns at their locks.
MAX_READS_PER_CONNECTION: Final = 4
MAX_CHANGES_PER_CONNECTION: Final = 2
# How many bodies may be arriving at once. One address may have at most half of them.
MAX_BODIES_ARRIVING: Final = 256
# Retry-After cycles through these values, so that callers that were refused together do not return together.
RETRY_AFTER_SECONDS: Final = range(1, 6)
# How many refusals are sent in one turn of the event loop, so that a flood of callers that retry at once leaves time
# for work. If many refusals wait, each turn sends one more for every TURNS_PER_EXTRA_REFUSAL of them.
MAX_REFUSALS_PER_TURN: Final = 8
TURNS_PER_EXTRA_REFUSAL: Final = 32
MAX_REFUSALS_WAITING: Final = 2_000
# How often the queues are checked for requests that waited too long. Each check also measures the event loop's delay.
CHECK_SECONDS: Final = 0.05
LOG_SECONDS: Final = 1.0


class Admission:
    """Wraps `frame`. `max_wait` in seconds bounds the time before a request is worked on. `connections` is the size of
    the pool for requests. `address_of` tells callers apart. `cors` lets browser apps read the refusal."""

    def __init__(
        self,
        frame: RequestFrame,
        *,
        max_wait: float,
        connections: int,
        address_of: Callable[[Scope], str],
        cors: CORSConfig | None = None,
    ) -> None:
        self.frame = frame
        self._reads = AdmissionQueue(connections * MAX_READS_PER_CONNECTION, max_wait)
        self._changes = AdmissionQueue(connections * MAX_CHANGES_PER_CONNECTION, max_wait)
        self._address_of = address_of
        self._cors = cors
        self._refused_this_turn = 0
        self._waiting_refusals: deque[asyncio.Future[None]] = deque()
        self._next_check: asyncio.TimerHandle | None = None
        self._logged_at = 0.0
        self._logged_refusals = 0
        headers = [
            *frame.always,
            (b"vary", b", ".join(VARY)),
            (b"content-type", PROBLEM_JSON.encode()),
            (b"content-length", _LENGTH),
        ]
        self._refusal_headers = cycle(
            [*headers, (b"retry-after", str(seconds).encode())] for seconds in RETRY_AFTER_SECONDS
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if str(scope["type"]) == "lifespan":
            await self.frame(scope, receive, send)
            self._stop_checks()
            return
        if scope["type"] != ScopeType.HTTP or scope["path"] in EXEMPT or scope["path"].startswith(METADATA):
            await self.frame(scope, receive, send)
            return
        queue = self._reads if scope["method"] in READ_METHODS else self._changes
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
            await self.frame(scope, receive, send_and_release)
        finally:
            slot.end()
            HELD.reset(held)

    def load(self) -> tuple[int, int, int]:
        """How many requests are worked on, how many wait, and how many were refused since the start."""
        queues = (self._reads, self._changes)
        return (
            sum(queue.working for queue in queues),
            sum(queue.waiting for queue in queues),
            sum(queue.refused for queue in queues),
        )

    def _must_refuse(self, queue: AdmissionQueue, scope: Scope) -> bool:
        """Whether the request must be refused without waiting; it is then counted as refused."""
        if self._has_too_many_bodies(queue, scope):
            queue.count_refusal()
        elif queue.working < queue.max_working or not queue.refuse_if_late(self._address_of(scope)):
            return False
        self._start_checks()
        return True

    def _has_too_many_bodies(self, queue: AdmissionQueue, scope: Scope) -> bool:
        """Whether this request has a body and too many bodies are arriving, in all or from its address."""
        # The cheap test comes first: usually far fewer are arriving.
        return (
            queue.lent * 2 >= MAX_BODIES_ARRIVING
            and announces_body(scope["headers"])
            and not queue.can_lend(self._address_of(scope), MAX_BODIES_ARRIVING)
        )

    async def _wait_for_slot(self, queue: AdmissionQueue, scope: Scope) -> bool:
        self._start_checks()
        granted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        queue.wait(self._address_of(scope), granted)
        return await _await_grant(queue, granted)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._wait_turn_to_refuse()
        request_id = request_id_of(scope).encode()
        headers = [*next(self._refusal_headers), (b"x-request-id", request_id)]
        if self._cors is not None:
            headers += self._cors_headers(scope, self._cors)
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": _BODY % request_id, "more_body": False})
        if announces_body(scope["headers"]):
            # The connection can carry the next request only after the body of this one.
            await IncomingBody(scope, receive).discard_rest()

    async def _wait_turn_to_refuse(self) -> None:
        if not self._refused_this_turn:
            asyncio.get_running_loop().call_soon(self._start_turn)
        if self._refused_this_turn < MAX_REFUSALS_PER_TURN:
            self._refused_this_turn += 1
        elif len(self._waiting_refusals) < MAX_REFUSALS_WAITING:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting_refusals.append(turn)
            await turn

    def _start_turn(self) -> None:
        self._refused_this_turn = 0
        limit = MAX_REFUSALS_PER_TURN + len(self._waiting_refusals) // TURNS_PER_EXTRA_REFUSAL
        while self._waiting_refusals and self._refused_this_turn < limit:
            turn = self._waiting_refusals.popleft()
            if not turn.done():
                turn.set_result(None)
                self._refused_this_turn += 1
        if self._refused_this_turn:
            asyncio.get_running_loop().call_soon(self._start_turn)

    @staticmethod
    def _cors_headers(scope: Scope, cors: CORSConfig) -> list[tuple[bytes, bytes]]:
        """The headers that let a browser app of an allowed origin read the refusal (Fetch standard, section 3.3)."""
        origin = next((value for name, value in scope["headers"] if name == b"origin"), b"")
        if not origin or not cors.is_origin_allowed(origin.decode("latin-1")):
            return []
        readable = [(name.lower().encode(), value.encode()) for name, value in cors.simple_headers.items()]
        return [(b"access-control-allow-origin", origin), *readable]

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
            queue.expire()
        if now - self._logged_at >= LOG_SECONDS:
            self._log_refusals(now)
        _, waiting, refused = self.load()
        if waiting or refused > self._logged_refusals:
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
        """Stop with the application, and log the last refusals."""
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


def _refusal_body() -> bytes:
    """The problem document of a refusal, with a place for the request's id."""
    error = Overloaded()
    problem = {
        "type": TYPE_PREFIX + error.slug,
        "title": error.summary,
        "status": 503,
        "detail": error.public,
        "request_id": "%s",
    }
    return msgspec.json.encode(problem)


_HELD, _LENT, _ENDED = range(3)
_BODY: Final = _refusal_body()
# A request id has 36 characters.
_LENGTH: Final = str(len(_BODY) - 2 + 36).encode()
