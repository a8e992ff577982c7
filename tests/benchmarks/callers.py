"""Callers of the benchmark of overload: compiles and runs callers.c, and counts what its requests got.

A generator in Python costs as much as a refusal, on the cores that the service needs. Owns the compiled program, in a
folder of its own; nothing is durable.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import json
import random
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.load import percentiles

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

SOURCE = Path(__file__).with_name("callers.c")
# Statuses of callers.c for requests without an answer.
UNANSWERED = {1: "not connected", 2: "connection lost", 3: "silent", 4: "no free connection"}
REFUSED = 503
_OUTCOME = struct.Struct("=fHBB")


@dataclass(frozen=True, slots=True)
class Kind:
    """Requests of a kind, sent in turn, and how many of a hundred requests are of this kind."""

    name: str
    share: int
    requests: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Counts:
    """What callers got. `good` are successes a second, by kind, before the end; times are in seconds and sorted."""

    sent: int
    seconds: float
    good: dict[str, float]
    answered: dict[int, int]
    unanswered: dict[str, int]
    good_seconds: Sequence[float]
    refused_seconds: Sequence[float]
    processor_seconds: float
    opened: int
    # Sent and successful at any time, by kind.
    sent_of: dict[str, int]
    good_of: dict[str, int]

    @property
    def goodput(self) -> float:
        return sum(self.good.values())

    def share(self, *statuses: int) -> float:
        """The share of requests with one of these statuses."""
        return sum(self.answered.get(status, 0) for status in statuses) / self.sent

    @property
    def share_good(self) -> float:
        return len(self.good_seconds) / self.sent

    @property
    def share_unanswered(self) -> float:
        return sum(self.unanswered.values()) / self.sent


class Callers:
    """Sends the requests of `kinds`; no request twice before all others of its kind were sent."""

    def __init__(self, program: Path, name: str, kinds: Sequence[Kind]) -> None:
        self._program, self._kinds = program, kinds
        self._file = program.with_name(f"{name}.requests")
        self._file.write_bytes(b"".join(_encode(kinds)))
        # How many requests were sent, in all and of each kind.
        self._cursors = [0] * (1 + len(kinds))

    async def run(self, how: str, port: int, amount: float, seconds: float, only: str = "") -> Counts:
        """Send for some seconds; `amount` is a rate if `how` is `open`, else connections. See callers.c. `only`: a kind
        that is sent alone."""
        process = await asyncio.create_subprocess_exec(
            *(self._program, how, str(port), str(amount), str(seconds), self._file),
            *(",".join(map(str, self._cursors)), only and str([kind.name for kind in self._kinds].index(only))),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, told = await process.communicate()
        assert process.returncode == 0, told.decode()
        numbers = json.loads(told)
        self._cursors = numbers["cursors"]
        return self._count(output, seconds, numbers["processor_seconds"], numbers["opened"])

    def _count(self, output: bytes, seconds: float, processor_seconds: float, opened: int) -> Counts:
        names = [kind.name for kind in self._kinds]
        good, sent_of, good_of = ([0] * len(names) for _ in range(3))
        answered: dict[int, int] = {}
        unanswered: dict[str, int] = {}
        good_seconds, refused_seconds = array.array("f"), array.array("f")
        for took, status, kind, in_time in _OUTCOME.iter_unpack(output):
            sent_of[kind] += 1
            if status in UNANSWERED:
                unanswered[UNANSWERED[status]] = unanswered.get(UNANSWERED[status], 0) + 1
                continue
            answered[status] = answered.get(status, 0) + 1
            if 200 <= status < 300:
                good_of[kind] += 1
                good[kind] += in_time
                good_seconds.append(took)
            elif status == REFUSED:
                refused_seconds.append(took)
        return Counts(
            sent=len(output) // _OUTCOME.size,
            seconds=seconds,
            good={name: count / seconds for name, count in zip(names, good, strict=True)},
            answered=answered,
            unanswered=unanswered,
            good_seconds=sorted(good_seconds),
            refused_seconds=sorted(refused_seconds),
            processor_seconds=processor_seconds,
            opened=opened,
            sent_of=dict(zip(names, sent_of, strict=True)),
            good_of=dict(zip(names, good_of, strict=True)),
        )


def compile_callers(folder: Path) -> Path:
    """The compiled program."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise SystemExit("The benchmark of overload needs a C compiler (cc)")
    program = folder / "callers"
    subprocess.run([compiler, "-O2", "-o", program, SOURCE], check=True)
    return program


@contextlib.asynccontextmanager
async def sink(program: Path) -> AsyncIterator[tuple[int, int]]:
    """The port and the process id of a server that answers everything with an empty 503."""
    process = await asyncio.create_subprocess_exec(program, "sink", stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline()), process.pid
    finally:
        process.kill()
        await process.wait()


def milliseconds(seconds: Sequence[float]) -> tuple[float, float] | None:
    """The median and the 99th percentile, if there are any."""
    if not seconds:
        return None
    found = percentiles(seconds)
    return found["p50"], found["p99"]


def _encode(kinds: Sequence[Kind]) -> Iterator[bytes]:
    """The file that callers.c reads: the requests of each kind, then the order of kinds."""
    yield struct.pack("=I", len(kinds))
    for kind in kinds:
        yield struct.pack("=I", len(kind.requests))
        for request in kind.requests:
            yield struct.pack("=I", len(request)) + request
    order = _order(kinds)
    yield struct.pack("=I", len(order)) + order


def _order(kinds: Sequence[Kind]) -> bytes:
    """The order of kinds: shuffled, always in the same way, so that no kind always follows another."""
    order = bytearray(place for place, kind in enumerate(kinds) for _ in range(kind.share)) * 10
    random.Random(0).shuffle(order)  # noqa: S311 — no secret
    return bytes(order)
