"""Whether anybody could approve a sheet that is handed in: nobody waits for an approver who does not exist. Owns no
state; reads the rules of the version that decides, and the directory in Postgres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.errors import NoApprover
from service.timesheets.relations import HAS_APPROVER, KIND

if TYPE_CHECKING:
    from uuid import UUID

    from service.authorization.permit import Permit
    from service.database import Connection

# Whoever is one of these to a sheet leads its owner, stands in for such a lead, or is named where there is none.
_FROM_THE_DIRECTORY: Final = frozenset({"manager", "deputy", "fallback"})


async def need_approver(permit: Permit, connection: Connection, sheet_id: UUID) -> None:
    """Raise NoApprover when nobody leads the owner and nobody is named instead. Where a rule lets others approve, such
    as a role that comes with tokens, it cannot be told that nobody does; and where no rule lets a fallback approver
    do so, as in a version from before there were any, naming one would not help."""
    permit.covers(KIND, "submit")
    who = permit.snapshot.index_of(KIND, "approve").allowing
    if who - _FROM_THE_DIRECTORY or "fallback" not in who:
        return
    # Whether the owner has anybody above them, or somebody named in their place, now.
    if not await connection.fetchval(f"SELECT {HAS_APPROVER} FROM timesheet AS r WHERE r.id = $1", sheet_id):
        raise NoApprover
