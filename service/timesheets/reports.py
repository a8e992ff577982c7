"""Reports: hours by person, project, team or week, of exactly those sheets that single reads would show. Owns no state.

The log holds every sheet that a report was made of, so a report is bounded by the sheets that it looks at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from service.authorization.enforcement.changes import refused_under
from service.errors import InvalidField
from service.places import FieldError
from service.timesheets import reports_store
from service.timesheets.relations import KIND

if TYPE_CHECKING:
    from service.authorization.enforcement.changes import Answer
    from service.authorization.enforcement.decision_record import Caller
    from service.authorization.enforcement.gate import Gate
    from service.timesheets.reports_store import By, Span, Total

MAX_DAYS: Final = 366
MAX_SHEETS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Report:
    """Totals in minutes, in the order of their keys; `minutes` and `sheets` are those of the whole."""

    totals: tuple[Total, ...]
    minutes: int
    sheets: int


class Reports:
    """The use case; raises Denied and TryLater too."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def hours(self, caller: Caller, by: By, span: Span) -> Answer[Report]:
        """Add up the minutes that the asker may read. Raises InvalidField for a span that is turned round, longer than
        366 days or of more than 10,000 sheets."""
        if span.until < span.since:
            raise InvalidField(FieldError("query.until", "must not be before since"))
        if (span.until - span.since).days >= MAX_DAYS:
            raise InvalidField(FieldError("query.until", f"must be less than {MAX_DAYS} days after since"))
        report = Report((), 0, 0)
        async with self._gate.list(caller, KIND, "read") as listed:
            connection = listed.connection
            sheets = await reports_store.visible_sheets(listed.visibility, connection, span, MAX_SHEETS + 1)
            if len(sheets) <= MAX_SHEETS:
                totals = await reports_store.totals(connection, sheets, span, by)
                report = Report(totals, await reports_store.minutes(connection, sheets, span), len(sheets))
                listed.returned = [str(sheet) for sheet in sheets]
        if len(sheets) > MAX_SHEETS:
            with refused_under(listed.receipt):
                raise InvalidField(FieldError("query.since", f"a report is of {MAX_SHEETS} timesheets at the most"))
        return listed.answer(report)
