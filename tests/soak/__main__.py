"""`python -m tests.soak --minutes 60`: traffic while processes are killed, counts every half minute, and a verdict.

Exit code 0 for a good verdict, 1 for a bad one. Files lie in a temporary directory, or in --state, which is kept.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.soak.estate import DATABASE_TIMEOUT_SECONDS, Estate, estate
from tests.soak.traffic import Traffic, for_seconds
from tests.soak.verdict import check_log, count_lost, settle

REPORT_SECONDS = 30.0


@dataclass
class Damage:
    """One fault after the other: mostly killed processes, sometimes Postgres, rarely a full disk or a hang."""

    traffic: Traffic
    chance: random.Random
    reported_at: float = field(default_factory=time.monotonic)

    async def __call__(self) -> None:
        hurt = self.traffic.estate
        await asyncio.sleep(self.chance.random() * 1.2)
        what = self.chance.random()
        if what < 0.66:
            await hurt.kill_keeper()
        elif what < 0.86:
            await hurt.kill_worker()
        elif what < 0.88:
            await hurt.kill_api()
        elif what < 0.97:
            await hurt.kill_postgres(immediate=self.chance.random() < 0.5)
        elif what < 0.985:
            async with hurt.hanging_postgres():
                await asyncio.sleep(DATABASE_TIMEOUT_SECONDS * 2)
        else:
            async with hurt.full_disk():
                await asyncio.sleep(2.0)
        if time.monotonic() - self.reported_at > REPORT_SECONDS:
            self.reported_at = time.monotonic()
            await hurt.ready()
            print(await summary(hurt, self.traffic), flush=True)


async def summary(hurt: Estate, traffic: Traffic) -> str:
    answers = traffic.answers
    statuses = ", ".join(f"{status}: {count}" for status, count in sorted(answers.statuses.items()))
    damage = ", ".join(f"{what} {count}" for what, count in sorted(hurt.damage.items()))
    missing = await count_lost(hurt, answers)
    counts = f"acknowledged {answers.acknowledged}, lost {missing}; {statuses}; connections broken {answers.broken}"
    return f"{counts}; {damage}"


async def soak(minutes: float, state: Path, seed: int) -> bool:
    async with estate(state, workers=3, keepers=3) as hurt:
        traffic = Traffic(hurt)
        await traffic.prepare()
        await traffic.outgrow()
        print(f"{minutes:g} minutes, seed {seed}", flush=True)
        await for_seconds(traffic, minutes * 60, Damage(traffic, random.Random(seed)))  # noqa: S311 - repeatable
        await settle(hurt, 300)
        print(await summary(hurt, traffic))
        found = await check_log(hurt, traffic.answers)
        killed = sum(hurt.damage.values())
        print(f"{'GOOD' if found.good else 'BAD'} after {killed} faults: {found}")
        return found.good


def main() -> int:
    # asyncpg logs that Postgres is away, as it is meant to be here.
    logging.getLogger("asyncpg").setLevel(logging.CRITICAL)
    reader = argparse.ArgumentParser(prog="python -m tests.soak")
    reader.add_argument("--minutes", type=float, default=60.0)
    reader.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    reader.add_argument("--state", type=Path)
    given = reader.parse_args()
    with ExitStack() as stack:
        state = (
            given.state or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="timewarden-soak-"))) / "state"
        )
        return 0 if asyncio.run(soak(given.minutes, state, given.seed)) else 1


if __name__ == "__main__":
    sys.exit(main())
