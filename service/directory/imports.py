"""Imports an organisation from a file: all of it or nothing, through the gate. Owns the turns of imports.

Importing a file again changes nothing. Every change is recorded as if an administrator had made it by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.authorization.enforcement.preflight import admit
from service.database import Turns
from service.directory import import_store, team_store
from service.directory.grants import GROUP_MEMBERS, MEMBERSHIPS, PROJECT_LEADS
from service.directory.import_file import read_rows
from service.directory.import_plan import plan
from service.directory.projects import describe_project
from service.directory.recorded_change import DirectoryChange, described_attributes, manage
from service.directory.store import KIND, MANAGE
from service.identity.subject_hashes import NO_KEYS
from service.pacing import pace
from service.values import replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.authorization.enforcement.changes import Answer, Caller, Permit
    from service.authorization.enforcement.gate import Gate
    from service.database import Connection
    from service.directory.grants import Grants
    from service.directory.import_file import ImportRow
    from service.directory.import_grants import G, PlannedGrants
    from service.directory.import_plan import Outcome, Plan
    from service.identity.subject_hashes import SubjectHashes

MAX_WAIT_SECONDS = 8.0
BUSY = "Another import is running; send this one again in a moment"


@dataclass(frozen=True, slots=True)
class ImportRowOutcome:
    """The outcome of a row: `created`, `updated` or `unchanged`."""

    row: int
    line: int
    record: str
    outcome: Outcome


class DirectoryImports:
    """The use case. Raises Denied, TryLater, and InvalidField that names every wrong row and field."""

    def __init__(self, gate: Gate, hashes: SubjectHashes = NO_KEYS) -> None:
        self._gate, self._hashes = gate, hashes
        # An import delays other changes of the directory, and several in a row would for too long.
        self._one_at_a_time = Turns(1, timeout=MAX_WAIT_SECONDS, full=BUSY)

    async def preflight(self, caller: Caller) -> None:
        """Refuse callers who could not import anything, before the file is read. Raises Denied."""
        await admit(self._gate, caller, KIND, MANAGE)

    async def load(self, caller: Caller, raw: bytes, *, dry_run: bool = False) -> Answer[Sequence[ImportRowOutcome]]:
        """Import people, teams, projects, groups, and who belongs to them or leads them, from a CSV file. A dry run
        changes nothing and returns what an import would change."""
        rows = await read_rows(raw)

        async def work(
            permit: Permit, connection: Connection
        ) -> tuple[Sequence[ImportRowOutcome], list[DirectoryChange]]:
            planned = await plan(rows, await import_store.load_known(permit, connection, rows))
            return _outcomes(rows, planned), await _carry_out(permit, connection, planned, self._hashes)

        async with self._one_at_a_time.take():
            if dry_run:
                async with self._gate.read(replace(caller, dry_run=True), KIND, MANAGE) as reading:
                    planned = await plan(rows, await import_store.load_known(reading.permit, reading.connection, rows))
                return reading.answer(_outcomes(rows, planned))
            return await manage(self._gate, caller, "import", work)


def _outcomes(rows: Sequence[ImportRow], planned: Plan) -> list[ImportRowOutcome]:
    return [ImportRowOutcome(row.index, row.line, row.record, planned.outcomes[row.index]) for row in rows]


async def _carry_out(
    permit: Permit, connection: Connection, planned: Plan, hashes: SubjectHashes
) -> list[DirectoryChange]:
    """Make every change, one statement for each kind, and return them for the log."""
    changes = [
        *await _write_people(permit, connection, planned, hashes),
        *await _write_teams(permit, connection, planned),
        *await _write_projects(permit, connection, planned),
        *await _write_groups(permit, connection, planned),
        *await _write_held(permit, connection, planned.memberships, MEMBERSHIPS),
        *await _write_held(permit, connection, planned.group_members, GROUP_MEMBERS),
        *await _write_held(permit, connection, planned.project_leads, PROJECT_LEADS),
    ]
    if changes:
        await import_store.update_statistics(permit, connection)
    return changes


async def _write_people(
    permit: Permit, connection: Connection, planned: Plan, hashes: SubjectHashes
) -> list[DirectoryChange]:
    links = [(person.id, link) for person, link in planned.new_people if link]
    links += [(person.id, link) for person, link in planned.linked]
    await import_store.add_people(permit, connection, [person for person, _ in planned.new_people])
    await import_store.add_links(permit, connection, links, hashes)
    await import_store.describe_people(permit, connection, [person for _, person in planned.described])
    changes = []
    async for person, link in pace(planned.new_people):
        names, values = described_attributes({}, person.attributes)
        texts = {"email": person.email or "", **values}
        texts |= {"display_name": person.display_name} if person.display_name else {}
        facts = {"links": 1 if link else 0, **names}
        changes.append(DirectoryChange(str(person.id), "person.created", facts, texts))
    async for before, person in pace(planned.described):
        names, texts = described_attributes(before.attributes, person.attributes)
        if before.display_name != person.display_name:
            texts |= {"display_name": person.display_name or "", "email": person.email or ""}
            texts |= {"display_name_before": before.display_name} if before.display_name else {}
        changes.append(DirectoryChange(str(person.id), "person.described", names, texts))
    changes += [DirectoryChange(str(person.id), "person.linked", {"links": 1}) for person, _ in planned.linked]
    return changes


async def _write_teams(permit: Permit, connection: Connection, planned: Plan) -> list[DirectoryChange]:
    """Add teams, and move others one by one, since each move changes the paths of other teams."""
    await import_store.add_teams(permit, connection, planned.new_teams)
    changes = []
    for new_team in planned.new_teams:
        names, values = described_attributes({}, new_team.attributes)
        facts, texts = {"parent": new_team.parent, **names}, {"name": new_team.name, **values}
        changes.append(DirectoryChange(str(new_team.id), "team.created", facts, texts))
    for before, team in planned.moved_teams:
        await team_store.replace_team(permit, connection, team, attributes=team.attributes)
        names, values = described_attributes(before.attributes, team.attributes)
        facts, texts = {"parent": team.parent, **names}, {"name": team.name, **values}
        changes.append(DirectoryChange(str(team.id), "team.changed", facts, texts, {"parent": before.parent}))
    return changes


async def _write_projects(permit: Permit, connection: Connection, planned: Plan) -> list[DirectoryChange]:
    await import_store.add_projects(permit, connection, planned.new_projects)
    await import_store.describe_projects(permit, connection, [project for _, project in planned.changed_projects])
    changes = []
    for before, project in [(None, project) for project in planned.new_projects] + planned.changed_projects:
        names, values = described_attributes(before.attributes if before else {}, project.attributes)
        facts, texts = {**describe_project(project), **names}, {"name": project.name, **values}
        what, was = ("project.changed", describe_project(before)) if before else ("project.created", {})
        changes.append(DirectoryChange(project.code, what, facts, texts, was))
    return changes


async def _write_groups(permit: Permit, connection: Connection, planned: Plan) -> list[DirectoryChange]:
    await import_store.add_groups(permit, connection, planned.new_groups)
    return [DirectoryChange(name, "group.created", {"group": name}) for name in planned.new_groups]


async def _write_held(
    permit: Permit, connection: Connection, planned: PlannedGrants[G], grants: Grants[G]
) -> list[DirectoryChange]:
    await import_store.begin_grants(permit, connection, grants, planned.begun)
    await import_store.end_grants(permit, connection, grants, [(held.id, at) for held, at in planned.ended])
    changes = [grants.begin_change(held) for held in planned.begun]
    for held, at in planned.ended:
        changes.append(grants.end_change(held, replace(held, validity=replace(held.validity, valid_to=at))))
    return changes
