"""The relay: copies the changes of the sealed log to a Redis stream, in order and without a gap.

Owns nothing durable: the stream's last id says how far it got. It appends with compare-and-append, so any number of
relays may run and a stale one does no harm. Postgres is the truth: if Redis holds events that the log does not have,
one of the two was restored, and the relay stops and reports it.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeAlias

from events.envelope import PublishedChange, parse, serialize
from events.redis_errors import name_error
from events.stream import BEFORE_ALL, CLIENT_ERRORS, FIELD, id_of, position_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from redis.asyncio import Redis

    ReadChanges: TypeAlias = Callable[[int, int], Awaitable[Sequence[PublishedChange]]]
    ReadChange: TypeAlias = Callable[[int], Awaitable[PublishedChange | None]]
    Report: TypeAlias = Callable[[bool, str], Awaitable[None]]
    OnPublished: TypeAlias = Callable[[Sequence[PublishedChange], float], None]

# The last id ever given in the stream. Trimming and deleting entries keep it; deleting the stream does not.
LAST_ID = """
local function last_id(key)
  if redis.call('EXISTS', key) == 0 then return '0-0' end
  local info = redis.call('XINFO', 'STREAM', key)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then return info[i + 1] end
  end
end
"""

# Add events only after the one that they follow. ARGV: the expected last id, the field's name, then id and event of
# each. Returns false when they were added, otherwise the last id found. If Redis stops half-way, the first events were
# added, in order.
APPEND = f"""{LAST_ID}
local last = last_id(KEYS[1])
if last ~= ARGV[1] then return last end
for i = 3, #ARGV, 2 do redis.call('XADD', KEYS[1], ARGV[i], ARGV[2], ARGV[i + 1]) end
return false
"""

# The last id and the newest entries, newest first. ARGV: how many.
TAIL = f"""{LAST_ID}
return {{last_id(KEYS[1]), redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', ARGV[1])}}
"""

COMPARED_ENTRIES = 3
LONGEST_PAUSE = 5.0
# A relay that publishes but has not been up to date for so long reports that it is behind.
MAX_LAG_SECONDS = 30.0


class DivergedError(Exception):
    """Redis holds events that the log does not have; the message says what to do."""


class Relay:
    """Publishes to one stream. `read_changes(after, limit)` and `read_change(position)` read the sealed log and may
    raise `log_errors`. `report(ready, detail)` receives the status. `source` is the URI that events name as their
    origin. `on_published(changes, started)` is told of each batch that Redis has, and since when, by `perf_counter`,
    the relay worked on it."""

    def __init__(
        self,
        redis: Redis,
        stream: str,
        source: str,
        *,
        read_changes: ReadChanges,
        read_change: ReadChange,
        report: Report,
        log_errors: tuple[type[Exception], ...] = (),
        batch: int = 500,
        compare_every: float = 5.0,
        max_lag: float = MAX_LAG_SECONDS,
        on_published: OnPublished = lambda _changes, _started: None,
    ) -> None:
        self._redis = redis
        self._stream = stream
        self._source = source
        self._read_changes = read_changes
        self._read_change = read_change
        self._report = report
        self._log_errors: tuple[type[Exception], ...] = (OSError, *log_errors)
        self._batch = batch
        self._compare_every = compare_every
        self._max_lag = max_lag
        self._on_published = on_published
        self._append = redis.register_script(APPEND)
        self._tail = redis.register_script(TAIL)
        self._compared_at = float("-inf")
        # The last published change, read from the log; None when the stream is empty.
        self._last: PublishedChange | None = None

    async def run(self, stop: asyncio.Event, interval: float = 0.1, sealed: asyncio.Event | None = None) -> None:
        """Publish until `stop` is set: every `interval` seconds, and as soon as `sealed` is set; after an error wait
        longer."""
        pause, up_to_date = interval, time.monotonic()
        sealed = sealed or asyncio.Event()
        while not stop.is_set():
            sealed.clear()
            try:
                published = await self.step()
            except DivergedError as error:
                pause = LONGEST_PAUSE
                await self._report(False, str(error))
            except CLIENT_ERRORS as error:
                pause = _longer(pause, interval)
                await self._report(False, f"Redis does not accept events: {name_error(error)}; they wait in the log")
            except self._log_errors as error:
                pause = _longer(pause, interval)
                await self._report(False, f"Redis or the log does not answer: {type(error).__name__}")
            else:
                pause = 0.0 if published == self._batch else interval
                now = time.monotonic()
                up_to_date = now if published < self._batch else up_to_date
                where = "nothing" if self._last is None else f"up to position {self._last.position}"
                behind = f"; not up to date for {now - up_to_date:.0f} s" if now - up_to_date > self._max_lag else ""
                await self._report(not behind, f"published {where}{behind}")
            await _wait(pause, stop, *([sealed] if pause <= interval else []))

    async def step(self) -> int:
        """Publish the next batch. Returns how many events were added; 0 also when another relay was faster.

        Raises DivergedError, one of CLIENT_ERRORS, or one of `log_errors`; the next step then compares Redis with the
        log again.
        """
        try:
            if time.monotonic() - self._compared_at >= self._compare_every:
                await self._compare()
            changes = await self._read_changes(BEFORE_ALL if self._last is None else self._last.position, self._batch)
            if not changes:
                return 0
            await self._check_still_there()
            return await self._publish(changes)
        except BaseException:
            self._compared_at = float("-inf")
            raise

    async def _publish(self, changes: Sequence[PublishedChange]) -> int:
        started = time.perf_counter()
        arguments: list[bytes | str] = [id_of(None if self._last is None else self._last.position), FIELD]
        for change in changes:
            arguments += [id_of(change.position), serialize(change, self._source)]
        if await self._append(keys=[self._stream], args=arguments) is not None:
            self._compared_at = float("-inf")
            return 0
        self._last = changes[-1]
        self._on_published(changes, started)
        return len(changes)

    async def _compare(self) -> None:
        """Read the last id and the newest entries of the stream, and check them against the log."""
        last, entries = await self._tail(keys=[self._stream], args=[COMPARED_ENTRIES])
        self._last = None
        for entry_id, fields in reversed(entries):
            await self._check_entry(entry_id, dict(zip(fields[::2], fields[1::2], strict=True)))
        if (position := _position(last)) != BEFORE_ALL:
            # If the newest entries were trimmed away, their position is all that can be compared.
            self._last = await self._read_change(position)
            if self._last is None:
                raise self._divergence(f"events up to position {position}")
        self._compared_at = time.monotonic()

    async def _check_entry(self, entry_id: bytes, fields: dict[bytes, bytes]) -> None:
        position = _position(entry_id)
        try:
            held = parse(fields.get(FIELD, b""))
        except ValueError as error:
            raise self._divergence(f"an entry that is not an event at {entry_id.decode()}") from error
        known = await self._read_change(position)
        if known is None or known.same_record != held.same_record:
            raise self._divergence(f"another event at position {position}")

    async def _check_still_there(self) -> None:
        """Check that the log still has the last published change: if it was restored, publishing would mix two
        histories."""
        if self._last is None:
            return
        known = await self._read_change(self._last.position)
        if known is None or known.same_record != self._last.same_record:
            raise self._divergence(f"events up to position {self._last.position}")

    def _divergence(self, what: str) -> DivergedError:
        return DivergedError(
            f"Redis stream {self._stream} holds {what} that this log does not have: Postgres or Redis was restored, or"
            " is the wrong one. Nothing is published. Connect or restore the right Postgres; or, if this log is right,"
            " rename the stream (RENAME) and inform its consumers: the relay then fills it again."
        )


async def _wait(seconds: float, *events: asyncio.Event) -> None:
    """Wait for up to `seconds`, until an event is set."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


def _position(stream_id: bytes) -> int:
    try:
        return position_of(stream_id)
    except ValueError as error:
        raise DivergedError(f"The Redis stream holds ids that no relay wrote ({error}); rename it (RENAME)") from error


def _longer(pause: float, interval: float) -> float:
    return min(max(pause, interval) * 2, LONGEST_PAUSE)
