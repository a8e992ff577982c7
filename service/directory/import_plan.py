"""Compares the rows of an import with the directory, and plans the changes. Pure, so a dry run plans the same changes.

Natural keys are the e-mail address of a person (in any case), the name of a team, and person, team and part of a
membership that overlaps the validity of the row. A row that the directory already matches changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from uuid_utils.compat import uuid7

from service.directory.entities import Membership, Part, Person, Team, Validity
from service.directory.import_file import RowErrors
from service.pacing import pace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from service.directory.entities import Link
    from service.directory.import_file import ImportRow

Outcome: TypeAlias = Literal["created", "updated", "unchanged"]
CREATED: Final = "created"
UPDATED: Final = "updated"
UNCHANGED: Final = "unchanged"


@dataclass(slots=True)
class Known:
    """The part of the directory that the rows name; planning adds what it creates. `people` are by e-mail address in
    lower case, `teams` by name, `links` map links of the rows to people."""

    now: datetime
    people: dict[str, list[Person]]
    links: dict[Link, UUID]
    teams: dict[str, Team]
    memberships: dict[tuple[UUID, UUID, Part], list[Membership]]


@dataclass(slots=True)
class Plan:
    """Changes in the order in which they are made, and the outcome of each row."""

    new_people: list[tuple[Person, Link | None]] = field(default_factory=list)
    described: list[tuple[Person, Person]] = field(default_factory=list)
    linked: list[tuple[Person, Link]] = field(default_factory=list)
    new_teams: list[Team] = field(default_factory=list)
    moved_teams: list[tuple[Team, Team]] = field(default_factory=list)
    new_memberships: list[Membership] = field(default_factory=list)
    ended: list[tuple[Membership, datetime]] = field(default_factory=list)
    outcomes: dict[int, Outcome] = field(default_factory=dict)


async def plan(rows: Sequence[ImportRow], known: Known) -> Plan:
    """Plan the changes. Raises InvalidField naming every row and field that contradicts the directory or the file."""
    planned, errors = Plan(), RowErrors()
    lines: dict[tuple[str, ...], int] = {}
    async for row in pace(rows):
        key = _key(row)
        if key in lines:
            column = {"person": "email", "team": "team"}.get(row.record, "record")
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
    errors.refuse()
    async for row in pace(row for row in rows if row.record in {"member", "lead"}):
        _plan_membership(row, known, planned, errors)
    errors.refuse()
    return planned


def _key(row: ImportRow) -> tuple[str, ...]:
    if row.record == "person":
        return ("person", row.email)
    return ("team", row["team"]) if row.record == "team" else (row.record, row.email, row["team"], row["valid_from"])


def _plan_person(row: ImportRow, known: Known, planned: Plan, errors: RowErrors) -> None:
    there = known.people.get(row.email, [])
    linked = known.links.get(row.link) if row.link else None
    if len(there) > 1:
        errors.at(row, "email", "belongs to several people")
        return
    if not there:
        if linked is not None:
            errors.at(row, "subject", f"is linked to a person without this e-mail address: {linked}")
            return
        person = Person(uuid7(), row["name"] or None, row["email"])
        planned.new_people.append((person, row.link))
        known.people[row.email] = [person]
        planned.outcomes[row.index] = CREATED
        return
    person = there[0]
    if linked not in {None, person.id}:
        errors.at(row, "subject", "is linked to another person")
        return
    planned.outcomes[row.index] = UNCHANGED
    if row["name"] and row["name"] != person.display_name:
        planned.described.append((person, replace(person, display_name=row["name"])))
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
        if there is None:
            team = Team(uuid7(), name, above)
            planned.new_teams.append(team)
        else:
            team = replace(there, parent=above)
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


def _plan_membership(row: ImportRow, known: Known, planned: Plan, errors: RowErrors) -> None:
    people, team = known.people.get(row.email, []), known.teams.get(row["team"])
    if len(people) != 1:
        errors.at(
            row, "email", "belongs to several people" if people else "belongs to no person of the directory or the file"
        )
    if team is None:
        errors.at(row, "team", "names no team of the directory or the file")
    if len(people) != 1 or team is None:
        return
    part, asked = Part(row.record), row.validity
    there = known.memberships.setdefault((people[0].id, team.id, part), [])
    if asked.valid_from is None and asked.valid_to and any(held.validity.valid_to == asked.valid_to for held in there):
        planned.outcomes[row.index] = UNCHANGED
        return
    since = asked.valid_from or known.now
    if asked.valid_to is not None and asked.valid_to <= since:
        errors.at(row, "valid_to", "must be after valid_from, or in the future if there is none")
        return
    overlapping = [held for held in there if _overlaps(held, since, asked.valid_to)]
    if not overlapping:
        membership = Membership(uuid7(), people[0].id, team.id, part, Validity(since, asked.valid_to))
        planned.new_memberships.append(membership)
        there.append(membership)
        planned.outcomes[row.index] = CREATED
        return
    held = overlapping[0]
    if len(overlapping) > 1 or (asked.valid_from is not None and held.validity.valid_from != asked.valid_from):
        errors.at(row, "valid_from", f"the person has had that part since {held.validity.valid_from}")
    elif held.validity.valid_to == asked.valid_to:
        planned.outcomes[row.index] = UNCHANGED
    elif (
        asked.valid_to is None
        or asked.valid_to < known.now
        or (held.validity.valid_to is not None and asked.valid_to > held.validity.valid_to)
    ):
        end = held.validity.valid_to or "without end"
        errors.at(
            row, "valid_to", f"the person has that part until {end}; an end can only become earlier, and not past"
        )
    else:
        planned.ended.append((held, asked.valid_to))
        planned.outcomes[row.index] = UPDATED


def _overlaps(membership: Membership, since: datetime, until: datetime | None) -> bool:
    begin, end = membership.validity.valid_from, membership.validity.valid_to
    return (end is None or since < end) and (until is None or begin is None or begin < until)
