"""Keeps the worker processes of the API running, and reports their health on the management address.

It owns the port of the API, the workers, and the sum of what they counted. It restarts a worker that ended or hangs,
with exponential backoff, and leaves the others alone. Client traffic never reaches this process; nothing is durable
here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from service import metrics
from service.api_process import WorkerReport
from service.backoff import backoff_seconds
from service.connectivity import TAKEN_AWAY, name_absence
from service.errors import DatabaseUnavailable
from service.listeners import IGNORE_CONNECTIONS, STOP_WORKER, reserve_port, share_port
from service.management import serve_management
from service.metric_families import CONTENT_TYPE, FamilySnapshot, Totals, format_text, take_snapshot
from service.web.http.admission import CLOSE_CONNECTIONS
from service.web.http.health import HealthPart, Live, Ready, ServiceReady, ServiceStatus, WorkerState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

# A worker reports once a second. Without a report for so long it is not ready, ...
MAX_REPORT_AGE_SECONDS: Final = 5.0
# ... and for so long it hangs: it is killed and replaced.
MAX_SILENT_SECONDS: Final = 30.0
# Time for the first report of a new worker.
MAX_START_SECONDS: Final = 90.0
# A worker that ran for so long restarts after the shortest pause.
HEALTHY_SECONDS: Final = 60.0
# At SIGTERM: time in which callers and proxies leave, ...
DRAIN_SECONDS: Final = 1.0
# ... in which workers accept the last connections, ...
ACCEPT_SECONDS: Final = 0.1
# ... and then for requests under way; container engines kill after ten seconds.
MAX_STOP_SECONDS: Final = 8.0
# More than a report with every family full.
MAX_REPORT_BYTES: Final = 4 * 2**20
_log = structlog.get_logger(__name__)


class Supervisor:
    """`reserved` is the socket of the API's port; `inherited`: another process owns the port, and decides when callers
    leave.
    `workers` is their number, `bounds` are further arguments of each. `check` raises for a database that this service
    must not use; it is called again, with backoff, while the database is unavailable. Readiness repeats `instance`, so
    that a starter recognises its own service."""

    def __init__(
        self,
        reserved: socket.socket,
        *,
        inherited: bool,
        workers: int,
        bounds: Sequence[str],
        check: Callable[[], Awaitable[None]],
        instance: str,
    ) -> None:
        self._reserved, self._inherited = reserved, inherited
        self._workers = [_Worker(number + 1) for number in range(workers)]
        self._bounds = bounds
        self._check = check
        self._instance = instance
        self._begin = asyncio.Event()
        self._stopping = asyncio.Event()
        # The counts of workers that have ended.
        self._ended = Totals(metrics.FAMILIES)

    async def run(self, management: socket.socket, stop: asyncio.Event) -> None:
        """Serve until `stop`. Raises what `check` raises, at the start or later."""
        routes = {
            "/health/live": self._respond_live,
            "/health/ready": self._respond_ready,
            "/metrics": self._respond_metrics,
        }
        reserve_port(self._reserved)
        for worker in self._workers:
            # Callers who come before the worker runs wait here.
            worker.listener = share_port(self._reserved)
        async with serve_management(management, routes):
            stopping = asyncio.create_task(stop.wait())
            checking = asyncio.create_task(self._check_database())
            running = [asyncio.create_task(self._keep_running(worker)) for worker in self._workers]
            try:
                await asyncio.wait({stopping, checking}, return_when=asyncio.FIRST_COMPLETED)
                if checking.done():
                    checking.result()
                    await stopping
            finally:
                self._stopping.set()
                await self._drain()
                for task in (stopping, checking, *running):
                    task.cancel()
                await asyncio.gather(stopping, checking, *running, return_exceptions=True)

    async def _drain(self) -> None:
        """Let callers and proxies move to other replicas, without cutting off a request that is on its way.

        First every answer closes its connection, since closing an idle one could meet the next request. Then no further
        connection is made, since it would wait in the kernel for workers that accept none any more."""
        serving = [worker for worker in self._workers if worker.has_reported()]
        if self._inherited or not serving:
            return
        for worker in serving:
            worker.send(CLOSE_CONNECTIONS)
        await asyncio.sleep(DRAIN_SECONDS)
        for worker in serving:
            worker.send(IGNORE_CONNECTIONS)
        # Workers accept what came before.
        await asyncio.sleep(ACCEPT_SECONDS)

    def readiness(self) -> ServiceReady:
        """Ready while at least one worker is: new connections reach only those that run. Every worker is listed."""
        workers = [worker.state() for worker in self._workers]
        status: ServiceStatus = "ready" if any(worker.ready for worker in workers) else "not ready"
        return ServiceReady("stopping" if self._stopping.is_set() else status, self._instance, workers)

    def _respond_live(self) -> tuple[HTTPStatus, str, bytes]:
        return HTTPStatus.OK, "application/json", msgspec.json.encode(Live())

    def _respond_ready(self) -> tuple[HTTPStatus, str, bytes]:
        found = self.readiness()
        status = HTTPStatus.OK if found.status == "ready" else HTTPStatus.SERVICE_UNAVAILABLE
        return status, "application/json", msgspec.json.encode(found)

    def _respond_metrics(self) -> tuple[HTTPStatus, str, bytes]:
        """The sum over all workers, also those that have ended, so that no counter falls when a worker is replaced.
        A killed worker loses the counts of its last two seconds."""
        totals = Totals(metrics.FAMILIES)
        totals.add(self._ended.snapshot())
        for worker in self._workers:
            totals.add(worker.counted, str(worker.number))
            metrics.WORKER_RESTARTS.set(worker.restarts, (str(worker.number),))
            metrics.WORKER_READY.set(worker.state().ready, (str(worker.number),))
        found = [*totals.snapshot(), *take_snapshot([metrics.WORKER_RESTARTS, metrics.WORKER_READY])]
        return HTTPStatus.OK, CONTENT_TYPE, format_text(metrics.FAMILIES, found)

    async def _check_database(self) -> None:
        """Let workers start once the database passes the check, or is unavailable or being restored: then they answer
        503, and health says why."""
        for pause in backoff_seconds():
            try:
                await self._check()
            except (DatabaseUnavailable, *TAKEN_AWAY) as error:
                _log.warning("database_away", cause=name_absence(error), next_look_seconds=round(pause, 1))
            else:
                self._begin.set()
                return
            self._begin.set()
            await asyncio.sleep(pause)

    async def _keep_running(self, worker: _Worker) -> None:
        await self._begin.wait()
        pauses = backoff_seconds()
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                reason = await self._run_once(worker)
            except OSError as error:
                reason = f"could not be started: {error.strerror}"
            self._ended.add(worker.counted)
            if self._stopping.is_set():
                # If it was still starting, the SIGTERM that stops this service may have ended it.
                worker.set_ended(reason)
                _log.info("worker_ended", worker=worker.number, reason=reason)
                return
            if time.monotonic() - began > HEALTHY_SECONDS:
                pauses = backoff_seconds()
            pause = next(pauses)
            worker.restarts += 1
            worker.set_ended(f"{reason}; starts again after {pause:.1f} s")
            _log.error("worker_ended", worker=worker.number, reason=reason, pause_seconds=round(pause, 1))
            await asyncio.sleep(pause)

    async def _run_once(self, worker: _Worker) -> str:
        """Run a worker until it ends; return how it ended. If cancelled, end the worker."""
        ours, theirs = socket.socketpair()
        # Only the worker keeps it, so it closes when the worker ends.
        with theirs, worker.take_listener(self._reserved) as listener:
            try:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "service.api_worker", str(worker.number - 1), str(len(self._workers))),
                    *(str(listener.fileno()), str(theirs.fileno())),
                    *self._bounds,
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(listener.fileno(), theirs.fileno()),
                )
            except BaseException:
                ours.close()
                raise
        worker.set_started(process.pid)
        # Close it only after the worker has ended, since the worker ends when it closes.
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=MAX_REPORT_BYTES)
        reading = asyncio.create_task(_read_reports(reader, worker))
        ending = asyncio.create_task(process.wait())
        try:
            while not ending.done():
                await asyncio.wait({ending}, timeout=1.0)
                if worker.hangs() and not ending.done():
                    _log.error("worker_hangs", worker=worker.number, pid=process.pid)
                    process.kill()
                    await ending
                    return f"hung for {MAX_SILENT_SECONDS:.0f} s and was killed"
            return _describe_end(ending.result())
        finally:
            await _end(process, ending)
            # The last report may still wait in the socket.
            await asyncio.wait({reading}, timeout=1.0)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            writer.close()


class _Worker:
    """The state of one worker, also across its restarts."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.restarts = 0
        self._pid: int | None = None
        self._since = time.monotonic()
        self._last: Ready | None = None
        self._reason = "has not started yet"
        # The numbers of its last report; none while it is not running.
        self.counted: list[FamilySnapshot] = []
        # Its socket, until it has been started for the first time.
        self.listener: socket.socket | None = None

    def take_listener(self, reserved: socket.socket) -> socket.socket:
        """The socket of its next process."""
        listener, self.listener = self.listener or share_port(reserved), None
        return listener

    def set_started(self, pid: int) -> None:
        self._pid, self._since, self._last = pid, time.monotonic(), None
        self._reason = "starts"

    def set_report(self, report: WorkerReport) -> None:
        self._since, self._last, self.counted = time.monotonic(), report.ready, report.metrics

    def set_ended(self, reason: str) -> None:
        self._pid, self._last, self._reason, self.counted = None, None, reason, []

    def has_reported(self) -> bool:
        """Whether it serves."""
        return self._last is not None

    def send(self, number: signal.Signals) -> None:
        """Signal it, if it runs."""
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, number)

    def hangs(self) -> bool:
        """Whether its event loop is stuck."""
        patience = MAX_START_SECONDS if self._last is None else MAX_SILENT_SECONDS
        return time.monotonic() - self._since > patience

    def state(self) -> WorkerState:
        """The state for readiness. A report that is too old does not count."""
        silent = time.monotonic() - self._since
        if self._last is None:
            ready, detail, version, parts = False, self._reason, None, list[HealthPart]()
        else:
            ready = self._last.status == "ready" and silent < MAX_REPORT_AGE_SECONDS
            detail = self._last.status if silent < MAX_REPORT_AGE_SECONDS else f"silent for {silent:.0f} s"
            version, parts = self._last.policy_version, self._last.parts
        return WorkerState(self.number, self._pid, ready, detail, self.restarts, version, parts)


async def _read_reports(reader: asyncio.StreamReader, worker: _Worker) -> None:
    try:
        while line := await reader.readline():
            worker.set_report(msgspec.json.decode(line, type=WorkerReport))
    except ValueError as error:
        # Without reports the worker soon counts as hanging, and is replaced.
        _log.error("report_unreadable", worker=worker.number, error=type(error).__name__)


async def _end(process: asyncio.subprocess.Process, ending: asyncio.Task[int]) -> None:
    """Let requests under way finish, within the bound, and then kill the process."""
    if ending.done():
        return
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(STOP_WORKER)
    await asyncio.wait({ending}, timeout=MAX_STOP_SECONDS)
    if not ending.done():
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await ending


def _describe_end(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"
