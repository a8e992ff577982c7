"""A mix of requests as they come on a working day, for the benchmark of overload.

900 members of 100 teams each have a token; they read and save their week, submit and look around. Their leads look into
their inboxes and approve, and an auditor reads the log. A timesheet is submitted or approved only once, so there are
more of those than a run sends.
"""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

import asyncpg

from tests.benchmarks.callers import Kind
from tests.benchmarks.crowd import gather
from tests.benchmarks.load import request_of
from tests.benchmarks.servers import token_of

if TYPE_CHECKING:
    from collections.abc import Iterable

PEOPLE: Final = 1_000
TEAMS: Final = 100
# The weeks of `gather`, the second of which is a draft.
WEEKS: Final = 4
DRAFT: Final = date(2026, 11, 16)
# Older weeks of each member, half of them drafts to submit, the others submitted.
PAST_WEEKS: Final = 32
SCOPES: Final = "read:timesheets create:timesheets approve:timesheets read:audit"
# The drafts of the crowd, and the older weeks, each with a day of hours.
_PAST: Final = """
    WITH sheet AS (
        INSERT INTO timesheet (id, owner_id, period_start, period_end, time_zone, state, version, submitted_at)
        SELECT gen_random_uuid(), md5('person' || n)::uuid, day, day + 6, 'UTC',
               CASE WHEN week % 2 = 0 THEN 'draft' ELSE 'submitted' END, 1,
               CASE WHEN week % 2 = 1 THEN clock_timestamp() END
        FROM generate_series($1::int, $2::int - 1) AS n, generate_series(0, $3::int - 1) AS week,
             LATERAL (SELECT date '2026-01-05' - 7 * week AS day) AS d
        RETURNING id, period_start)
    INSERT INTO entry (id, timesheet_id, day, project, minutes)
    SELECT gen_random_uuid(), id, period_start, 'ATLAS', 480 FROM sheet
"""
# The older weeks of a state, with the number of the owner; each owner's turn comes once in a round.
_FIND: Final = """
    SELECT r.id, n
    FROM generate_series($1::int, $2::int - 1) AS n JOIN timesheet AS r ON r.owner_id = md5('person' || n)::uuid
    WHERE r.state = $3 AND r.period_start < date '2026-01-06' ORDER BY r.period_start, n
"""


async def make_workday(owner_url: str, issuer: str, port: int) -> list[Kind]:
    """People and timesheets in the database, and what is asked about them."""
    connection = await asyncpg.connect(owner_url)
    await gather(connection, PEOPLE, WEEKS)
    await connection.execute(_PAST, TEAMS, PEOPLE, PAST_WEEKS)
    await connection.execute(
        "INSERT INTO person_link (issuer, subject, person_id)"
        " SELECT $1, 'person ' || n, md5('person' || n)::uuid FROM generate_series(0, $2::int - 1) AS n",
        issuer,
        PEOPLE,
    )
    await connection.execute(
        "INSERT INTO person_role (person_id, role, valid_from)"
        " VALUES (md5('person0')::uuid, 'auditor', now() - interval '1 day')"
    )
    await connection.execute("VACUUM ANALYZE")
    members = range(TEAMS, PEOPLE)
    tokens = [token_of(issuer, f"person {number}", SCOPES) for number in range(PEOPLE)]
    drafts = await connection.fetch(
        "SELECT r.id, n FROM generate_series($1::int, $2::int - 1) AS n JOIN timesheet AS r"
        " ON r.owner_id = md5('person' || n)::uuid AND r.period_start = $3 ORDER BY n",
        TEAMS,
        PEOPLE,
        DRAFT,
    )
    to_submit = await connection.fetch(_FIND, TEAMS, PEOPLE, "draft")
    to_approve = await connection.fetch(_FIND, TEAMS, PEOPLE, "submitted")
    await connection.close()

    def ask(path: str, number: int, *headers: str) -> bytes:
        return request_of(port, path, tokens[number], *headers)

    def each(
        rows: Iterable[asyncpg.Record], method: str, behind: str, *headers: str, lead: bool = False
    ) -> list[bytes]:
        return [
            ask(f"{method} /v1/timesheets/{sheet}{behind}", number % TEAMS if lead else number, *headers)
            for sheet, number in rows
        ]

    week = {
        "entries": [
            {"day": str(DRAFT + timedelta(days=day)), "project": "ATLAS", "minutes": 480, "note": "as planned"}
            for day in range(5)
        ]
    }
    # Leads of teams without teams below, whose inbox holds their own members' weeks.
    leads = range(TEAMS // 10, TEAMS)
    return [
        Kind("read a week", 40, each(drafts, "GET", "")),
        Kind("save a week", 20, each(drafts, "PUT", "/entries", "If-Match: *", json.dumps(week))),
        Kind("list own weeks", 12, [ask("/v1/timesheets?limit=10", number) for number in members]),
        Kind("who am I", 8, [ask("/v1/me", number) for number in range(PEOPLE)]),
        Kind("inbox", 8, [ask("/v1/approvals?limit=20", number) for number in leads]),
        Kind("submit", 4, each(to_submit, "POST", "/submit", 'If-Match: "1"')),
        Kind("approve", 4, each(to_approve, "POST", "/approve", 'If-Match: "1"', lead=True)),
        Kind("page of the log", 4, [ask("/v1/decisions?limit=20", 0)]),
    ]
