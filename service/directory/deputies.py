"""Deputies: who stands in for a manager, and for how long. Each change through the gate. Owns no state.

A grant gives nothing by itself: the relation `deputy` holds while the manager leads somebody. Managers name their own
deputies; who else may name them, the policy says. A deputy does not pass it on, as nothing follows grants to grants.
Only a caller who may read the directory can name somebody else: otherwise the answer would tell which ids exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from uuid_utils.compat import uuid7

from service.authorization.enforcement.changes import Target
from service.authorization.enforcement.decision_point import Resource
from service.authorization.enforcement.judgement import decided
from service.authorization.enforcement.relationships import KindFacts
from service.directory import deputy_store
from service.directory.deputy_store import KIND
from service.directory.entities import DeputyGrant, Validity, check_deputies, check_grant
from service.directory.recorded_change import Listed, Told, listing, manage, times
from service.directory.store import KIND as DIRECTORY
from service.errors import InvalidField
from service.places import FieldError

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from service.authorization.enforcement.changes import Answer
    from service.authorization.enforcement.decision_record import Ask
    from service.authorization.enforcement.gate import Gate
    from service.authorization.enforcement.permit import Permit
    from service.database import Connection

DEPUTY_FACTS = KindFacts(
    kind=KIND,
    row=deputy_store.ROW,
    table="deputy_grant",
    imagined=deputy_store.IMAGINED,
    relations={"delegator": deputy_store.DELEGATOR, "delegate": deputy_store.DELEGATE},
)
ALWAYS = Validity()
HIDDEN = "is nobody whom you may see in the directory: ask an administrator to name your deputy"


class Deputies:
    """Every method raises Denied and TryLater; a change also InvalidField and Conflict."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def grant(self, ask: Ask, manager: UUID, deputy: UUID, validity: Validity = ALWAYS) -> Answer[DeputyGrant]:
        """Let `deputy` stand in for `manager`. Raises Conflict when they do so already at some of that time, and
        InvalidField, the same for every id, when the caller may not read the directory."""
        check_deputies(manager, deputy)
        check_grant(validity)
        asked = DeputyGrant(uuid7(), manager, deputy, validity)

        async def work(permit: Permit, connection: Connection) -> tuple[DeputyGrant, list[Told]]:
            if not _may_read_directory(ask, permit):
                raise InvalidField(FieldError("deputy", HIDDEN))
            made = await deputy_store.grant(permit, connection, asked)
            return made, [Told(str(made.id), "deputy.granted", _facts(made))]

        target = Target(owner=manager)
        return await manage(self._gate, ask, asked.id, work, asked=(KIND, "grant"), target=target)

    async def end(self, ask: Ask, grant: UUID, at: datetime | None = None) -> Answer[DeputyGrant]:
        """End a grant now, or at a later moment; one that has not begun never begins. Raises NotFound, and
        Conflict when it is over already."""
        check_grant(Validity(None, at))

        async def work(permit: Permit, connection: Connection) -> tuple[DeputyGrant, list[Told]]:
            before, after = await deputy_store.end(permit, connection, grant, at)
            return after, [Told(str(after.id), "deputy.ended", _facts(after), before=_facts(before))]

        async def lock(connection: Connection) -> UUID | None:
            return await deputy_store.lock(connection, grant)

        target = Target(str(grant), lock, must_exist=True)
        return await manage(self._gate, ask, grant, work, asked=(KIND, "end"), target=target)

    async def list(
        self, ask: Ask, *, after: UUID | None = None, limit: int = 50, now: bool = False
    ) -> Answer[Listed[DeputyGrant]]:
        """Grants that the asker may see, oldest first, ended ones too; with `now`, those that hold."""
        return await listing(
            self._gate,
            ask,
            KIND,
            lambda seen, connection: deputy_store.page(seen, connection, now=now, after=after, limit=limit),
            limit,
            lambda one: str(one.id),
        )


def _may_read_directory(ask: Ask, permit: Permit) -> bool:
    """Decided under the version, and by the facts, that allowed the grant."""
    seen = permit.decision.request.seen
    return decided(permit.snapshot, ask, "read", Resource(DIRECTORY), seen).allowed


def _facts(deputy_grant: DeputyGrant) -> dict[str, object]:
    return {"manager": deputy_grant.manager, "deputy": deputy_grant.deputy, **times(deputy_grant.validity)}
