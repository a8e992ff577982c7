"""Policy versions: immutable rows in Postgres, and the snapshots that this process has built from them.

Postgres owns which version is active; a process holds a few built snapshots, and learns the active number with the
facts of every decision. The loader has a Database and threads of its own, so that no request waits for a connection
while holding one, and nothing else that takes long keeps the active version waiting.
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

KEPT = 4
# Versions that are built at once: one that is only asked about, and all others that are active or just were.
THREADS = 3
# Seconds that whoever activates a version waits for it.
LONGEST_PREPARATION = 60.0
# Mutations hold this advisory lock shared, activation takes it exclusively: nothing commits under a replaced version.
POLICY_LOCK = 0x74770001
# Proposals take this one in turn.
PROPOSAL_LOCK = POLICY_LOCK + 1
_log = structlog.get_logger(__name__)


class PolicyVersions:
    """`build` turns texts and a number into a Snapshot (it may take a second and runs in a thread); `timeout`, in
    seconds, bounds how long a request may wait for a version to be loaded."""

    def __init__(
        self, database: Database, build: Callable[[PolicyText, int], Snapshot], *, timeout: float = 5.0
    ) -> None:
        self._database = database
        self._build = build
        self._timeout = timeout
        self._built: OrderedDict[int, Snapshot] = OrderedDict()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="policy")
        self._only_asked_about = asyncio.Lock()
        self._loading: dict[tuple[int, bool], asyncio.Task[Snapshot]] = {}
        self._current: Snapshot | None = None
        # Why the version that was last seen to be active could not be loaded; None while all is well.
        self.trouble: str | None = None

    async def start(self) -> Snapshot:
        """Load the active version. Raises PolicyUnavailable when there is none: no policy, no start."""
        async with self._database.connection() as connection:
            # Which version is active.
            active = await connection.fetchval("SELECT active FROM policy_head")
        if active is None:
            raise PolicyUnavailable("No policy was ever activated: run `timewarden policy bootstrap`")
        # No request waits yet, so a version may take the time that it takes: a bound would make every start fail alike.
        self._current = await self._load(active, active=True)
        return self._current

    def current(self) -> Snapshot:
        """The newest active version that this process has learned of. It may be behind: see `enforcement`."""
        if self._current is None:
            raise PolicyUnavailable(cause="no version was loaded yet")
        return self._current

    async def at(self, number: int) -> Snapshot:
        """The snapshot of the version that was just seen to be active; it becomes the current one.

        Any number of callers share one load. Raises PolicyUnavailable when it does not end within the bound.
        """
        try:
            snapshot = await self._in_time(number, active=True)
        except PolicyUnavailable as error:
            self.trouble = f"version {number} is active and cannot be loaded here"
            raise PolicyUnavailable(cause=error.cause) from error
        self._current, self.trouble = snapshot, None
        return snapshot

    async def built(self, number: int) -> Snapshot:
        """The snapshot of any version, built if need be, without making it the current one. One at a time is built for
        those who only ask about it. Raises PolicyUnavailable, from NotFound when there is no such version."""
        return await self._in_time(number, active=False)

    async def prepared(self, number: int) -> Snapshot:
        """As `built`, for a version that is about to be activated: whoever does that may wait longer than a request. It
        is built as if it were active, so that nobody waits for it twice."""
        return await self._in_time(number, active=True, seconds=LONGEST_PREPARATION)

    async def _in_time(self, number: int, *, active: bool, seconds: float | None = None) -> Snapshot:
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
        """One of the loader's own connections, for reading versions outside any request's transaction."""
        return self._database.connection()

    async def _load(self, number: int, *, active: bool) -> Snapshot:
        try:
            async with nullcontext() if active else self._only_asked_about:
                async with self.connection() as connection:
                    text = await load_texts(connection, number)
                loop = asyncio.get_running_loop()
                snapshot = await loop.run_in_executor(self._threads, self._build, text, number)
        except (TryLater, NotFound, PolicyRejected) as error:
            raise _unavailable(number, str(error)) from error
        except Exception as error:
            # Whatever is wrong with a version or with us, those who wait for it must be refused, and be told so.
            _log.exception("policy_not_loaded", version=number, problem=type(error).__name__)
            raise _unavailable(number, type(error).__name__) from error
        self.keep(snapshot)
        return snapshot

    def keep(self, snapshot: Snapshot) -> None:
        """Remember a built snapshot; the least recently used one goes when there are too many."""
        self._built[snapshot.number] = snapshot
        while len(self._built) > KEPT:
            self._built.popitem(last=False)


def _unavailable(number: int, why: str) -> PolicyUnavailable:
    sentence = f"Policy version {number} cannot be loaded here now, so nothing was decided"
    return PolicyUnavailable(sentence, cause=f"version {number}: {why}")


async def hold_active_version(connection: Connection, *, exclusively: bool = False) -> None:
    """Keep the active version from changing until this transaction ends, or, exclusively, keep everybody else from
    committing under it. Waits no longer than the connection's lock time-out."""
    name = "pg_advisory_xact_lock" if exclusively else "pg_advisory_xact_lock_shared"
    # The lock is given back when the transaction ends, however it ends.
    await connection.execute(f"SELECT {name}($1)", POLICY_LOCK)


async def load_texts(connection: Connection, number: int) -> PolicyText:
    """The four texts of a version. Raises NotFound."""
    # One version with its texts.
    row = await connection.fetchrow(
        "SELECT model, rules, vocabulary, cases FROM policy_version WHERE number = $1", number
    )
    if row is None:
        raise NotFound("There is no such policy version")
    return PolicyText(
        model=row["model"], rules=row["rules"], vocabulary=row["vocabulary"], cases=json.loads(row["cases"])
    )
