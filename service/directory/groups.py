"""Groups of people, which policies name as `group:NAME`. All through the gate. `holders` has their members. Owns no
state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.directory import holder_store
from service.directory.entities import check_group
from service.directory.recorded_change import DirectoryChange, DirectoryPage, listing, manage

if TYPE_CHECKING:
    from service.authorization.enforcement.changes import Answer, Caller, Permit
    from service.authorization.enforcement.gate import Gate
    from service.authorization.enforcement.person_references import NamedPerson
    from service.database import Connection


class Groups:
    """Every method raises Denied and TryLater; a change also InvalidField, Conflict and NotFound."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def add(self, caller: Caller, name: str) -> Answer[str]:
        """Create a group. Raises Conflict for a name that is taken."""
        check_group(name)

        async def work(permit: Permit, connection: Connection) -> tuple[str, list[DirectoryChange]]:
            await holder_store.add_group(permit, connection, name)
            return name, [DirectoryChange(name, "group.created", {"group": name})]

        return await manage(self._gate, caller, name, work)

    async def list(
        self, caller: Caller, *, person: NamedPerson | None = None, after: str | None = None, limit: int = 50
    ) -> Answer[DirectoryPage[str]]:
        """Groups by name: all, or those that a person is in now."""
        return await listing(
            self._gate,
            caller,
            lambda seen, connection: holder_store.list_groups(seen, connection, person, after, limit),
            limit,
            key=lambda name: name,
            returned=False,
        )
