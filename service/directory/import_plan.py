"""What an import changes: rows against what the directory holds. Pure, so that a dry run and the real one are the same.

Natural keys: a person's e-mail address (without regard to case), a team's name, and person, team and part of a
membership that overlaps the row's time. Whatever is there as the row says is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from uuid_utils.compat import uuid7

from service.directory.entities import Membership, Part, Person, Team, Validity
from service.directory.import_file import Wrongs
from service.pacing import paced

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
    """What the directory holds of what the rows speak of; planning adds what it makes. `people` by e-mail address in
    lower case, `teams` by name, `links` of the rows with whom they speak for."""

    now: datetime
    people: dict[str, list[Person]]
    links: dict[Link, UUID]
    teams: dict[str, Team]
    memberships: dict[tuple[UUID, UUID, Part], list[Membership]]


@dataclass(slots=True)
class Plan:
    """Changes in the order in which they can be made, and the outcome of each row."""

    new_people: list[tuple[Person, Link | None]] = field(default_factory=list)
    described: list[tuple[Person, Person]] = field(default_factory=list)
    linked: list[tuple[Person, Link]] = field(default_factory=list)
    new_teams: list[Team] = field(default_factory=list)
    moved_teams: list[tuple[Team, Team]] = field(default_factory=list)
    new_memberships: list[Membership] = field(default_factory=list)
    ended: list[tuple[Membership, datetime]] = field(default_factory=list)
    outcomes: dict[int, Outcome] = field(default_factory=dict)


async def plan(rows: Sequence[ImportRow], known: Known) -> Plan:
    """What to change. Raises InvalidField naming every row and field that does not fit what is there or in the file."""
    made, wrongs = Plan(), Wrongs()
    lines: dict[tuple[str, ...], int] = {}
    async for row in paced(rows):
        key = _key(row)
        if key in lines:
            column = {"person": "email", "team": "team"}.get(row.record, "record")
            wrongs.at(row, column, f"stands there twice: the first time in line {lines[key]}")
        lines.setdefault(key, row.line)
        if row.record == "person" and row.link is not None:
            login = ("login", row.link.issuer, row.link.subject)
            if login in lines:
                wrongs.at(row, "subject", f"is the login of the person in line {lines[login]}, and nobody else's")
            lines.setdefault(login, row.line)
    async for row in paced(one for one in rows if one.record == "person"):
        _person(row, known, made, wrongs)
    await _teams([one for one in rows if one.record == "team"], known, made, wrongs)
    wrongs.refuse()
    async for row in paced(one for one in rows if one.record in {"member", "lead"}):
        _membership(row, known, made, wrongs)
    wrongs.refuse()
    return made


def _key(row: ImportRow) -> tuple[str, ...]:
    if row.record == "person":
        return ("person", row.email)
    return ("team", row["team"]) if row.record == "team" else (row.record, row.email, row["team"], row["valid_from"])


def _person(row: ImportRow, known: Known, made: Plan, wrongs: Wrongs) -> None:
    there = known.people.get(row.email, [])
    speaks_for = known.links.get(row.link) if row.link else None
    if len(there) > 1:
        wrongs.at(row, "email", "is that of several people here")
        return
    if not there:
        if speaks_for is not None:
            wrongs.at(row, "subject", f"speaks for a person without this e-mail address already: {speaks_for}")
            return
        person = Person(uuid7(), row["name"] or None, row["email"])
        made.new_people.append((person, row.link))
        known.people[row.email] = [person]
        made.outcomes[row.index] = CREATED
        return
    person = there[0]
    if speaks_for not in {None, person.id}:
        wrongs.at(row, "subject", "speaks for somebody else already")
        return
    made.outcomes[row.index] = UNCHANGED
    if row["name"] and row["name"] != person.display_name:
        made.described.append((person, replace(person, display_name=row["name"])))
        made.outcomes[row.index] = UPDATED
    if row.link and speaks_for is None:
        made.linked.append((person, row.link))
        made.outcomes[row.index] = UPDATED


async def _teams(rows: Sequence[ImportRow], known: Known, made: Plan, wrongs: Wrongs) -> None:
    """Teams from above to below, so that no step on the way makes a cycle."""
    names = {team.id: team.name for team in known.teams.values()}
    parents = {team.name: names[team.parent] if team.parent else "" for team in known.teams.values()}
    told = {row["team"]: row for row in rows}
    parents |= {name: row["parent"] for name, row in told.items()}
    depths: dict[str, int] = {}
    known_depths: dict[str, int | None] = {"": -1}
    async for name, row in paced(told.items()):
        if row["parent"] and row["parent"] not in parents:
            wrongs.at(row, "parent", "is no team, neither here nor in the file")
            continue
        depth = _depth(name, parents, known_depths)
        if depth is None:
            wrongs.at(row, "parent", "makes a cycle: a team would lie below itself")
        else:
            depths[name] = depth
    if len(depths) < len(told):
        return
    async for name in paced(sorted(depths, key=depths.__getitem__)):
        row, there = told[name], known.teams.get(name)
        above = known.teams[row["parent"]].id if row["parent"] else None
        if there is None:
            team = Team(uuid7(), name, above)
            made.new_teams.append(team)
        else:
            team = replace(there, parent=above)
            if team != there:
                made.moved_teams.append((there, team))
        known.teams[name] = team
        made.outcomes[row.index] = CREATED if there is None else UNCHANGED if team == there else UPDATED


def _depth(name: str, parents: dict[str, str], known: dict[str, int | None]) -> int | None:
    """How many teams lie above; None in a cycle and below one. `known` remembers this of every team on the way."""
    way: dict[str, None] = {}
    while name not in known and name not in way:
        way[name] = None
        name = parents.get(name, "")
    depth = known.get(name)
    for below in reversed(way):
        depth = None if depth is None else depth + 1
        known[below] = depth
    return known[next(iter(way), name)]


def _membership(row: ImportRow, known: Known, made: Plan, wrongs: Wrongs) -> None:
    people, team = known.people.get(row.email, []), known.teams.get(row["team"])
    if len(people) != 1:
        wrongs.at(
            row, "email", "is that of several people here" if people else "is nobody's, neither here nor in the file"
        )
    if team is None:
        wrongs.at(row, "team", "is no team, neither here nor in the file")
    if len(people) != 1 or team is None:
        return
    part, asked = Part(row.record), row.validity
    there = known.memberships.setdefault((people[0].id, team.id, part), [])
    if asked.valid_from is None and asked.valid_to and any(one.validity.valid_to == asked.valid_to for one in there):
        made.outcomes[row.index] = UNCHANGED
        return
    since = asked.valid_from or known.now
    if asked.valid_to is not None and asked.valid_to <= since:
        wrongs.at(row, "valid_to", "must be after valid_from, or to come where there is none")
        return
    over = [one for one in there if _overlap(one, since, asked.valid_to)]
    if not over:
        one = Membership(uuid7(), people[0].id, team.id, part, Validity(since, asked.valid_to))
        made.new_memberships.append(one)
        there.append(one)
        made.outcomes[row.index] = CREATED
        return
    one = over[0]
    if len(over) > 1 or (asked.valid_from is not None and one.validity.valid_from != asked.valid_from):
        wrongs.at(row, "valid_from", f"they have that part already since {one.validity.valid_from}")
    elif one.validity.valid_to == asked.valid_to:
        made.outcomes[row.index] = UNCHANGED
    elif (
        asked.valid_to is None
        or asked.valid_to < known.now
        or (one.validity.valid_to is not None and asked.valid_to > one.validity.valid_to)
    ):
        ends = one.validity.valid_to or "without end"
        wrongs.at(
            row, "valid_to", f"they have that part until {ends}; an end is moved nearer only, and not into the past"
        )
    else:
        made.ended.append((one, asked.valid_to))
        made.outcomes[row.index] = UPDATED


def _overlap(membership: Membership, since: datetime, until: datetime | None) -> bool:
    begin, end = membership.validity.valid_from, membership.validity.valid_to
    return (end is None or since < end) and (until is None or begin is None or begin < until)
