"""Shared by tests of relay and consumer: a log that is sealed at once, its feed, and the Redis stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID, uuid4

import asyncpg

from events.consumer import read
from events.relay import Relay
from events.stream import id_of
from service.log.feed import ChangeFeed
from service.log.log import Log
from service.log.sealing import Sealer
from tests.integration.log_database import LogDatabase, change, decision

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from service.database import Database

SOURCE = "https://timesheets.example.com"


@dataclass(slots=True)
class EventStream:
    """`change()` makes a sealed change; `relay()` a relay over the real log; `reports` holds the reports of relays."""

    log_database: LogDatabase
    app: Database
    keeper: Database
    redis: Redis
    stream: str
    feed: ChangeFeed
    reports: list[tuple[bool, str]] = field(default_factory=list)

    async def change(self, times: int = 1) -> list[UUID]:
        records = [change(uuid4()) for _ in range(times)]
        log = Log(self.app)
        for record in records:
            await log.append([decision(), record])
        await log.close()
        sealer = Sealer(self.keeper)
        # After a restore the first step only completes the tree.
        while await sealer.seal():
            pass
        return [record.uid for record in records]

    def relay(self, *, redis: Any = None, read_changes: Any = None, read_change: Any = None, **settings: Any) -> Relay:
        return Relay(
            redis or self.redis,
            self.stream,
            SOURCE,
            read_changes=read_changes or self.feed.read_changes,
            read_change=read_change or self.feed.read_change,
            report=self.report,
            **{"batch": 3, "compare_every": 60.0, **settings},
        )

    async def report(self, ready: bool, detail: str) -> None:  # noqa: FBT001 - the relay's callback
        self.reports.append((ready, detail))

    async def list_uids(self) -> list[UUID]:
        return [item.uid for item in await read(self.redis, self.stream, count=10_000)]

    async def assert_published(self) -> None:
        """The stream holds every sealed change once, in log order, under its position's id."""
        sealed = await ChangeFeed(self.keeper).read_changes(-1, 10_000)
        assert await read(self.redis, self.stream, count=10_000) == list(sealed)
        ids = [entry_id for entry_id, _ in await entries(self.redis, self.stream)]
        assert ids == [id_of(change.position).encode() for change in sealed]

    async def restore_postgres(self, size: int) -> None:
        """As if Postgres had been restored from a backup taken when the log was `size` long."""
        postgres = self.log_database.postgres
        superuser = await asyncpg.connect(postgres.superuser_database_url(self.log_database.name))
        await superuser.execute(f"""
            SET session_replication_role = replica;
            DELETE FROM audit_record WHERE id IN (SELECT record_id FROM audit_position WHERE position >= {size});
            DELETE FROM audit_position WHERE position >= {size};
            UPDATE log_head SET size = {size}, tree_size = 0, edge = '{{}}', root = NULL;
            DELETE FROM tile;
        """)
        await superuser.close()


async def entries(redis: Redis, stream: str) -> list[tuple[bytes, dict[Any, Any]]]:
    """All entries of a stream."""
    return cast("list[tuple[bytes, dict[Any, Any]]]", await redis.xrange(stream))


async def publish_all(relay: Relay) -> None:
    """Step until nothing is left to publish."""
    idle = 0
    while idle < 2:
        idle = 0 if await relay.step() else idle + 1
