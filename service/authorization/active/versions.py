"""The policy version that decides in this process, and the snapshots that it has built of versions.

Versions are immutable rows in Postgres, which owns the number of the active one; a process learns that number with the
facts of every decision. Loading has its own Database and threads: a request that holds a connection does not wait for
another, and the active version does not wait for other slow work.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TYPE_CHECKING

import structlog

from service.errors import NotFound, PolicyRejected, PolicyUnavailable, TryLater
from service.policy.policy_file import PolicyText

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from service.authorization.engine.engine import Snapshot
    from service.database import Connection, Database

MAX_SNAPSHOTS_KEPT = 4
# Versions that are built at once: one that a request only asks about; the others are for active versions.
THREADS = 3
# Seconds that an activation waits for its version.
LONGEST_PREPARATION = 60.0
# Changes hold this advisory lock shared, an activation exclusively: no change commits under a replaced version.
POLICY_LOCK = 0x74770001
# Proposals hold this lock one after the other.
PROPOSAL_LOCK = POLICY_LOCK + 1
ALTERED = "The texts of policy version {number} were changed in the database: they do not have its digest"
_log = structlog.get_logger(__name__)


class PolicyVersions:
    """`build` makes a Snapshot of texts and a number; it may take a second and runs in a thread. A request waits up to
    `timeout` seconds for a version."""

    def __init__(
        self, database: Database, build: Callable[[PolicyText, int], Snapshot], *, timeout: float = 5.0
    ) -> None:
        self._database = database
        self._build = build
        self._timeout = timeout
        self._built: OrderedDict[int, Snapshot] = OrderedDict()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="policy")
        self._inactive_turn = asyncio.Lock()
        self._loading: dict[tuple[int, bool], asyncio.Task[Snapshot]] = {}
        self._current: Snapshot | None = None
        # Why the newest active version could not be loaded; None if it was.
        self.trouble: str | None = None

    async def start(self) -> Snapshot:
        """Load the active version. Raises PolicyUnavailable if there is none."""
        async with self._database.connection() as connection:
            # Which version is active.
            active = await connection.fetchval("SELECT active FROM policy_head")
        if active is None:
            raise PolicyUnavailable("No policy was ever activated: run `timewarden policy bootstrap` as the owner")
        # Without a time limit: no request waits yet, and a slow version would make every start fail.
        self._current = await self._load(active, active=True)
        return self._current

    def current(self) -> Snapshot:
        """The newest active version that this process knows. It may be behind; the gate finds out and switches. Raises
        PolicyUnavailable if no version may decide now."""
        if self._current is None:
            raise PolicyUnavailable(cause=self.trouble or "no version is loaded")
        return self._current

    @property
    def loaded(self) -> Snapshot | None:
        """As `current`, but None if no version may decide now."""
        return self._current

    def drop_current(self) -> None:
        """Refuse requests until the active version is loaded: a restore has replaced the texts of the current one."""
        self._current = None

    async def switch_to(self, number: int) -> Snapshot:
        """Make the active version the current one, and return its snapshot. Concurrent calls share one load. Raises
        PolicyUnavailable if the version cannot be loaded in time."""
        try:
            snapshot = await self._load_in_time(number, active=True)
        except PolicyUnavailable as error:
            self.trouble = f"version {number} is active and cannot be loaded here"
            raise PolicyUnavailable(cause=error.cause) from error
        self._current, self.trouble = snapshot, None
        return snapshot

    async def _drop_replaced(self, number: int) -> None:
        """Drop the snapshot of a version that now has other texts: after a restore, the number of a lost version is
        given again. Raises TryLater."""
        if (built := self._built.get(number)) is not None:
            async with self.connection() as connection:
                # By the primary key.
                digest = await connection.fetchval("SELECT digest FROM policy_version WHERE number = $1", number)
            if digest != built.digest:
                self._built.pop(number, None)

    async def load(self, number: int) -> Snapshot:
        """The snapshot of any version, which does not become the current one. Such versions are built one at a time.
        Raises PolicyUnavailable, caused by NotFound for an unknown version."""
        return await self._load_in_time(number, active=False)

    async def prepare(self, number: int) -> Snapshot:
        """As `load`, for a version that is about to be activated: it is built like an active one, and the activation
        waits longer than other requests."""
        return await self._load_in_time(number, active=True, seconds=LONGEST_PREPARATION)

    async def _load_in_time(self, number: int, *, active: bool, seconds: float | None = None) -> Snapshot:
        try:
            await self._drop_replaced(number)
        except TryLater as error:
            # An activation may have just been committed, so no error may say that nothing was changed.
            raise _unavailable(number, str(error)) from error
        if (known := self._built.get(number)) is not None:
            self._built.move_to_end(number)
            return known
        task = self._loading.get((number, active))
        if task is None:
            task = asyncio.create_task(self._load(number, active=active), name=f"load policy {number}")
            self._loading[number, active] = task
            task.add_done_callback(lambda _: self._loading.pop((number, active), None))
        try:
            async with asyncio.timeout(self._timeout if seconds is None else seconds):
                return await asyncio.shield(task)
        except TimeoutError as error:
            raise _unavailable(number, "was not loaded in time") from error

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """A connection of the loader, for reading versions outside a request's transaction."""
        return self._database.connection()

    async def _load(self, number: int, *, active: bool) -> Snapshot:
        try:
            async with nullcontext() if active else self._inactive_turn:
                async with self.connection() as connection:
                    text = await load_texts(connection, number)
                loop = asyncio.get_running_loop()
                snapshot = await loop.run_in_executor(self._threads, self._build, text, number)
        except PolicyUnavailable:
            raise
        except (TryLater, NotFound, PolicyRejected) as error:
            raise _unavailable(number, str(error)) from error
        except Exception as error:
            # After any fault, the requests that wait for the version must be refused.
            _log.exception("policy_not_loaded", version=number, problem=type(error).__name__)
            raise _unavailable(number, type(error).__name__) from error
        self.keep(snapshot)
        return snapshot

    def keep(self, snapshot: Snapshot) -> None:
        """Cache a snapshot. The least recently used snapshots are dropped."""
        self._built[snapshot.number] = snapshot
        while len(self._built) > MAX_SNAPSHOTS_KEPT:
            self._built.popitem(last=False)


