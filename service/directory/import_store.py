"""SQL of an import of the organisation. Postgres owns the rows.

One statement writes all rows of a kind, since other changes of the directory wait for the import. The plan is made
after `store.advance`, so no other change interferes; only a first sign-in may have added a link, which is a Conflict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.directory import erased_store, project_store
from service.directory.declared_attributes import SEPARATOR
from service.directory.entities import Link, Person, Team
from service.directory.grants import GROUP_MEMBERS, MEMBERSHIPS, PROJECT_LEADS, G
from service.directory.import_plan import Known
from service.directory.store import KIND, MANAGE, PEOPLE, constraints, read_attributes, write_attributes
from service.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from service.authorization.enforcement.changes import Permit
    from service.database import Connection
    from service.directory.entities import GroupMember, Membership, Part, Project, ProjectLead
    from service.directory.grants import Grants
    from service.directory.import_file import ImportRow
    from service.identity.subject_hashes import SubjectHashes

# Columns of grants that hold ids; the others hold texts.
IDS: Final = frozenset({*PEOPLE, "team_id"})


async def load_known(permit: Permit, connection: Connection, rows: Sequence[ImportRow]) -> Known:
    """People, links, projects and groups that the rows name, every team, and what these people hold for a time."""
    permit.covers(KIND, MANAGE)
    # The addresses of the rows in lower case, by the rule of the index on people.
    addresses = await connection.fetch(
        "SELECT email, lower(email) AS address FROM unnest($1::text[]) AS asked (email)",
        sorted({row["email"] for row in rows if row["email"]}),
    )
    links = {row.link for row in rows if row.link}
    # People by the index on their e-mail address.
    people = await connection.fetch(
        "SELECT id, display_name, email, lower(email) AS address, attributes FROM person"
        " WHERE lower(email) = ANY($1::text[])",
        sorted({row["address"] for row in addresses}),
    )
    by_email: dict[str, list[Person]] = {}
    for person in people:
        by_email.setdefault(person["address"], []).append(
            Person(person["id"], person["display_name"], person["email"], attributes=read_attributes(person))
        )
    # Links by their primary key.
    linked = await connection.fetch(
        "SELECT issuer, subject, person_id FROM person_link"
        " WHERE (issuer, subject) IN (SELECT * FROM unnest($1::text[], $2::text[]))",
        [link.issuer for link in links],
        [link.subject for link in links],
    )
    # The whole tree: a cycle can go through any team.
    teams = await connection.fetch("SELECT id, name, parent_id, attributes FROM team")
    # Projects by the index on their codes in lower case.
    projects = await connection.fetch(
        f"SELECT {project_store.COLUMNS} FROM project WHERE lower(code) = ANY($1::text[])",
        sorted({row["project"].lower() for row in rows}),
    )
    # Groups by their primary key.
    groups = await connection.fetch(
        "SELECT name FROM person_group WHERE name = ANY($1::text[])", sorted({row["group"] for row in rows})
    )
    ids = [person["id"] for person in people]
    memberships: dict[tuple[UUID, UUID, Part], list[Membership]] = {}
    for held in await _load_held(connection, MEMBERSHIPS, ids):
        memberships.setdefault((held.person, held.team, held.part), []).append(held)
    group_members: dict[tuple[str, UUID], list[GroupMember]] = {}
    for member in await _load_held(connection, GROUP_MEMBERS, ids):
        group_members.setdefault((member.group, member.person), []).append(member)
    project_leads: dict[tuple[str, UUID], list[ProjectLead]] = {}
    for lead in await _load_held(connection, PROJECT_LEADS, ids):
        project_leads.setdefault((lead.project, lead.person), []).append(lead)
    # The time at which a row without `valid_from` begins.
    now = await connection.fetchval("SELECT statement_timestamp()")
    return Known(
        now,
        permit.snapshot.vocabulary,
        {row["email"]: row["address"] for row in addresses},
        by_email,
        {Link(row["issuer"], row["subject"]): row["person_id"] for row in linked},
        {
            team["name"]: Team(team["id"], team["name"], team["parent_id"], attributes=read_attributes(team))
            for team in teams
        },
        {project["code"].lower(): project_store.project_of(project) for project in projects},
        {group["name"] for group in groups},
        memberships,
        group_members,
        project_leads,
    )


async def _load_held(connection: Connection, grants: Grants[G], people: Sequence[UUID]) -> list[G]:
    """What these people hold for a time, ended or not, but nothing with an empty validity."""
    # By the index on people.
    rows = await connection.fetch(
        f"SELECT {grants.all_columns} FROM {grants.table} AS held WHERE person_id = ANY($1::uuid[])"
        " AND held.valid_from < held.valid_to ORDER BY held.valid_from",
        people,
    )
    return [grants.read(row) for row in rows]


async def add_people(permit: Permit, connection: Connection, people: Sequence[Person]) -> None:
    """Insert people, without links."""
    permit.covers(KIND, MANAGE)
    # All of them at once.
    await connection.execute(
        "INSERT INTO person (id, display_name, email, attributes)"
        " SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::jsonb[])",
        *_columns_of_people(people),
    )


async def add_links(
    permit: Permit, connection: Connection, links: Sequence[tuple[UUID, Link]], hashes: SubjectHashes
) -> None:
    """Insert links. Raises Conflict for a link that exists, and ErasureKeyMissing."""
    permit.covers(KIND, MANAGE)
    with constraints():
        # All of them at once.
        await connection.execute(
            "INSERT INTO person_link (person_id, issuer, subject)"
            " SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[])",
            *_columns([(person, link.issuer, link.subject) for person, link in links], 3),
        )
    if links:
        await erased_store.recognise(connection, links, hashes)


async def describe_people(permit: Permit, connection: Connection, people: Sequence[Person]) -> None:
    """Update names, addresses and attributes."""
    permit.covers(KIND, MANAGE)
    # By the primary key.
    await connection.execute(
        "UPDATE person SET display_name = new.name, email = new.email, attributes = new.attributes"
        " FROM unnest($1::uuid[], $2::text[], $3::text[], $4::jsonb[]) AS new (id, name, email, attributes)"
        " WHERE person.id = new.id",
        *_columns_of_people(people),
    )


async def add_teams(permit: Permit, connection: Connection, teams: Sequence[Team]) -> None:
    """Insert teams whose parents exist or are among them. Raises Conflict for a name that is taken."""
    permit.covers(KIND, MANAGE)
    with constraints():
        # All of them at once.
        await connection.execute(
            "INSERT INTO team (id, name, parent_id, attributes)"
            " SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::jsonb[])",
            *_columns([(team.id, team.name, team.parent, write_attributes(team.attributes)) for team in teams], 4),
        )
    # The closure: each team, and all teams above it, by primary keys upwards.
    await connection.execute(
        "WITH RECURSIVE above (ancestor_id, descendant_id, depth) AS ("
        " SELECT id, id, 0 FROM unnest($1::uuid[]) AS new (id) UNION ALL"
        " SELECT team.parent_id, descendant_id, depth + 1 FROM above JOIN team ON team.id = ancestor_id"
        " WHERE team.parent_id IS NOT NULL)"
        " INSERT INTO team_path (ancestor_id, descendant_id, depth) SELECT * FROM above",
        [team.id for team in teams],
    )


async def add_projects(permit: Permit, connection: Connection, projects: Sequence[Project]) -> None:
    """Insert projects. Raises Conflict for a code that is taken."""
    permit.covers(KIND, MANAGE)
    with constraints():
        # All of them at once.
        await connection.execute(
            "INSERT INTO project (code, name, attributes, kind, billable, activities)"
            " SELECT code, name, attributes, kind, billable, string_to_array(activities, $7)"
            f" FROM {_PROJECTS}",
            *_project_columns(projects),
        )


async def describe_projects(permit: Permit, connection: Connection, projects: Sequence[Project]) -> None:
    """Update all of projects but their codes and whether they are active."""
    permit.covers(KIND, MANAGE)
    # By the primary key.
    await connection.execute(
        "UPDATE project SET name = new.name, attributes = new.attributes, kind = new.kind, billable = new.billable,"
        f" activities = string_to_array(new.activities, $7) FROM {_PROJECTS} WHERE project.code = new.code",
        *_project_columns(projects),
    )


async def add_groups(permit: Permit, connection: Connection, names: Sequence[str]) -> None:
    """Insert groups. Raises Conflict for a name that is taken."""
    permit.covers(KIND, MANAGE)
    with constraints():
        # All of them at once.
        await connection.execute("INSERT INTO person_group (name) SELECT unnest($1::text[])", names)


async def begin_grants(permit: Permit, connection: Connection, grants: Grants[G], begun: Sequence[G]) -> None:
    """Insert grants. Raises Conflict for an overlap."""
    permit.covers(KIND, MANAGE)
    names = ", ".join(grants.columns)
    types = ["uuid", *("uuid" if name in IDS else "text" for name in grants.columns), "timestamptz", "timestamptz"]
    arrays = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(types, start=1))
    same = " AND ".join(f"other.{name} = new.{name}" for name in grants.columns)
    rows = [
        (held.id, *grants.values(held).values(), held.validity.valid_from, held.validity.valid_to) for held in begun
    ]
    with constraints():
        # Rows that overlap no other, by the index on people.
        made = await connection.execute(
            f"INSERT INTO {grants.table} (id, {names}, valid_from, valid_to)"
            f" SELECT id, {names}, since, coalesce(upto, 'infinity') FROM unnest({arrays})"
            f" AS new (id, {names}, since, upto) WHERE NOT EXISTS (SELECT FROM {grants.table} AS other WHERE {same}"
            " AND other.valid_from < other.valid_to AND other.valid_from < coalesce(upto, 'infinity')"
            " AND since < other.valid_to)",
            *_columns(rows, len(types)),
        )
    _check_count(made, len(rows), grants.overlap)


async def end_grants(
    permit: Permit, connection: Connection, grants: Grants[G], ends: Sequence[tuple[UUID, datetime]]
) -> None:
    """End grants at a future time. Raises Conflict for one that is not valid then."""
    permit.covers(KIND, MANAGE)
    # An end can only become earlier, and is never past; by the primary key.
    ended = await connection.execute(
        f"UPDATE {grants.table} AS held SET valid_to = moment FROM unnest($1::uuid[], $2::timestamptz[])"
        " AS ending (id, moment) WHERE held.id = ending.id AND valid_from < moment AND moment <= valid_to"
        " AND moment >= statement_timestamp()",
        *_columns(ends, 2),
    )
    _check_count(ended, len(ends), "An end must be after the beginning, not past, and not later than now planned")


async def update_statistics(permit: Permit, connection: Connection) -> None:
    """Let Postgres count and sample the tables of the directory, as it would itself a minute later."""
    permit.covers(KIND, MANAGE)
    # Only their owner may do so, so the function is the owner's.
    await connection.execute("SELECT analyze_directory()")


# A list of lists would become one list, so activities are joined; none of them has a separator.
_PROJECTS: Final = (
    "unnest($1::text[], $2::text[], $3::jsonb[], $4::text[], $5::boolean[], $6::text[])"
    " AS new (code, name, attributes, kind, billable, activities)"
)


def _project_columns(projects: Sequence[Project]) -> list[object]:
    """The parameters of _PROJECTS, and the separator of activities."""
    rows = [
        (
            project.code,
            project.name,
            write_attributes(project.attributes),
            project.kind,
            project.billable,
            SEPARATOR.join(project.activities),
        )
        for project in projects
    ]
    return [*_columns(rows, 6), SEPARATOR]


def _columns_of_people(people: Sequence[Person]) -> list[list[object]]:
    """Their ids, names, addresses and attributes."""
    rows = [(person.id, person.display_name, person.email, write_attributes(person.attributes)) for person in people]
    return _columns(rows, 4)


def _columns(rows: Sequence[tuple[object, ...]], width: int) -> list[list[object]]:
    """Transpose rows to one list for each column, also without rows."""
    return [[row[place] for row in rows] for place in range(width)]


def _check_count(status: str, expected: int, message: str) -> None:
    """Raise Conflict unless a statement changed `expected` rows."""
    if int(status.rpartition(" ")[2]) != expected:
        raise Conflict(message)
