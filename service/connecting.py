"""How Postgres is reached: directly or through a connection pooler, and what is said when it is not. Owns no state.

A pooler such as PgBouncer passes no time limits on when we connect, and may keep no prepared statements. It is noticed
by what it does, so nobody sets anything (docs/production.md).
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import asyncpg

from service.errors import DatabaseUnavailable, Misconfigured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncpg.pool import PoolConnectionProxy

# What Postgres or the network says when the work may succeed later: lost or refused connections, exhausted resources,
# cancelled statements, lock time-outs, deadlocks (SQLSTATE classes 08, 53, 57, 55P03, 40).
PASSING = (
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.LockNotAvailableError,
    asyncpg.TransactionRollbackError,
    asyncpg.InterfaceError,
    # What asyncpg says of a connection that was lost between two of its steps.
    asyncpg.InternalClientError,
    asyncpg.ReadOnlySQLTransactionError,
    OSError,
    TimeoutError,
)
# What Postgres says of us and of our URL.
REFUSED = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
    ValueError,
)
# What comes of a prepared statement that a pooler did not keep: it is not there, or somebody else's is.
FORGOTTEN = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
# Postgres's own time limits, which hold also when a process of ours freezes.
LIMITS: Final = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")

# Which server process answers, as which role, which limits hold there in milliseconds, and whether a pooler gave
# prepared statements names of its own to keep them for us (PgBouncer's max_prepared_statements). This is one of them.
SEEN = f"""
    SELECT pg_backend_pid() AS pid, current_user AS role,
           {", ".join(f"extract(epoch FROM current_setting('{one}')::interval) * 1000 AS {one}" for one in LIMITS)},
           EXISTS (SELECT FROM pg_prepared_statements WHERE starts_with(name, 'PGBOUNCER_')) AS kept
"""

# What gives a role a time limit, in milliseconds.
GIVE: Final = "ALTER ROLE {} SET {} = '{}ms'"


class Connectivity(Enum):
    """How Postgres is reached: directly, or through a pooler that keeps prepared statements, or forgets them."""

    DIRECT = "direct"
    KEEPING = "keeping"
    FORGETTING = "forgetting"


@dataclass(frozen=True, slots=True)
class Connecting:
    """What every connection to `url` is told. `timeout` and `lock_timeout` in seconds; with `enforced`, Postgres itself
    must bound statements and waiting, however it is reached. `fresh_plans`: Postgres plans a statement anew for each
    execution."""

    url: str
    name: str
    timeout: float
    lock_timeout: float
    enforced: bool
    fresh_plans: bool = False

    def options(self, way: Connectivity) -> dict[str, Any]:
        """The arguments for asyncpg."""
        options: dict[str, Any] = {
            "timeout": self.timeout,
            "command_timeout": self.timeout + 1,
            "server_settings": {"application_name": f"timewarden-{self.name}", "timezone": "UTC"},
        }
        if way is Connectivity.DIRECT:
            options["server_settings"] |= self._limits()
            if self.fresh_plans:
                options["server_settings"]["plan_cache_mode"] = "force_custom_plan"
        elif way is Connectivity.KEEPING:
            # Every statement gets a name: PgBouncer keeps no other.
            options["max_cacheable_statement_size"] = 0
        else:
            # asyncpg then sends a statement and its execution without an end between them, so one server gets both.
            options["statement_cache_size"] = 0
        return options

    async def is_direct(self, connection: PoolConnectionProxy[asyncpg.Record]) -> bool:
        """Whether Postgres itself answers, with our limits: a pooler may be told to drop them in silence."""
        try:
            seen = await connection.fetchrow(SEEN)
        except FORGOTTEN:
            return False
        if seen is None or seen["pid"] != connection.get_server_pid():
            return False
        return all(seen[name] == int(limit) for name, limit in self._limits().items())

    async def way_through_pooler(self) -> Connectivity:
        """What can be asked of the pooler. Raises Misconfigured when no time limits hold behind it."""
        for way in (Connectivity.KEEPING, Connectivity.FORGETTING):
            connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(self.url, **self.options(way))
            try:
                seen = await connection.fetchrow(SEEN)
            except FORGOTTEN:
                continue
            finally:
                connection.terminate()
            if seen is not None and (seen["kept"] or way is Connectivity.FORGETTING):
                self._need_limits(seen)
                return way
        raise DatabaseUnavailable(cause="the pooler mixes statements up")

    def _need_limits(self, seen: asyncpg.Record) -> None:
        # The role's own limits hold for every statement and cost nothing. SET LOCAL would cost each transaction a round
        # trip, and could not bound a statement outside of one.
        limits = self._limits()
        if self.enforced and not all(0 < seen[name] <= int(limit) for name, limit in limits.items()):
            settings = "; ".join(GIVE.format(seen["role"], name, limit) for name, limit in limits.items())
            raise Misconfigured(
                "A connection pooler stands before Postgres and passes no time limits on, so the role must have them:"
                f" run roles.sql, or as a superuser `{settings}`, and let the pooler connect anew (RECONNECT)"
            )

    def _limits(self) -> dict[str, str]:
        """Postgres's time limits, in milliseconds."""
        seconds = (self.timeout, self.lock_timeout, self.timeout * 4)
        return {name: str(int(limit * 1000)) for name, limit in zip(LIMITS, seconds, strict=True)}


@contextmanager
def told_when_unreachable(url: str) -> Iterator[None]:
    """For a block that connects to `url`: its failures become errors of ours, which name host and port and no password.
    Raises DatabaseUnavailable, Misconfigured."""
    try:
        yield
    except REFUSED as error:
        raise Misconfigured(
            "TIMEWARDEN_DATABASE_URL does not open a database: check its user, password and database name",
            cause=type(error).__name__,
        ) from error
    except PASSING as error:
        sentence = f"Postgres does not answer at {place_of(url)}: check that it runs and can be reached from here"
        raise DatabaseUnavailable(sentence, cause=type(error).__name__) from error


def place_of(url: str) -> str:
    """Host and port of a database's URL, and nothing else of it."""
    authority = urlsplit(url).netloc
    # A slash or question mark in a password ends the authority early: what stands there may be a part of it.
    if "@" in url and "@" not in authority:
        return "the host of TIMEWARDEN_DATABASE_URL"
    where = authority.rpartition("@")[2]
    host, colon, port = where.rpartition(":")
    if not colon or not port.isdigit():
        host, port = where, "5432"
    return f"{host}, port {port}" if host else "the local socket"
