"""The status of the keeper's parts: what each process reports of its parts, and how far they are behind the log.

Each process owns its rows in keeper_report and writes them when readiness changes and every few seconds. A report that
cannot be written is dropped; the old one then goes stale. The reader decides whether a part is ready, from the log
first: a report of `ready` does not count while records are not sealed or signed.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

import structlog

from service.errors import TryLater
from service.ids import make_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from service.database import Connection, Database

_log = structlog.get_logger(__name__)
Part: TypeAlias = Literal["sealer", "signer", "relay", "archiver"]
ALL_PARTS: Final[tuple[Part, ...]] = get_args(Part)
# Those that every keeper has. Only one with an archive has an archiver.
PARTS: Final[tuple[Part, ...]] = ("sealer", "signer", "relay")

REPORT_INTERVAL_SECONDS = 3.0
# A process that has not reported a part for so long counts as frozen or ended.
SILENT_AFTER_SECONDS = 15.0
# A report that is dated further ahead was written before the database's clock was set back. Its age is unknown.
MAX_AHEAD_SECONDS = 5.0
# How far the sealer and the signer may be behind the log, in addition to the time between their steps.
MAX_LAG_SECONDS = 30.0

# Store the newest report of a process about a part.
SAVE_REPORT = """
    INSERT INTO keeper_report (process, part, host, pid, within, ready, detail) VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (process, part) DO UPDATE SET within = $5, ready = $6, detail = $7, at = clock_timestamp()
"""

# Delete reports that are dated more than a day ago or ahead.
DELETE_OLD = """
    DELETE FROM keeper_report
    WHERE at NOT BETWEEN clock_timestamp() - interval '1 day' AND clock_timestamp() + interval '1 day'
"""

# The last report of each process about each part, with its age in seconds, newest first, those from the future last.
REPORTS = f"""
    SELECT process, part, host, pid, within, ready, detail, extract(epoch FROM clock_timestamp() - at)::float8 AS age
    FROM keeper_report ORDER BY at > clock_timestamp() + interval '{MAX_AHEAD_SECONDS} seconds', at DESC LIMIT 300
"""

# How long, in seconds, the oldest unsealed record has waited for its position, and how long ago the oldest record was
# written that is sealed and that no signed checkpoint covers. Positions are looked up row by row, as a join would read
# all of them. $1 is -1: without a parameter, Postgres keeps the plan that it made while the log was short.
BEHIND = """
    WITH head AS (SELECT size FROM log_head),
    signed AS (
        SELECT coalesce((SELECT size FROM checkpoint WHERE note IS NOT NULL AND size <= (SELECT size FROM head)
                         ORDER BY size DESC LIMIT 1), 0) AS size
    )
    SELECT extract(epoch FROM clock_timestamp() - (
               SELECT r.at FROM audit_record r
               WHERE r.id > coalesce((SELECT record_id FROM audit_position ORDER BY position DESC LIMIT 1), $1::bigint)
                 AND (SELECT p.position FROM audit_position p WHERE p.record_id = r.id) IS NULL
               ORDER BY r.id LIMIT 1))::float8 AS unsealed,
           extract(epoch FROM clock_timestamp() - (
               SELECT r.at FROM audit_position p JOIN audit_record r ON r.id = p.record_id
               WHERE p.position = (SELECT size FROM signed)))::float8 AS unsigned
"""

# In a transaction with the statements above: bounds them, in milliseconds as text, and has them planned anew.
LIMIT_FRESH_PLANS = (
    "SELECT set_config('statement_timeout', $1, true), set_config('plan_cache_mode', 'force_custom_plan', true)"
)

# The number of sealed records, how many of them the newest signed checkpoint covers, and its age in seconds.
PROGRESS = """
    SELECT h.size, coalesce(c.size, 0) AS signed, extract(epoch FROM clock_timestamp() - c.at)::float8 AS age
    FROM log_head h LEFT JOIN LATERAL (
        SELECT size, at FROM checkpoint WHERE note IS NOT NULL AND size <= h.size ORDER BY size DESC LIMIT 1) c ON true
