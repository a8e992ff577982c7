"""Policy versions: immutable rows in Postgres, and the snapshots that this process has built from them.

Postgres owns which version is active; a process holds a few built snapshots, and learns the active number with the
facts of every decision. The loader has a Database of its own, so that no request waits for a connection while holding
one.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from typing import TYPE_CHECKING

from service.authorization.policy_file import PolicyText
from service.errors import NotFound, PolicyRejected, PolicyUnavailable, TryLater

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from service.authorization.engine import Snapshot
    from service.database import Connection, Database

KEPT = 4
# Mutations hold this advisory lock shared, activation takes it exclusively: nothing commits under a replaced version.
POLICY_LOCK = 0x74770001
# Proposals take this one in turn.
PROPOSAL_LOCK = POLICY_LOCK + 1


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
        self._loading: dict[int, asyncio.Task[Snapshot]] = {}
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
        self._current = await self._load(active)
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
            snapshot = await self.built(number)
        except PolicyUnavailable:
            self.trouble = f"version {number} is active and cannot be loaded here"
            raise
        self._current, self.trouble = snapshot, None
        return snapshot

    async def built(self, number: int) -> Snapshot:
        """The snapshot of any version, built if need be, without making it the current one."""
        if (known := self._built.get(number)) is not None:
            self._built.move_to_end(number)
            return known
        task = self._loading.get(number)
        if task is None:
            task = asyncio.create_task(self._load(number), name=f"load policy {number}")
            self._loading[number] = task
            task.add_done_callback(lambda _: self._loading.pop(number, None))
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.shield(task)
        except TimeoutError as error:
            raise PolicyUnavailable(cause=f"version {number} was not loaded in time") from error

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """One of the loader's own connections, for reading versions outside any request's transaction."""
        return self._database.connection()

    async def _load(self, number: int) -> Snapshot:
        try:
            async with self.connection() as connection:
                text = await text_of(connection, number)
            snapshot = await asyncio.to_thread(self._build, text, number)
        except (TryLater, NotFound, PolicyRejected) as error:
            raise PolicyUnavailable(cause=f"version {number}: {error}") from error
        self.keep(snapshot)
        return snapshot

    def keep(self, snapshot: Snapshot) -> None:
        """Remember a built snapshot; the least recently used one goes when there are too many."""
        self._built[snapshot.number] = snapshot
        while len(self._built) > KEPT:
            self._built.popitem(last=False)


async def hold(connection: Connection, *, exclusively: bool = False) -> None:
    """Keep the active version from changing until this transaction ends, or, exclusively, keep everybody else from
    committing under it. Waits no longer than the connection's lock time-out."""
    name = "pg_advisory_xact_lock" if exclusively else "pg_advisory_xact_lock_shared"
    # The lock is given back when the transaction ends, however it ends.
    await connection.execute(f"SELECT {name}($1)", POLICY_LOCK)


async def text_of(connection: Connection, number: int) -> PolicyText:
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
