"""Shared by tests of the log: a database with a pool for each role, and records; see log_fixtures.py."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import asyncpg

from service.database import Database
from service.log.epochs import open_log
from service.log.record import Kind, Record
from tests.conftest import database_from

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.development.local_servers import LocalPostgres

PASSWORDS = {"owner": "o", "app": "a", "keeper": "k", "auditor": "u"}
NEVER_OPENED = UUID(int=0)
SHEET = UUID("018f0000-0000-7000-8000-000000000001")


@dataclass(slots=True)
class LogDatabase:
    """One database; `url(role)` and `open(role)` for owner, app, keeper, auditor."""

    postgres: LocalPostgres
    name: str
    stack: AsyncExitStack
    epoch: UUID = NEVER_OPENED

    def url(self, role: str) -> str:
        return self.postgres.url(f"timewarden_{role}", PASSWORDS[role], self.name)

    async def open(self, role: str, *, size: int = 4, lock_timeout: float = 3.0) -> Database:
        database = Database(self.url(role), size=size, lock_timeout=lock_timeout, name=f"test-{role}")
        await database.open()
        self.stack.push_async_callback(database.close)
        return database

    async def connect(self, role: str) -> asyncpg.Connection[asyncpg.Record]:
        connection = await asyncpg.connect(self.url(role))
        self.stack.push_async_callback(connection.close)
        return connection


@asynccontextmanager
async def copy_database(
    postgres: LocalPostgres, superuser: asyncpg.Connection[asyncpg.Record], template: str
) -> AsyncIterator[LogDatabase]:
    """A copy of a template database; its connections are closed and it is dropped at the end."""
    # The rights on the schema depend on the owner of the database.
    async with database_from(superuser, template, owner="timewarden_owner") as name, AsyncExitStack() as stack:
        yield LogDatabase(postgres, name, stack)


async def open_new_log(database: LogDatabase) -> UUID:
    """Open the log and return its epoch."""
    owner = await asyncpg.connect(database.url("owner"))
    epoch = await open_log(owner)
    await owner.close()
    return epoch


def decision(**members: object) -> Record:
    """A decision with the given members."""
    body: dict[str, object] = {"decided_at": datetime.now(UTC), "outcome": "allow", "action": "read", **members}
    return Record.make(Kind.DECISION, body)


def change(sheet: UUID = SHEET, version: int = 1, event: str = "timesheet.edited", action: str | None = None) -> Record:
    """A change of a sheet to `version`."""
    resource = {"kind": "timesheet", "id": sheet, "owner": SHEET, "state": "draft", "version": version}
    return Record.make(
        Kind.CHANGE,
        {
            "decided_at": datetime.now(UTC),
            "decision": uuid4(),
            "action": action or event.partition(".")[2],
            "resource": resource,
            "principal": {"kind": "user", "person": SHEET, "client": "web"},
            "change": {
                "type": event,
                "from": {"state": "draft", "version": version - 1},
                "to": {"state": "draft", "version": version},
            },
        },
    )
