"""How to connect to Postgres, to one of several hosts, directly or through a pooler, and the errors of connecting.

A pooler such as PgBouncer does not pass our time limits on, and may not keep prepared statements. It is detected by its
behaviour, so there is no setting for it (docs/production.md). Owns only which host answered last.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from service.errors import DatabaseUnavailable, Misconfigured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncpg.pool import PoolConnectionProxy

# Errors after which the same work may succeed later: lost or refused connections, exhausted resources, cancelled
# statements, lock time-outs, deadlocks (SQLSTATE classes 08, 53, 57, 55P03, 40).
TRANSIENT_ERRORS = (
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.LockNotAvailableError,
    asyncpg.TransactionRollbackError,
    asyncpg.InterfaceError,
    # asyncpg raises it for a connection that was lost between two of its steps.
    asyncpg.InternalClientError,
    asyncpg.ReadOnlySQLTransactionError,
    OSError,
    TimeoutError,
)
# Errors of connecting to a database that was opened before. Our URL was right then, so a refused login is no mistake in
# it: a password is being rotated, or the database is being restored.
RECONNECT_ERRORS = (*TRANSIENT_ERRORS, asyncpg.PostgresError)
# Errors of a statement that worked before: a restore takes tables and rights away for a while.
TAKEN_AWAY = (asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError)
# Errors of our URL, credentials and rights.
REFUSED = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
    ValueError,
)
# Errors after which another host of the URL is tried: it does not answer, starts, or is a standby.
NEXT_HOST = (OSError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.TargetServerAttributeNotMatched)
# Errors of a prepared statement that a pooler did not keep: it is missing, or another client's has its name.
LOST_STATEMENT = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
# As shipped, asyncpg keeps no statement above 15 KiB prepared. Those of facts and lists are longer, grow with what a
# policy version declares, and take longer to plan than to run.
MAX_PREPARED_STATEMENT_CHARACTERS: Final = 256 * 1024
# For all hosts of a URL together, also for a command whose statements may take an hour.
MAX_CONNECT_SECONDS: Final = 30.0
# Postgres's own time limits, which work even if our process freezes.
LIMITS: Final = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")

# The server process that answers, its role and its limits in milliseconds, and whether a pooler keeps prepared
# statements under names of its own (PgBouncer's max_prepared_statements); this statement is one of them.
PROBE = f"""
    SELECT pg_backend_pid() AS pid, current_user AS role,
           {", ".join(f"extract(epoch FROM current_setting('{name}')::interval) * 1000 AS {name}" for name in LIMITS)},
           EXISTS (SELECT FROM pg_prepared_statements WHERE starts_with(name, 'PGBOUNCER_')) AS kept
