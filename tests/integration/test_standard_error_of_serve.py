"""`timewarden serve` and `keep` go on answering and working after any fault of standard error: real processes,
whose lines go to a disk without room, to a reader that is gone, or to a reader that reads nothing."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import sys
from contextlib import asynccontextmanager, suppress
from functools import partial
from time import time
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.held_sockets import HeldSockets
from tests.integration.api import AUDIENCE
from tests.integration.served import fetch
from tests.integration.test_serve_start import ROOT, environment_of
from tests.token_forge import header, sign
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
pytestmark = pytest.mark.usefixtures("linked")

PIPE_BYTES = 1024 * 1024


def disk_without_room() -> tuple[int, int | None]:
    """Standard error for a process, and the descriptor that reads from it."""
    return os.open("/dev/full", os.O_WRONLY), None


def reader_that_is_gone() -> tuple[int, int | None]:
    reader, writer = os.pipe()
    os.close(reader)
    return writer, None


def reader_that_reads_nothing() -> tuple[int, int | None]:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4095 + b"\n")
    os.set_blocking(writer, True)
    return writer, reader


FAULTS = [disk_without_room, reader_that_is_gone, reader_that_reads_nothing]


@asynccontextmanager
async def serve(house: House, issuer: str, standard_error: int) -> AsyncIterator[httpx2.AsyncClient]:
    """A process of `serve` whose output goes there, and a client with a token of ana's."""
    changes = {
        "ENVIRONMENT": "development",
        "DATABASE_URL": house.log_database.url("app"),
        "REDIS_URL": "",
        "ISSUER": issuer,
        "JWKS_URL": f"{issuer}/jwks",
        "AUDIENCE": AUDIENCE,
    }
    claims = {
        "iss": issuer,
        "aud": AUDIENCE,
        "sub": "ana",
        "client_id": "hours-app",
        "jti": "token-1",
        "iat": int(time()) - 1,
        "exp": int(time()) + 600,
        "scope": "read:timesheets create:timesheets",
    }
    with HeldSockets() as held:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service", "serve", *held.options),
            cwd=ROOT,
            env=environment_of(changes),
            stdout=standard_error,
            stderr=standard_error,
            pass_fds=held.numbers,
        )

    async def ready() -> bool:
        with suppress(httpx2.HTTPError):
            return (await fetch(f"{held.management}/health/ready", 5.0)).status_code == 200
        return False

    try:
        await until(ready, 60)
        token = sign(header(), claims).decode()
        async with httpx2.AsyncClient(
            base_url=held.api,
            headers={"Authorization": f"Bearer {token}"},
            timeout=20,
            trust_env=False,
        ) as client:
            yield client
        process.terminate()
        async with asyncio.timeout(30):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def changes_and_reads(client: httpx2.AsyncClient) -> list[int]:
    """The status of each answer to a change, a read, and requests of which an error or nothing but a line comes."""
    made = await client.post("/v1/timesheets", json={"period_start": "2026-03-02"})
    assert made.status_code == 201, made.text
    sheet = f"/v1/timesheets/{made.json()['id']}"
    hours = {"day": "2026-03-02", "project": "ATLAS", "minutes": 60}
    sent = [
        await client.post(f"{sheet}/entries", json=hours, headers={"If-Match": made.headers["ETag"]}),
        await client.get(sheet),
        await client.get("/v1/timesheets"),
        await client.get("/nowhere"),
        await client.get("/v1/me", headers={"Authorization": "Bearer nonsense"}),
    ]
    return [made.status_code, *(answer.status_code for answer in sent)]


async def lines_part(client: httpx2.AsyncClient) -> dict[str, object]:
    """The state of the log lines in readiness."""
    parts = (await client.get("/health/ready")).json()["parts"]
    return next(part for part in parts if part["name"] == "log lines")


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS)
async def test_every_answer_is_right_though_no_line_can_be_written(
    house: House, issuer: str, fault: Callable[[], tuple[int, int | None]]
) -> None:
    writer, reader = fault()
    try:
        async with serve(house, issuer, writer) as client:
            assert await changes_and_reads(client) == [201, 201, 200, 200, 404, 401]
            part = await lines_part(client)
            assert (part["ready"], part["needed"]) == (False, False)
            assert int(str(part["detail"]).split()[0]) >= 6
    finally:
        os.close(writer)
        if reader is not None:
            os.close(reader)


@pytest.mark.long
async def test_every_answer_is_right_though_the_reader_goes_meanwhile(house: House, issuer: str) -> None:
    reader, writer = os.pipe()
    async with serve(house, issuer, writer) as client:
        os.close(writer)
        os.close(reader)
        assert await changes_and_reads(client) == [201, 201, 200, 200, 404, 401]
        assert (await client.get("/health/ready")).status_code == 200


async def test_the_next_line_that_gets_out_tells_how_many_were_lost(house: House, issuer: str) -> None:
    writer, reader = reader_that_reads_nothing()
    assert reader is not None
    async with serve(house, issuer, writer) as client:
        await changes_and_reads(client)
        assert os.read(reader, PIPE_BYTES)
        await client.get("/nowhere")
        assert (await lines_part(client))["ready"]
    os.close(writer)
    told = b"".join(iter(partial(os.read, reader, PIPE_BYTES), b""))
    os.close(reader)
    lines = [json.loads(line) for line in told.splitlines() if not line.startswith(b"xxx")]
    lost = [line["dropped"] for line in lines if "dropped" in line]
    assert len(lost) == 1
    assert lost[0] >= 6


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_start_that_fails_ends_though_nobody_can_be_told(
    fault: Callable[[], tuple[int, int | None]], tmp_path: Path
) -> None:
    for command in ("serve", "keep"):
        writer, reader = fault()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service", command),
            cwd=ROOT,
            env=environment_of({"REDIS_URL": "nonsense", "LOG_ANCHOR_FILE": str(tmp_path / "anchor")}),
            stderr=writer,
        )
        try:
            async with asyncio.timeout(60):
                assert await process.wait() == 2
        finally:
            if process.returncode is None:
                process.kill()
            os.close(writer)
            if reader is not None:
                os.close(reader)
