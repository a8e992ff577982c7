"""Fallback approvers, who approve for people who have no manager. All through the gate. Owns no state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.authorization.enforcement.person_references import find_person
from service.authorization.enforcement.team_references import find_team
from service.directory import grant_store
from service.directory.entities import Fallback, Validity, check_grant
from service.directory.grants import FALLBACKS
from service.directory.recorded_change import listing, manage
from service.ids import make_id

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from service.authorization.enforcement.changes import Answer, Caller, Permit
    from service.authorization.enforcement.gate import Gate
    from service.authorization.enforcement.person_references import NamedPerson
    from service.authorization.enforcement.team_references import NamedTeam
    from service.database import Connection
    from service.directory.recorded_change import DirectoryChange, DirectoryPage

ALWAYS = Validity()


class Fallbacks:
    """Every method raises Denied and TryLater; a change also InvalidField and Conflict."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def name(
        self, caller: Caller, person: NamedPerson, team: NamedTeam | None = None, validity: Validity = ALWAYS
    ) -> Answer[Fallback]:
        """Make a person a fallback approver for a team and the teams below it, or, without a team, for everybody.
        Raises Conflict if they are one at any time in `validity`."""
        check_grant(validity)
        uid = make_id()

        async def work(permit: Permit, connection: Connection) -> tuple[Fallback, list[DirectoryChange]]:
            approver = await find_person(connection, caller.principal, person, "person")
            below = None if team is None else await find_team(connection, team, "team")
            made = await grant_store.add(permit, connection, FALLBACKS, Fallback(uid, approver, below, validity))
            return made, [FALLBACKS.begin_change(made)]

        return await manage(self._gate, caller, uid, work)

    async def end(self, caller: Caller, fallback: UUID, at: datetime | None = None) -> Answer[Fallback]:
        """End a fallback approver now, or at a later time. Raises NotFound, and Conflict if it has already ended."""
        check_grant(Validity(None, at))

        async def work(permit: Permit, connection: Connection) -> tuple[Fallback, list[DirectoryChange]]:
            before, after = await grant_store.end(permit, connection, FALLBACKS, fallback, at)
            return after, [FALLBACKS.end_change(before, after)]

        return await manage(self._gate, caller, fallback, work)

    async def list(
        self, caller: Caller, *, after: UUID | None = None, limit: int = 50, with_names: bool = False
    ) -> Answer[DirectoryPage[Fallback]]:
        """Fallback approvers, oldest first, ended ones too."""
        return await listing(
            self._gate,
            caller,
            lambda seen, connection: grant_store.list_grants(seen, connection, FALLBACKS, after, limit),
            limit,
            with_names=with_names,
        )
