"""Postgres, reached through bounded pools. Each process owns its pools; all that is durable is behind them.

A pool never waits longer than its bound, and a database that does not answer is a TryLater, never a hang. The decision
log has a connection beside the pool, the policy loader a Database of its own, so that no request waits for a connection
while holding one. Whether a pooler stands between is the matter of `connecting`.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Literal, TypeAlias

import asyncpg

from service.connecting import PASSING, Connecting, Connectivity, told_when_unreachable
from service.errors import DatabaseUnavailable, Overloaded, TryLater
from service.slots import slot_free

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncpg.pool import PoolConnectionProxy

    Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record] | asyncpg.Connection[asyncpg.Record]"


class Database:
    """A bounded pool. `size` connections; `timeout` in seconds bounds acquiring a connection and every statement;
    `lock_timeout` in seconds bounds waiting for a row or advisory lock. Postgres itself must bound both, also behind a
    pooler, unless it is not `enforced`: our own clock is enough for a command that somebody waits for. With
    `fresh_plans` no plan is kept: for a process that runs few statements for months while its tables grow."""

    def __init__(
        self,
        url: str,
        *,
        size: int,
        timeout: float = 5.0,
        lock_timeout: float = 3.0,
        name: str = "api",
        enforced: bool = True,
        fresh_plans: bool = False,
    ) -> None:
        self._url = url
        self._size = size
        self._timeout = timeout
        self._name = name
        self._connecting = Connecting(url, name, timeout, lock_timeout, enforced, fresh_plans)
        # What `open` finds out.
        self.way = Connectivity.DIRECT
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._reserved: list[asyncpg.Connection[asyncpg.Record]] = []
        # How often a connection was given back that Postgres had answered on.
        self._answered = 0

    async def open(self) -> None:
        """Connect. Raises Misconfigured for an unusable URL or credentials, and for a pooler behind which no time limit
        holds; DatabaseUnavailable when nobody answers."""
        with told_when_unreachable(self._url):
            try:
                self._pool = await self._make_pool()
                async with self._pool.acquire(timeout=self._timeout) as connection:
                    if await self._connecting.is_direct(connection):
                        return
            except asyncpg.ProtocolViolationError:
                # PgBouncer refuses to pass our time limits on: "unsupported startup parameter".
                pass
            except BaseException:
                self._cut()
                raise
            self._cut()
            self.way = await self._connecting.way_through_pooler()
            self._pool = await self._make_pool()

    def _cut(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.terminate()

    async def _make_pool(self) -> asyncpg.Pool[asyncpg.Record]:
        return await asyncpg.create_pool(
            self._url,
            min_size=1,
            max_size=self._size,
            max_inactive_connection_lifetime=300,
            reset=_as_it_is,
            **self._connecting.options(self.way),
        )

    async def close(self) -> None:
        """Give every connection back; those that do not come back within the bound are cut."""
        if self._pool is None:
            return
        for connection in (*self._reserved,):
            self.give_back(connection)
        try:
            async with asyncio.timeout(self._timeout):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()
        self._pool = None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection outside any transaction: each statement commits by itself. Raises Overloaded when none was free
        in time although Postgres answered others meanwhile, and DatabaseUnavailable when it does not answer."""
        if self._pool is None:
            raise DatabaseUnavailable(cause="the pool is not open")
        acquired, answered = False, self._answered
        try:
            async with self._pool.acquire(timeout=self._timeout) as connection, _cut_when_silent(connection):
                acquired = True
                yield connection
        except PASSING as error:
            if isinstance(error, TimeoutError) and not acquired and self._answered > answered:
                raise Overloaded(cause=f"{self._name}: every connection was busy") from error
            raise DatabaseUnavailable(cause=f"{self._name}: {type(error).__name__}") from error
        except Exception:
            self._answered += 1
            raise
        else:
            self._answered += 1

    async def reserve(self) -> asyncpg.Connection[asyncpg.Record]:
        """A connection beside the pool for one owner, who keeps it until `give_back` or until this Database closes."""
        if self._pool is None:
            raise DatabaseUnavailable(cause="the pool is not open")
        try:
            options = self._connecting.options(self.way)
            connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(self._url, **options)
        except PASSING as error:
            raise DatabaseUnavailable(cause=f"{self._name}: {type(error).__name__}") from error
        self._reserved.append(connection)
        return connection

    def give_back(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        """End a reserved connection, whatever it is doing."""
        if connection in self._reserved:
            self._reserved.remove(connection)
        connection.terminate()

    @asynccontextmanager
    async def transaction(self, *, snapshot: bool = False) -> AsyncIterator[Connection]:
        """A READ COMMITTED transaction: commits when the block ends, rolls back when it raises. A `snapshot` is for
        reading alone, and all of its statements see one moment (REPEATABLE READ).

        When the connection is lost during COMMIT the outcome is unknown; the caller sees DatabaseUnavailable, whose
        sentence asks to look the resource up before repeating.
        """
        isolation: Literal["repeatable_read"] | None = "repeatable_read" if snapshot else None
        async with (
            self.connection() as connection,
            connection.transaction(isolation=isolation, readonly=snapshot),
            _cut_when_silent(connection),
        ):
            yield connection


async def _as_it_is(_: object) -> None:
    """Nothing of ours outlives its transaction (tests/unit/test_architecture.py), and asyncpg itself has ended an open
    one; to ask Postgres to reset the session would cost a round trip for every use of a connection."""


@asynccontextmanager
async def _cut_when_silent(connection: Connection) -> AsyncIterator[None]:
    """Give a connection up whose server fell silent: to cancel, to roll back or to reset would each wait once more."""
    try:
        yield
    except TimeoutError:
        connection.terminate()
        raise


class Turns:
    """Lets `size` tasks in at once; the others wait for up to `timeout` seconds. A bounded pool of its own kind: work
    that may wait long for a lock takes a turn first, so that it never holds all connections. `full` is what those are
    told whose turn does not come. A request's slot is free while it waits, unless it `keeps_slot`: where many come,
    those that wait must count, or admission would let in more and more of them."""

    def __init__(self, size: int, *, timeout: float, full: str, keeps_slot: bool = False) -> None:
        self._free = asyncio.Semaphore(size)
        self._keeps_slot = keeps_slot
        self._timeout = timeout
        self._full = full

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Inside this block a turn is held. Raises TryLater when none came in time."""
        held = False
        try:
            try:
                async with nullcontext() if self._keeps_slot else slot_free(), asyncio.timeout(self._timeout):
                    held = await self._free.acquire()
            except TimeoutError as error:
                raise TryLater(self._full, cause="no turn in time") from error
            yield
        finally:
            # Also when the request ends between its turn and its slot: a turn that is lost is lost for everybody.
            if held:
                self._free.release()
