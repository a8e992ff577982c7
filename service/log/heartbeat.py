"""The heartbeat: a record written into a silent log, so that a longer silence is evidence. Durable as any record.

The keeper may not write records. A database function that belongs to the owner writes this one for it, and only if the
newest record is old enough: docs/decisions/0012-heartbeat-records.md.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from service.errors import TryLater
from service.ids import make_id

if TYPE_CHECKING:
    from service.database import Database

# Write a heartbeat unless a record is younger than $1.
BEAT = "SELECT write_heartbeat($1, $2)"


class Heartbeat:
    """Beats after `silence` seconds without a record. Any number of keepers may run it: one heartbeat is written."""

    def __init__(self, database: Database, silence: float) -> None:
        self._database = database
        self._silence = silence

    async def beat(self) -> bool:
        """Write a heartbeat if one is due, and return whether it was. Raises DatabaseUnavailable."""
        async with self._database.connection() as connection:
            return bool(await connection.fetchval(BEAT, timedelta(seconds=self._silence), make_id()))

    async def run(self, stop: asyncio.Event) -> None:
        """Beat until `stop`; a heartbeat is late by at most a minute."""
        while not stop.is_set():
            with suppress(TryLater):
                await self.beat()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(self._silence / 4, 60.0)):
                    await stop.wait()
