"""Reminders: an event for each sheet that has waited too long, at most once a day. Owns no state.

The keeper cannot write records, and a reminder is a change that the log publishes, so somebody asks for them: a job
with a token that may manage the directory (docs/decisions/0016). It learns how many there were, and of no sheet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from service.authorization.enforcement.changes import Target
from service.errors import InvalidField
from service.places import FieldError
from service.timesheets import waiting

if TYPE_CHECKING:
    from service.authorization.enforcement.changes import Answer
    from service.authorization.enforcement.decision_record import Caller
    from service.authorization.enforcement.gate import Gate

MAX_DAYS: Final = 366
MAX_AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True)
class Reminded:
    """How many sheets' approvers were reminded, and whether there may be `more` to ask for."""

    sheets: int
    more: bool


class Reminders:
    """The use case; raises Denied and TryLater too."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def remind(self, caller: Caller, days: int) -> Answer[Reminded]:
        """Publish `timesheet.reminded` for sheets that were handed in more than `days` days ago, the oldest first.
        Raises InvalidField."""
        if not 0 <= days <= MAX_DAYS:
            raise InvalidField(FieldError("waiting_days", f"must be 0 to {MAX_DAYS}"))
        async with self._gate.change(caller, waiting.DIRECTORY, "manage", Target()) as change:
            found = await waiting.remind(change.permit, change.connection, days, MAX_AT_ONCE)
            for due in found:
                told = {
                    "state": due.sheet.state,
                    "version": due.sheet.version,
                    "waiting_since": due.since,
                    "approvers": [str(approver) for approver in due.approvers],
                }
                change.record("timesheet.reminded", due.sheet, before={}, after=told)
        return change.answer(Reminded(len(found), len(found) == MAX_AT_ONCE))
