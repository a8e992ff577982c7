"""A crowd for lists: a tree of teams, ten people a team, and a sheet for each person and week. Made in Postgres.

Team 0 is the root and team N lies in team (N - 1) / 10; person N leads team N while there are teams, everybody else is
a member; one more person belongs nowhere and has no sheet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from service.authorization.enforcement.decision_point import Resource, evaluate
from service.authorization.enforcement.declared_facts import facts_under
from service.authorization.enforcement.relationships import Relationships
from service.authorization.enforcement.visibility import visible
from service.authorization.engine.engine import Snapshot
from service.identity.principal import Principal, PrincipalKind
from service.policy import policy_file
from service.timesheets.relations import TIMESHEET_FACTS
from tests import policy_forge

if TYPE_CHECKING:
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.visibility import Visibility

RELATIONSHIPS = Relationships([TIMESHEET_FACTS])
OWNER = "p, allow, owner, read, any, timesheet, read:timesheets, always, read-own"
MANAGER = "p, allow, manager, read, any, timesheet, read:timesheets, always, read-team"
AUDITOR = "p, allow, role:auditor, read, any, timesheet, read:timesheets, always, read-all"
APPROVER = (
    "p, allow, manager, approve, submitted, timesheet, any, always, approve-team",
    "p, deny, owner, approve, any, timesheet, any, always, never-own-hours",
    "p, deny, anyone, approve, any, timesheet, any, acted_for_owner, never-for-owner",
)
PROJECT_LEAD = """
[kinds.timesheet.relations.project_lead]
is = "resource.projects.leads - resource.owner"
yes = "you lead a project of this week"
no = "you lead no project of this week"
"""
LEAD = "p, allow, project_lead, read, any, timesheet, read:timesheets, always, read-project"
LEAD_APPROVER = "p, allow, project_lead, approve, submitted, timesheet, any, always, approve-project"
_STATEMENTS = (
    # People, and the one who belongs nowhere.
    "INSERT INTO person (id) SELECT md5('person' || n)::uuid FROM generate_series(0, $1::int) AS n",
    # Teams, parents first.
    """INSERT INTO team (id, name, parent_id)
       SELECT md5('team' || n)::uuid, 'crowd ' || n, CASE WHEN n > 0 THEN md5('team' || (n - 1) / 10)::uuid END
       FROM generate_series(0, $1::int / 10 - 1) AS n ORDER BY n""",
    # The closure of the tree.
    """INSERT INTO team_path (ancestor_id, descendant_id, depth)
       WITH RECURSIVE path (ancestor, descendant, depth) AS (
           SELECT n, n, 0 FROM generate_series(0, $1::int / 10 - 1) AS n
           UNION ALL SELECT (ancestor - 1) / 10, descendant, depth + 1 FROM path WHERE ancestor > 0)
       SELECT md5('team' || ancestor)::uuid, md5('team' || descendant)::uuid, depth FROM path""",
    # One lead a team, and members.
    """INSERT INTO membership (id, person_id, team_id, part, valid_from)
       SELECT gen_random_uuid(), md5('person' || n)::uuid, md5('team' || n % ($1::int / 10))::uuid,
              CASE WHEN n < $1::int / 10 THEN 'lead' ELSE 'member' END, now() - interval '1 day'
       FROM generate_series(0, $1::int - 1) AS n""",
)
# A sheet for each person and week, the last of them in 2026.
_SHEETS = """
    INSERT INTO timesheet (id, owner_id, period_start, period_end, time_zone, state, version, submitted_at)
    SELECT md5('sheet' || n || ' ' || week)::uuid, md5('person' || n)::uuid, date '2026-11-23' - 7 * week,
           date '2026-11-29' - 7 * week, 'UTC',
           (ARRAY['submitted', 'draft', 'rejected', 'approved'])[least(week, 3) + 1], 1, clock_timestamp()
    FROM generate_series(0, $1::int - 1) AS n, generate_series(0, $2::int - 1) AS week