"""


@dataclass(frozen=True, slots=True)
class LogProgress:
    """The numbers of sealed records and of those under a signed checkpoint, the age of that checkpoint (None: there is
    none), and for how many seconds the oldest record waits for its position and for a checkpoint; 0 if none waits."""

    size: int
    signed: int
    checkpoint_age: float | None
    unsealed: float
    unsigned: float


@dataclass(frozen=True, slots=True)
class Process:
    """A keeper process, as an operator would identify it."""

    id: UUID
    host: str
    pid: int

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@dataclass(frozen=True, slots=True)
class KeeperReport:
    """The last report of a process about one of its parts; `age` in seconds by the database's clock, negative for a
    report from the future."""

    process: Process
    part: str
    within: float | None
    ready: bool
    detail: str
    age: float

    @property
    def silent(self) -> bool:
        """Whether the process counts as frozen or ended."""
        return not -MAX_AHEAD_SECONDS <= self.age <= SILENT_AFTER_SECONDS

    @property
    def silence(self) -> str:
        """How long the process has been silent, for a sentence about it."""
        if self.age < 0:
            return f"last reported {-self.age:.0f} s ahead of the database's clock"
        return f"has not reported for {self.age:.0f} s"


@dataclass(frozen=True, slots=True)
class PartStatus:
    """Whether some process does the work of a part, by the log and the reports."""

    part: str
    ready: bool
    detail: str


class KeeperStatus:
    """Reports one part of this process. `within`, once set, is by how many seconds the part may be behind the log."""

    def __init__(self, database: Database, part: Part) -> None:
        self._database = database
        self._part = part
        self.within: float | None = None
        self._logged = True
        self._reported: bool | None = None
        self._reported_at = 0.0

    async def report(self, ready: bool, detail: str) -> None:  # noqa: FBT001 - the callback that relay and sealer share
        """Write a report, unless the same readiness was written just before, and a log line if readiness changed. Only
        the line is written while the database is away."""
        if self._logged is not ready:
            self._logged = ready
            if ready:
                _log.info("part_ready", part=self._part, detail=detail)
            else:
                _log.warning("part_not_ready", part=self._part, detail=detail)
        if self._reported is ready and time.monotonic() - self._reported_at < REPORT_INTERVAL_SECONDS:
            return
        process = this_process()
        with suppress(TryLater):
            async with self._database.connection() as connection:
                if self._reported is None:
                    await connection.execute(DELETE_OLD)
                values = (self._part, process.host, process.pid, self.within, ready, detail[:1000])
                await connection.execute(SAVE_REPORT, process.id, *values)
            self._reported, self._reported_at = ready, time.monotonic()


@cache
def this_process() -> Process:
    """The current process. Its id is new at each start; in a container the host name is the container's."""
    return Process(make_id(), socket.gethostname(), os.getpid())


async def read_reports(connection: Connection) -> list[KeeperReport]:
    """The last reports of all processes of the last day, newest first, those from the future last."""
    return [
        KeeperReport(
            Process(row["process"], row["host"], row["pid"]), *(row[name] for name in KeeperReport.__slots__[1:])
        )
        for row in await connection.fetch(REPORTS)
    ]


async def read_progress(connection: Connection) -> LogProgress:
    """How far the log is sealed and signed."""
    progress, behind = await connection.fetchrow(PROGRESS), await connection.fetchrow(BEHIND, -1)
    unsealed, unsigned = (behind["unsealed"], behind["unsigned"]) if behind else (None, None)
    size, signed, age = progress or (0, 0, None)
    return LogProgress(size, signed, age, max(0.0, unsealed or 0.0), max(0.0, unsigned or 0.0))


async def read_status(connection: Connection, progress: LogProgress | None = None) -> list[PartStatus]:
    """The status of every part that a process reported within a day. `progress`: if it was read already."""
    reports = await read_reports(connection)
    progress = progress or await read_progress(connection)
    unsigned = f"{progress.size - progress.signed} sealed records have no signed checkpoint, the oldest for {{:.0f}} s"
    lags = {
        "sealer": (progress.unsealed, "records wait for their position, the oldest for {:.0f} s"),
        "signer": (progress.unsigned, unsigned),
    }
    return [
        _assess(part, [report for report in reports if report.part == part], lags.get(part))
        for part in ALL_PARTS
        if any(report.part == part for report in reports)
    ]


def _assess(part: str, reports: Sequence[KeeperReport], lag: tuple[float, str] | None) -> PartStatus:
    current = [report for report in reports if not report.silent]
    if not current:
        newest = reports[0]
        detail = f"silent for {newest.age:.0f} s" if newest.age > 0 else f"{newest.process} {newest.silence}"
        return PartStatus(part, ready=False, detail=detail)
    within = max(report.within or MAX_LAG_SECONDS for report in current)
    behind = lag[1].format(lag[0]) if lag and lag[0] > within else None
    ready = [report for report in current if report.ready]
    failing = [report for report in current if not report.ready]
    shown = ready[:1] + failing if ready and behind is None else current
    details = [report.detail if len(current) == 1 else f"{report.process}: {report.detail}" for report in shown]
    if behind is not None:
        silent = [report for report in reports if report.silent][:3]
        details = [
            behind,
            *details,
            *(f"{report.process} {report.silence}" for report in silent),
        ]
    return PartStatus(part, ready=bool(ready) and behind is None, detail="; ".join(details))
