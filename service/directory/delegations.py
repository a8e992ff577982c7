"""Delegations: a manager, the delegator, lets a delegate approve in their place for a time. Owns no state.

A delegation gives nothing by itself: the relation `delegate` to a timesheet holds while the delegator is a manager of
its owner. A delegate cannot delegate again. Managers grant delegations of their own; the policy says who else may.
A caller who may not read the directory gets the same error for every id, so that it does not tell which people exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from service.authorization.enforcement.changes import Target
from service.authorization.enforcement.fact_statements import KindFacts
from service.authorization.enforcement.person_references import ME, NO_PERSON, NOBODY, find_person
from service.directory import delegation_store, grant_store, store
from service.directory.delegation_store import KIND
from service.directory.entities import Delegation, Validity, check_delegation, check_grant
from service.directory.grants import DELEGATIONS
from service.directory.recorded_change import listing, manage
from service.directory.store import KIND as DIRECTORY
from service.errors import Conflict, InvalidField
from service.ids import make_id
from service.places import FieldError

if TYPE_CHECKING:
    from datetime import datetime

    from service.authorization.enforcement.changes import Answer, Caller, Permit
    from service.authorization.enforcement.gate import Gate
    from service.authorization.enforcement.person_references import NamedPerson
    from service.database import Connection
    from service.directory.recorded_change import DirectoryChange, DirectoryPage

DELEGATION_FACTS = KindFacts(
    kind=KIND,
    row=delegation_store.ROW,
    table="delegation",
    imagined=delegation_store.IMAGINED,
    relations={"delegator": delegation_store.DELEGATOR, "delegate": delegation_store.DELEGATE},
    attributes=delegation_store.ATTRIBUTES,
    starts={"delegator": "r.delegator_id", "delegate": "r.delegate_id"},
)
ALWAYS = Validity()
HIDDEN = "names no person that you may see in the directory: ask an administrator to grant this delegation"
MOVED = "delegator: another person has this address or link since a moment ago; nothing was changed, so try again"


class Delegations:
    """Every method raises Denied and TryLater; a change also InvalidField and Conflict."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def grant(
        self, caller: Caller, delegator: NamedPerson, delegate: NamedPerson, validity: Validity = ALWAYS
    ) -> Answer[Delegation]:
        """Let `delegate` approve in place of `delegator`. Raises Conflict if the same delegation holds at any time in
        `validity`, or if `delegator` has come to mean another person since the decision. Raises InvalidField, the same
        for every id, if the caller may not read the directory."""
        owner = await self._find_owner(caller, delegator)
        if isinstance(delegate, UUID):
            check_delegation(owner, delegate)
        check_grant(validity)
        uid = make_id()

        async def work(permit: Permit, connection: Connection) -> tuple[Delegation, list[DirectoryChange]]:
            if not permit.may_read(DIRECTORY):
                raise InvalidField(FieldError("delegate", HIDDEN))
            # The decision was about `owner`. From here on, no other change of the directory can move the address.
            giving = await find_person(connection, caller.principal, delegator, "delegator")
            if giving != owner:
                raise Conflict(MOVED)
            person = await find_person(connection, caller.principal, delegate, "delegate")
            check_delegation(giving, person)
            made = await grant_store.add(permit, connection, DELEGATIONS, Delegation(uid, giving, person, validity))
            return made, [DELEGATIONS.begin_change(made)]

        target = Target(owner=owner, new=delegation_store.describe_new(validity))
        return await manage(self._gate, caller, uid, work, asked=(KIND, "grant"), target=target)

    async def _find_owner(self, caller: Caller, delegator: NamedPerson) -> UUID:
        """Whose delegation it would be, for the decision: nobody's, unless exactly one person is named."""
        if isinstance(delegator, UUID):
            return delegator
        if delegator == ME:
            if caller.principal.person is None:
                raise InvalidField(FieldError("delegator", NO_PERSON))
            return caller.principal.person
        people = (await self._gate.find_people([delegator])).get(delegator, ())
        return next(iter(people)) if len(people) == 1 else NOBODY

    async def end(self, caller: Caller, delegation: UUID, at: datetime | None = None) -> Answer[Delegation]:
        """End a delegation now, or at a later moment; one that has not begun never takes effect. Raises NotFound, and
        Conflict if it has ended already."""
        check_grant(Validity(None, at))

        async def work(permit: Permit, connection: Connection) -> tuple[Delegation, list[DirectoryChange]]:
            before, after = await grant_store.end(permit, connection, DELEGATIONS, delegation, at)
            return after, [DELEGATIONS.end_change(before, after)]

        async def lock(connection: Connection) -> UUID | None:
            return await store.lock_row(connection, "delegation", delegation)

        target = Target(str(delegation), lock, row_id=delegation, must_exist=True)
        return await manage(self._gate, caller, delegation, work, asked=(KIND, "end"), target=target)

    async def list(
        self,
        caller: Caller,
        *,
        after: UUID | None = None,
        limit: int = 50,
        now: bool = False,
        with_names: bool = False,
    ) -> Answer[DirectoryPage[Delegation]]:
        """Delegations that the caller may see, oldest first, ended ones too; with `now`, only those in force."""
        return await listing(
            self._gate,
            caller,
            lambda lookup, connection: delegation_store.list_delegations(
                lookup, connection, now=now, after=after, limit=limit
            ),
            limit,
            kind=KIND,
            with_names=with_names,
        )
