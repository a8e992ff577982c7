"""Requests and transactions that continue through every fault, and a record of their answers.

Callers read, list, change contended sheets, open new ones, and try what is denied. Slow transactions commit
late or roll back, so that ids and commits have different orders.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import httpx2

from service.database import Database
from service.errors import TryLater
from service.log.log import Log
from tests.integration.log_database import decision
from tests.soak.estate import MAX_FILE_BYTES
from tests.until import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from uuid import UUID

    from service.log.record import Record
    from tests.soak.estate import Estate

SHEETS = "/v1/timesheets"
DECIDED = frozenset({200, 201, 204, 403, 404, 409, 412})


@dataclass
class Answers:
    """Answers since the last check. `leaves` by decision id; `versions`: the newest of each sheet; `wrong`: answers
    that are never allowed; `undone`: ids of rolled-back records; `slowest` in seconds."""

    leaves: dict[str, str] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    undone: set[UUID] = field(default_factory=set)
    acknowledged: int = 0
    broken: int = 0
    slowest: float = 0.0

    def hear(self, answer: httpx2.Response) -> httpx2.Response:
        self.statuses[answer.status_code] += 1
        self.slowest = max(self.slowest, answer.elapsed.total_seconds())
        recorded = "Decision-Id" in answer.headers
        if recorded:
            self.acknowledge(answer.headers["Decision-Id"], answer.headers["Decision-Leaf"])
        if answer.status_code in DECIDED and not recorded:
            self.wrong.append(f"{answer.status_code} without a decision: {answer.text[:200]}")
        elif answer.status_code == 503 and ("Retry-After" not in answer.headers or recorded):
            self.wrong.append(f"503 without Retry-After: {answer.text[:200]}")
        elif answer.status_code not in DECIDED | {503}:
            self.wrong.append(f"{answer.status_code}: {answer.text[:200]}")
        if answer.is_success and "ETag" in answer.headers:
            sheet = answer.json()
            self.versions[sheet["id"]] = max(self.versions.get(sheet["id"], 0), sheet["version"])
        return answer

    def acknowledge(self, uid: str, leaf: str) -> None:
        self.leaves[uid] = leaf
        self.acknowledged += 1


@dataclass
class Traffic:
    """Requests are sent inside `running`, or until `end`; `stop` asks the callers to send no more. All callers change
    `sheets`."""

    estate: Estate
    answers: Answers = field(default_factory=Answers)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    sheets: list[tuple[str, str]] = field(default_factory=list)
    weeks: int = 0
    _sending: asyncio.Task[None] | None = None

    async def prepare(self, count: int = 4) -> None:
        """Open the contended sheets, each with one entry."""
        async with self._client() as http:
            for _ in range(10 * count):
                path, entry = await self._new_sheet(http)
                if entry:
                    self.sheets.append((path, entry))
                if len(self.sheets) == count:
                    return
        raise RuntimeError(f"no sheets to work on: {self.answers.statuses}")

    @contextlib.asynccontextmanager
    async def running(self, callers: int = 8, lingerers: int = 3) -> AsyncIterator[asyncio.Task[None]]:
        """Requests go on inside the block, in this task."""
        self.stop.clear()
        self._sending = asyncio.create_task(self._send(callers, lingerers))
        try:
            yield self._sending
        finally:
            await self.end()

    async def end(self) -> None:
        """Wait until the requests under way were answered, too: from then on nothing is added to the log."""
        self.stop.set()
        if self._sending is not None:
            await self._sending

    async def _send(self, callers: int, lingerers: int) -> None:
        await asyncio.gather(
            *(self._caller(random.Random(number)) for number in range(callers)),  # noqa: S311 - a mixture, no secret
            *(self._lingerer(random.Random(number)) for number in range(lingerers)),  # noqa: S311
        )

    async def outgrow(self) -> None:
        """Append until the log's table is larger than any file may become on a full disk."""
        async with self._log() as log:
            for _ in range(MAX_FILE_BYTES // 1_000_000):
                for receipt in await log.append(_decisions(600, 800)):
                    self.answers.acknowledge(str(receipt.uid), receipt.leaf)

    async def use_up(self) -> None:
        """Append until there is no room, in ever smaller steps. What a refused one wrote stays used."""
        async with self._log() as log:
            for count, size in ((600, 800), (600, 0), (20, 0)):
                with contextlib.suppress(TryLater):
                    while True:
                        for receipt in await log.append(_decisions(count, size)):
                            self.answers.acknowledge(str(receipt.uid), receipt.leaf)

    @contextlib.asynccontextmanager
    async def _log(self) -> AsyncIterator[Log]:
        database = Database(self.estate.urls["app"], size=1, name="outgrow")
        await database.open()
        log = Log(database)
        try:
            yield log
        finally:
            await log.close()
            await database.close()

    def _client(self) -> httpx2.AsyncClient:
        token = {"Authorization": f"Bearer {self.estate.token}"}
        # Without keep-alive: a connection to a worker that was killed must not spoil the next request.
        limits = httpx2.Limits(max_keepalive_connections=0)
        return httpx2.AsyncClient(base_url=self.estate.api, headers=token, timeout=20, trust_env=False, limits=limits)

    async def _caller(self, chance: random.Random) -> None:
        async with self._client() as http:
            while not self.stop.is_set():
                try:
                    await self._request(http, chance)
                except httpx2.HTTPError:
                    self.answers.broken += 1
                    await asyncio.sleep(0.05)

    async def _request(self, http: httpx2.AsyncClient, chance: random.Random) -> None:
        path, entry = chance.choice(self.sheets)
        what = chance.random()
        if what < 0.35:
            answer = await http.get(path)
        elif what < 0.45:
            answer = await http.get(SHEETS, params={"limit": 5})
        elif what < 0.90:
            body = {"day": "2026-11-23", "project": "ATLAS", "minutes": chance.randrange(1, 1440)}
            body["day"] = self._day(path)
            answer = await http.put(f"{path}/entries/{entry}", json=body, headers={"If-Match": "*"})
        elif what < 0.95:
            # Denied and recorded: their own hours, and a token without the scope.
            answer = await http.post(f"{path}/approve", headers={"If-Match": '"2"'})
        else:
            await self._new_sheet(http)
            return
        if self.answers.hear(answer).status_code == 503:
            await asyncio.sleep(0.1)

    async def _new_sheet(self, http: httpx2.AsyncClient) -> tuple[str, str]:
        self.weeks += 1
        # The weeks end in 2026 and repeat; an existing week is a conflict, which is recorded too.
        week = (date(2000, 1, 3) + timedelta(weeks=self.weeks % 1_400)).isoformat()
        made = self.answers.hear(await http.post(SHEETS, json={"period_start": week}))
        if not made.is_success:
            return "", ""
        path = f"{SHEETS}/{made.json()['id']}"
        body = {"day": week, "project": "ATLAS", "minutes": 60}
        filled = self.answers.hear(await http.post(f"{path}/entries", json=body, headers={"If-Match": '"1"'}))
        if not filled.is_success:
            return path, ""
        self._days[path] = week
        return path, filled.json()["entries"][0]["id"]

    _days: dict[str, str] = field(default_factory=dict)

    def _day(self, path: str) -> str:
        return self._days[path]

    async def _lingerer(self, chance: random.Random) -> None:
        """Transactions that draw an id early and commit late, or never."""
        database = Database(self.estate.urls["app"], size=2, timeout=2.0, name="lingerer")
        log = Log(database, patience=2.0)
        opened = False
        while not self.stop.is_set():
            try:
                if not opened:
                    await database.open()
                    opened = True
                await self._linger(database, log, chance)
            except TryLater:
                await asyncio.sleep(0.1)
        await log.close()
        await database.close()

    async def _linger(self, database: Database, log: Log, chance: random.Random) -> None:
        undo = chance.random() < 0.4
        records = [decision(reason="lingering") for _ in range(chance.randrange(1, 4))]
        try:
            async with database.transaction() as connection:
                receipts = await log.append(records, connection)
                await asyncio.sleep(chance.random() * 0.3)
                if undo:
                    raise _UndoneError
        except _UndoneError:
            self.answers.undone |= {record.uid for record in records}
            return
        for receipt in receipts:
            self.answers.acknowledge(str(receipt.uid), receipt.leaf)


def _decisions(count: int, size: int) -> list[Record]:
    return [decision(reason="large", note=secrets.token_hex(size)) for _ in range(count)]


class _UndoneError(Exception):
    """Rolls a transaction back."""


async def for_seconds(
    traffic: Traffic, seconds: float, damage: Any, *, enough: Callable[[], bool] = lambda: True
) -> None:
    """Run traffic and repeat `damage()` for `seconds`, and until `enough()` for at most PATIENCE_SECONDS more."""
    until = time.monotonic() + seconds
    async with traffic.running() as sending:
        while not sending.done() and time.monotonic() < until + (0 if enough() else PATIENCE_SECONDS):
            await damage()
        await traffic.estate.ready()
        await asyncio.sleep(0.5)
