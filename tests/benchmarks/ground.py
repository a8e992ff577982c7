"""What the benchmarks of the log and of HTTP stand on: embedded servers with real flushing, migrated, in a directory of
their own that goes with them."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from service.commands.database import migrate_database
from service.development.local_servers import start_postgres, start_redis
from service.development.stores import Stores, prepare

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass(frozen=True, slots=True)
class Ground(Stores):
    """The stores, the superuser's URL of Postgres, its process id and its log, and a folder for files."""

    superuser_url: str
    postgres_pid: int
    postgres_log: Path
    folder: Path


@contextlib.asynccontextmanager
async def ground() -> AsyncIterator[Ground]:
    """Fresh servers with an opened log."""
    with (
        tempfile.TemporaryDirectory(prefix="timewarden-bench-") as name,
        start_postgres(Path(name), say=print) as postgres,
        start_redis(Path(name), say=print) as redis,
    ):
        urls = prepare(Path(name), postgres.superuser_url)
        await migrate_database(urls[0])
        yield Ground(
            *urls,
            redis_url=redis.url,
            superuser_url=postgres.superuser_url,
            postgres_pid=postgres.pid,
            postgres_log=postgres.log,
            folder=Path(name),
        )
