"""The import of an organisation from a file: all of it or nothing, and nothing twice. Through the gate. Owns whose
turn it is; what changes is recorded row by row, as if somebody had done it by hand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from service.authorization.enforcement.preflight import admit
from service.database import Turns
from service.directory import import_store, import_writes, team_store
from service.directory.import_file import read_rows
from service.directory.import_plan import plan
from service.directory.recorded_change import Told, manage, times
from service.directory.store import KIND, MANAGE
from service.identity.subject_hashes import NO_KEYS
from service.pacing import paced

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.authorization.enforcement.changes import Answer, Caller, Permit
    from service.authorization.enforcement.gate import Gate
    from service.database import Connection
    from service.directory.entities import Membership
    from service.directory.import_file import ImportRow
    from service.directory.import_plan import Outcome, Plan
    from service.identity.subject_hashes import SubjectHashes

# Seconds that an import waits for its turn.
LONGEST_WAIT = 8.0
BUSY = "Another import is under way; send this one again in a moment"


@dataclass(frozen=True, slots=True)
class ImportRowOutcome:
    """What becomes of a row: `created`, `updated` or `unchanged`."""

    row: int
    line: int
    record: str
    outcome: Outcome


class DirectoryImports:
    """Raises Denied and TryLater, and InvalidField that names every wrong row and field."""

    def __init__(self, gate: Gate, hashes: SubjectHashes = NO_KEYS) -> None:
        self._gate, self._hashes = gate, hashes
        # Each keeps other changes of the directory waiting for a moment, and several in a row would for too long.
        self._one_at_a_time = Turns(1, timeout=LONGEST_WAIT, full=BUSY)

    async def admit(self, caller: Caller) -> None:
        """Refuse whoever could not import anything, before a file is read. Raises Denied."""
        await admit(self._gate, caller, KIND, MANAGE)

    async def load(self, caller: Caller, raw: bytes, *, dry_run: bool = False) -> Answer[Sequence[ImportRowOutcome]]:
        """Bring people, teams, memberships and leads in from a CSV file. A dry run changes nothing and says what would
        be changed now."""
        rows = await read_rows(raw)

        async def work(permit: Permit, connection: Connection) -> tuple[Sequence[ImportRowOutcome], list[Told]]:
            found = await plan(rows, await import_store.known(permit, connection, rows))
            return _outcomes(rows, found), await _carried_out(permit, connection, found, self._hashes)

        async with self._one_at_a_time.one():
            if dry_run:
                async with self._gate.read(replace(caller, dry_run=True), KIND, MANAGE) as reading:
                    found = await plan(rows, await import_store.known(reading.permit, reading.connection, rows))
                return reading.answer(_outcomes(rows, found))
            return await manage(self._gate, caller, "import", work)


def _outcomes(rows: Sequence[ImportRow], found: Plan) -> list[ImportRowOutcome]:
    return [ImportRowOutcome(row.index, row.line, row.record, found.outcomes[row.index]) for row in rows]


async def _carried_out(permit: Permit, connection: Connection, found: Plan, hashes: SubjectHashes) -> list[Told]:
    """Make every change, those of a kind in one statement, and tell of each."""
    told = [*await _of_people(permit, connection, found, hashes), *await _of_teams(permit, connection, found)]
    await import_writes.add_memberships(permit, connection, found.new_memberships)
    await import_writes.end_memberships(permit, connection, found.ended)
    told += [
        Told(str(new_membership.id), "membership.created", _membership(new_membership))
        for new_membership in found.new_memberships
    ]
    for one, at in found.ended:
        ended = replace(one, validity=replace(one.validity, valid_to=at))
        told.append(Told(str(one.id), "membership.ended", _membership(ended), before=_membership(one)))
    return told


async def _of_people(permit: Permit, connection: Connection, found: Plan, hashes: SubjectHashes) -> list[Told]:
    links = [(person.id, link) for person, link in found.new_people if link]
    links += [(person.id, link) for person, link in found.linked]
    await import_writes.add_people(permit, connection, [person for person, _ in found.new_people])
    await import_writes.add_links(permit, connection, links, hashes)
    await import_writes.describe_people(permit, connection, [person for _, person in found.described])
    told = []
    async for person, link in paced(found.new_people):
        texts = {"email": person.email or ""} | ({"display_name": person.display_name} if person.display_name else {})
        told.append(Told(str(person.id), "person.created", {"links": 1 if link else 0}, texts))
    async for before, person in paced(found.described):
        texts = {"display_name": person.display_name or "", "email": person.email or ""}
        if before.display_name:
            texts["display_name_before"] = before.display_name
        told.append(Told(str(person.id), "person.described", {}, texts))
    told += [Told(str(person.id), "person.linked", {"links": 1}) for person, _ in found.linked]
    return told


async def _of_teams(permit: Permit, connection: Connection, found: Plan) -> list[Told]:
    """Those that move go one by one, since each changes what lies below others."""
    await import_writes.add_teams(permit, connection, found.new_teams)
    told = [
        Told(str(new_team.id), "team.created", {"parent": new_team.parent}, {"name": new_team.name})
        for new_team in found.new_teams
    ]
    for was, team in found.moved_teams:
        await team_store.replace_team(permit, connection, team)
        told.append(
            Told(str(team.id), "team.changed", {"parent": team.parent}, {"name": team.name}, {"parent": was.parent})
        )
    return told


def _membership(membership: Membership) -> dict[str, object]:
    return {
        "person": membership.person,
        "team": membership.team,
        "part": str(membership.part),
        **times(membership.validity),
    }
