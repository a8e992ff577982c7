"""Whether anybody could approve a sheet that is handed in: nobody waits for an approver who does not exist. Owns no
state; reads the rules of the version that decides, and the directory in Postgres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.errors import NoApprover
from service.timesheets.relations import HAS_APPROVER, KIND, LED

if TYPE_CHECKING:
    from service.authorization.enforcement.permit import Permit
    from service.database import Connection
    from service.timesheets.timesheet import Timesheet


LED_BY_WRITERS: Final = (
    "Nobody could approve this: whoever leads here wrote in it or hands it in. One of them names a delegate, or an"
    " administrator a lead above"
)


async def need_approver(permit: Permit, connection: Connection, sheet: Timesheet) -> None:
    """Raise NoApprover when nobody who leads the owner, stands in for such a lead, or is named instead may approve the
    sheet as it is handed in: who wrote in it may not. Where a rule lets others approve, such as a role that comes with
    tokens, it cannot be told that nobody does; and where no rule lets a fallback approver do so, as in a version from
    before there were any, naming one would not help."""
    permit.covers(KIND, "submit")
    who = permit.snapshot.index_of(KIND, "approve").allowing
    if not who <= set(HAS_APPROVER) or "fallback" not in who:
        return
    anybody = " OR ".join(HAS_APPROVER[one] for one in sorted(who))
    # Whether there is such a person now, and whether anybody leads the owner.
    found = await connection.fetchrow(
        f"SELECT {anybody} AS anybody, {LED} AS led FROM timesheet AS r WHERE r.id = $1", sheet.id, list(sheet.editors)
    )
    if found is None or not found["anybody"]:
        raise NoApprover(LED_BY_WRITERS if found is not None and found["led"] else None)
