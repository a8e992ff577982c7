"""Shared by tests of the tree: a keeper process to kill, settings, sealing, and checks of the stored tree."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import asyncpg

from service.log import checkpoint as notes
from service.log import merkle
from service.log.checkpoint import Checkpoint, Signer
from service.log.packing import unpack
from service.log.sealing import Sealer
from service.log.tree import consistency_path
from service.settings import Settings
from tests.conformance.rfc9162_verifier import consistency_holds

if TYPE_CHECKING:
    from pathlib import Path

    from service.database import Database
    from tests.integration.log_database import LogDatabase


ORIGIN = "timesheets.example.com/audit/test"
SIGNER = Signer(ORIGIN, b"1" * 32)
BODIES = "SELECT r.body FROM audit_record r JOIN audit_position p ON p.record_id = r.id ORDER BY p.position"
FORGET_TREE = "DELETE FROM tile; UPDATE log_head SET tree_size = 0, edge = '{}', root = NULL"

KEEPER_PROCESS = """
import asyncio, sys
from pathlib import Path
from service.log.anchor import Anchor
from service.log.checkpoint import Signer
from service.log.sealing import Sealer
from service.log.signing import CheckpointSigner
from service.database import Database

async def main():
    database = Database(sys.argv[1], size=3, name="killed")
    await database.open()
    print("ready", flush=True)
    signing = CheckpointSigner(database, [Signer(sys.argv[3], b"1" * 32)], Anchor(Path(sys.argv[2])))
    await asyncio.gather(Sealer(database, batch=7).run(asyncio.Event(), 0.001), signing.run(asyncio.Event(), 0.001))

asyncio.run(main())
"""


def keeper_settings(database_url: str, redis_url: str, folder: Path, **changes: Any) -> Settings:
    """Those of a keeper that seals and signs at once, whose key and anchor are the files `key` and `anchor`."""
    wanted: dict[str, Any] = {
        "database_url": database_url,
        "redis_url": redis_url,
        "log_origin": ORIGIN,
        "log_key_file": str(folder / "key"),
        "log_anchor_file": str(folder / "anchor"),
        "checkpoint_interval": 0.05,
        "seal_interval": 0.02,
        **changes,
    }
    return Settings(**wanted)


async def seal_all(keeper: Database, batch: int = 5_000) -> None:
    while await Sealer(keeper, batch=batch).seal():
        pass


async def leaves(log_database: LogDatabase) -> list[bytes]:
    """The leaves of the sealed records, from their bytes."""
    auditor = await log_database.connect("auditor")
    return [merkle.leaf_hash(unpack(row["body"])) for row in await auditor.fetch(BODIES)]


async def checkpoints(log_database: LogDatabase) -> list[Checkpoint]:
    """All signed checkpoints, verified."""
    auditor = await log_database.connect("auditor")
    stored = await auditor.fetch("SELECT note FROM checkpoint WHERE note IS NOT NULL ORDER BY size")
    return [Checkpoint.parse(notes.verify(row["note"], [SIGNER.verifier]).text) for row in stored]


async def assert_consistent(log_database: LogDatabase, keeper: Database) -> int:
    """Check that every checkpoint has the root of its prefix and extends the one before. Returns how many there are."""
    held, signed = await leaves(log_database), await checkpoints(log_database)
    async with keeper.connection() as connection:
        for checkpoint in signed:
            assert checkpoint.root == merkle.root_hash(held[: checkpoint.size])
        for old, new in pairwise(signed):
            path = await consistency_path(connection, old.size, new.size)
            assert consistency_holds(old.size, old.root, new.size, new.root, path)
    return len(signed)


async def as_superuser(log_database: LogDatabase, *statements: str) -> None:
    """Run statements as a superuser without triggers."""
    connection = await asyncpg.connect(log_database.postgres.superuser_database_url(log_database.name))
    try:
        await connection.execute("SET session_replication_role = replica")
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