"""


# Entries on the project `all` in each sheet, on `few` by each hundredth person, on `closed` in the oldest fifth of the
# weeks, and on `rare` by a single person in each tenth of the older weeks.
_ENTRIES = """
    WITH sheet AS MATERIALIZED (
        SELECT r.id, r.period_start AS day, (date '2026-11-23' - r.period_start) / 7 AS week, n
        FROM generate_series(0, $1::int - 1) AS n JOIN timesheet AS r ON r.owner_id = md5('person' || n)::uuid)
    INSERT INTO entry (id, timesheet_id, day, project, minutes)
    SELECT gen_random_uuid(), id, day, 'all', 60 FROM sheet
    UNION ALL SELECT gen_random_uuid(), id, day + 1, 'few', 60 FROM sheet WHERE n % 100 = 7
    UNION ALL SELECT gen_random_uuid(), id, day + 2, 'closed', 60 FROM sheet WHERE week >= $2::int * 4 / 5
    UNION ALL SELECT gen_random_uuid(), id, day + 3, 'rare', 60 FROM sheet
        WHERE week >= $2::int / 2 AND week % 10 = 3 AND n = 50
"""


@dataclass(frozen=True, slots=True)
class Crowd:
    """The people in it, by number."""

    people: int
    weeks: int

    @property
    def teams(self) -> int:
        return self.people // 10

    def asker(self, person: UUID, *roles: str) -> Principal:
        scopes = frozenset({"read:timesheets"})
        return Principal(PrincipalKind.USER, "", "", "hours-app", scopes, frozenset(roles), None, 0, 1, person=person)

    async def cast(self, connection: asyncpg.Connection[asyncpg.Record]) -> dict[str, Principal]:
        """Askers of every kind."""
        numbers = {
            "an employee": self.people - 1,
            "the lead of a team": self.teams - 1,
            "the lead of a division": 1,
            "the lead of all": 0,
            "somebody who sees nothing": self.people,
        }
        found = {who: self.asker(await _person(connection, number)) for who, number in numbers.items()}
        found["an auditor who sees all"] = self.asker(await _person(connection, self.people), "role:auditor")
        return found

    async def lead_projects(self, connection: asyncpg.Connection[asyncpg.Record]) -> dict[str, Principal]:
        """Hours on projects, and members who lead one of them each."""
        found = {}
        for place, project in enumerate(("all", "few", "closed", "rare")):
            await connection.execute("INSERT INTO project (code, name) VALUES ($1, $1) ON CONFLICT DO NOTHING", project)
            person = await _person(connection, self.people - 20 - place)
            await connection.execute(
                "INSERT INTO project_lead (id, project, person_id, valid_from)"
                " VALUES (gen_random_uuid(), $1, $2, now() - interval '1 day')",
                project,
                person,
            )
            found[f"the lead of {project}"] = self.asker(person)
        await connection.execute(_ENTRIES, self.people, self.weeks)
        await connection.execute("VACUUM ANALYZE")
        return found


async def gather(connection: asyncpg.Connection[asyncpg.Record], people: int, weeks: int) -> Crowd:
    """Make a crowd in a database as its owner."""
    for statement in _STATEMENTS:
        await connection.execute(statement, people)
    await connection.execute(_SHEETS, people, weeks)
    await connection.execute("VACUUM ANALYZE")
    return Crowd(people, weeks)


async def sight(
    connection: asyncpg.Connection[asyncpg.Record],
    asker: Principal,
    *rules: str,
    action: str = "read",
    declared: str = "",
) -> Visibility:
    """The visibility of rows for the asker under these rules, as enforcement compiles it. `declared` is added to the
    vocabulary."""
    text = policy_forge.rows(*rules)
    snapshot = Snapshot.build(policy_file.parse(replace(text, vocabulary=text.vocabulary + declared)), 1)
    lookup = await RELATIONSHIPS.ambient(connection, asker)
    access_request = evaluate(snapshot, asker, action, Resource("timesheet"), lookup).access_request
    facts = facts_under(TIMESHEET_FACTS, snapshot)
    shown = visible(snapshot, access_request, asker, lookup, facts)
    await RELATIONSHIPS.find_owners(connection, shown)
    return shown


async def _person(connection: asyncpg.Connection[asyncpg.Record], number: int) -> UUID:
    found: UUID = await connection.fetchval("SELECT md5('person' || $1::int)::uuid", number)
    return found


def now() -> datetime:
    return datetime.now(UTC)
