"""Compares the rows of an import with the directory, and plans the changes. Pure, so a dry run plans the same changes.

Natural keys are the e-mail address of a person (in any case), the name of a team or group, the code of a project; and
the person with the team, group or project of what a person holds for a time. A row that the directory already matches
changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from uuid import UUID

from service.directory.declared_attributes import TOO_LARGE, describe_undeclared, is_too_large, parse_cell
from service.directory.entities import (
    GroupMember,
    Membership,
    Part,
    Person,
    Project,
    ProjectLead,
    Team,
    check_project,
)
from service.directory.import_file import ATTRIBUTE, GRANTS, RowErrors, check_columns
from service.directory.import_grants import GrantRow, PlannedGrants, plan_grant
from service.ids import make_id
from service.pacing import pace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from service.directory.declared_attributes import Attributes, Declared, JsonValue
    from service.directory.entities import Link
    from service.directory.import_file import ImportRow
    from service.policy.access_request import Vocabulary

Outcome: TypeAlias = Literal["created", "updated", "unchanged"]
CREATED: Final = "created"
UPDATED: Final = "updated"
UNCHANGED: Final = "unchanged"


@dataclass(slots=True)
class Known:
    """The part of the directory that the rows name; planning adds what it creates. `declared`: the attributes of the
    active policy. `addresses`: those of the rows, with what Postgres has them as in lower case, by which `people` are;
    `projects` are by code in lower case, `teams` by name; `links` map links of the rows to people."""

    now: datetime
    declared: Vocabulary
    addresses: dict[str, str]
    people: dict[str, list[Person]]
    links: dict[Link, UUID]
    teams: dict[str, Team]
    projects: dict[str, Project]
    groups: set[str]
    memberships: dict[tuple[UUID, UUID, Part], list[Membership]]
    group_members: dict[tuple[str, UUID], list[GroupMember]]
    project_leads: dict[tuple[str, UUID], list[ProjectLead]]

    def address(self, row: ImportRow) -> str:
        """The natural key of the row's person; empty for a row without one."""
        return self.addresses.get(row["email"], "")


@dataclass(slots=True)
class Plan:
    """Changes in the order in which they are made, and the outcome of each row."""

    new_people: list[tuple[Person, Link | None]] = field(default_factory=list)
    described: list[tuple[Person, Person]] = field(default_factory=list)
    linked: list[tuple[Person, Link]] = field(default_factory=list)
    new_teams: list[Team] = field(default_factory=list)
    moved_teams: list[tuple[Team, Team]] = field(default_factory=list)
    new_projects: list[Project] = field(default_factory=list)
    changed_projects: list[tuple[Project, Project]] = field(default_factory=list)
    new_groups: list[str] = field(default_factory=list)
    memberships: PlannedGrants[Membership] = field(default_factory=PlannedGrants)
    group_members: PlannedGrants[GroupMember] = field(default_factory=PlannedGrants)
    project_leads: PlannedGrants[ProjectLead] = field(default_factory=PlannedGrants)
    outcomes: dict[int, Outcome] = field(default_factory=dict)


async def plan(rows: Sequence[ImportRow], known: Known) -> Plan:
    """Plan the changes. Raises InvalidField naming every row and field that contradicts the directory or the file."""
    planned, errors = Plan(), RowErrors()
    lines: dict[tuple[str, ...], int] = {}
    async for row in pace(rows):
        key = _key(row, known)
        if key in lines:
            column = {"person": "email"}.get(row.record, "record" if row.record in GRANTS else row.record)
            errors.at(row, column, f"is repeated: it is first in line {lines[key]}")
        lines.setdefault(key, row.line)
        if row.record == "person" and row.link is not None:
            login = ("login", row.link.issuer, row.link.subject)
            if login in lines:
                errors.at(row, "subject", f"is already the login of the person in line {lines[login]}")
            lines.setdefault(login, row.line)
    async for row in pace(row for row in rows if row.record == "person"):
        _plan_person(row, known, planned, errors)
    await _plan_teams([row for row in rows if row.record == "team"], known, planned, errors)
    async for row in pace(row for row in rows if row.record == "project"):
        _plan_project(row, known, planned, errors)
    async for row in pace(row for row in rows if row.record == "group"):
        _plan_group(row, known, planned)
    errors.refuse()
    async for row in pace(row for row in rows if row.record in GRANTS):
        _plan_grant(row, known, planned, errors)
    errors.refuse()
    return planned


