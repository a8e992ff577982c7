"""An open-loop load generator: `python -m tests.benchmarks.open_load PORT RATE SECONDS PATIENCE PATH [TOKEN]`.

Requests are sent at a fixed rate whether or not earlier ones were answered, as callers do who know nothing of one
another. Each takes a connection that is idle, or a new one. It owns its connections; nothing is durable.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections import Counter
from typing import cast

import uvloop

from tests.benchmarks.load import percentiles

# Beyond so many connections a request is not sent, and counts as one without an answer.
MAX_CONNECTIONS = 4_000
TICK_SECONDS = 0.001


class Load:
    """The requests sent and answered, and the connections that are idle."""

    def __init__(self, port: int, request: bytes) -> None:
        self.port, self.request = port, request
        self.idle: list[Connection] = []
        self.opened = 0
        self.under_way = 0
        self.arrived = 0
        self.closed_by_server = 0
        # Status to seconds; and how many had succeeded when the last request was sent.
        self.latencies: dict[int, list[float]] = {}
        self.failed: Counter[str] = Counter()

    def arrive(self) -> None:
        """Send one request now."""
        self.arrived += 1
        if self.idle:
            self.under_way += 1
            self.idle.pop().send(time.perf_counter())
        elif self.opened < MAX_CONNECTIONS:
            self.under_way += 1
            self.opened += 1
            asyncio.ensure_future(self._open(time.perf_counter()))  # noqa: RUF006 — its end is counted in `under_way`
        else:
            self.failed["not sent"] += 1

    async def _open(self, since: float) -> None:
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: Connection(self), "127.0.0.1", self.port
            )
        except OSError as error:
            self.opened -= 1
            self.under_way -= 1
            self.failed[type(error).__name__] += 1
        else:
            connection.send(since)


class Connection(asyncio.Protocol):
    """A connection that is kept and carries one request at a time."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.held = b""
        self.since: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Transports of uvloop are no subclass of asyncio's.
        self.transport = cast("asyncio.Transport", transport)

    def send(self, since: float) -> None:
        self.since = since
        self.transport.write(self.load.request)

    def data_received(self, data: bytes) -> None:
        self.held = self.held + data if self.held else data
        end = self.held.find(b"\r\n\r\n")
        if end < 0 or self.since is None:
            return
        place = self.held.find(b"content-length: ", 0, end)
        length = int(self.held[place + 16 : self.held.index(b"\r\n", place)]) if place >= 0 else 0
        if len(self.held) < end + 4 + length:
            return
        self.load.latencies.setdefault(int(self.held[9:12]), []).append(time.perf_counter() - self.since)
        self.held, self.since = b"", None
        self.load.under_way -= 1
        self.load.idle.append(self)

    def connection_lost(self, _: Exception | None) -> None:
        self.load.opened -= 1
        self.load.closed_by_server += 1
        if self.since is not None:
            self.load.under_way -= 1
            self.load.failed["connection lost"] += 1
        elif self in self.load.idle:
            self.load.idle.remove(self)


async def open_load(
    port: int, rate: float, seconds: float, patience: float, path: str, token: str = ""
) -> dict[str, object]:
    """Send `rate` requests a second for some seconds; then wait up to `patience` seconds for what is unanswered."""
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Accept: application/json"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    load = Load(port, ("\r\n".join(lines) + "\r\n\r\n").encode())
    started = time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        for _ in range(int(elapsed * rate) - load.arrived):
            load.arrive()
        await asyncio.sleep(TICK_SECONDS)
    took = time.perf_counter() - started
    good = len(load.latencies.get(200, ()))
    while load.under_way and time.perf_counter() - started < took + patience:  # noqa: ASYNC110 — answers are counted
        await asyncio.sleep(0.05)
    answered = sum(len(found) for found in load.latencies.values())
    return {
        "arrived": load.arrived,
        "rate": load.arrived / took,
        "goodput": good / took,
        "statuses": {status: len(found) for status, found in load.latencies.items()},
        "unanswered": load.arrived - answered,
        "failed": dict(load.failed),
        "connections": load.opened,
        "closed": load.closed_by_server,
        "milliseconds": {status: percentiles(sorted(found)) for status, found in load.latencies.items()},
    }


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    at, a_second, for_seconds, patient, asked, *bearer = sys.argv[1:]
    told = uvloop.run(open_load(int(at), float(a_second), float(for_seconds), float(patient), asked, *bearer))
    print(json.dumps(told))