def _unavailable(number: int, why: str) -> PolicyUnavailable:
    sentence = f"Policy version {number} cannot be loaded here now, so nothing was decided"
    return PolicyUnavailable(sentence, cause=f"version {number}: {why}")


def hold_statement(*, exclusively: bool = False) -> str:
    """SQL that keeps the active version from changing until the transaction ends. `exclusively`: also keeps all others
    from committing changes. Waits up to the connection's lock timeout."""
    name = "pg_advisory_xact_lock" if exclusively else "pg_advisory_xact_lock_shared"
    return f"SELECT {name}({POLICY_LOCK})"


async def hold_active_version(connection: Connection, *, exclusively: bool = False) -> None:
    """As `hold_statement`, in a transaction that has begun."""
    await connection.execute(hold_statement(exclusively=exclusively))


async def load_texts(connection: Connection, number: int) -> PolicyText:
    """The four texts of a version. Raises NotFound, and PolicyUnavailable for texts that were changed in the
    database, so that they do not have the version's digest."""
    # One version with its texts.
    row = await connection.fetchrow(
        "SELECT model, rules, vocabulary, cases, digest FROM policy_version WHERE number = $1", number
    )
    if row is None:
        raise NotFound("There is no such policy version")
    text = PolicyText(
        model=row["model"], rules=row["rules"], vocabulary=row["vocabulary"], cases=json.loads(row["cases"])
    )
    if text.digest() != row["digest"]:
        raise PolicyUnavailable(ALTERED.format(number=number), cause=f"version {number}: its texts were altered")
    return text