def _key(row: ImportRow, known: Known) -> tuple[str, ...]:
    if row.record == "person":
        return ("person", known.address(row))
    if row.record in GRANTS:
        return (row.record, known.address(row), row["team"], row["group"], row["project"], row["valid_from"])
    return (row.record, row[row.record])


def _plan_person(row: ImportRow, known: Known, planned: Plan, errors: RowErrors) -> None:
    there = known.people.get(known.address(row), [])
    linked = known.links.get(row.link) if row.link else None
    if len(there) > 1:
        errors.at(row, "email", "belongs to several people")
        return
    if not there:
        if linked is not None:
            errors.at(row, "subject", f"is linked to a person without this e-mail address: {linked}")
            return
        values = _read_values(row, known.declared.people, {}, errors)
        person = Person(make_id(), row["name"] or None, row["email"], attributes=values)
        planned.new_people.append((person, row.link))
        known.people[known.address(row)] = [person]
        planned.outcomes[row.index] = CREATED
        return
    person = there[0]
    if linked not in {None, person.id}:
        errors.at(row, "subject", "is linked to another person")
        return
    planned.outcomes[row.index] = UNCHANGED
    values = _read_values(row, known.declared.people, person.attributes, errors)
    described = replace(person, display_name=row["name"] or person.display_name, attributes=values)
    if described != person:
        planned.described.append((person, described))
        planned.outcomes[row.index] = UPDATED
    if row.link and linked is None:
        planned.linked.append((person, row.link))
        planned.outcomes[row.index] = UPDATED


async def _plan_teams(rows: Sequence[ImportRow], known: Known, planned: Plan, errors: RowErrors) -> None:
    """Plan teams from the top down, so that no intermediate step makes a cycle."""
    names = {team.id: team.name for team in known.teams.values()}
    parents = {team.name: names[team.parent] if team.parent else "" for team in known.teams.values()}
    by_name = {row["team"]: row for row in rows}
    parents |= {name: row["parent"] for name, row in by_name.items()}
    depths: dict[str, int] = {}
    known_depths: dict[str, int | None] = {"": -1}
    async for name, row in pace(by_name.items()):
        if row["parent"] and row["parent"] not in parents:
            errors.at(row, "parent", "names no team of the directory or the file")
            continue
        depth = _depth(name, parents, known_depths)
        if depth is None:
            errors.at(row, "parent", "makes a cycle in the team tree")
        else:
            depths[name] = depth
    if len(depths) < len(by_name):
        return
    async for name in pace(sorted(depths, key=depths.__getitem__)):
        row, there = by_name[name], known.teams.get(name)
        above = known.teams[row["parent"]].id if row["parent"] else None
        values = _read_values(row, known.declared.teams, there.attributes if there else {}, errors)
        if there is None:
            team = Team(make_id(), name, above, attributes=values)
            planned.new_teams.append(team)
        else:
            team = replace(there, parent=above, attributes=values)
            if team != there:
                planned.moved_teams.append((there, team))
        known.teams[name] = team
        planned.outcomes[row.index] = CREATED if there is None else UNCHANGED if team == there else UPDATED


def _depth(name: str, parents: dict[str, str], known: dict[str, int | None]) -> int | None:
    """The number of teams above a team; None for a team in or below a cycle. `known` caches it for every team on the
    way."""
    way: dict[str, None] = {}
    while name not in known and name not in way:
        way[name] = None
        name = parents.get(name, "")
    depth = known.get(name)
    for below in reversed(way):
        depth = None if depth is None else depth + 1
        known[below] = depth
    return known[next(iter(way), name)]


