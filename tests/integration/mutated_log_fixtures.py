"""The fixture of `mutated_log`: each test has its own log and may damage it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from service.log.anchor import Anchor
from service.log.log import Log
from service.log.signing import CheckpointSigner
from tests.integration.log_database import change
from tests.integration.log_trees import seal_all
from tests.integration.mutated_log import FIRST, SIGNER, WHOLE, StoredLog, record

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.log_database import LogDatabase


@pytest.fixture
async def stored(log_database: LogDatabase, tmp_path: Path) -> StoredLog:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    signing = CheckpointSigner(keeper, [SIGNER], Anchor(tmp_path / "anchor"))
    log, auditor = Log(app), await log_database.connect("auditor")
    for size in (FIRST, WHOLE):
        there = await auditor.fetchval("SELECT count(*) FROM audit_record")
        await log.append([record(number) if number % 5 else change() for number in range(there, size)])
        await seal_all(keeper)
        assert await signing.sign()
    kept = await auditor.fetchval("SELECT note FROM checkpoint WHERE size = $1", FIRST)
    return StoredLog(log_database, app, keeper, signing, kept)
