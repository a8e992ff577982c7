"""The 503 answer of load shedding, and how fast it is sent to callers who ignore its `Retry-After`.

Owns which connections were refused lately, and the refusals that wait. The server's thread and the event loop both use
it, under Python's lock; a lost count or a forgotten connection costs one early refusal.
"""

from __future__ import annotations

import time
from collections import deque
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final

import msgspec

from service.errors import Overloaded
from service.web.http.problems import PROBLEM_JSON, TYPE_PREFIX
from service.web.http.request_headers import headers_of
from service.web.http.requests import VARY, request_id_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from litestar.config.cors import CORSConfig
    from litestar.types import Message, Scope

# Retry-After cycles through these values, so that callers that were refused together do not return together.
RETRY_AFTER_SECONDS: Final = range(1, 6)
# How many refusals a check of the queues allows before callers who came back too early must wait: 3,000 a second, which
# cost less than a tenth of a processor.
MAX_REFUSALS_PER_CHECK: Final = 150
# At most so many refusals wait, for about half a second. If so many do, their callers send without waiting for answers;
# then waiting slows nobody down and only costs connections, so refusals are sent at once for some seconds. Then it is
# tried again, because other callers may have come.
MAX_REFUSALS_WAITING: Final = 1_500
SECONDS_WITHOUT_WAITING: Final = 5.0
MAX_CONNECTIONS_REMEMBERED: Final = 16_384
# Each header takes time. The others of `always` are about documents that a browser shows.
HEADERS_KEPT: Final = frozenset({b"cache-control", b"x-content-type-options", b"strict-transport-security"})


class Refusals:
    """Makes refusals with the headers `always`. `cors` lets browser apps read them.

    A connection's first refusal is sent at once. If the same connection asks again before its Retry-After has passed
    and is refused again, that refusal waits while too many are sent. At most `max_waiting` refusals wait, because each
    holds a connection.
    """

    def __init__(
        self,
        always: Sequence[tuple[bytes, bytes]],
        cors: CORSConfig | None = None,
        *,
        max_waiting: int = MAX_REFUSALS_WAITING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cors = cors
        self._max_waiting = max_waiting
        self._clock = clock
        headers = [
            *(header for header in always if header[0] in HEADERS_KEPT),
            (b"vary", b", ".join(VARY)),
            (b"content-type", PROBLEM_JSON.encode()),
            (b"content-length", _LENGTH),
        ]
        self._headers = cycle(
            (seconds, [*headers, (b"retry-after", str(seconds).encode())]) for seconds in RETRY_AFTER_SECONDS
        )
        self._return_at: dict[object, float] = {}
        self._waiting: deque[Callable[[], object]] = deque()
        self._allowed = MAX_REFUSALS_PER_CHECK
        self._useless_until = 0.0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def postpone(self, scope: Scope, send_later: Callable[[], object]) -> bool:
        """Whether this refusal must wait: then `send_later` is called in its turn."""
        if self._allowed > 0:
            self._allowed -= 1
            return False
        now = self._clock()
        if now < self._useless_until or self._return_at.get(scope["client"], 0.0) <= now:
            return False
        if len(self._waiting) >= self._max_waiting:
            self._useless_until = now + SECONDS_WITHOUT_WAITING
            return False
        self._waiting.append(send_later)
        return True

    def release(self) -> None:
        """Send refusals that wait, as many as a check allows."""
        allowed = MAX_REFUSALS_PER_CHECK
        while self._waiting and allowed:
            self._waiting.popleft()()
            allowed -= 1
        self._allowed = allowed

    def make(self, scope: Scope) -> tuple[Message, Message]:
        """The ASGI messages of a refusal. Remembers when the connection may ask again."""
        seconds, headers = next(self._headers)
        if len(self._return_at) >= MAX_CONNECTIONS_REMEMBERED:
            self._return_at.clear()
        self._return_at[scope["client"]] = self._clock() + seconds
        request_id = request_id_of(headers_of(scope)).encode()
        headers = [*headers, (b"x-request-id", request_id)]
        if self._cors is not None:
            headers += cors_headers(scope, self._cors)
        return (
            {"type": "http.response.start", "status": 503, "headers": headers},
            {"type": "http.response.body", "body": _BODY % request_id, "more_body": False},
        )


def cors_headers(scope: Scope, cors: CORSConfig) -> list[tuple[bytes, bytes]]:
    """The headers that let a browser app of an allowed origin read the refusal (Fetch standard, section 3.3)."""
    origin = next((value for name, value in scope["headers"] if name == b"origin"), b"")
    if not origin or not cors.is_origin_allowed(origin.decode("latin-1")):
        return []
    readable = [(name.lower().encode(), value.encode()) for name, value in cors.simple_headers.items()]
    return [(b"access-control-allow-origin", origin), *readable]


def _make_body() -> bytes:
    """The problem document of a refusal, with a place for the request's id."""
    error = Overloaded()
    problem: dict[str, Any] = {
        "type": TYPE_PREFIX + error.slug,
        "title": error.summary,
        "status": 503,
        "detail": error.public,
        "request_id": "%s",
    }
    return msgspec.json.encode(problem)


_BODY: Final = _make_body()
# A request id has 36 characters.
_LENGTH: Final = str(len(_BODY) - 2 + 36).encode()
