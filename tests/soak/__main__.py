"""`python -m tests.soak --minutes 60`: traffic while parts die, counts every half minute, and a verdict with figures.

Exit code 0 when the verdict is good, 1 when it is not. Everything lies in a temporary directory; with --state it stays.
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

from tests.soak.estate import PATIENCE, Estate, estate
from tests.soak.traffic import Traffic, for_seconds
from tests.soak.verdict import judge, lost, settle

EVERY = 30.0


@dataclass
class Damage:
    """One misfortune after the other: processes most often, Postgres now and then, a full disk or a hang seldom."""

    traffic: Traffic
    chance: random.Random
    told_at: float = field(default_factory=time.monotonic)

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
                await asyncio.sleep(PATIENCE * 2)
        else:
            async with hurt.full_disk():
                await asyncio.sleep(2.0)
        if time.monotonic() - self.told_at > EVERY:
            self.told_at = time.monotonic()
            await hurt.ready()
            print(await summary(hurt, self.traffic), flush=True)


async def summary(hurt: Estate, traffic: Traffic) -> str:
    told = traffic.told
    statuses = ", ".join(f"{status}: {count}" for status, count in sorted(told.statuses.items()))
    damage = ", ".join(f"{what} {count}" for what, count in sorted(hurt.damage.items()))
    missing = await lost(hurt, told)
    return f"acknowledged {told.acknowledged}, lost {missing}; {statuses}; connections broken {told.broken}; {damage}"


async def soak(minutes: float, state: Path, seed: int) -> bool:
    async with estate(state, workers=3, keepers=3) as hurt:
        traffic = Traffic(hurt)
        await traffic.prepare()
        await traffic.outgrow()
        print(f"{minutes:g} minutes, seed {seed}", flush=True)
        await for_seconds(traffic, minutes * 60, Damage(traffic, random.Random(seed)))  # noqa: S311 - repeatable
        await settle(hurt, 300)
        print(await summary(hurt, traffic))
        found = await judge(hurt, traffic.told)
        killed = sum(hurt.damage.values())
        print(f"{'GOOD' if found.good else 'BAD'} after {killed} misfortunes: {found}")
        return found.good


def main() -> int:
    # What asyncpg says while Postgres is away is what is meant to happen here.
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
