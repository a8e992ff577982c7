"""More API processes beside the one that `up` started, on the same stores: replicas. Owns the processes it starts."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx2

from service.development.processes import spawn
from tests.acceptance.running_service import ROOT, SERVE, RunningService
from tests.held_sockets import HeldSockets
from tests.until import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

START_SECONDS = PATIENCE_SECONDS


@dataclass(frozen=True, slots=True)
class ApiReplica:
    """An API process at an address of its own."""

    process: subprocess.Popen[bytes]
    address: str
    management: str
    instance: str


@asynccontextmanager
async def api_replicas(
    service: RunningService, folder: Path, count: int, **settings: str
) -> AsyncIterator[list[httpx2.AsyncClient]]:
    """Clients of the running API and of `count` more processes, with the settings of the first but for these."""
    made = [_start(service, folder / f"replica-{number}.log", settings) for number in range(count)]
    try:
        for value in made:
            _wait(value)
        addresses = [service.addresses.api, *(item.address for item in made)]
        async with contextlib.AsyncExitStack() as stack:
            yield [await stack.enter_async_context(_client(address)) for address in addresses]
    finally:
        for item in made:
            item.process.send_signal(signal.SIGINT)
        for item in made:
            with contextlib.suppress(subprocess.TimeoutExpired):
                item.process.wait(20)
            if item.process.poll() is None:
                item.process.kill()
                item.process.wait(5)


def database_of(service: RunningService) -> str:
    """The database as the API itself reaches it."""
    return _environment(service)["TIMEWARDEN_DATABASE_URL"]


def _environment(service: RunningService) -> dict[str, str]:
    """The environment of the API process that `up` started."""
    serving = service.processes(SERVE)[0].pid
    pairs = (Path("/proc") / str(serving) / "environ").read_bytes().decode().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if pair)


def _start(service: RunningService, log: Path, settings: dict[str, str]) -> ApiReplica:
    environment, instance = _environment(service), str(uuid4())
    given = {f"TIMEWARDEN_{name.upper()}": value for name, value in settings.items()}
    with HeldSockets() as held:
        process = spawn(
            [sys.executable, "-m", "service", "serve", *held.options],
            log=log,
            directory=ROOT,
            environment={**environment, **given, "TIMEWARDEN_INSTANCE": instance},
            death_signal=signal.SIGINT,
            inherited=held.numbers,
        )
        return ApiReplica(process, held.api, held.management, instance)


def _wait(replica: ApiReplica) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and replica.process.poll() is None:
        with contextlib.suppress(httpx2.HTTPError):
            answer = httpx2.get(f"{replica.management}/health/ready", timeout=2, trust_env=False)
            if answer.status_code == httpx2.codes.OK:
                assert answer.json()["instance"] == replica.instance
                return
        time.sleep(0.1)
    raise AssertionError("a replica did not become ready")


def _client(address: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=address, timeout=PATIENCE_SECONDS, trust_env=False)
