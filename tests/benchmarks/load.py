"""A lean load generator: `python -m tests.benchmarks.load PORT CONNECTIONS SECONDS PATH [TOKEN [patient [HEADER...]]]`.

Each connection sends a request again as soon as it was answered, over plain protocols on uvloop: its own CPU counts
against the server that is measured on the same cores. A `patient` connection first waits for as long as `Retry-After`
says. PATH may begin with a method ("POST /v1/..."); `@FILE` takes the lines of a file in turn, each a path, a space and
a token, from any of them on. Each HEADER is a whole line; one that begins with `{` is the JSON body instead. It owns
its connections; nothing is durable.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from dataclasses import dataclass, field
from itertools import chain, cycle
from pathlib import Path
from typing import TYPE_CHECKING, cast

import uvloop

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# How long what is unanswered at the end is waited for.
PATIENCE_SECONDS = 40.0


@dataclass
class Counted:
    """How long each answer took, in seconds, by status; and how many connections were lost."""

    latencies: dict[int, list[float]] = field(default_factory=dict)
    lost: int = 0


class Connection(asyncio.Protocol):
    """One connection that asks until `until`."""

    def __init__(
        self,
        requests: Iterator[bytes],
        until: float,
        counted: Counted,
        done: asyncio.Future[None],
        *,
        patient: bool = False,
    ) -> None:
        self.requests, self.until, self.counted, self.done, self.patient = requests, until, counted, done, patient
        self.held = b""
        self.sent = 0.0
        self.waits = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # That of uvloop is none by inheritance.
        self.transport = cast("asyncio.Transport", transport)
        self.send()

    def send(self) -> None:
        self.sent, self.waits = time.perf_counter(), True
        self.transport.write(next(self.requests))

    def data_received(self, data: bytes) -> None:
        self.held += data
        end = self.held.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.held[:end].lower()
        place = head.find(b"content-length:")
        length = int(head[place + 15 :].split(b"\r\n", 1)[0]) if place >= 0 else 0
        if len(self.held) < end + 4 + length:
            return
        now = time.perf_counter()
        self.counted.latencies.setdefault(int(self.held[9:12]), []).append(now - self.sent)
        self.held, self.waits = b"", False
        pause = 0.0
        if self.patient and (place := head.find(b"retry-after: ")) >= 0:
            pause = float(head[place + 13 :].split(b"\r\n", 1)[0])
        if now + pause >= self.until:
            self.transport.close()
        elif pause:
            asyncio.get_running_loop().call_later(pause, self.send)
        else:
            self.send()

    def connection_lost(self, _: Exception | None) -> None:
        self.counted.lost += self.waits
        if not self.done.done():
            self.done.set_result(None)


async def load(
    port: int, connections: int, seconds: float, path: str, token: str = "", patient: str = "", *headers: str
) -> dict[str, object]:
    """Requests and successes a second, answers by status, and milliseconds at the median and the 99th percentile."""
    requests = cycle(requests_of(port, path, token, *headers))
    loop = asyncio.get_running_loop()
    counted = Counted()
    started = time.perf_counter()
    ends = []
    for _ in range(connections):
        done = loop.create_future()
        ends.append(done)
        connection = Connection(requests, started + seconds, counted, done, patient=bool(patient))
        await loop.create_connection(lambda connection=connection: connection, "127.0.0.1", port)  # type: ignore[misc]  # a lambda's default
    await asyncio.sleep(started + seconds - time.perf_counter())
    good = len(counted.latencies.get(200, ()))
    _, silent = await asyncio.wait(ends, timeout=PATIENCE_SECONDS)
    took = time.perf_counter() - started
    every = sorted(chain.from_iterable(counted.latencies.values()))
    return {
        "rate": len(every) / took,
        "goodput": good / seconds,
        "statuses": {status: len(found) for status, found in counted.latencies.items()},
        "unanswered": len(silent) + counted.lost,
        **percentiles(every),
        "milliseconds": {status: percentiles(sorted(found)) for status, found in counted.latencies.items()},
    }


def requests_of(port: int, path: str, token: str, *headers: str) -> list[bytes]:
    """The bytes of the requests, in turn."""
    if not path.startswith("@"):
        return [request_of(port, path, token, *headers)]
    lines = Path(path[1:]).read_text(encoding="utf-8").splitlines()
    first = random.randrange(len(lines))  # noqa: S311 - no secret
    return [request_of(port, *line.split(), *headers) for line in lines[first:] + lines[:first]]


def request_of(port: int, path: str, token: str, *headers: str) -> bytes:
    """The bytes of a request."""
    line = f"GET {path}" if path.startswith("/") else path
    lines = [f"{line} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Accept: application/json"]
    lines += [header for header in headers if not header.startswith("{")]
    body = next((header for header in headers if header.startswith("{")), "")
    if body:
        lines.append("Content-Type: application/json")
    if not line.startswith("GET "):
        lines.append(f"Content-Length: {len(body)}")
    if token:
        lines.append(f"Authorization: Bearer {token}")
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """The median and the 99th percentile of sorted times, in milliseconds."""
    return {name: seconds[int(len(seconds) * share)] * 1e3 for name, share in (("p50", 0.5), ("p99", 0.99))}


if __name__ == "__main__":
    port, connections, seconds, path, *more = sys.argv[1:]
    print(json.dumps(uvloop.run(load(int(port), int(connections), float(seconds), path, *more))))
