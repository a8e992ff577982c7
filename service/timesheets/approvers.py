"""Checks at submission that the sheet has a possible approver. Owns no state; reads the rules of the active version,
and the directory in Postgres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.errors import NoApprover
from service.timesheets.relations import KIND, LED, count_approvers, find_people

if TYPE_CHECKING:
    from service.authorization.enforcement.changes import Permit
    from service.authorization.engine.engine import Snapshot
    from service.database import Connection
    from service.timesheets.timesheet import Timesheet


LED_BY_WRITERS: Final = (
    "Nobody could approve this: every lead entered hours in it or submits it. A lead may name a delegate, or an"
    " administrator a lead above"
)

TOO_FEW: Final = (
    "This needs {needed} approvals, and no more than {approvers} could give one. A lead may name a delegate, or an"
    " administrator another lead"
)


async def require_approver(permit: Permit, connection: Connection, sheet: Timesheet) -> None:
    """Raise NoApprover unless as many people as the sheet needs have a relation that allows them to approve it: the
    owner, and people who entered hours or submitted it, could not. Nothing is checked if other rules allow `approve`,
    since holders of a role in tokens cannot be counted, or if no rule allows it to fallback approvers, since to name
    one would not help."""
    permit.covers(KIND, "submit")
    who = permit.snapshot.index_of(KIND, "approve").allowing
    people = find_approvers(permit.snapshot)
    if people.keys() != who or "fallback" not in who:
        return
    needed = sheet.approvals_needed or 1
    # How many such people there are now, and whether the owner has a lead.
    found = await connection.fetchrow(
        f"SELECT {count_approvers(people.values(), needed)} AS approvers, {LED} AS led FROM timesheet AS r"
        " WHERE r.id = $1",
        sheet.id,
        list(sheet.editors),
    )
    if found is None or not found["approvers"]:
        raise NoApprover(LED_BY_WRITERS if found is not None and found["led"] else None)
    if found["approvers"] < needed:
        raise NoApprover(TOO_FEW.format(needed=needed, approvers=found["approvers"]))


def find_approvers(snapshot: Snapshot) -> dict[str, str]:
    """Of the relations that allow `approve` by rules of this version, those of people, each with the SELECT of all who
    have it."""
    people = snapshot.memoize("people", KIND, lambda: find_people(snapshot.vocabulary))
    return {who: people[who] for who in sorted(snapshot.index_of(KIND, "approve").allowing & people.keys())}
