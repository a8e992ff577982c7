"""Checkpoints are cosigned by a witness that others wrote (aics-witness), and it notices a fork.

It needs Python 3.12 or newer and is installed into .local/witness, in versions that are pinned here.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest

from service.errors import LogDamaged
from service.log.anchor import Anchor
from service.log.keeper_status import read_status
from service.log.log import Log
from service.log.signing import CheckpointSigner
from service.log.witness import HttpWitness
from service.standalone.verify.checks import check_witnesses
from service.standalone.verify.findings import INTACT, Report
from service.standalone.verify.notes import COSIGNATURE, read_keys
from tests.integration.log_database import copy_database, decision, open_new_log
from tests.integration.log_trees import ORIGIN, SIGNER, checkpoints, seal_all
from tests.ports import unused_port
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import asyncpg

    from service.development.local_servers import LocalPostgres
    from service.log.keeper_status import PartStatus
    from tests.integration.log_database import LogDatabase

pytest_plugins = ["tests.integration.log_fixtures"]

PINNED = ("aics-witness==0.1.0", "aics-tlog==0.2.1")
PLACE = Path(__file__).parents[2] / ".local" / "witness"
NEWER = (3, 12)


@pytest.fixture(scope="module")
def program() -> str:
    """The path of aics-witness, installed at the first time."""
    installed = PLACE / "bin" / "aics-witness"
    if not installed.exists():
        names = ("python3.14", "python3.13", "python3.12")
        python = sys.executable if sys.version_info >= NEWER else next(filter(None, map(shutil.which, names)), None)
        if python is None:
            pytest.skip("aics-witness needs Python 3.12 or newer")
        subprocess.run([python, "-m", "venv", "--clear", PLACE], check=True, capture_output=True)
        command = [str(PLACE / "bin" / "python"), "-m", "pip", "install", "--quiet", "--only-binary=:all:", *PINNED]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            pytest.skip("aics-witness cannot be installed: no package index answers")
    return str(installed)


@contextmanager
def witness(program: str, folder: Path, vkey: str) -> Iterator[str]:
    """A running witness of our log. Yields what the setting takes: its key and its URL."""
    folder.mkdir(exist_ok=True)

    def ask(*words: str) -> str:
        done = subprocess.run([program, *words], cwd=folder, check=True, capture_output=True, text=True)
        return done.stdout

    found = re.search(r"witness\.example/w1\+\S+", ask("init", "--name", "witness.example/w1"))
    assert found
    ask("add-log", "--origin", ORIGIN, "--vkey", vkey)
    port = unused_port()
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [program, "serve", "--listen", f"127.0.0.1:{port}"], cwd=folder, stdout=log, stderr=log
        )
    try:
        yield f"{found[0]} http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(20)


async def is_up(setting: str) -> None:
    """Wait until the witness answers."""

    async def answers() -> bool:
        try:
            return httpx2.get(f"{setting.split()[1]}/healthz", trust_env=False).is_success
        except httpx2.HTTPError:
            return False

    await until(answers)


async def sign(database: LogDatabase, signing: CheckpointSigner, count: int) -> PartStatus:
    """Let the log grow and the keeper sign once. Returns what it reports."""
    app, keeper = await database.open("app"), await database.open("keeper")
    await Log(app).append([decision() for _ in range(count)])
    await seal_all(keeper)
    stop = asyncio.Event()
    stop.set()
    await signing.run(stop)
    async with keeper.connection() as connection:
        (status,) = [part for part in await read_status(connection) if part.part == "signer"]
    return status


@pytest.mark.long
async def test_a_witness_of_others_cosigns_and_notices_a_fork(
    program: str,
    log_database: LogDatabase,
    postgres: LocalPostgres,
    superuser: asyncpg.Connection[asyncpg.Record],
    log_template: str,
    tmp_path: Path,
) -> None:
    with witness(program, tmp_path / "witness", SIGNER.verifier.vkey) as setting:
        await is_up(setting)
        client = HttpWitness.parse(setting)
        keeper = await log_database.open("keeper")
        signing = CheckpointSigner(keeper, [SIGNER], Anchor(tmp_path / "anchor"), witnesses=[client])
        for _ in range(3):
            status = await sign(log_database, signing, 7)
            assert (status.ready, status.detail) == (True, f"signing as {ORIGIN}")
        async with keeper.connection() as connection:
            note = str(await connection.fetchval("SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1"))
        report = Report(quiet=True)
        check_witnesses(note, read_keys([setting.split()[0]], COSIGNATURE), 1, report)
        assert report.verdict == INTACT, report.findings

        # Database and anchor file were both restored, and the log goes on another way: only the witness can know.
        async with copy_database(postgres, superuser, log_template) as other:
            await open_new_log(other)
            forked = CheckpointSigner(
                await other.open("keeper"), [SIGNER], Anchor(tmp_path / "other-anchor"), witnesses=[client]
            )
            status = await sign(other, forked, 3)
            assert not status.ready
            assert "has cosigned 22 records of this log, which has 4" in status.detail
            await Log(await other.open("app")).append([decision() for _ in range(40)])
            await seal_all(await other.open("keeper"))
            with pytest.raises(LogDamaged, match="knows another history of this log; docs/runbook-restored-log"):
                await forked.sign()
            assert await checkpoints(other) == []
        await client.close()
