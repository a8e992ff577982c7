"""What the keeper's parts say of themselves: one row each in keeper_status, read for readiness and shown to people.

Written when readiness changes and every few seconds; a status that cannot be written is let go, for it grows stale and
says so.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from service.errors import TryLater

if TYPE_CHECKING:
    from datetime import datetime

    from service.database import Connection, Database

Part: TypeAlias = Literal["sealer", "signer", "relay"]

EVERY = 3.0
# A part that said nothing for so many seconds is taken for gone.
SILENT_AFTER = 15.0

# Keep the newest word of a part.
SAY = """
    INSERT INTO keeper_status (part, ready, detail) VALUES ($1, $2, $3)
    ON CONFLICT (part) DO UPDATE SET ready = $2, detail = $3, at = clock_timestamp()
"""

# What each part said last, and how many seconds ago.
READ = "SELECT part, ready, detail, at, extract(epoch FROM clock_timestamp() - at)::float8 AS age FROM keeper_status"


@dataclass(frozen=True, slots=True)
class PartStatus:
    """`age` in seconds by the database's clock; a part that runs says something every few seconds."""

    part: str
    ready: bool
    detail: str
    at: datetime
    age: float


class KeeperStatus:
    """Speaks for one part of the keeper."""

    def __init__(self, database: Database, part: Part) -> None:
        self._database = database
        self._part = part
        self._said: bool | None = None
        self._when = 0.0

    async def report(self, ready: bool, detail: str) -> None:  # noqa: FBT001 - the callback that relay and sealer share
        """Say it, unless the same readiness was told a moment ago. Never raises for a database that is away."""
        if self._said is ready and time.monotonic() - self._when < EVERY:
            return
        with suppress(TryLater):
            async with self._database.connection() as connection:
                await connection.execute(SAY, self._part, ready, detail[:1000])
            self._said, self._when = ready, time.monotonic()


async def read_status(connection: Connection) -> list[PartStatus]:
    """The last words of every part that ever ran."""
    return [PartStatus(**dict(row)) for row in await connection.fetch(READ)]
