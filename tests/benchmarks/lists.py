"""Times lists over a million sheets of ten thousand people: `python -m tests.benchmarks.lists [PEOPLE] [WEEKS]`.

Figures only, no verdicts. `first` and `deep` are pages of 50, `deep` one from halfway down the years; `bare` is the
same page by its index with no authorization at all, `one` a single read with its relations. `waiting` is a page of
approvals, of 10,000 sheets that wait, and `report` a week's hours by person, each beside its own bare statement.
Medians of one run.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg

import service.migrations
from service.administration.checks import examination
from service.administration.versions.bootstrap import bootstrap
from service.database import Database
from service.development.local_servers import LocalPostgres, run_psql_script, start_postgres
from service.log.epochs import open_log
from service.log.log import Log
from service.migrations.run import migrate
from service.timesheets import approvals_store, listing, reports_store
from service.timesheets.listing import Filters
from service.timesheets.relations import TIMESHEET_FACTS
from service.timesheets.reports import MAX_SHEETS
from service.timesheets.reports_store import Span
from service.timesheets.sheet_columns import ROW
from service.timesheets.timesheet import State
from tests import policy_forge
from tests.benchmarks.crowd import (
    APPROVER,
    AUDITOR,
    LEAD,
    LEAD_APPROVER,
    MANAGER,
    OWNER,
    PROJECT_LEAD,
    RELATIONSHIPS,
    Crowd,
    gather,
    now,
    sight,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from service.authorization.enforcement.visibility import Visibility
    from service.identity.principal import Principal

    Connection = asyncpg.Connection[asyncpg.Record]

PAGE = 50
WEEK = (date(2026, 11, 23), date(2026, 11, 29))
# The sheets that have waited longest, for anybody.
BARE_WAITING = (
    f"SELECT {ROW} FROM (SELECT r.* FROM timesheet AS r WHERE r.state = 'submitted' ORDER BY r.submitted_at, r.id"
    " LIMIT $1) AS r ORDER BY r.submitted_at, r.id"
)
# A week's hours by person, for anybody.
BARE_REPORT = (
    "SELECT r.owner_id, sum(e.minutes), count(DISTINCT r.id) FROM timesheet AS r LEFT JOIN entry AS e"
    " ON e.timesheet_id = r.id WHERE r.period_start BETWEEN $1::date AND $2::date GROUP BY 1"
)
TIMES = 15
NAME = "lists"


def main() -> None:
    given = [int(value) for value in sys.argv[1:3]]
    people, weeks = given if len(given) == 2 else (10_000, 100)
    with tempfile.TemporaryDirectory() as directory, start_postgres(Path(directory), preferred_port=0) as postgres:
        asyncio.run(_measure(postgres, people, weeks))


async def _measure(postgres: LocalPostgres, people: int, weeks: int) -> None:
    connection = await asyncpg.connect(await _database(postgres))
    started = time.perf_counter()
    crowd = await gather(connection, people, weeks)
    print(f"{people * weeks:,} sheets of {people:,} people in {crowd.teams:,} teams, made in "
          f"{time.perf_counter() - started:.0f} s; milliseconds, and how many times the bare page")  # fmt: skip
    middle = (date(2026, 11, 23) - timedelta(days=7 * (weeks // 2)), UUID(int=2**127))
    bare = await _clock(lambda: _bare(connection))
    print(f"{'a bare page of 50':<28} {bare:>9.2f}")
    print(f"{'':<28} {'first':>9} {'x':>6} {'deep':>9} {'x':>6} {'submitted':>9} {'x':>6} {'one':>9}")
    for who, asker in (await crowd.cast(connection)).items():
        print(f"{who:<28} {await _row(connection, asker, middle, bare)}")
    await _work(connection, crowd)
    leads = await crowd.lead_projects(connection)
    print("with a rule for leads of projects, of which these lead one or none:")
    for who, asker in {**leads, **await crowd.cast(connection)}.items():
        approves = await sight(connection, asker, *APPROVER, LEAD_APPROVER, action="approve", declared=PROJECT_LEAD)
        waiting = await _clock(
            lambda v=approves: approvals_store.list_pending(v, connection, after=None, limit=PAGE)  # type: ignore[misc]  # bound now
        )
        reads = await sight(connection, asker, OWNER, MANAGER, LEAD, declared=PROJECT_LEAD)
        report = await _clock(lambda v=reads: _report(connection, v))  # type: ignore[misc]  # bound now
        row = await _row(connection, asker, middle, bare, lead=True)
        print(f"{who:<28} {row} waiting {waiting:>9.2f} report {report:>9.2f}")
    await connection.close()


async def _work(connection: Connection, crowd: Crowd) -> None:
    """Approvals and reports."""
    # Five days of hours in the newest week of everybody.
    await connection.execute(
        "INSERT INTO entry (id, timesheet_id, day, project, minutes) SELECT gen_random_uuid(), id, period_start + day,"
        " 'ATLAS', 480 FROM timesheet, generate_series(0, 4) AS day WHERE period_start = '2026-11-23'"
    )
    await connection.execute("VACUUM ANALYZE entry")
    waits = await _clock(lambda: connection.fetch(BARE_WAITING, PAGE + 1))
    adds = await _clock(lambda: connection.fetch(BARE_REPORT, *WEEK))
    print(f"bare: waiting {waits:.2f}, report {adds:.2f}")
    print(f"{'':<28} {'waiting':>9} {'x':>6} {'report':>9} {'x':>6} {'sheets':>9}")
    for who, asker in (await crowd.cast(connection)).items():
        approves = await sight(connection, asker, *APPROVER, action="approve")
        reads = await sight(connection, asker, OWNER, MANAGER, AUDITOR)
        waiting_took = await _clock(
            lambda v=approves: approvals_store.list_pending(v, connection, after=None, limit=PAGE)  # type: ignore[misc]  # bound now
        )
        report_took = await _clock(lambda v=reads: _report(connection, v))  # type: ignore[misc]  # bound now
        sheets = await _report(connection, reads)
        print(
            f"{who:<28} {waiting_took:>9.2f} {waiting_took / waits:>6.1f} {report_took:>9.2f}"
            f" {report_took / adds:>6.1f} {sheets:>9}"
        )


async def _report(connection: Connection, visibility: Visibility) -> int:
    span = Span(*WEEK)
    found = await reports_store.find_visible_sheets(visibility, connection, span, MAX_SHEETS + 1)
    approvals = await reports_store.load_approvals(visibility, connection, found)
    await reports_store.sum_by_key(connection, approvals, span, "person")
    await reports_store.sum_all(connection, approvals, span)
    return len(found)


async def _row(
    connection: Connection, asker: Principal, middle: listing.Place, bare: float, *, lead: bool = False
) -> str:
    rules, declared = (OWNER, MANAGER, AUDITOR, *([LEAD] if lead else [])), PROJECT_LEAD if lead else ""
    shown = await sight(connection, asker, *rules, declared=declared)
    figures = []
    for filters, after in ((Filters(), None), (Filters(), middle), (Filters(states=(State.SUBMITTED,)), None)):
        found = await _clock(
            lambda f=filters, a=after: listing.page(shown, connection, f, after=a, limit=PAGE)  # type: ignore[misc]  # bound now
        )
        figures.append(f"{found:>9.2f} {found / bare:>6.1f}")
    some = await connection.fetchval("SELECT id FROM timesheet LIMIT 1")
    single = await _clock(lambda: RELATIONSHIPS.of_row(connection, asker, TIMESHEET_FACTS, some))
    return " ".join([*figures, f"{single:>9.2f}"])


async def _bare(connection: Connection) -> None:
    # The newest page, for anybody.
    await connection.fetch(
        f"SELECT {ROW} FROM (SELECT r.* FROM timesheet AS r ORDER BY r.period_start DESC, r.id DESC LIMIT $1) AS r"
        " ORDER BY r.period_start DESC, r.id DESC",
        PAGE + 1,
    )


async def _clock(work: Callable[[], Awaitable[object]]) -> float:
    """Median milliseconds of a call, once it is warm."""
    took = []
    for _ in range(TIMES + 2):
        started = time.perf_counter()
        await work()
        took.append((time.perf_counter() - started) * 1e3)
    return statistics.median(took[2:])


async def _database(postgres: LocalPostgres) -> str:
    """A migrated database under the shipped policy; the URL of its owner."""
    script = Path(service.migrations.__file__).parent / "roles.sql"
    words = {f"TIMEWARDEN_{role}_PASSWORD": "b" for role in ("OWNER", "APP", "KEEPER", "AUDITOR")}
    run_psql_script(postgres.superuser_url, script, {**words, "TIMEWARDEN_DATABASE": NAME})
    url = postgres.url("timewarden_owner", "b", NAME)
    await migrate(url)
    connection = await asyncpg.connect(url)
    await open_log(connection)
    await connection.close()
    database = Database(url, size=1)
    await database.open()
    async with database.transaction() as inside:
        await bootstrap(inside, Log(database), policy_forge.read_shipped(), examination.load, now())
    await database.close()
    return url


if __name__ == "__main__":
    main()
