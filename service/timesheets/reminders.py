"""Reminders: an event for each sheet that has been pending too long, at most once a day. Owns no state.

The keeper cannot write records, and a reminder is a recorded change. So a scheduled job requests reminders, with a
token that may manage the directory (docs/decisions/0016). It gets the number of sheets, and not which they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from service.authorization.enforcement.changes import Target
from service.errors import InvalidField
from service.places import FieldError
from service.timesheets import approvals_store

if TYPE_CHECKING:
    from service.authorization.enforcement.changes import Answer, Caller
    from service.authorization.enforcement.gate import Gate

MAX_DAYS: Final = 366
MAX_AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True)
class Reminded:
    """For how many sheets a reminder was published, and whether there may be `more`."""

    sheets: int
    more: bool


class Reminders:
    """The use case; it also raises Denied and TryLater."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def remind(self, caller: Caller, days: int) -> Answer[Reminded]:
        """Publish `timesheet.reminded` for sheets that were submitted more than `days` days ago, oldest first. Raises
        InvalidField."""
        if not 0 <= days <= MAX_DAYS:
            raise InvalidField(FieldError("waiting_days", f"must be 0 to {MAX_DAYS}"))
        async with self._gate.change(caller, approvals_store.DIRECTORY, "manage", Target()) as change:
            sheets = await approvals_store.mark_reminded(change.permit, change.connection, days, MAX_AT_ONCE)
            for overdue in sheets:
                facts = {
                    "state": overdue.sheet.state,
                    "version": overdue.sheet.version,
                    "waiting_since": overdue.since,
                    "approvers": [str(approver) for approver in overdue.approvers],
                }
                change.record("timesheet.reminded", overdue.sheet, before={}, after=facts)
        return change.answer(Reminded(len(sheets), len(sheets) == MAX_AT_ONCE))
