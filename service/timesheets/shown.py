"""Sheets with what the asker may do to them now: for clients that show buttons, and no more calls than without.

Owns no state. Relations are read in the statement that reads the rows; what may be done is computed from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.authorization.enforcement import action_hints
from service.errors import NotFound
from service.pacing import paced
from service.timesheets import listing, store
from service.timesheets.relations import KIND
from service.timesheets.timesheet import TRANSITIONS, Timesheet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from service.authorization.enforcement.changes import Answer
    from service.authorization.enforcement.decision_record import Ask
    from service.authorization.enforcement.enforcement import Enforcement
    from service.authorization.enforcement.permit import Permit
    from service.authorization.enforcement.relationships import Seen
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection
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

    def __init__(self, enforcement: Enforcement) -> None:
        self._enforcement = enforcement

    async def read(self, ask: Ask, sheet_id: UUID) -> Answer[Shown]:
        """One sheet with its entries and actions."""

        async def load(permit: Permit, seen: Seen, _: Connection) -> tuple[Shown, Sequence[str]]:
            if seen.row is None:
                raise NotFound
            sheet = store.sheet_of_row(permit, seen.row)
            return Shown(sheet, action_hints.of_read(permit, possible(sheet.state))), [str(sheet_id)]

        return await self._enforcement.read(ask, KIND, "read", load, row_id=sheet_id)

    async def list(
        self, ask: Ask, filters: Filters, *, after: Place | None = None, limit: int = 50
    ) -> Answer[ShownPage]:
        """A page of what single reads would show to the asker, each sheet with its actions."""

        async def query(visibility: Visibility, connection: Connection) -> tuple[ShownPage, Sequence[str]]:
            page = await listing.page(visibility, connection, filters, after=after, limit=limit, with_relations=True)
            shown = [
                Shown(sheet, action_hints.of_listed_row(visibility, row, possible(sheet.state)))
                async for sheet, row in paced(zip(page.items, page.rows, strict=True))
            ]
            return ShownPage(tuple(shown), page.after), [str(one.id) for one in page.items]

        return await self._enforcement.list(ask, KIND, "read", query)
