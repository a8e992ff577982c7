"""Checks at submission that the sheet has a possible approver. Owns no state; reads the rules of the active version,
and the directory in Postgres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.errors import NoApprover
from service.timesheets.relations import HAS_APPROVER, KIND, LED

if TYPE_CHECKING:
    from service.authorization.enforcement.changes import Permit
    from service.database import Connection
    from service.timesheets.timesheet import Timesheet


LED_BY_WRITERS: Final = (
    "Nobody could approve this: every lead entered hours in it or submits it. A lead may name a delegate, or an"
    " administrator a lead above"
)


async def require_approver(permit: Permit, connection: Connection, sheet: Timesheet) -> None:
    """Raise NoApprover if no manager of the owner, delegate of a manager or fallback approver could approve the sheet:
    people who entered hours or submitted it could not. Nothing is checked if other rules allow `approve`, since holders
    of a role in tokens cannot be counted, or if no rule allows it to fallback approvers, since to name one would not
    help."""
    permit.covers(KIND, "submit")
    who = permit.snapshot.index_of(KIND, "approve").allowing
    if not who <= set(HAS_APPROVER) or "fallback" not in who:
        return
    anybody = " OR ".join(HAS_APPROVER[relation] for relation in sorted(who))
    # Whether there is such a person now, and whether the owner has a lead.
    found = await connection.fetchrow(
        f"SELECT {anybody} AS anybody, {LED} AS led FROM timesheet AS r WHERE r.id = $1", sheet.id, list(sheet.editors)
    )
    if found is None or not found["anybody"]:
        raise NoApprover(LED_BY_WRITERS if found is not None and found["led"] else None)
