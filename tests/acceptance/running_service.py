"""`timewarden up` as a real subprocess with a state directory of its own, and its processes, to be asked or killed.

Owns the processes that it starts; what is durable lies in the state directory that it is given.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2

from service.commands.running import FILE, Running
from service.development.processes import spawn, wait_until
from service.development.server_directory import remember_port
from tests.ports import unused_port
from tests.until import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
# The words that tell our processes apart, on their command lines.
UP, SERVE, KEEP = "-m service up", "-m service serve", "-m service keep"
WORKER = "-m service.api_worker"
POSTGRES, REDIS = "/postgres -D", "redis-server"
START_SECONDS = PATIENCE_SECONDS


def run_command(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `timewarden` with these words, and with no other of its variables than these."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TIMEWARDEN_")}
    return subprocess.run(
        [sys.executable, "-m", "service", *words],
        cwd=ROOT,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )


@dataclass(frozen=True, slots=True)
class Process:
    """A process as /proc shows it; number and start together name it for good."""

    pid: int
    parent: int
    started: str
    line: str

    @property
    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        now = _process(self.pid)
        return now is not None and now.started == self.started

    def send(self, how: signal.Signals) -> None:
        """Signal it, if it still runs."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, how)


class RunningService:
    """Start, stop and hurt the service of one state directory; `addresses` says where it is. `variables` are what `up`
    is told beside where its state is."""

    def __init__(self, state: Path, variables: Mapping[str, str] | None = None, *, console: bool = False) -> None:
        self.state = state
        self._console = "--console" if console else "--no-console"
        self._variables = dict(variables or {})
        # `up` takes the next free port if another process has taken this port; `addresses` says which.
        self.port = unused_port()
        # Ports that nobody else prefers: after a restart the addresses in tokens must still be ours.
        for name in ("management", "sign-in", "console", "postgres", "redis"):
            remember_port(state, name, unused_port())
        self._up: subprocess.Popen[bytes] | None = None
        self._addresses: Running | None = None

    @property
    def addresses(self) -> Running:
        assert self._addresses is not None, "the service was not started"
        return self._addresses

    @property
    def started(self) -> bool:
        """Whether `up` runs."""
        return self._up is not None and self._up.poll() is None

    @property
    def log(self) -> Path:
        """The output of the API and the keeper."""
        return self.state / "logs" / "service.log"

    def start(self) -> None:
        """Start it and return when it takes requests."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TIMEWARDEN_")}
        output = self.state.with_name(f"{self.state.name}-up.log")
        (self.state / FILE).unlink(missing_ok=True)
        self._up = up = spawn(
            [sys.executable, "-m", "service", "up", "--port", str(self.port), self._console],
            log=output,
            directory=ROOT,
            environment={**environment, **self._variables, "TIMEWARDEN_STATE": str(self.state)},
            death_signal=signal.SIGINT,
        )
        announced = wait_until(lambda: (self.state / FILE).exists() or up.poll() is not None, START_SECONDS)
        if not announced or up.poll() is not None:
            self.kill()
            raise AssertionError(f"it did not start: {output.read_text()[-2000:]}")
        self._addresses = Running(**json.loads((self.state / FILE).read_text(encoding="utf-8")))

    def stop(self) -> None:
        """Ctrl-C. It must end by itself, with success, and leave nothing behind."""
        if self._up is None:
            return
        mine = self.processes()
        code = self._wait_for_exit(self._up)
        left = [item.line for item in mine if item.alive]
        assert not left, f"left behind: {left}"
        assert code == 0
        assert not (self.state / FILE).exists()
        self._up = None

    def end(self) -> None:
        """Ctrl-C, unless it has ended by itself for want of a part. It must leave nothing behind."""
        assert self._up is not None
        mine = self.processes()
        self._wait_for_exit(self._up)
        assert wait_until(lambda: not any(item.alive for item in mine), 15), [item.line for item in mine if item.alive]
        self._up = None

    def _wait_for_exit(self, up: subprocess.Popen[bytes]) -> int:
        up.send_signal(signal.SIGINT)
        try:
            return up.wait(PATIENCE_SECONDS)
        except BaseException:
            self.kill()
            raise

    def processes(self, mark: str = "") -> list[Process]:
        """Our processes whose command line holds the mark: `up` and all that descend from it."""
        assert self._up is not None
        every = list(processes())
        mine = {self._up.pid}
        while more := {process.pid for process in every if process.parent in mine} - mine:
            mine |= more
        return [process for process in every if process.pid in mine and mark in process.line]

    def kill(self, *marks: str) -> None:
        """SIGKILL for what carries one of the marks, and for its children, at once; without marks for everything."""
        every = self.processes()
        chosen = {process.pid for process in every if not marks or any(mark in process.line for mark in marks)}
        while more := {process.pid for process in every if process.parent in chosen} - chosen:
            chosen |= more
        self.kill_these([process for process in every if process.pid in chosen])
        if not marks and self._up is not None:
            # It may have ended by itself before, and was then not among them.
            self._up.wait(PATIENCE_SECONDS)
            self._up = None

    def kill_these(self, victims: list[Process]) -> None:
        """SIGKILL for these and nothing else."""
        for victim in victims:
            victim.send(signal.SIGKILL)
        if self._up is not None and self._up.pid in {victim.pid for victim in victims}:
            self._up.wait(PATIENCE_SECONDS)
        assert wait_until(lambda: not any(victim.alive for victim in victims), PATIENCE_SECONDS)

    def wait_ready(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until the API can decide and record."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx2.HTTPError):
                answer = httpx2.get(f"{self.addresses.management}/health/ready", timeout=2, trust_env=False)
                if answer.status_code == httpx2.codes.OK:
                    return
            time.sleep(0.05)
        raise AssertionError("the API did not become ready")


def fresh_connections(service: RunningService, *, timeout: float = 20) -> httpx2.AsyncClient:
    """A client with a new connection for each request: one to a worker that was killed must not spoil the next."""
    limits = httpx2.Limits(max_keepalive_connections=0)
    return httpx2.AsyncClient(base_url=service.addresses.api, timeout=timeout, trust_env=False, limits=limits)


def processes() -> Iterator[Process]:
    """Every process of this machine that still runs."""
    for folder in Path("/proc").glob("[0-9]*"):
        if (found := _process(int(folder.name))) is not None:
            yield found


def _process(pid: int) -> Process | None:
    try:
        folder = Path("/proc") / str(pid)
        # After the name in parentheses: state, parent, and, as the twentieth, the start time.
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return None
    return None if fields[0] in "ZX" else Process(pid, int(fields[1]), fields[19], line)
