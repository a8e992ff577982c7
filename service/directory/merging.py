"""Merges two people who are the same human, through the gate. Owns no state; `merging_store` has the SQL.

Every law holds for both ids from then on (docs/decisions/0018): hours that one of them entered, the other cannot
approve. Tokens of both belong to the canonical id, which gets the grants of both. A merge cannot be undone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.directory import merging_store
from service.directory.recorded_change import DirectoryChange, manage
from service.errors import InvalidField
from service.places import FieldError

if TYPE_CHECKING:
    from uuid import UUID

    from service.authorization.enforcement.changes import Answer, Caller, Permit
    from service.authorization.enforcement.gate import Gate
    from service.database import Connection
    from service.directory.entities import Person


class Merging:
    """The use case; it also raises Denied and TryLater."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def merge(self, caller: Caller, person: UUID, into: UUID) -> Answer[Person]:
        """Merge a person into another, and return the latter. Raises NotFound, InvalidField for an unknown `into`,
        Conflict for a merged person, and for equal grants of both that overlap in part."""
        if person == into:
            raise InvalidField(FieldError("into", "must be another person"))

        async def work(permit: Permit, connection: Connection) -> tuple[Person, list[DirectoryChange]]:
            merged = await merging_store.merge(permit, connection, person, into)
            facts = {"into": into, "links": merged.links}
            first = DirectoryChange(str(person), "person.merged", facts, merged.texts)
            return merged.person, [first, *merged.changes]

        return await manage(self._gate, caller, person, work)
