"""The whole keeper: it seals, signs and publishes, and does not start if it cannot sign."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from service.errors import Misconfigured
from service.keeper import keep
from service.log import checkpoint as notes
from service.log.checkpoint import Checkpoint
from service.log.keeper_status import read_status
from service.log.key_files import make_key
from service.log.log import Log
from service.settings import Settings
from tests.integration.log_database import change

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.log_database import LogDatabase

pytest_plugins = ["tests.integration.log_fixtures"]
ORIGIN = "timesheets.example.com/audit/test"


def settings(log_database: LogDatabase, redis_url: str, tmp_path: Path, **changes: Any) -> Settings:
    wanted: dict[str, Any] = {
        "database_url": log_database.url("keeper"),
        "redis_url": redis_url,
        "log_origin": ORIGIN,
        "log_key_file": str(tmp_path / "key"),
        "log_anchor_file": str(tmp_path / "anchor"),
        "checkpoint_interval": 0.05,
        "seal_interval": 0.02,
        **changes,
    }
    return Settings(**wanted)


async def test_records_are_sealed_signed_anchored_and_published(
    log_database: LogDatabase, redis_url: str, tmp_path: Path
) -> None:
    signer, stop = make_key(tmp_path / "key", ORIGIN), asyncio.Event()
    running = asyncio.create_task(keep(settings(log_database, redis_url, tmp_path), stop))
    await Log(await log_database.open("app")).append([change()])
    auditor = await log_database.connect("auditor")
    newest, note = "SELECT note FROM checkpoint WHERE size = 2", None
    for _ in range(200):
        note = await auditor.fetchval(newest)
        if note is not None:
            break
        await asyncio.sleep(0.05)
    stop.set()
    await running
    assert note is not None
    signed = Checkpoint.parse(notes.verify(note, [signer.verifier]).text)
    anchored = (tmp_path / "anchor").read_text().splitlines()[-1].split(" ")
    assert (signed.origin, signed.size, anchored[1:3]) == (ORIGIN, 2, [ORIGIN, "2"])
    assert {status.part: status.ready for status in await read_status(auditor)} == {
        "sealer": True,
        "signer": True,
        "relay": True,
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"log_key_file": ""}, "Set TIMEWARDEN_LOG_KEY_FILE"),
        ({"log_origin": ""}, "Set TIMEWARDEN_LOG_ORIGIN"),
        ({"log_anchor_file": ""}, "Set TIMEWARDEN_LOG_ANCHOR_FILE"),
        ({"log_origin": "another.example/log"}, "named timesheets.example.com/audit/test"),
        ({"log_key_file": "/nowhere/key"}, "cannot be read"),
    ],
)
async def test_a_keeper_that_cannot_sign_does_not_start(
    log_database: LogDatabase, redis_url: str, tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    make_key(tmp_path / "key", ORIGIN)
    with pytest.raises(Misconfigured, match=message):
        await keep(settings(log_database, redis_url, tmp_path, **changes), asyncio.Event())
