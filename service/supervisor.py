"""Keeps the worker processes of the API running, and tells on the management address how they are.

It owns the listening sockets and the workers. It restarts a worker that ended or hangs, after a pause that grows, and
leaves the others alone. It ends when it is told to. Client traffic never reaches this process; nothing is durable here.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from service.errors import DatabaseUnavailable
from service.management import answering
from service.pauses import growing_pauses
from service.web.http.health import HealthPart, Live, Ready, ServiceReady, ServiceStatus, WorkerState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

# A worker says how it is once a second. One that has been silent for so long counts as not ready, ...
MAX_FRESH_SECONDS: Final = 5.0
# ... and one whose event loop has not turned for so long is killed and replaced.
MAX_SILENT_SECONDS: Final = 30.0
# Until a new worker speaks for the first time.
MAX_START_SECONDS: Final = 90.0
# A worker that lived so long starts again after the shortest pause.
HEALTHY_SECONDS: Final = 60.0
# For the requests under way at SIGTERM; container engines kill after ten seconds.
MAX_STOP_SECONDS: Final = 8.0
MAX_REPORT_BYTES: Final = 1_048_576
_log = structlog.get_logger(__name__)


class Supervisor:
    """`listener`: the API's socket, which all workers share. `worker`: how many; `bounds`: what else a worker is told.
    `check`: refuses a database that this service must not run on; it is asked again, with growing pauses, while the
    database is away. `instance`: what readiness repeats, so that a starter knows its own service."""

    def __init__(
        self,
        listener: socket.socket,
        *,
        workers: int,
        bounds: Sequence[str],
        check: Callable[[], Awaitable[None]],
        instance: str,
    ) -> None:
        self._listener = listener
        self._workers = [_Worker(number + 1) for number in range(workers)]
        self._bounds = bounds
        self._check = check
        self._instance = instance
        self._begin = asyncio.Event()
        self._stopping = False

    async def run(self, management: socket.socket, stop: asyncio.Event) -> None:
        """Serve until `stop`. Raises what `check` raises, at the start or when the database is back."""
        async with answering(management, {"/health/live": self._tell_live, "/health/ready": self._tell_ready}):
            told = asyncio.create_task(stop.wait())
            checking = asyncio.create_task(self._check_database())
            running = [asyncio.create_task(self._keep_running(worker)) for worker in self._workers]
            try:
                await asyncio.wait({told, checking}, return_when=asyncio.FIRST_COMPLETED)
                if checking.done():
                    checking.result()
                    await told
            finally:
                self._stopping = True
                for task in (told, checking, *running):
                    task.cancel()
                await asyncio.gather(told, checking, *running, return_exceptions=True)

    def readiness(self) -> ServiceReady:
        """Ready while at least one worker is: it takes the requests, as all share one socket. The others are named."""
        workers = [worker.state() for worker in self._workers]
        status: ServiceStatus = "ready" if any(worker.ready for worker in workers) else "not ready"
        return ServiceReady("stopping" if self._stopping else status, self._instance, workers)

    def _tell_live(self) -> tuple[HTTPStatus, str, bytes]:
        return HTTPStatus.OK, "application/json", msgspec.json.encode(Live())

    def _tell_ready(self) -> tuple[HTTPStatus, str, bytes]:
        found = self.readiness()
        status = HTTPStatus.OK if found.status == "ready" else HTTPStatus.SERVICE_UNAVAILABLE
        return status, "application/json", msgspec.json.encode(found)

    async def _check_database(self) -> None:
        """Workers begin once the database was found good, or away: then they answer 503, and health says why."""
        for pause in growing_pauses():
            try:
                await self._check()
            except DatabaseUnavailable as error:
                _log.warning("database_away", cause=error.cause, next_look_seconds=round(pause, 1))
            else:
                self._begin.set()
                return
            self._begin.set()
            await asyncio.sleep(pause)

    async def _keep_running(self, worker: _Worker) -> None:
        await self._begin.wait()
        pauses = growing_pauses()
        while True:
            began = time.monotonic()
            try:
                reason = await self._run_once(worker)
            except OSError as error:
                reason = f"could not be started: {error.strerror}"
            if time.monotonic() - began > HEALTHY_SECONDS:
                pauses = growing_pauses()
            pause = next(pauses)
            worker.restarts += 1
            worker.ended(f"{reason}; starts again after {pause:.1f} s")
            _log.error("worker_ended", worker=worker.number, reason=reason, pause_seconds=round(pause, 1))
            await asyncio.sleep(pause)

    async def _run_once(self, worker: _Worker) -> str:
        """Start a worker and stay with it until its end; returns how it ended. When cancelled, end it."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "service.api_worker", str(self._listener.fileno()), str(theirs.fileno())),
                    *self._bounds,
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(self._listener.fileno(), theirs.fileno()),
                )
            except BaseException:
                ours.close()
                raise
        worker.started(process.pid)
        # Closed by us only when the worker has ended: it ends itself when this does.
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=MAX_REPORT_BYTES)
        hearing = asyncio.create_task(_hear(reader, worker))
        ending = asyncio.create_task(process.wait())
        try:
            while not ending.done():
                await asyncio.wait({ending}, timeout=1.0)
                if worker.hangs() and not ending.done():
                    _log.error("worker_hangs", worker=worker.number, pid=process.pid)
                    process.kill()
                    await ending
                    return f"hung for {MAX_SILENT_SECONDS:.0f} s and was killed"
            return _how_it_ended(ending.result())
        finally:
            await _end(process, ending)
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
            writer.close()


class _Worker:
    """What the supervisor knows of one of its places for a worker."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.restarts = 0
        self._pid: int | None = None
        self._since = time.monotonic()
        self._last: Ready | None = None
        self._reason = "has not started yet"

    def started(self, pid: int) -> None:
        self._pid, self._since, self._last = pid, time.monotonic(), None
        self._reason = "starts"

    def heard(self, report: Ready) -> None:
        self._since, self._last = time.monotonic(), report

    def ended(self, reason: str) -> None:
        self._pid, self._last, self._reason = None, None, reason

    def hangs(self) -> bool:
        """Whether its event loop does not turn any more."""
        patience = MAX_START_SECONDS if self._last is None else MAX_SILENT_SECONDS
        return time.monotonic() - self._since > patience

    def state(self) -> WorkerState:
        """For readiness. What was said too long ago does not count."""
        silent = time.monotonic() - self._since
        if self._last is None:
            ready, detail, version, parts = False, self._reason, None, list[HealthPart]()
        else:
            ready = self._last.status == "ready" and silent < MAX_FRESH_SECONDS
            detail = self._last.status if silent < MAX_FRESH_SECONDS else f"silent for {silent:.0f} s"
            version, parts = self._last.policy_version, self._last.parts
        return WorkerState(self.number, self._pid, ready, detail, self.restarts, version, parts)


async def _hear(reader: asyncio.StreamReader, worker: _Worker) -> None:
    while line := await reader.readline():
        worker.heard(msgspec.json.decode(line, type=Ready))


async def _end(process: asyncio.subprocess.Process, ending: asyncio.Task[int]) -> None:
    """Let the requests under way end, within the bound, and then kill."""
    if ending.done():
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    await asyncio.wait({ending}, timeout=MAX_STOP_SECONDS)
    if not ending.done():
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await ending


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"
