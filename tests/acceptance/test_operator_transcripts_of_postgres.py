"""What an operator sees of a lost primary and of a full disk of Postgres, and what the doctor says of a good and of a
spoiled installation, played as docs/runbook/transcript.md says. `-s` shows the lines as they come.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

import asyncpg
import pytest

from events.stream import open_redis
from service.errors import TryLater
from tests.integration.served import fetch
from tests.ports import unused_port
from tests.soak.estate import estate
from tests.soak.traffic import Traffic
from tests.soak.verdict import check_log, settle
from tests.standby import copy_server, follow_synchronously, promote, start_server
from tests.until import until
from tests.watch import compare_with_page, needs_prometheus, prometheus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.soak.estate import Estate
    from tests.watch import Watch

pytestmark = pytest.mark.long


@contextlib.asynccontextmanager
async def watched(folder: Path, *further_hosts: str) -> AsyncIterator[tuple[Estate, Watch]]:
    """A service, and Prometheus over it."""
    port = unused_port()
    settings = {"KEEPER_ADDRESS": f"127.0.0.1:{port}", "LOG_LEVEL": "warning"}
    async with estate(folder / "state", workers=1, keepers=1, further_hosts=further_hosts, settings=settings) as made:
        targets = {
            "timewarden-api": [made.held.management.removeprefix("http://")],
            "timewarden-keeper": [settings["KEEPER_ADDRESS"]],
        }
        async with prometheus(folder, targets) as watch:
            yield made, watch


@contextlib.asynccontextmanager
async def under_load(hurt: Estate) -> AsyncIterator[Traffic]:
    """Requests go on inside the block. Afterwards the log must have all that was answered."""
    traffic = Traffic(hurt)
    await traffic.prepare()
    async with traffic.running(callers=4, lingerers=0):
        yield traffic
    await settle(hurt)
    found = await check_log(hurt, traffic.answers)
    assert found.good, str(found)


async def say_health(watch: Watch, hurt: Estate) -> None:
    answer = await fetch(f"{hurt.held.management}/health/ready", 5.0)
    found = answer.json()
    parts = {
        part["name"]: part["detail"] for worker in found["workers"] for part in worker["parts"] if not part["ready"]
    }
    watch.say(f"health: {answer.status_code} {found['status']}: {', '.join(sorted(parts))}")


@needs_prometheus
async def test_the_primary_of_postgres_is_lost(tmp_path: Path) -> None:
    port = unused_port()
    async with watched(tmp_path, f"127.0.0.1:{port}") as (hurt, watch):
        copy_server(hurt.postgres, tmp_path / "standby")
        with start_server(tmp_path / "standby", port) as standby:
            await follow_synchronously(hurt.postgres, tmp_path / "standby")
            async with under_load(hurt):
                await watch.wait_for_none()
                watch.say("the primary is killed")
                await asyncio.to_thread(hurt.postgres.kill)
                await watch.wait_for("TimewardenNotReady", "TimewardenKeeperMissing", "TimewardenErrors")
                await watch.show("max(timewarden_worker_ready)", 0)
                watch.show_log(hurt.state / "service.log", event="problem", slug="database-unavailable")
                await say_health(watch, hurt)
                promote(standby)
                watch.say('psql "$ADMIN" -c "SELECT pg_promote()"')
                await watch.show("max(timewarden_worker_ready)", 1)
                await watch.wait_for_none()
            watch.say("every answered decision is in the log")
    compare_with_page("The primary of Postgres is lost", watch.lines)


@needs_prometheus
async def test_the_disk_of_postgres_is_full(tmp_path: Path) -> None:
    async with watched(tmp_path) as (hurt, watch), under_load(hurt) as traffic:
        await traffic.outgrow()
        await watch.wait_for_none()
        async with hurt.full_disk():
            watch.say("the disk is full")
            # Postgres first uses up the space that it allocated before.
            with contextlib.suppress(TryLater):
                await traffic.outgrow()
            await watch.wait_for("TimewardenDecisionsNotRecorded", "TimewardenErrors")
            await watch.show("sum(timewarden_log_commits_failed_total) > bool 0", 1)
            watch.show_log(hurt.state / "service.log", event="problem", slug="log-unavailable")
            watch.say(f"callers: {traffic.answers.statuses[503]} requests got 503")
        watch.say("there is room again")
        await watch.wait_for_none()
    watch.say("every answered decision is in the log")
    compare_with_page("The disk of Postgres is full", watch.lines)


async def examine(hurt: Estate, command: str, **changes: str) -> list[str]:
    """The lines that `timewarden doctor` prints with the environment of `serve` or `keep`, and its exit code."""
    named = {f"TIMEWARDEN_{name}": value for name, value in changes.items()}
    # Relative, so that the page does not hold the names of this machine.
    given = {name: value.removeprefix(f"{hurt.state}/") for name, value in hurt.variables(command).items()}
    outside = {name: value for name, value in os.environ.items() if not name.startswith("TIMEWARDEN_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", "doctor"),
        cwd=hurt.state,
        env={**outside, "COLUMNS": "125", **given, **named},
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    words = [f"TIMEWARDEN_{name}={value}" for name, value in changes.items()]
    return [
        " ".join(("$", *words, "timewarden doctor")),
        *(line.rstrip() for line in printed.decode().splitlines()),
        f"exit code {process.returncode}",
        "",
    ]


async def test_the_doctor_tells_a_good_installation_from_a_spoiled_one(tmp_path: Path) -> None:
    async with estate(tmp_path / "state", workers=1, keepers=1) as hurt:
        owner = await asyncpg.connect(hurt.urls["owner"])
        await owner.execute("ANALYZE")
        both = {"REDIS_URL": hurt.redis_url, "PUBLIC_URL": "http://127.0.0.1:8080", "TRUSTED_PROXIES": "10.1.2.3"}
        hurt.settings = {**both, "ERASURE_KEYS": "1" * 32}

        async def examine_good(command: str) -> list[str]:
            lines = await examine(hurt, command)
            return lines if "exit code 0" in lines else []

        # The keeper may not have done its first work yet.
        assert await until(partial(examine_good, "keep"))
        lines = await until(partial(examine_good, "serve"))

        await owner.execute("GRANT UPDATE, DELETE ON audit_record TO timewarden_app")
        superuser = await asyncpg.connect(hurt.postgres.superuser_url)
        await superuser.execute("ALTER SYSTEM SET synchronous_commit = off")
        await superuser.execute("SELECT pg_reload_conf()")
        redis = open_redis(hurt.redis_url)
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        hurt.key.chmod(0o644)
        lines += [
            "timewarden=# GRANT UPDATE, DELETE ON audit_record TO timewarden_app;",
            "timewarden=# ALTER SYSTEM SET synchronous_commit = off;",
            "redis> CONFIG SET maxmemory-policy allkeys-lru",
            "$ chmod 644 log.key",
            "",
            *await examine(hurt, "serve", TRUSTED_PROXIES="0.0.0.0/0", JWKS_URL="http://127.0.0.1:1/jwks"),
            *await examine(hurt, "keep", LOG_ORIGIN="another.example/audit/1"),
        ]
        assert lines.count("exit code 1") == 2
        hurt.key.chmod(0o600)
        for connection in (owner, superuser, redis):
            await (connection.aclose() if connection is redis else connection.close())
    compare_with_page("The doctor on a good and on a spoiled installation", lines[:-1])
