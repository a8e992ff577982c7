"""People who are in a group, which policies name as `group:NAME`, or lead a project: whom a policy may let act on weeks
with hours on it. All through the gate. Owns no state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from service.authorization.enforcement.person_references import find_person
from service.directory import holder_store
from service.directory.entities import Validity, check_grant
from service.directory.holder_store import H
from service.directory.recorded_change import listing, manage
from service.ids import make_id

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from service.authorization.enforcement.changes import Answer, Caller, Permit
    from service.authorization.enforcement.gate import Gate
    from service.authorization.enforcement.person_references import NamedPerson
    from service.database import Connection
    from service.directory.holder_store import Holding
    from service.directory.recorded_change import DirectoryChange, DirectoryPage

ALWAYS = Validity()


class Holders(Generic[H]):
    """The members of groups, or the leads of projects. Every method raises Denied and TryLater, and NotFound for an
    unknown group or project; a change also InvalidField and Conflict."""

    def __init__(self, gate: Gate, holding: Holding[H]) -> None:
        self._gate = gate
        self._holding: Holding[H] = holding

    async def add(self, caller: Caller, thing: str, person: NamedPerson, validity: Validity = ALWAYS) -> Answer[H]:
        """Put a person into a group, or make them a lead of a project. Raises Conflict if they are that at any time in
        `validity`."""
        check_grant(validity)
        uid, holding = make_id(), self._holding

        async def work(permit: Permit, connection: Connection) -> tuple[H, list[DirectoryChange]]:
            found = await find_person(connection, caller.principal, person, "person")
            asked = holding.grants.make(uid, thing, found, validity)
            made = await holder_store.add_holder(permit, connection, holding, thing, asked)
            return made, [holding.grants.begin_change(made)]

        return await manage(self._gate, caller, uid, work)

    async def end(self, caller: Caller, thing: str, holder: UUID, at: datetime | None = None) -> Answer[H]:
        """End it now, or at a later time. Raises Conflict if it has ended by then."""
        check_grant(Validity(None, at))
        holding = self._holding

        async def work(permit: Permit, connection: Connection) -> tuple[H, list[DirectoryChange]]:
            before, after = await holder_store.end_holder(permit, connection, holding, thing, holder, at)
            return after, [holding.grants.end_change(before, after)]

        return await manage(self._gate, caller, holder, work)

    async def list(
        self,
        caller: Caller,
        thing: str,
        *,
        as_of: datetime | None = None,
        after: UUID | str | None = None,
        limit: int = 50,
        with_names: bool = False,
    ) -> Answer[DirectoryPage[H]]:
        """The members of a group or the leads of a project, oldest first: past ones too, or only those at a time."""
        holding = self._holding
        return await listing(
            self._gate,
            caller,
            lambda seen, connection: holder_store.list_holders(seen, connection, holding, thing, as_of, after, limit),
            limit,
            with_names=with_names,
        )
