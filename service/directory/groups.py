"""Groups of people, which policies name as `group:NAME`. All through the gate. Owns no state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uuid_utils.compat import uuid7

from service.authorization.enforcement.person_references import find_person
from service.directory import group_store, holder_store
from service.directory.entities import GroupMember, Validity, check_grant, check_group
from service.directory.holder_store import MEMBERS
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


class Groups:
    """Every method raises Denied and TryLater; a change also InvalidField, Conflict and NotFound."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def add(self, caller: Caller, name: str) -> Answer[str]:
        """Create a group. Raises Conflict for a name that is taken."""
        check_group(name)

        async def work(permit: Permit, connection: Connection) -> tuple[str, list[DirectoryChange]]:
            await group_store.add_group(permit, connection, name)
            return name, [DirectoryChange(name, "group.created", {"group": name})]

        return await manage(self._gate, caller, name, work)

    async def join(
        self, caller: Caller, group: str, person: NamedPerson, validity: Validity = ALWAYS
    ) -> Answer[GroupMember]:
        """Put a person into a group. Raises Conflict if they are in it at any time in `validity`."""
        check_grant(validity)
        uid = uuid7()

        async def work(permit: Permit, connection: Connection) -> tuple[GroupMember, list[DirectoryChange]]:
            joining = await find_person(connection, caller.principal, person, "person")
            asked = GroupMember(uid, group, joining, validity)
            made = await holder_store.add_holder(permit, connection, MEMBERS, group, asked)
            return made, [DirectoryChange(str(made.id), "group.joined", describe_member(made))]

        return await manage(self._gate, caller, uid, work)

    async def leave(self, caller: Caller, group: str, member: UUID, at: datetime | None = None) -> Answer[GroupMember]:
        """Take a person out of a group now, or at a later time. Raises Conflict if they have left it by then."""
        check_grant(Validity(None, at))

        async def work(permit: Permit, connection: Connection) -> tuple[GroupMember, list[DirectoryChange]]:
            before, after = await holder_store.end_holder(permit, connection, MEMBERS, group, member, at)
            facts = describe_member(after), describe_member(before)
            return after, [DirectoryChange(str(after.id), "group.left", facts[0], before=facts[1])]

        return await manage(self._gate, caller, member, work)

    async def list(
        self, caller: Caller, *, person: NamedPerson | None = None, after: str | None = None, limit: int = 50
    ) -> Answer[DirectoryPage[str]]:
        """Groups by name: all, or those that a person is in now."""
        return await listing(
            self._gate,
            caller,
            KIND,
            lambda seen, connection: group_store.list_groups(seen, connection, person, after, limit),
            limit,
            lambda name: name,
            returned=False,
        )

    async def members(
        self,
        caller: Caller,
        group: str,
        *,
        as_of: datetime | None = None,
        after: UUID | str | None = None,
        limit: int = 50,
        with_names: bool = False,
    ) -> Answer[DirectoryPage[GroupMember]]:
        """Members of a group, oldest first: past ones too, or only those at a time. Raises NotFound."""
        return await listing(
            self._gate,
            caller,
            KIND,
            lambda seen, connection: holder_store.list_holders(seen, connection, MEMBERS, group, as_of, after, limit),
            limit,
            lambda member: str(member.id),
            with_names=with_names,
        )


def describe_member(member: GroupMember) -> dict[str, object]:
    """A member for a record."""
    return {"group": member.group, "person": member.person, **times(member.validity)}
