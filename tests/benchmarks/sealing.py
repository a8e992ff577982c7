"""Times sealing with its tree, per part: `python -m tests.benchmarks.sealing [RECORDS]`. Figures only, no verdicts.

The server is an embedded one with durable commits. Records have the size of a usual decision.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import asyncpg

import service.migrations
from service.database import Database
from service.development.local_servers import LocalPostgres, run_psql_script, start_postgres
from service.log.anchor import Anchor
from service.log.checkpoint import Signer
from service.log.epochs import open_log
from service.log.sealing import Sealer
from service.log.signing import CheckpointSigner
from service.migrations.run import migrate

PASSWORDS = {"owner": "o", "app": "a", "keeper": "k", "auditor": "u"}

# Records of about 900 bytes, straight into the table.
FILL = """
    INSERT INTO audit_record (uid, kind, decided_at, body)
    SELECT gen_random_uuid(), 'decision', now(), convert_to(
        '{"nonce":"' || md5(n::text) || '","fill":"' || repeat(md5((-n)::text), 27) || '"}', 'UTF8')
    FROM generate_series(1, $1::integer) n
"""


async def main(count: int = 100_000) -> None:
    with tempfile.TemporaryDirectory() as directory, start_postgres(Path(directory), preferred_port=0) as postgres:
        script = Path(service.migrations.__file__).parent / "roles.sql"
        variables = {f"TIMEWARDEN_{role.upper()}_PASSWORD": word for role, word in PASSWORDS.items()}
        run_psql_script(postgres.superuser_url, script, {**variables, "TIMEWARDEN_DATABASE": "bench"})
        await migrate(postgres.url("timewarden_owner", "o", "bench"))
        await measure(postgres, count, Path(directory))


async def measure(postgres: LocalPostgres, count: int, directory: Path) -> None:
    owner = await asyncpg.connect(postgres.url("timewarden_owner", "o", "bench"))
    await open_log(owner)
    keeper = Database(postgres.url("timewarden_keeper", "k", "bench"), size=3, timeout=60, name="bench")
    await keeper.open()
    for batch in (100, 1_000, 5_000, 20_000, 50_000):
        # The backlog; the scan for unsealed records sees all of it at each step.
        for _ in range(10):
            await owner.execute(FILL, min(count, 20 * batch) // 10)
        await owner.execute("ANALYZE audit_record")
        sealer, sealed, started = Sealer(keeper), 0, time.perf_counter()
        while step := await sealer.seal(batch):
            sealed += step
        passed = time.perf_counter() - started
        print(f"{sealed:7} waiting, steps of {batch:6}: {sealed / passed:9,.0f} records/s sealed with their tree")
    signing = CheckpointSigner(keeper, [Signer("bench.example/log", b"b" * 32)], Anchor(directory / "anchor"))
    taken = []
    for _ in range(20):
        await owner.execute(FILL, 100)
        await Sealer(keeper).seal()
        started = time.perf_counter()
        if await signing.sign():
            taken.append((time.perf_counter() - started) * 1e3)
    if taken:
        print(f"one checkpoint, guarded, anchored and signed: {sorted(taken)[len(taken) // 2]:.1f} ms (median)")
    await keeper.close()
    await owner.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000))
