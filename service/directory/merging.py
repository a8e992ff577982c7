"""Merging: two people turned out to be one. Through the gate. Owns no state; `merging_store` writes it.

From then on every law holds for both of their ids (docs/decisions/0018): what one of them wrote, the other does not
approve. Tokens of either speak for the one who stays, who has what both had in the directory. There is no way back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.directory import merging_store
from service.directory.recorded_change import Told, manage
from service.errors import InvalidField
from service.places import FieldError

if TYPE_CHECKING:
    from uuid import UUID

    from service.authorization.enforcement.changes import Answer, Caller, Permit
    from service.authorization.enforcement.gate import Gate
    from service.database import Connection
    from service.directory.entities import Person


class Merging:
    """The use case; raises Denied and TryLater too."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def merge(self, caller: Caller, person: UUID, into: UUID) -> Answer[Person]:
        """Merge a person into another, who is returned as they are then. Raises NotFound, InvalidField for an unknown
        `into`, Conflict for whoever was merged already, and for what both have in part for the same time."""
        if person == into:
            raise InvalidField(FieldError("into", "is this very person"))

        async def work(permit: Permit, connection: Connection) -> tuple[Person, list[Told]]:
            merged = await merging_store.merge(permit, connection, person, into)
            told = {"into": into, "links": merged.links}
            first = Told(str(person), "person.merged", told, merged.texts)
            return merged.stays, [first, *merged.moved]

        return await manage(self._gate, caller, person, work)
