"""Fallback approvers: who approves for those whom nobody leads. Each change through the gate. Owns no state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uuid_utils.compat import uuid7

from service.directory import fallback_store
from service.directory.entities import Fallback, Validity, check_grant
from service.directory.recorded_change import Listed, Told, listing, manage, times
from service.directory.store import KIND

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from service.authorization.enforcement.changes import Answer, Caller, Permit
    from service.authorization.enforcement.gate import Gate
    from service.database import Connection

ALWAYS = Validity()


class Fallbacks:
    """Every method raises Denied and TryLater; a change also InvalidField and Conflict."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def name(
        self, caller: Caller, person: UUID, team: UUID | None = None, validity: Validity = ALWAYS
    ) -> Answer[Fallback]:
        """Name a person for a team and those below it, or, without a team, for the whole organisation. Raises Conflict
        when they are named for it already at some of that time."""
        check_grant(validity)
        asked = Fallback(uuid7(), person, team, validity)

        async def work(permit: Permit, connection: Connection) -> tuple[Fallback, list[Told]]:
            made = await fallback_store.name(permit, connection, asked)
            return made, [Told(str(made.id), "fallback.named", _facts(made))]

        return await manage(self._gate, caller, asked.id, work)

    async def end(self, caller: Caller, fallback: UUID, at: datetime | None = None) -> Answer[Fallback]:
        """End this now, or at a later moment; what has not begun never begins. Raises NotFound, and Conflict when it
        is over already."""
        check_grant(Validity(None, at))

        async def work(permit: Permit, connection: Connection) -> tuple[Fallback, list[Told]]:
            before, after = await fallback_store.end(permit, connection, fallback, at)
            return after, [Told(str(after.id), "fallback.ended", _facts(after), before=_facts(before))]

        return await manage(self._gate, caller, fallback, work)

    async def list(self, caller: Caller, *, after: UUID | None = None, limit: int = 50) -> Answer[Listed[Fallback]]:
        """All, ended ones too, oldest first."""
        return await listing(
            self._gate,
            caller,
            KIND,
            lambda seen, connection: fallback_store.fallbacks(seen, connection, after, limit),
            limit,
            lambda one: str(one.id),
        )


def _facts(fallback: Fallback) -> dict[str, object]:
    return {"person": fallback.person, "team": fallback.team, **times(fallback.validity)}
