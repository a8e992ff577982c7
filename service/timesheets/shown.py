"""Sheets with what the asker may do to them now: for clients that show buttons, and no more calls than without.

Owns no state. Relations are read in the statement that reads the rows; what may be done is computed from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.authorization.enforcement import allowed_actions
from service.pacing import paced
from service.timesheets import listing, store
from service.timesheets.relations import KIND
from service.timesheets.timesheet import TRANSITIONS, Timesheet

if TYPE_CHECKING:
    from uuid import UUID

    from service.authorization.enforcement.changes import Answer
    from service.authorization.enforcement.decision_record import Caller
    from service.authorization.enforcement.gate import Gate
    from service.timesheets.listing import Filters, Place


def possible(state: str) -> tuple[str, ...]:
    """Everything that can be done to a sheet in this state, whoever asks; `create` is about one that there is not."""
    return ("read", *(action for action, transition in TRANSITIONS.items() if state in transition.starts))


@dataclass(frozen=True, slots=True)
class Shown:
    """A sheet, and the actions that the policy would allow the asker on it at the moment it was read, among those that
    its state does not answer with WrongState."""

    sheet: Timesheet
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ShownPage:
    """Sheets, newest period first; `after` is the place to go on from, None on the last page."""

    items: tuple[Shown, ...]
    after: Place | None


class ShownTimesheets:
    """Both methods decide, record and raise as those of `Timesheets` do."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def read(self, caller: Caller, sheet_id: UUID) -> Answer[Shown]:
        """One sheet with its entries and actions."""
        async with self._gate.read(caller, KIND, "read", sheet_id) as reading:
            sheet = store.sheet_of_row(reading.permit, reading.found)
            shown = Shown(sheet, allowed_actions.of_read(reading.permit, possible(sheet.state)))
            reading.returned = [str(sheet_id)]
        return reading.answer(shown)

    async def list(
        self, caller: Caller, filters: Filters, *, after: Place | None = None, limit: int = 50
    ) -> Answer[ShownPage]:
        """A page of what single reads would show to the asker, each sheet with its actions."""
        async with self._gate.list(caller, KIND, "read") as listed:
            page = await listing.page(
                listed.visibility, listed.connection, filters, after=after, limit=limit, with_relations=True
            )
            shown = [
                Shown(sheet, allowed_actions.of_listed_row(listed.visibility, row, possible(sheet.state)))
                async for sheet, row in paced(zip(page.items, page.rows, strict=True))
            ]
            listed.returned = [str(sheet.id) for sheet in page.items]
        return listed.answer(ShownPage(tuple(shown), page.after))