def _plan_project(row: ImportRow, known: Known, planned: Plan, errors: RowErrors) -> None:
    code = row["project"]
    there = known.projects.get(code.lower())
    if there is not None and there.code != code:
        errors.at(row, "project", f"differs only in case from the project {there.code}")
        return
    values = _read_values(row, known.declared.projects, there.attributes if there else {}, errors)
    project = replace(row.read_project(there), attributes=values)
    # The row alone is right; with what is stored it may not be.
    check_columns(row, errors, {}, lambda: check_project(project))
    known.projects[code.lower()] = project
    planned.outcomes[row.index] = UNCHANGED
    if there is None:
        planned.new_projects.append(project)
        planned.outcomes[row.index] = CREATED
    elif project != there:
        planned.changed_projects.append((there, project))
        planned.outcomes[row.index] = UPDATED


def _plan_group(row: ImportRow, known: Known, planned: Plan) -> None:
    planned.outcomes[row.index] = UNCHANGED
    if row["group"] not in known.groups:
        known.groups.add(row["group"])
        planned.new_groups.append(row["group"])
        planned.outcomes[row.index] = CREATED


def _plan_grant(row: ImportRow, known: Known, planned: Plan, errors: RowErrors) -> None:
    people = known.people.get(known.address(row), [])
    if len(people) != 1:
        errors.at(
            row, "email", "belongs to several people" if people else "belongs to no person of the directory or the file"
        )
    column = {"group-member": "group", "project-lead": "project"}.get(row.record, "team")
    place = _find_place(row[column], column, known)
    if place is None:
        errors.at(row, column, f"names no {column} of the directory or the file")
    if len(people) != 1 or place is None:
        return
    outcome = _plan_held(row, people[0].id, place, known, planned, errors)
    if outcome is not None:
        planned.outcomes[row.index] = outcome


def _find_place(name: str, column: str, known: Known) -> UUID | str | None:
    """The team's id, the group's name or the project's code."""
    if column == "team":
        team = known.teams.get(name)
        return team.id if team else None
    if column == "group":
        return name if name in known.groups else None
    project = known.projects.get(name.lower())
    return name if project is not None and project.code == name else None


def _plan_held(
    row: ImportRow, person: UUID, place: UUID | str, known: Known, planned: Plan, errors: RowErrors
) -> Outcome | None:
    if isinstance(place, UUID):
        part = Part(row.record)
        there = known.memberships.setdefault((person, place, part), [])
        membership = GrantRow(row, there, lambda time: Membership(make_id(), person, place, part, time))
        return plan_grant(membership, known.now, planned.memberships, errors)
    if row.record == "group-member":
        members = known.group_members.setdefault((place, person), [])
        member = GrantRow(row, members, lambda time: GroupMember(make_id(), place, person, time))
        return plan_grant(member, known.now, planned.group_members, errors)
    leads = known.project_leads.setdefault((place, person), [])
    lead = GrantRow(row, leads, lambda time: ProjectLead(make_id(), place, person, time))
    return plan_grant(lead, known.now, planned.project_leads, errors)


def _read_values(row: ImportRow, declared: Declared, stored: Attributes, errors: RowErrors) -> dict[str, JsonValue]:
    """The stored attributes with those of the row. An empty cell changes nothing."""
    values = dict(stored)
    for name, cell in row.attributes.items():
        if name not in declared:
            errors.at(row, f"{ATTRIBUTE}{name}", describe_undeclared(name, declared))
            continue
        try:
            values[name] = parse_cell(cell, declared[name])
        except ValueError as error:
            errors.at(row, f"{ATTRIBUTE}{name}", str(error))
    if row.attributes and is_too_large(values):
        errors.at(row, f"{ATTRIBUTE}{next(iter(row.attributes))}", f"and its other attributes {TOO_LARGE}")
    return values
