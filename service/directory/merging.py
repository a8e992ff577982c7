"""Merges two people who are the same human, through the gate. Owns no state; `merging_store` has the SQL.

Every law holds for both ids from then on (docs/decisions/0018): hours that one of them entered, the other cannot
approve. Tokens of both belong to the canonical id, which gets the grants of both. A merge cannot be undone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.authorization.enforcement.person_references import find_person
from service.directory import merging_store
from service.directory.recorded_change import DirectoryChange, find_subject, given_id, manage
from service.errors import InvalidField
from service.places import FieldError

if TYPE_CHECKING:
    from service.authorization.enforcement.changes import Answer, Caller, Permit
    from service.authorization.enforcement.gate import Gate
    from service.authorization.enforcement.person_references import NamedPerson
    from service.database import Connection
    from service.directory.entities import Person


class Merging:
    """The use case; it also raises Denied and TryLater."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def merge(self, caller: Caller, person: NamedPerson, into: NamedPerson) -> Answer[Person]:
        """Merge a person into another, and return the latter. Raises NotFound, InvalidField for an unknown `into`,
        Conflict for a merged person, and for equal grants of both that overlap in part."""

        async def work(permit: Permit, connection: Connection) -> tuple[Person, list[DirectoryChange]]:
            person_id = await find_subject(permit, connection, caller, person)
            into_id = await find_person(connection, caller.principal, into, "into")
            if person_id == into_id:
                raise InvalidField(FieldError("into", "must be another person"))
            merged = await merging_store.merge(permit, connection, person_id, into_id)
            facts = {"into": into_id, "links": merged.links}
            first = DirectoryChange(str(person_id), "person.merged", facts, merged.texts)
            return merged.person, [first, *merged.changes]

        return await manage(self._gate, caller, given_id(person), work, hold=merging_store.lock)
