"""The import of an organisation from a file: all of it or nothing, and nothing twice. Through enforcement. Owns no
state; what changes is recorded row by row, as if somebody had done it by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.authorization.admission import admit
from service.directory import import_store, membership_store, people_store, team_store
from service.directory.import_file import read_rows
from service.directory.import_plan import plan
from service.directory.recorded_change import Told, manage, times
from service.directory.store import KIND, MANAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.authorization.changes import Answer
    from service.authorization.decision_record import Ask
    from service.authorization.enforcement import Enforcement
    from service.authorization.permit import Permit
    from service.authorization.relationships import Seen
    from service.database import Connection
    from service.directory.entities import Membership
    from service.directory.import_file import ImportRow
    from service.directory.import_plan import Plan


@dataclass(frozen=True, slots=True)
class RowOutcome:
    """What becomes of a row: `created`, `updated` or `unchanged`."""

    row: int
    line: int
    record: str
    outcome: str


class DirectoryImports:
    """Raises Denied and TryLater, and InvalidField that names every wrong row and field."""

    def __init__(self, enforcement: Enforcement) -> None:
        self._enforcement = enforcement

    async def admit(self, ask: Ask) -> None:
        """Refuse whoever could not import anything, before a file is read. Raises Denied."""
        await admit(self._enforcement, ask, KIND, MANAGE)

    async def load(self, ask: Ask, raw: bytes, *, dry_run: bool = False) -> Answer[Sequence[RowOutcome]]:
        """Bring people, teams, memberships and leads in from a CSV file. A dry run changes nothing and says what would
        be changed now."""
        rows = read_rows(raw)

        async def look(permit: Permit, _: Seen, connection: Connection) -> tuple[Sequence[RowOutcome], Sequence[str]]:
            found = plan(rows, await import_store.known(permit, connection, rows))
            return _outcomes(rows, found), []

        async def work(permit: Permit, connection: Connection) -> tuple[Sequence[RowOutcome], list[Told]]:
            found = plan(rows, await import_store.known(permit, connection, rows))
            return _outcomes(rows, found), await _carried_out(permit, connection, found)

        if dry_run:
            return await self._enforcement.read(ask, KIND, MANAGE, look)
        return await manage(self._enforcement, ask, "import", work)


def _outcomes(rows: Sequence[ImportRow], found: Plan) -> list[RowOutcome]:
    return [RowOutcome(row.index, row.line, row.record, found.outcomes[row.index]) for row in rows]


async def _carried_out(permit: Permit, connection: Connection, found: Plan) -> list[Told]:
    """Make every change, and tell of each."""
    told = []
    for person, link in found.new_people:
        links = [link] if link else []
        await people_store.add_person(permit, connection, person, links)
        texts = {"email": person.email or ""} | ({"display_name": person.display_name} if person.display_name else {})
        told.append(Told(str(person.id), "person.created", {"links": len(links)}, texts))
    for before, person in found.described:
        await people_store.describe_person(permit, connection, person)
        texts = {"display_name": person.display_name or "", "email": person.email or ""}
        if before.display_name:
            texts["display_name_before"] = before.display_name
        told.append(Told(str(person.id), "person.described", {}, texts))
    for person, link in found.linked:
        await people_store.link_person(permit, connection, person.id, [link])
        told.append(Told(str(person.id), "person.linked", {"links": 1}))
    for team in found.new_teams:
        await team_store.add_team(permit, connection, team)
        told.append(Told(str(team.id), "team.created", {"parent": team.parent}, {"name": team.name}))
    for was, team in found.moved_teams:
        await team_store.replace_team(permit, connection, team)
        told.append(
            Told(str(team.id), "team.changed", {"parent": team.parent}, {"name": team.name}, {"parent": was.parent})
        )
    for asked in found.new_memberships:
        made = await membership_store.add_membership(permit, connection, asked)
        told.append(Told(str(made.id), "membership.created", _membership(made)))
    for one, at in found.ended:
        then, ended = await membership_store.end_membership(permit, connection, one.id, at)
        told.append(Told(str(ended.id), "membership.ended", _membership(ended), before=_membership(then)))
    return told


def _membership(one: Membership) -> dict[str, object]:
    return {"person": one.person, "team": one.team, "part": str(one.part), **times(one.validity)}
