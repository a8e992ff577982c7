"""`timewarden serve` as a real process over a test's database, with sockets that are held for it. Owns the process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import ssl
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx2

from tests.held_sockets import HeldSockets
from tests.integration.api import AUDIENCE
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).resolve().parents[2]
# The machine may be busy with other tests.
START_SECONDS = 90.0
# Every client makes a context otherwise and reads all certificates into it.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass(frozen=True, slots=True)
class Served:
    """A running service and its addresses. Each request has its own connection."""

    process: asyncio.subprocess.Process
    held: HeldSockets
    instance: str
    log: Path

    async def get(self, path: str, *, seconds: float = 20.0) -> httpx2.Response:
        """An answer of the API."""
        return await fetch(f"{self.held.api}{path}", seconds)

    async def health(self, which: str = "ready") -> httpx2.Response:
        """An answer of the management address."""
        return await fetch(f"{self.held.management}/health/{which}", 5.0)

    async def workers(self) -> list[dict[str, Any]]:
        """How the supervisor says that its workers are."""
        found: list[dict[str, Any]] = (await self.health()).json()["workers"]
        return found

    async def ready(self, workers: int = 1) -> list[dict[str, Any]]:
        """Wait until so many workers are ready."""

        async def enough() -> list[dict[str, Any]]:
            assert self.process.returncode is None, self.log.read_text()
            with contextlib.suppress(httpx2.HTTPError):
                found = await self.workers()
                return found if sum(worker["ready"] for worker in found) >= workers else []
            return []

        return await until(enough, START_SECONDS)


def settings_of_serve(database_url: str, issuer: str) -> dict[str, str]:
    """The settings that `serve` needs, beside its addresses."""
    return {
        "ENVIRONMENT": "development",
        "DATABASE_URL": database_url,
        "ISSUER": issuer,
        "JWKS_URL": f"{issuer}/jwks",
        "AUDIENCE": AUDIENCE,
        "CURSOR_KEY": "0" * 32,
        "POLICIES_DIRECTORY": str(ROOT / "policies"),
    }


@asynccontextmanager
async def serve(database_url: str, issuer: str, folder: Path, **settings: str) -> AsyncIterator[Served]:
    """Start it, without waiting for its readiness. It must end by itself with exit code 0 when it is told to."""
    instance, log = str(uuid4()), folder / "serve.log"
    with HeldSockets() as held, log.open("wb") as output:
        wanted = {**settings_of_serve(database_url, issuer), "INSTANCE": instance, **settings}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TIMEWARDEN_")}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service", "serve", *held.options),
            cwd=ROOT,
            env={**environment, **{f"TIMEWARDEN_{name}": value for name, value in wanted.items()}},
            pass_fds=held.numbers,
            stdout=output,
            stderr=output,
        )
    try:
        yield Served(process, held, instance, log)
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            assert await wait_for_exit(process) == 0, log.read_text()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def wait_for_exit(process: asyncio.subprocess.Process, seconds: float = 20.0) -> int:
    """The exit code; TimeoutError when it does not end."""
    async with asyncio.timeout(seconds):
        return await process.wait()


async def fetch(url: str, seconds: float) -> httpx2.Response:
    """One request on a connection of its own."""
    async with httpx2.AsyncClient(timeout=seconds, trust_env=False, verify=NO_TLS) as http:
        return await http.get(url)
