"""How the keeper's parts do: what each process says of its parts, and how far the log itself shows them to be behind.

Each process owns its rows in keeper_report, written when readiness changes and every few seconds; a report that cannot
be written is dropped, because it grows stale and says so. Whether a part is ready is judged by the reader, from the log
first: a process that says `ready` while nothing is sealed or signed is not believed.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

from uuid_utils.compat import uuid7

from service.errors import TryLater

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from service.database import Connection, Database

Part: TypeAlias = Literal["sealer", "signer", "relay"]
PARTS: Final[tuple[Part, ...]] = get_args(Part)

EVERY = 3.0
# A process that said nothing of a part for so many seconds is taken for frozen or gone.
SILENT_AFTER = 15.0
# By how much the sealer and the signer may be behind the log, beside the time between their steps.
MAX_LAG_SECONDS = 30.0

# Keep the newest word of a process about a part.
SAY = """
    INSERT INTO keeper_report (process, part, host, pid, within, ready, detail) VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (process, part) DO UPDATE SET within = $5, ready = $6, detail = $7, at = clock_timestamp()
"""

# Forget processes that ended a day ago.
FORGET = "DELETE FROM keeper_report WHERE at < clock_timestamp() - interval '1 day'"

# What each process said last of each part, and how many seconds ago. The newest come first.
REPORTS = """
    SELECT process, part, host, pid, within, ready, detail, extract(epoch FROM clock_timestamp() - at)::float8 AS age
    FROM keeper_report ORDER BY at DESC LIMIT 300
"""

# For how many seconds the oldest record behind the newest sealed one waits for its position; how many sealed records no
# signed checkpoint covers, and for how many seconds the oldest of them has waited since it was written. A position is
# looked up row by row: a join would read all positions.
BEHIND = """
    WITH head AS (SELECT size FROM log_head),
    signed AS (
        SELECT coalesce((SELECT size FROM checkpoint WHERE note IS NOT NULL AND size <= (SELECT size FROM head)
                         ORDER BY size DESC LIMIT 1), 0) AS size
    )
    SELECT extract(epoch FROM clock_timestamp() - (
               SELECT r.at FROM audit_record r
               WHERE r.id > coalesce((SELECT record_id FROM audit_position ORDER BY position DESC LIMIT 1), -1)
                 AND (SELECT p.position FROM audit_position p WHERE p.record_id = r.id) IS NULL
               ORDER BY r.id LIMIT 1))::float8 AS unsealed,
           coalesce((SELECT head.size - signed.size FROM head, signed), 0) AS count,
           extract(epoch FROM clock_timestamp() - (
               SELECT r.at FROM audit_position p JOIN audit_record r ON r.id = p.record_id
               WHERE p.position = (SELECT size FROM signed)))::float8 AS unsigned
"""


@dataclass(frozen=True, slots=True)
class Process:
    """A keeper process, as an operator finds it."""

    id: UUID
    host: str
    pid: int

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@dataclass(frozen=True, slots=True)
class KeeperReport:
    """What a process said of one of its parts; `age` in seconds by the database's clock."""

    process: Process
    part: str
    within: float | None
    ready: bool
    detail: str
    age: float

    @property
    def silent(self) -> bool:
        return self.age > SILENT_AFTER


@dataclass(frozen=True, slots=True)
class PartStatus:
    """Whether the work of a part is done by any process, judged from the log and from what processes say."""

    part: str
    ready: bool
    detail: str


class KeeperStatus:
    """Speaks for one part of this process. `within` is how many seconds behind the log it promises to be at most."""

    def __init__(self, database: Database, part: Part, within: float | None = None) -> None:
        self._database = database
        self._part = part
        self.within = within
        self._said: bool | None = None
        self._when = 0.0

    async def report(self, ready: bool, detail: str) -> None:  # noqa: FBT001 - the callback that relay and sealer share
        """Say it, unless the same readiness was told a moment ago. Never raises for a database that is away."""
        if self._said is ready and time.monotonic() - self._when < EVERY:
            return
        process = this_process()
        with suppress(TryLater):
            async with self._database.connection() as connection:
                if self._said is None:
                    await connection.execute(FORGET)
                words = (self._part, process.host, process.pid, self.within, ready, detail[:1000])
                await connection.execute(SAY, process.id, *words)
            self._said, self._when = ready, time.monotonic()


@cache
def this_process() -> Process:
    """Its id is new at each start; a container's host name is the container's."""
    return Process(uuid7(), socket.gethostname(), os.getpid())


async def read_reports(connection: Connection) -> list[KeeperReport]:
    """The last words of every process of the last day, the newest first."""
    return [
        KeeperReport(
            Process(row["process"], row["host"], row["pid"]), *(row[name] for name in KeeperReport.__slots__[1:])
        )
        for row in await connection.fetch(REPORTS)
    ]


async def read_status(connection: Connection) -> list[PartStatus]:
    """Every part that some process spoke of within a day."""
    reports = await read_reports(connection)
    behind = await connection.fetchrow(BEHIND)
    late: dict[str, tuple[float, str]] = {}
    if behind is not None and behind["unsealed"] is not None:
        late["sealer"] = (behind["unsealed"], "records wait for their position, the oldest for {:.0f} s")
    if behind is not None and behind["unsigned"] is not None:
        sentence = f"{behind['count']} sealed records have no signed checkpoint, the oldest for {{:.0f}} s"
        late["signer"] = (behind["unsigned"], sentence)
    return [
        _judge(part, [report for report in reports if report.part == part], late.get(part))
        for part in PARTS
        if any(report.part == part for report in reports)
    ]


def _judge(part: str, reports: Sequence[KeeperReport], late: tuple[float, str] | None) -> PartStatus:
    speaking = [report for report in reports if not report.silent]
    if not speaking:
        return PartStatus(part, ready=False, detail=f"silent for {reports[0].age:.0f} s")
    within = max(one.within or MAX_LAG_SECONDS for one in speaking)
    behind = late[1].format(late[0]) if late and late[0] > within else None
    good = [one for one in speaking if one.ready]
    bad = [one for one in speaking if not one.ready]
    said = good[:1] + bad if good and behind is None else speaking
    details = [one.detail if len(speaking) == 1 else f"{one.process}: {one.detail}" for one in said]
    if behind is not None:
        frozen = [f"{report.process} has said nothing for {report.age:.0f} s" for report in reports if report.silent][
            :3
        ]
        details = [behind, *details, *frozen]
    return PartStatus(part, ready=bool(good) and behind is None, detail="; ".join(details))
