"""The image, started as docker-compose.yml starts it: migrate, bootstrap, key, serve and keep. See .ci/image."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.conftest import database_from
from tests.held_sockets import HeldSockets
from tests.integration.log_database import PASSWORDS
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from service.development.local_servers import LocalPostgres

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.conftest"]

ROOT = os.environ["IMAGE_ROOT"]
CONFIG: dict[str, Any] = json.loads(Path(os.environ["IMAGE_CONFIG"]).read_text(encoding="utf-8"))["Docker"]["config"]
SCRIPT = Path(__file__).with_name("run_image.sh")
ORIGIN = "image.example/audit/test"


class Image:
    """Runs commands in the image; `settings` are those that every process gets."""

    def __init__(self, volume: Path, settings: dict[str, str]) -> None:
        self.volume = volume
        self.settings = settings

    async def start(self, *command: str, **settings: str) -> asyncio.subprocess.Process:
        own = dict(line.split("=", 1) for line in CONFIG["Env"])
        given = {f"TIMEWARDEN_{name}": value for name, value in {**self.settings, **settings}.items()}
        return await asyncio.create_subprocess_exec(
            *("unshare", "--mount", "--pid", "--ipc", "--uts", "--fork"),
            *("sh", str(SCRIPT), ROOT, str(self.volume), *command),
            env={**own, **given},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def run(self, *command: str, **settings: str) -> str:
        """The output of the command. It must end with exit code 0."""
        process = await self.start(*command, **settings)
        printed, _ = await process.communicate()
        assert process.returncode == 0, printed.decode()
        return printed.decode()

    @asynccontextmanager
    async def running(self, *command: str, **settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """The process, until the end of the block."""
        process = await self.start(*command, **settings)
        try:
            yield process
            assert process.returncode is None
        finally:
            # `unshare` ignores SIGTERM. When it is killed, the kernel sends SIGTERM to its child, the process in the
            # image, whose output then ends.
            process.kill()
            async with asyncio.timeout(30):
                await process.communicate()


@pytest.fixture
def image(tmp_path: Path, issuer: str, redis_url: str) -> Image:
    volume = tmp_path / "volume"
    volume.mkdir()
    os.chown(volume, 10001, 10001)
    settings = {
        "ENVIRONMENT": "development",
        "ISSUER": issuer,
        "JWKS_URL": f"{issuer}/jwks",
        "AUDIENCE": "https://api.example/timesheets",
        "CURSOR_KEY": "0" * 32,
        "REDIS_URL": redis_url,
        "PUBLIC_URL": "http://localhost",
        "LOG_ORIGIN": ORIGIN,
        "LOG_KEY_FILE": "/var/lib/timewarden/log.key",
        "LOG_ANCHOR_FILE": "/var/lib/timewarden/anchor",
    }
    return Image(volume, settings)


async def test_the_image_holds_what_it_runs_and_no_privileges(image: Image) -> None:
    assert CONFIG["User"] == "10001:10001"
    assert CONFIG["Cmd"] == ["timewarden", "serve"]
    printed = await image.run(
        *("sh", "-c", "id -u; grep -E '^(CapEff|NoNewPrivs)' /proc/self/status; touch /app/file || true; ls service")
    )
    assert printed.startswith("10001\n")
    assert "CapEff:\t0000000000000000" in printed
    assert "NoNewPrivs:\t1" in printed
    assert "Read-only file system" in printed
    assert "development" not in printed
    assert "pip" not in await image.run("sh", "-c", "ls /opt/timewarden/bin")
    assert "usage" in (await image.run("timewarden-verify", "--help")).lower()


async def test_the_image_migrates_serves_and_keeps(
    image: Image, postgres: LocalPostgres, superuser: asyncpg.Connection[asyncpg.Record], log_template: str
) -> None:
    assert log_template
    async with database_from(superuser, "template0", owner="timewarden_owner") as name:

        def url(role: str) -> str:
            return postgres.url(f"timewarden_{role}", PASSWORDS[role], name)

        assert "newest schema" in await image.run("timewarden", "migrate", DATABASE_URL=url("owner"))
        await image.run("timewarden", "policy", "bootstrap", DATABASE_URL=url("owner"))
        await image.run("timewarden", "audit", "key", "new", "--unless-there", "/var/lib/timewarden/log.key")
        with HeldSockets() as held:
            ports = {"PORT": str(held.port), "MANAGEMENT_ADDRESS": f"0.0.0.0:{held.management_port}"}
        serving = image.running(*CONFIG["Cmd"], DATABASE_URL=url("app"), **ports)
        keeping = image.running("timewarden", "keep", DATABASE_URL=url("keeper"))
        async with serving, keeping, httpx2.AsyncClient(trust_env=False) as http:

            async def healthy() -> bool:
                check = await image.start(*CONFIG["Healthcheck"]["Test"][1:], **ports)
                await check.communicate()
                return check.returncode == 0

            await until(healthy, 90)
            assert (await http.get(f"http://127.0.0.1:{held.port}/v1/me")).status_code == 401

            async def signed() -> bool:
                return (image.volume / "anchor").exists() and ORIGIN in (image.volume / "anchor").read_text()

            await until(signed, 60)
            assert "ready" in await image.run("timewarden", "health", "--keeper", DATABASE_URL=url("keeper"))
            examined = await image.start("timewarden", "doctor", "--json", DATABASE_URL=url("keeper"), **ports)
            findings = json.loads((await examined.communicate())[0])
            # The tests' Postgres runs without fsync.
            assert [finding["part"] for finding in findings if finding["grade"] == "bad"] == ["durability"]
