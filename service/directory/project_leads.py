"""Leads of projects: whom a policy may let act on weeks with hours on their projects. All through the gate. Owns no
state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uuid_utils.compat import uuid7

from service.authorization.enforcement.person_references import find_person
from service.directory import holder_store
from service.directory.entities import ProjectLead, Validity, check_grant
from service.directory.holder_store import LEADS
from service.directory.recorded_change import DirectoryChange, DirectoryPage, listing, manage, times
from service.directory.store import KIND

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from service.authorization.enforcement.changes import Answer, Caller, Permit
    from service.authorization.enforcement.gate import Gate
    from service.authorization.enforcement.person_references import NamedPerson
    from service.database import Connection

ALWAYS = Validity()


class ProjectLeads:
    """Every method raises Denied, NotFound for a project and TryLater; a change also InvalidField and Conflict."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def name(
        self, caller: Caller, project: str, person: NamedPerson, validity: Validity = ALWAYS
    ) -> Answer[ProjectLead]:
        """Make a person a lead of a project. Raises Conflict if they are one at any time in `validity`."""
        check_grant(validity)
        uid = uuid7()

        async def work(permit: Permit, connection: Connection) -> tuple[ProjectLead, list[DirectoryChange]]:
            lead = await find_person(connection, caller.principal, person, "person")
            asked = ProjectLead(uid, project, lead, validity)
            made = await holder_store.add_holder(permit, connection, LEADS, project, asked)
            return made, [DirectoryChange(str(made.id), "project-lead.named", describe_lead(made))]

        return await manage(self._gate, caller, uid, work)

    async def end(self, caller: Caller, project: str, lead: UUID, at: datetime | None = None) -> Answer[ProjectLead]:
        """End a lead now, or at a later time. Raises Conflict if it has ended by then."""
        check_grant(Validity(None, at))

        async def work(permit: Permit, connection: Connection) -> tuple[ProjectLead, list[DirectoryChange]]:
            before, after = await holder_store.end_holder(permit, connection, LEADS, project, lead, at)
            facts = describe_lead(after), describe_lead(before)
            return after, [DirectoryChange(str(after.id), "project-lead.ended", facts[0], before=facts[1])]

        return await manage(self._gate, caller, lead, work)

    async def list(
        self,
        caller: Caller,
        project: str,
        *,
        as_of: datetime | None = None,
        after: UUID | str | None = None,
        limit: int = 50,
        with_names: bool = False,
    ) -> Answer[DirectoryPage[ProjectLead]]:
        """Leads of a project, oldest first: past ones too, or only those at a time."""
        return await listing(
            self._gate,
            caller,
            KIND,
            lambda seen, connection: holder_store.list_holders(seen, connection, LEADS, project, as_of, after, limit),
            limit,
            lambda lead: str(lead.id),
            with_names=with_names,
        )


def describe_lead(lead: ProjectLead) -> dict[str, object]:
    """A lead for a record."""
    return {"project": lead.project, "person": lead.person, **times(lead.validity)}
