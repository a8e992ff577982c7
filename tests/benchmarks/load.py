"""A lean load generator: `python -m tests.benchmarks.load PORT CONNECTIONS SECONDS PATH [TOKEN]`.

Each connection sends the same request again as soon as it was answered, over plain asyncio protocols: its own CPU
counts against whatever is measured on the same cores. It owns its connections; nothing is durable.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Counted:
    """Answers by status, and how long each took, in seconds."""

    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)


class Connection(asyncio.Protocol):
    """One connection that asks until `until`."""

    def __init__(self, request: bytes, until: float, counted: Counted, done: asyncio.Future[None]) -> None:
        self.request, self.until, self.counted, self.done = request, until, counted, done
        self.held = b""
        self.sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.send()

    def send(self) -> None:
        self.sent = time.perf_counter()
        self.transport.write(self.request)

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
        self.counted.statuses[int(self.held[9:12])] += 1
        self.counted.latencies.append(now - self.sent)
        self.held = b""
        if now < self.until:
            self.send()
        else:
            self.transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def load(port: int, connections: int, seconds: float, path: str, token: str = "") -> dict[str, object]:
    """Requests a second, answers by status, and milliseconds at the median and the 99th percentile."""
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Accept: application/json"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    request = ("\r\n".join(lines) + "\r\n\r\n").encode()
    loop = asyncio.get_running_loop()
    counted = Counted()
    started = time.perf_counter()
    ends = []
    for _ in range(connections):
        done = loop.create_future()
        ends.append(done)
        asked = Connection(request, started + seconds, counted, done)
        await loop.create_connection(lambda asked=asked: asked, "127.0.0.1", port)  # type: ignore[misc]  # a lambda's default
    await asyncio.gather(*ends)
    took = time.perf_counter() - started
    latencies = sorted(counted.latencies)
    return {
        "rate": len(latencies) / took,
        "statuses": dict(counted.statuses),
        "p50": latencies[len(latencies) // 2] * 1e3,
        "p99": latencies[int(len(latencies) * 0.99)] * 1e3,
    }


if __name__ == "__main__":
    port, connections, seconds, path, *token = sys.argv[1:]
    print(json.dumps(asyncio.run(load(int(port), int(connections), float(seconds), path, *token))))
