"""An organisation drawn from a seed: a forest of teams, people who came, moved and left, leads, delegates, fallbacks,
grants, groups, and sheets with hours on projects."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    import asyncpg

CLIENTS = ["payroll-import", "other-import"]
PROJECTS = ["alpha", "beta", "gamma", "delta"]
GROUPS = ["finance", "staff"]
# Those that access is granted for, as the tests declare them.
RELATIONS = ["relation", "declared", "other", "temporary_approver"]
NOW = datetime.now(UTC)
DAY = timedelta(days=1)
FOREVER = datetime.max.replace(tzinfo=UTC)
# Over, running, still to come.
SPANS = [(NOW - 9 * DAY, FOREVER), (NOW - 9 * DAY, FOREVER), (NOW - 9 * DAY, NOW - DAY), (NOW + DAY, FOREVER)]


@dataclass(slots=True)
class Organisation:
    people: list[UUID] = field(default_factory=list)
    teams: list[UUID] = field(default_factory=list)
    sheets: dict[UUID, tuple[UUID, str, date]] = field(default_factory=dict)
    # Who turned out to be one of the people: they hold nothing any more, and own and wrote what they did.
    merged: dict[UUID, UUID] = field(default_factory=dict)
    # Ids from before an erasure, each with who came back from it.
    former: dict[UUID, list[UUID]] = field(default_factory=dict)

    def same(self, uuid: UUID, other: UUID) -> bool:
        """Whether these are ids of one person."""
        return self.merged.get(uuid, uuid) == self.merged.get(other, other)


async def settle(owner: asyncpg.Connection[asyncpg.Record], seed: int) -> Organisation:
    """Make it; the same for the same seed, but for the moment."""
    draw = random.Random(seed)  # noqa: S311 — no secret comes of it
    made = Organisation([_id(draw) for _ in range(14)], [_id(draw) for _ in range(8)])
    made.merged = {_id(draw): draw.choice(made.people) for _ in range(4)}
    made.former = {_id(draw): draw.sample(made.people, draw.choice([1, 1, 2])) for _ in range(4)}
    known = [*made.people, *made.merged, *made.former]
    await owner.executemany("INSERT INTO person (id) VALUES ($1)", [(person,) for person in known])
    await owner.executemany("INSERT INTO merged_person VALUES ($1, $2)", made.merged.items())
    back = [(person, former) for former, people in made.former.items() for person in people]
    await owner.executemany("INSERT INTO former_person VALUES ($1, $2, 'infinity')", back)
    above: dict[UUID, list[UUID]] = {}
    for place, team in enumerate(made.teams):
        parent = draw.choice(made.teams[:place]) if place and draw.random() < 0.8 else None
        above[team] = [team, *(above[parent] if parent else [])]
        await owner.execute("INSERT INTO team VALUES ($1, $2, $3)", team, f"team {seed} {place}", parent)
        paths = [(ancestor, team, depth) for depth, ancestor in enumerate(above[team])]
        await owner.executemany("INSERT INTO team_path VALUES ($1, $2, $3)", paths)
    belongs = [
        (_id(draw), person, draw.choice(made.teams), draw.choice(["member", "member", "lead"]), *draw.choice(SPANS))
        for person in made.people
        for _ in range(draw.randrange(4))
    ]
    await owner.executemany("INSERT INTO membership VALUES ($1, $2, $3, $4, $5, $6)", belongs)
    grants = [(_id(draw), draw.choice(CLIENTS), draw.choice(made.teams), *draw.choice(SPANS)) for _ in range(4)]
    await owner.executemany("INSERT INTO importer_grant VALUES ($1, $2, $3, $4, $5)", grants)
    delegations = [(_id(draw), *draw.sample(made.people, 2), *draw.choice(SPANS)) for _ in range(12)]
    await owner.executemany(
        "INSERT INTO delegation (id, delegator_id, delegate_id, valid_from, valid_to) VALUES ($1, $2, $3, $4, $5)",
        delegations,
    )
    named = [
        (_id(draw), draw.choice(made.people), draw.choice([None, *made.teams[:3]]), *draw.choice(SPANS))
        for _ in range(5)
    ]
    await owner.executemany(
        "INSERT INTO fallback_approver (id, person_id, team_id, valid_from, valid_to) VALUES ($1, $2, $3, $4, $5)",
        named,
    )
    roles = [(person, "auditor", *draw.choice(SPANS)) for person in draw.sample(made.people, 5)]
    await owner.executemany("INSERT INTO person_role VALUES ($1, $2, $3, $4)", roles)
    await _fill(owner, made, draw)
    await _add_projects_and_groups(owner, made, draw)
    await _add_access(owner, made, draw)
    return made


async def _fill(owner: asyncpg.Connection[asyncpg.Record], made: Organisation, draw: random.Random) -> None:
    monday = date(2026, 3, 2)
    known = [*made.people, *made.merged, *made.former]
    for person in known:
        for week in draw.sample(range(12), draw.randrange(7)):
            sheet, start = _id(draw), monday + timedelta(days=7 * week)
            state = draw.choice(["draft", "submitted", "approved", "rejected", "locked"])
            await owner.execute(
                "INSERT INTO timesheet (id, owner_id, period_start, period_end, time_zone, state, version, editors,"
                " uploaders, locked_by, submitted_at)"
                " VALUES ($1, $2, $3, $4, 'UTC', $5, 1, $6, $7, $8,"
                " CASE $5 WHEN 'draft' THEN NULL ELSE clock_timestamp() END)",
                sheet,
                person,
                start,
                start + timedelta(days=6),
                state,
                draw.sample(known, draw.randrange(3)),
                draw.sample(CLIENTS, draw.randrange(2)),
                draw.choice(known) if state == "locked" else None,
            )
            made.sheets[sheet] = (person, state, start)


async def _add_projects_and_groups(
    owner: asyncpg.Connection[asyncpg.Record], made: Organisation, draw: random.Random
) -> None:
    projects = [(code, code) for code in PROJECTS]
    await owner.executemany("INSERT INTO project (code, name) VALUES ($1, $2) ON CONFLICT DO NOTHING", projects)
    entries = [
        (_id(draw), sheet, start + timedelta(days=draw.randrange(7)), project)
        for sheet, (_, _, start) in made.sheets.items()
        for project in draw.choices(PROJECTS, k=draw.randrange(4))
    ]
    await owner.executemany(
        "INSERT INTO entry (id, timesheet_id, day, project, minutes) VALUES ($1, $2, $3, $4, 60)", entries
    )
    leads = [(_id(draw), draw.choice(PROJECTS), draw.choice(made.people), *draw.choice(SPANS)) for _ in range(8)]
    await owner.executemany("INSERT INTO project_lead VALUES ($1, $2, $3, $4, $5)", leads)
    await owner.executemany(
        "INSERT INTO person_group (name) VALUES ($1) ON CONFLICT DO NOTHING", [(g,) for g in GROUPS]
    )
    members = [(_id(draw), draw.choice(GROUPS), draw.choice(made.people), *draw.choice(SPANS)) for _ in range(10)]
    await owner.executemany("INSERT INTO group_member VALUES ($1, $2, $3, $4, $5)", members)


async def _add_access(owner: asyncpg.Connection[asyncpg.Record], made: Organisation, draw: random.Random) -> None:
    """Access that was granted on teams and projects, and requests that are open."""
    rows = []
    for _ in range(24):
        since, until = draw.choice(SPANS)
        team, project = (draw.choice(made.teams), None) if draw.random() < 0.6 else (None, draw.choice(PROJECTS))
        granted = draw.random() < 0.8
        subject = (_id(draw), draw.choice(RELATIONS), team, project, draw.choice(made.people), since, until)
        rows.append((*subject, *(("granted", since, until) if granted else ("open", None, None))))
    await owner.executemany(
        "INSERT INTO access_request (id, relation, team_id, project, person_id, requested_from, requested_until,"
        " state, valid_from, valid_to) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        rows,
    )


def _id(draw: random.Random) -> UUID:
    return UUID(int=draw.getrandbits(128), version=4)
