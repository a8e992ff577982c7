"""Admission: what cannot be answered in time is answered 503 `try-later` at once, before any work. Outermost in ASGI.

Owns two rooms (admission_room.py), of reads and of changes, so that changes that wait for a lock never stop reads.
A refused request costs a few microseconds: no token check, no Redis, no routing, no record, and one log line a second.
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
# Answered whatever goes on: without a decision, and without the connections of requests.
BEYOND: Final = frozenset({"/health/live", "/health/ready"})
METADATA: Final = "/.well-known/oauth-protected-resource"
READS: Final = frozenset({"GET", "HEAD"})
# So many requests are worked on at once for each connection of the pool: while one uses a connection, others check
# tokens, wait for the log's next commit, or write their answer. Changes take turns of their own behind this.
READS_PER_CONNECTION: Final = 4
CHANGES_PER_CONNECTION: Final = 2
# Bodies that may be on their way at once, of one address half of them at the most.
MAX_BODIES_ARRIVING: Final = 256
# Retry-After takes these values in turn, so that those who were refused together do not come back together.
RETRY_AFTER_SECONDS: Final = range(1, 6)
# So many are refused in one turn of the event loop, the others in later turns: to refuse a flood from callers that come
# back at once would otherwise leave no time for work. Of many that wait for that, more are refused in a turn.
REFUSALS_A_TURN: Final = 8
TURNS_OF_REFUSALS: Final = 32
MAX_REFUSALS_WAITING: Final = 2_000
# Seconds between looks at who has waited too long; each also measures how late the event loop is.
BEAT_SECONDS: Final = 0.05
LOG_SECONDS: Final = 1.0


class Admission:
    """Wraps `frame`. `wait` in seconds bounds the time before a request is worked on; `connections` is the size of the
    pool for requests; `address_of` tells callers apart; `cors` lets browser apps read the refusal."""

    def __init__(
        self,
        frame: RequestFrame,
        *,
        wait: float,
        connections: int,
        address_of: Callable[[Scope], str],
        cors: CORSConfig | None = None,
    ) -> None:
        self.frame = frame
        self._reads = AdmissionQueue(connections * READS_PER_CONNECTION, wait)
        self._changes = AdmissionQueue(connections * CHANGES_PER_CONNECTION, wait)
        self._address_of = address_of
        self._cors = cors
        self._refused_this_turn = 0
        self._to_refuse: deque[asyncio.Future[None]] = deque()
        self._beat: asyncio.TimerHandle | None = None
        self._logged_at = 0.0
        self._logged = 0
        said = [
            *frame.always,
            (b"vary", b", ".join(VARY)),
            (b"content-type", PROBLEM_JSON.encode()),
            (b"content-length", _LENGTH),
        ]
        self._refusals = cycle([*said, (b"retry-after", str(seconds).encode())] for seconds in RETRY_AFTER_SECONDS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if str(scope["type"]) == "lifespan":
            await self.frame(scope, receive, send)
            self._end_watch()
            return
        if scope["type"] != ScopeType.HTTP or scope["path"] in BEYOND or scope["path"].startswith(METADATA):
            await self.frame(scope, receive, send)
            return
        room = self._reads if scope["method"] in READS else self._changes
        if self._refused_at_once(room, scope) or not (room.enter() or await self._waited(room, scope)):
            await self._refuse(scope, receive, send)
            return
        slot = _RequestSlot(room, self._address_of(scope))

        async def send_and_leave(message: Message) -> None:
            # A caller who reads slowly holds no slot meanwhile, nor does a stream: those have bounds of their own.
            if message["type"] == "http.response.body":
                slot.end()
            await send(message)

        held = HELD.set(slot)
        try:
            await self.frame(scope, receive, send_and_leave)
        finally:
            slot.end()
            HELD.reset(held)

    def load(self) -> tuple[int, int, int]:
        """How many requests are worked on, how many wait for that, and how many were refused since the start."""
        rooms = (self._reads, self._changes)
        return (
            sum(room.working for room in rooms),
            sum(room.waiting for room in rooms),
            sum(room.refused for room in rooms),
        )

    def _refused_at_once(self, room: AdmissionQueue, scope: Scope) -> bool:
        if self._refuses_body(room, scope):
            room.refuse()
        elif room.working < room.at_once or not room.refuses(self._address_of(scope)):
            return False
        self._watch()
        return True

    def _refuses_body(self, room: AdmissionQueue, scope: Scope) -> bool:
        """Whether this request brings a body and too many are on their way, or too many of its address."""
        # Fewer are never too many, and most of the time there are fewer.
        return (
            room.lent * 2 >= MAX_BODIES_ARRIVING
            and announces_body(scope["headers"])
            and not room.may_lend(self._address_of(scope), MAX_BODIES_ARRIVING)
        )

    async def _waited(self, room: AdmissionQueue, scope: Scope) -> bool:
        self._watch()
        granted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        room.wait(self._address_of(scope), granted)
        return await _granted(room, granted)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._turn_to_refuse()
        request_id = request_id_of(scope).encode()
        headers = [*next(self._refusals), (b"x-request-id", request_id)]
        if self._cors is not None:
            headers += self._readable_by(scope, self._cors)
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": _BODY % request_id, "more_body": False})
        if announces_body(scope["headers"]):
            # The connection can carry the next request only when this one's body is out of the way.
            await IncomingBody(scope, receive).finish()

    async def _turn_to_refuse(self) -> None:
        if not self._refused_this_turn:
            asyncio.get_running_loop().call_soon(self._next_turn)
        if self._refused_this_turn < REFUSALS_A_TURN:
            self._refused_this_turn += 1
        elif len(self._to_refuse) < MAX_REFUSALS_WAITING:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._to_refuse.append(turn)
            await turn

    def _next_turn(self) -> None:
        self._refused_this_turn = 0
        most = REFUSALS_A_TURN + len(self._to_refuse) // TURNS_OF_REFUSALS
        while self._to_refuse and self._refused_this_turn < most:
            turn = self._to_refuse.popleft()
            if not turn.done():
                turn.set_result(None)
                self._refused_this_turn += 1
        if self._refused_this_turn:
            asyncio.get_running_loop().call_soon(self._next_turn)

    @staticmethod
    def _readable_by(scope: Scope, cors: CORSConfig) -> list[tuple[bytes, bytes]]:
        """The headers that let a browser app of an allowed origin read the refusal (Fetch standard, section 3.3)."""
        origin = next((value for name, value in scope["headers"] if name == b"origin"), b"")
        if not origin or not cors.is_origin_allowed(origin.decode("latin-1")):
            return []
        readable = [(name.lower().encode(), value.encode()) for name, value in cors.simple_headers.items()]
        return [(b"access-control-allow-origin", origin), *readable]

    def _watch(self) -> None:
        """Look at who waits, from now on until nobody does."""
        if self._beat is None:
            due = asyncio.get_running_loop().time() + BEAT_SECONDS
            self._beat = asyncio.get_running_loop().call_at(due, self._look, due)

    def _look(self, due: float) -> None:
        now = asyncio.get_running_loop().time()
        self._beat = None
        for room in (self._reads, self._changes):
            room.lag = max(0.0, now - due)
            room.expire()
        if now - self._logged_at >= LOG_SECONDS:
            self._tell(now)
        _, waiting, refused = self.load()
        if waiting or refused > self._logged:
            self._watch()
        else:
            self._reads.lag = self._changes.lag = 0.0

    def _tell(self, now: float) -> None:
        """Log how many were refused since the last such line, if any."""
        working, waiting, refused = self.load()
        if refused > self._logged:
            log.warning("overloaded", refused=refused - self._logged, working=working, waiting=waiting)
            self._logged, self._logged_at = refused, now

    def _end_watch(self) -> None:
        """The application ends: nothing is looked at any more, and no refusal stays untold."""
        if self._beat is not None:
            self._beat.cancel()
            self._tell(asyncio.get_running_loop().time())


class _RequestSlot:
    """The slot of one request: held, lent while it waits for others, or ended."""

    __slots__ = ("_address", "_room", "_state")

    def __init__(self, room: AdmissionQueue, address: str = "") -> None:
        self._room, self._address = room, address
        self._state = _HELD

    def lend(self) -> None:
        if self._state == _HELD:
            self._state = _LENT
            self._room.lend(self._address)

    async def take_back(self) -> None:
        if self._state != _LENT:
            return
        if not self._room.enter():
            granted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            self._room.wait_again(granted)
            await _granted(self._room, granted)
        if self._state == _LENT:
            self._state = _HELD
            self._room.end_loan(self._address)
        else:
            # The answer left meanwhile.
            self._room.leave()

    def end(self) -> None:
        """Give it back for good."""
        if self._state == _HELD:
            self._room.leave()
        elif self._state == _LENT:
            self._room.end_loan(self._address)
        self._state = _ENDED


async def _granted(room: AdmissionQueue, granted: asyncio.Future[bool]) -> bool:
    try:
        return await granted
    except asyncio.CancelledError:
        # The slot may have come in the same turn of the loop as the cancellation.
        if granted.done() and not granted.cancelled() and granted.result():
            room.leave()
        raise


def _body() -> bytes:
    """The problem document of a refusal, with a place for the request's id."""
    error = Overloaded()
    told = {
        "type": TYPE_PREFIX + error.slug,
        "title": error.summary,
        "status": 503,
        "detail": error.public,
        "request_id": "%s",
    }
    return msgspec.json.encode(told)


_HELD, _LENT, _ENDED = range(3)
_BODY: Final = _body()
# A request id has 36 characters.
_LENGTH: Final = str(len(_BODY) - 2 + 36).encode()
