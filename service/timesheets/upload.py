"""Import of contractors' hours by a client that acts for itself: up to 100 rows, all or nothing. Owns no state.

A row is known by (owner, day, project, external_ref), so a job that runs twice changes nothing. One decision is made
for each sheet that the rows touch; sheets are locked in the order of owner and week, so that two jobs cannot block each
other.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from uuid_utils.compat import uuid7

from service.authorization.changes import Target
from service.authorization.relationships import asker
from service.errors import Forbidden, InsufficientScope, TimewardenError, WrongState
from service.fields import Fields
from service.timesheets import store
from service.timesheets.changed import changed
from service.timesheets.entry import (
    LONGEST_REFERENCE,
    Entry,
    Hours,
    judge_hours,
    judge_zone,
    week_of,
    wrong,
)
from service.timesheets.relations import KIND
from service.timesheets.timesheet import By, Timesheet, overfull, projects_entered, ready, with_entries

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date
    from uuid import UUID

    from service.authorization.changes import AnswerToAll, Change
    from service.authorization.decision_record import Ask
    from service.authorization.enforcement import Enforcement

    Week = tuple[UUID, date]
    Numbered = Sequence[tuple[int, "Row"]]

MOST_ROWS = 100
DEFAULT_ZONE = "UTC"
NOT_FOR_YOU = "you may not upload for this person and week: no grant covers them, or their timesheet is closed"

Outcome = Literal["created", "updated", "unchanged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row(Hours):
    """Hours of the person `owner`. `time_zone` is for a sheet that has to be made (UTC if none is given)."""

    owner: UUID
    external_ref: str
    time_zone: str | None = None


@dataclass(frozen=True, slots=True)
class RowResult:
    """What became of the row with this index (from 0): its sheet and entry, and whether anything changed."""

    row: int
    outcome: Outcome
    timesheet: UUID
    entry: UUID


class Uploads:
    """The use case of importing jobs."""

    def __init__(self, enforcement: Enforcement) -> None:
        self._enforcement = enforcement

    async def upload(self, ask: Ask, rows: Sequence[Row]) -> AnswerToAll[Sequence[RowResult]]:
        """Import all rows or none; results come in the order of the rows, receipts in the order of owner and week.

        Raises InvalidField with paths such as `rows[3].minutes`; Forbidden or WrongState, whose extra `rows` tells
        each refused row; InsufficientScope; Conflict; TryLater.
        """
        _check(rows)
        weeks: dict[Week, list[tuple[int, Row]]] = defaultdict(list)
        for index, row in enumerate(rows):
            weeks[row.owner, week_of(row.day)].append((index, row))
        order = sorted(weeks)
        by = By(*asker(ask.principal))

        async def work(changes: Sequence[Change]) -> Sequence[RowResult]:
            results: list[RowResult] = []
            for change, week in zip(changes, order, strict=True):
                results += await _import(change, week, weeks[week], by)
            return sorted(results, key=lambda one: one.row)

        def denied(refusals: Mapping[int, TimewardenError]) -> TimewardenError:
            return _refusal({index: error for place, error in refusals.items() for index, _ in weeks[order[place]]})

        targets = [Target(lock=store.lock_week(*week), owner=week[0]) for week in order]
        return await self._enforcement.change_all(ask, KIND, "upload", targets, work, denied=denied)


def _check(rows: Sequence[Row]) -> None:
    if not 1 <= len(rows) <= MOST_ROWS:
        raise wrong("rows", f"must be 1 to {MOST_ROWS}")
    fields = Fields()
    first: dict[tuple[object, ...], int] = {}
    zones: dict[Week, str] = {}
    for index, row in enumerate(rows):
        prefix = f"rows[{index}]."
        judge_hours(row, fields, prefix)
        fields.text(f"{prefix}external_ref", row.external_ref, LONGEST_REFERENCE)
        twin = first.setdefault((row.owner, row.day, row.project, row.external_ref), index)
        if twin != index:
            fields.wrong(f"{prefix}external_ref", f"is that of rows[{twin}], for the same owner, day and project")
        if row.time_zone is not None:
            judge_zone(row.time_zone, fields, f"{prefix}time_zone")
            if zones.setdefault((row.owner, week_of(row.day)), row.time_zone) != row.time_zone:
                fields.wrong(f"{prefix}time_zone", "differs from that of another row for the same owner and week")
    fields.refuse()


async def _import(change: Change, week: Week, rows: Numbered, by: By) -> list[RowResult]:
    """Merge the rows of one week into its sheet, which is made if there is none."""
    if change.row is None:
        zone = next((row.time_zone for _, row in rows if row.time_zone), DEFAULT_ZONE)
        before = Timesheet(id=uuid7(), owner=week[0], period_start=week[1], time_zone=zone, version=0)
    else:
        before = store.sheet_of_row(change.permit, change.row)
    entries, results = _merged(before, rows, by)
    if all(one.outcome == "unchanged" for one in results):
        return results
    if full := overfull(entries):
        last = next(index for index, row in reversed(rows) if row.day == full[0])
        raise wrong(f"rows[{last}].minutes", full[1])
    after = with_entries(ready(before, "upload"), entries, by)
    closed = await store.closed_projects(change.permit, change.connection, projects_entered(before, after))
    fields = Fields()
    for index, row in rows:
        if row.project in closed:
            fields.wrong(f"rows[{index}].project", closed[row.project])
    fields.refuse()
    if change.row is None:
        after = await store.create(change.permit, change.connection, after)
    else:
        after = await store.save(change.permit, change.connection, before, after)
    changed(change, "timesheet.uploaded", before, after)
    return results


def _merged(sheet: Timesheet, rows: Numbered, by: By) -> tuple[tuple[Entry, ...], list[RowResult]]:
    known = {(one.day, one.project, one.external_ref): one for one in sheet.entries if one.external_ref is not None}
    entries = {one.id: one for one in sheet.entries}
    results: list[RowResult] = []
    for index, row in rows:
        if sheet.version and row.time_zone not in {None, sheet.time_zone}:
            raise wrong(f"rows[{index}].time_zone", f"the week's timesheet is in {sheet.time_zone}")
        old = known.get((row.day, row.project, row.external_ref))
        outcome: Outcome = "created"
        if old is not None:
            outcome = "unchanged" if (old.minutes, old.note) == (row.minutes, row.note) else "updated"
        entry_id = uuid7() if old is None else old.id
        if outcome != "unchanged":
            entries[entry_id] = Entry.of(row, entry_id, external_ref=row.external_ref, uploader=by.client)
        results.append(RowResult(index, outcome, sheet.id, entry_id))
    return tuple(entries.values()), results


def _refusal(refused: Mapping[int, TimewardenError]) -> TimewardenError:
    """One error for all refused rows, which is the same for a sheet that the client may not know of as for none."""
    scope = next((one for one in refused.values() if isinstance(one, InsufficientScope)), None)
    if scope is not None:
        return scope
    told = [
        {"row": index, "reason": error.public if isinstance(error, WrongState) else NOT_FOR_YOU}
        for index, error in sorted(refused.items())
    ]
    if all(isinstance(error, WrongState) for error in refused.values()):
        return WrongState(f"rows[{told[0]['row']}]: {told[0]['reason']}", extra={"rows": told})
    error = Forbidden([f"rows[{one['row']}]: {one['reason']}" for one in told])
    error.extra["rows"] = told
    return error