"""

# Sets a time limit of a role, in milliseconds.
ALTER_ROLE: Final = "ALTER ROLE {} SET {} = '{}ms'"


class Connectivity(Enum):
    """How Postgres is reached: directly, or through a pooler that keeps prepared statements, or forgets them."""

    DIRECT = "direct"
    KEEPING = "keeping"
    FORGETTING = "forgetting"


class Hosts:
    """The hosts of a database URL, a primary and its standbys: `postgresql://user:password@first:5432,second:5432/name`.

    Unless the URL has its own `target_session_attrs`, the first host with these is meant: by default, the one that
    takes writes."""

    def __init__(self, url: str, attributes: str = "read-write") -> None:
        parts = urlsplit(url)
        user, at, hosts = parts.netloc.rpartition("@")
        self._urls = [urlunsplit(parts._replace(netloc=f"{user}{at}{host}")) for host in hosts.split(",")]
        self._options: dict[str, Any] = (
            {} if "target_session_attrs=" in parts.query else {"target_session_attrs": attributes}
        )
        if len(self._urls) == 1:
            self._urls, self._options = [url], {}

    async def connect(
        self,
        _url: str = "",
        *,
        timeout: float,  # noqa: ASYNC109 - asyncpg's
        **options: Any,
    ) -> asyncpg.Connection[asyncpg.Record]:
        """Connect within `timeout` seconds, first to the host that answered last. `options` are asyncpg's, whose pools
        call this with the URL. Raises what asyncpg raises for the last host."""
        last: Exception = OSError("no host")
        for url in (*self._urls,):
            try:
                # asyncpg bounds all hosts together: a silent one would use up the time of those after it.
                share = timeout / len(self._urls)
                connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(
                    url, timeout=share, **self._options, **options
                )
            except NEXT_HOST as error:
                last = error
            except (IndexError, OverflowError) as error:
                # As asyncpg says that a host is empty, and that a port is too large.
                raise ValueError("not the URL of a database") from error
            else:
                self._urls.remove(url)
                self._urls.insert(0, url)
                return connection
        raise last


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """The options of every connection to `hosts`. `timeout` and `lock_timeout` in seconds; with `enforced`, Postgres
    itself must bound statements and waiting, however it is reached. `fresh_plans`: Postgres plans a statement anew for
    each execution."""

    hosts: Hosts
    name: str
    timeout: float
    lock_timeout: float
    enforced: bool
    fresh_plans: bool = False

    def options(self, way: Connectivity) -> dict[str, Any]:
        """The arguments for asyncpg."""
        options: dict[str, Any] = {
            "timeout": min(self.timeout, MAX_CONNECT_SECONDS),
            "command_timeout": self.timeout + 1,
            "server_settings": {"application_name": f"timewarden-{self.name}", "timezone": "UTC"},
        }
        if way is Connectivity.DIRECT:
            options["max_cacheable_statement_size"] = MAX_PREPARED_STATEMENT_CHARACTERS
            options["server_settings"] |= self._limits()
            if self.fresh_plans:
                options["server_settings"]["plan_cache_mode"] = "force_custom_plan"
        elif way is Connectivity.KEEPING:
            # Every statement gets a name, since PgBouncer keeps only named ones.
            options["max_cacheable_statement_size"] = 0
        else:
            # asyncpg then sends a statement and its execution in one go, so one server process gets both.
            options["statement_cache_size"] = 0
        return options

    async def is_direct(self, connection: PoolConnectionProxy[asyncpg.Record]) -> bool:
        """Whether Postgres itself answers, with our limits: a pooler may be configured to ignore them."""
        try:
            seen = await connection.fetchrow(PROBE)
        except LOST_STATEMENT:
            return False
        if seen is None or seen["pid"] != connection.get_server_pid():
            return False
        return all(seen[name] == int(limit) for name, limit in self._limits().items())

    async def way_through_pooler(self) -> Connectivity:
        """How to connect through the pooler. Raises Misconfigured if the role has no time limits."""
        for way in (Connectivity.KEEPING, Connectivity.FORGETTING):
            connection = await self.hosts.connect(**self.options(way))
            try:
                seen = await connection.fetchrow(PROBE)
            except LOST_STATEMENT:
                continue
            finally:
                connection.terminate()
            if seen is not None and (seen["kept"] or way is Connectivity.FORGETTING):
                self._need_limits(seen)
                return way
        raise DatabaseUnavailable(cause="the pooler mixes up statements")

    def _need_limits(self, seen: asyncpg.Record) -> None:
        # Limits of the role apply to every statement and cost nothing. SET LOCAL would cost a round trip for each
        # transaction, and could not bound statements outside of transactions.
        limits = self._limits()
        if self.enforced and not all(0 < seen[name] <= int(limit) for name, limit in limits.items()):
            settings = "; ".join(ALTER_ROLE.format(seen["role"], name, limit) for name, limit in limits.items())
            raise Misconfigured(
                "A connection pooler in front of Postgres does not pass time limits on, so the role must have them:"
                f" run roles.sql, or as a superuser `{settings}`, and let the pooler reconnect (RECONNECT)"
            )

    def _limits(self) -> dict[str, str]:
        """Postgres's time limits, in milliseconds."""
        seconds = (self.timeout, self.lock_timeout, self.timeout * 4)
        return {name: str(int(limit * 1000)) for name, limit in zip(LIMITS, seconds, strict=True)}


def name_absence(error: Exception) -> str | None:
    """What a log line says of a DatabaseUnavailable or an error of Postgres."""
    return error.cause if isinstance(error, DatabaseUnavailable) else type(error).__name__


@contextmanager
def translate_connection_errors(url: str, variable: str = "TIMEWARDEN_DATABASE_URL") -> Iterator[None]:
    """Turn errors of a block that connects to `url`, the value of this variable, into DatabaseUnavailable and
    Misconfigured, which name host and port, but no password."""
    try:
        yield
    except REFUSED as error:
        raise Misconfigured(
            f"{variable} does not open a database: check its user, password and database name",
            cause=type(error).__name__,
        ) from error
    # The second is a database that takes no connections for now: ALLOW_CONNECTIONS is false.
    except (*TRANSIENT_ERRORS, asyncpg.ObjectNotInPrerequisiteStateError) as error:
        where = host_and_port(url, variable)
        sentence = f"Postgres does not answer at {where}: check that it runs and can be reached from here"
        raise DatabaseUnavailable(sentence, cause=type(error).__name__) from error


def host_and_port(url: str, variable: str = "TIMEWARDEN_DATABASE_URL") -> str:
    """Host and port of a database URL, and nothing else of it."""
    authority = urlsplit(url).netloc
    # A slash, question mark or number sign in a password ends the authority early, which may then hold a part of the
    # password, even behind an @ that the password has too.
    if "@" in url.partition("://")[2][len(authority) :]:
        return f"the host of {variable}"
    where = authority.rpartition("@")[2]
    if "," in where:
        return f"any of {where}"
    host, colon, port = where.rpartition(":")
    if not colon or not port.isdigit():
        host, port = where, "5432"
    return f"{host}, port {port}" if host else "the local socket"
