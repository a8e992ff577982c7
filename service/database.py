"""Bounded pools of connections to Postgres. Each process owns its pools; everything durable is in Postgres.

Every wait is bounded: a database that does not answer raises TryLater and never hangs. The decision log has a
connection beside the pool, and the policy loader a Database of its own, so no request waits for a connection while
holding one. `connectivity` finds out whether there is a pooler in between.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast

import asyncpg
import structlog

from service import metrics
from service.connectivity import (
    RECONNECT_ERRORS,
    TRANSIENT_ERRORS,
    ConnectionOptions,
    Connectivity,
    Hosts,
    translate_connection_errors,
)
from service.errors import DatabaseUnavailable, Misconfigured, Overloaded, TryLater
from service.slots import slot_free

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from asyncpg.pool import PoolConnectionProxy

    Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record] | asyncpg.Connection[asyncpg.Record]"

# Bounds the statements of a transaction, in milliseconds as text.
LIMIT_STATEMENTS: Final = "SELECT set_config('statement_timeout', $1, true)"
# Of a session whose statements read each table by its key: planning anew, sequential scans and compiled plans are never
# right there, whatever the statistics say.
PLANS_BY_KEY: Final = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "jit": "off"}
# How far the primary has flushed its write-ahead log: every commit that was answered lies before it.
FLUSHED: Final = "SELECT pg_current_wal_flush_lsn()::text"
# Whether a standby has replayed the write-ahead log up to there; null if this server is no standby.
REPLAYED: Final = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() >= $1::text::pg_lsn END"
# How long a read waits for the standby before it goes to the primary, and how often it asks.
MAX_REPLAY_SECONDS: Final = 1.0
REPLAY_POLL_SECONDS: Final = 0.005
WATCH_SECONDS: Final = 1.0
_log = structlog.get_logger(__name__)


class Database:
    """A bounded pool. `size` connections; `timeout` in seconds bounds acquiring a connection and every statement;
    `lock_timeout` in seconds bounds waiting for a row or advisory lock. Postgres itself must bound both, also behind a
    pooler, unless it is not `enforced`: our own clock is enough for a command that a person waits for. With
    `fresh_plans` no plan is kept: for a process that runs few statements for months while its tables grow. `attributes`
    are the `target_session_attrs` of the host, if there are several; `variable` is where the URL comes from."""

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
        attributes: str = "read-write",
        variable: str = "TIMEWARDEN_DATABASE_URL",
    ) -> None:
        self._url, self._variable = url, variable
        self._size = size
        self.timeout = timeout
        self._name = name
        self._hosts = Hosts(url, attributes)
        self._options = ConnectionOptions(self._hosts, name, timeout, lock_timeout, enforced, fresh_plans)
        # Set by `open`.
        self.way = Connectivity.DIRECT
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._connected: list[Callable[[], None]] = []
        self._reserved: list[asyncpg.Connection[asyncpg.Record]] = []
        # The number of connections that were returned after Postgres had answered on them.
        self._answered = 0

    async def open(self) -> None:
        """Connect. Raises Misconfigured for an unusable URL or credentials, and for a pooler without time limits;
        DatabaseUnavailable if there is no answer."""
        with translate_connection_errors(self._url, self._variable):
            try:
                self._pool = await self._make_pool()
                async with self._pool.acquire(timeout=self.timeout) as connection:
                    if await self._options.is_direct(connection):
                        return
            except asyncpg.ProtocolViolationError:
                # PgBouncer does not pass our time limits on: "unsupported startup parameter".
                pass
            except BaseException:
                self._terminate()
                raise
            self._terminate()
            self.way = await self._options.way_through_pooler()
            self._pool = await self._make_pool()

    def _terminate(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.terminate()

    async def _make_pool(self) -> asyncpg.Pool[asyncpg.Record]:
        return await asyncpg.create_pool(
            self._url,
            min_size=1,
            max_size=self._size,
            max_inactive_connection_lifetime=300,
            connect=cast("Any", self._hosts.connect),
            init=self._announce,
            reset=_keep_session,
            **self._options.options(self.way),
        )

    def when_connected(self, call: Callable[[], None]) -> None:
        """Call this for each new connection of the pool: another database may answer on it, such as a restored one."""
        self._connected.append(call)

    async def _announce(self, _: object) -> None:
        for call in self._connected:
            call()

    async def close(self) -> None:
        """Close every connection; those that are still in use after the bound are terminated."""
        if self._pool is None:
            return
        for connection in (*self._reserved,):
            self.give_back(connection)
        try:
            async with asyncio.timeout(self.timeout):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()
        self._pool = None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection outside any transaction: each statement commits by itself. Raises Overloaded if none was free in
        time although Postgres answered on others, and DatabaseUnavailable if it does not answer."""
        if self._pool is None:
            raise DatabaseUnavailable(cause="the pool is not open")
        acquired, answered, started = False, self._answered, time.perf_counter()
        try:
            async with self._pool.acquire(timeout=self.timeout) as connection, _TerminateOnTimeout(connection):
                acquired = True
                metrics.CONNECTION_WAIT.observe((self._name,), time.perf_counter() - started)
                yield connection
        except Exception as error:
            if not isinstance(error, TRANSIENT_ERRORS if acquired else RECONNECT_ERRORS):
                self._answered += 1
                raise
            if not acquired:
                metrics.CONNECTION_TIMEOUTS.add((self._name,))
            if isinstance(error, TimeoutError) and not acquired and self._answered > answered:
                raise Overloaded(cause=f"{self._name}: every connection was busy") from error
            raise DatabaseUnavailable(cause=f"{self._name}: {type(error).__name__}") from error
        else:
            self._answered += 1

    def measure(self) -> None:
        """Set the gauges of this pool."""
        if self._pool is not None:
            size, idle = self._pool.get_size(), self._pool.get_idle_size()
            metrics.CONNECTIONS.set(idle, (self._name, "idle"))
            metrics.CONNECTIONS.set(size - idle, (self._name, "used"))
            metrics.MAX_CONNECTIONS.set(self._size, (self._name,))
            # So that the first is seen as a change: Prometheus sees no increase in a series that begins with 1.
            metrics.CONNECTION_TIMEOUTS.add((self._name,), 0)

    async def reserve(self, settings: Mapping[str, str] | None = None) -> asyncpg.Connection[asyncpg.Record]:
        """A connection beside the pool, for one owner, until `give_back` or `close`. `settings` are Postgres's, for its
        whole session; a pooler would not pass them on, and does without."""
        if self._pool is None:
            raise DatabaseUnavailable(cause="the pool is not open")
        try:
            options = self._options.options(self.way)
            if self.way is Connectivity.DIRECT:
                options["server_settings"] |= settings or {}
            connection = await self._hosts.connect(**options)
        except RECONNECT_ERRORS as error:
            raise DatabaseUnavailable(cause=f"{self._name}: {type(error).__name__}") from error
        self._reserved.append(connection)
        return connection

    def give_back(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        """Terminate a reserved connection."""
        if connection in self._reserved:
            self._reserved.remove(connection)
        connection.terminate()

    @asynccontextmanager
    async def transaction(self, *, snapshot: bool = False) -> AsyncIterator[Connection]:
        """A READ COMMITTED transaction: commits when the block ends, rolls back when it raises. A `snapshot` is
        read-only, and all of its statements see the same data (REPEATABLE READ).

        If the connection is lost during COMMIT, the outcome is unknown: DatabaseUnavailable is raised, whose message
        asks to look the resource up before repeating.
        """
        isolation: Literal["repeatable_read"] | None = "repeatable_read" if snapshot else None
        async with (
            self.connection() as connection,
            connection.transaction(isolation=isolation, readonly=snapshot),
            _TerminateOnTimeout(connection),
        ):
            yield connection

    @asynccontextmanager
    async def locking_transaction(self, lock: str = "") -> AsyncIterator[Connection]:
        """As `transaction`, but it begins by taking a lock, in the same round trip. `lock` is a statement without
        parameters. asyncpg does not know of the transaction, so blocks in it are made with `savepoint`."""
        async with self.connection() as connection:
            try:
                await connection.execute(f"BEGIN; {lock}")
                yield connection
            except TimeoutError:
                # `self.connection` terminates it, which rolls back.
                raise
            except BaseException:
                # Losing the connection rolls back, too.
                if not connection.is_closed():
                    await connection.execute("ROLLBACK")
                raise
            # Postgres rolls a transaction back in which a statement has failed, and says so by another word.
            if await connection.execute("COMMIT") != "COMMIT":
                raise DatabaseUnavailable(cause=f"{self._name}: the transaction had failed before its commit")


class ReadReplica(Database):
    """The pool of a standby, for long reads. A connection shows everything that was committed on the `primary` when it
    was asked for. While the standby cannot show it, the connection is one of the primary. No connections of both are
    held at once."""

    def __init__(self, url: str, primary: Database, *, size: int, timeout: float, lock_timeout: float) -> None:
        super().__init__(
            url,
            size=size,
            timeout=timeout,
            lock_timeout=lock_timeout,
            name="replica",
            attributes="standby",
            variable="TIMEWARDEN_REPLICA_URL",
        )
        self._primary = primary
        # Why the primary is read instead; None while the standby is usable.
        self.problem: str | None = "was not asked yet"
        self._logged: bool | None = None
        # The oldest point that the standby was asked for and has not shown, and when that was.
        self._behind: tuple[str, float] | None = None
        self.lag = 0.0

    async def watch(self) -> None:
        """Find out once a second how far the standby is behind, and whether a standby that was away is back."""
        while True:
            try:
                if self._pool is None:
                    await self.open()
                await self.measure_lag()
            except (TryLater, Misconfigured) as error:
                self._note(error.cause or error.public)
            except asyncpg.PostgresError as error:
                self._note(type(error).__name__)
            else:
                self._note(None)
            await asyncio.sleep(WATCH_SECONDS)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection outside any transaction. Raises as that of a Database."""
        async with AsyncExitStack() as opened:
            found = await self._open_standby(opened) if self.problem is None else None
            metrics.REPLICA_READS.add(("primary" if found is None else "standby",))
            if found is None:
                found = await opened.enter_async_context(self._primary.connection())
            yield found

    async def _open_standby(self, opened: AsyncExitStack) -> Connection | None:
        """A connection of the standby, which `opened` closes; None if the standby is away or too far behind."""
        flushed = await self._find_flushed()
        try:
            async with AsyncExitStack() as attempt:
                connection = await attempt.enter_async_context(super().connection())
                await _wait_until_replayed(connection, flushed)
                opened.push_async_exit(attempt.pop_all())
                return connection
        except DatabaseUnavailable as error:
            self._note(error.cause or error.public)
            return None

    async def measure_lag(self) -> None:
        """Find out how long the standby takes to show what the primary has committed. Raises DatabaseUnavailable if it
        does not within MAX_REPLAY_SECONDS."""
        if self._behind is None:
            self._behind = (await self._find_flushed(), time.monotonic())
        flushed, since = self._behind
        try:
            async with super().connection() as connection:
                await _wait_until_replayed(connection, flushed)
            self._behind = None
        finally:
            self.lag = time.monotonic() - since

    async def _find_flushed(self) -> str:
        try:
            async with self._primary.connection() as connection:
                flushed: str = await connection.fetchval(FLUSHED)
        except asyncpg.ObjectNotInPrerequisiteStateError as error:
            raise DatabaseUnavailable(cause="the primary is in recovery") from error
        return flushed

    def _note(self, problem: str | None) -> None:
        if self._logged is not (problem is None):
            self._logged = problem is None
            if problem is None:
                _log.info("replica_found")
            else:
                _log.warning("replica_away", problem=problem)
        self.problem = problem

    def measure(self) -> None:
        """Set the gauges of this pool."""
        super().measure()
        metrics.REPLICA_LAG.set(self.lag)
        for server in ("standby", "primary"):
            metrics.REPLICA_READS.add((server,), 0)


async def _wait_until_replayed(connection: Connection, flushed: str) -> None:
    """Raises DatabaseUnavailable if the standby does not show this point of the write-ahead log soon."""
    deadline = time.monotonic() + MAX_REPLAY_SECONDS
    while not (replayed := await connection.fetchval(REPLAYED, flushed)):
        if replayed is None:
            raise DatabaseUnavailable(cause="it is no standby")
        if time.monotonic() > deadline:
            raise DatabaseUnavailable(cause=f"it is more than {MAX_REPLAY_SECONDS:g} s behind the primary")
        await asyncio.sleep(REPLAY_POLL_SECONDS)


class ReservedConnection:
    """A connection beside the pool of `database` for one statement at a time. It is opened when it is first needed, and
    again after it failed. `settings` as in `Database.reserve`; `lost` is called when it failed."""

    def __init__(self, database: Database, settings: Mapping[str, str], lost: Callable[[], None]) -> None:
        self._database = database
        self._settings = settings
        self._lost = lost
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._is_closed = self._is_running = False

    async def fetch(self, statement: str, *parameters: object) -> list[asyncpg.Record]:
        """The rows of a statement. Raises DatabaseUnavailable, and what is wrong with the statement."""
        self._is_running = True
        try:
            if self._connection is None or self._connection.is_closed():
                self._disconnect()
                self._connection = await self._database.reserve(self._settings)
            return await self._connection.fetch(statement, *parameters)
        except BaseException as error:
            self._disconnect()
            if isinstance(error, TRANSIENT_ERRORS):
                raise DatabaseUnavailable(cause=f"reserved: {type(error).__name__}") from error
            raise
        finally:
            self._is_running = False
            if self._is_closed:
                self._give_back()

    def close(self) -> None:
        """Give the connection back, after a statement that runs. One after this gets a connection for itself alone."""
        self._is_closed = True
        if not self._is_running:
            self._give_back()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._give_back()
            self._lost()

    def _give_back(self) -> None:
        if self._connection is not None:
            self._database.give_back(self._connection)
            self._connection = None


@asynccontextmanager
async def savepoint(connection: Connection) -> AsyncIterator[None]:
    """Undo what the block did in a `locking_transaction` if it raises."""
    await connection.execute("SAVEPOINT block")
    try:
        yield
    except BaseException:
        if not connection.is_closed():
            await connection.execute("ROLLBACK TO block")
        raise
    await connection.execute("RELEASE block")


async def _keep_session(_: object) -> None:
    """Do not reset a session, which would cost a round trip for every use of a connection. Nothing of ours outlives its
    transaction (tests/unit/test_architecture.py), and asyncpg ends an open transaction."""


class _TerminateOnTimeout:
    """Terminates a connection whose server does not answer: to cancel or roll back would each wait once more. A class,
    because each change takes one, and a generator costs more."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, TimeoutError):
            self._connection.terminate()


class Turns:
    """Limits a kind of work to `size` tasks at once; others wait for up to `timeout` seconds and then get the message
    `full`. Work that may wait long for a lock takes a turn first, so that it never holds all connections. A waiting
    request frees its slot, unless it `keeps_slot`: where many requests wait, they must count for admission."""

    def __init__(self, size: int, *, timeout: float, full: str, keeps_slot: bool = False) -> None:
        self._free = asyncio.Semaphore(size)
        self._keeps_slot = keeps_slot
        self._timeout = timeout
        self._full = full

    @asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """Hold a turn inside the block. Raises TryLater if none is free in time."""
        held = False
        try:
            if self._free.locked():
                try:
                    async with nullcontext() if self._keeps_slot else slot_free(), asyncio.timeout(self._timeout):
                        held = await self._free.acquire()
                except TimeoutError as error:
                    raise TryLater(self._full, cause="no turn in time") from error
            else:
                # A free semaphore is acquired without waiting.
                held = await self._free.acquire()
            yield
        finally:
            # Also if the request ends between its turn and its slot, or the turn would be lost for good.
            if held:
                self._free.release()
