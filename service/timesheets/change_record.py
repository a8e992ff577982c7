"""The log record of a change of a timesheet: state, version and the entries that differ. Pure: owns no state.

Notes and reasons are personal texts: the record holds a commitment, and the texts are stored beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.authorization.enforcement.decision_point import Resource
from service.timesheets.relations import KIND
from service.timesheets.timesheet import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from service.authorization.enforcement.changes import Change
    from service.timesheets.entry import Entry
    from service.timesheets.timesheet import Timesheet


# Steps that keep the reason of the step before.
_WITHOUT_REASON = frozenset({"timesheet.edited", "timesheet.uploaded"})


def record_change(change: Change, event: str, before: Timesheet, after: Timesheet) -> None:
    """Record the change from `before` to `after` as `event`. A `before` with version 0 means that the sheet is new."""
    old = {entry.id: entry for entry in before.entries}
    new = {entry.id: entry for entry in after.entries}
    removed = [entry for entry in before.entries if new.get(entry.id) != entry]
    added = [entry for entry in after.entries if old.get(entry.id) != entry]
    texts = {} if after.reason is None or event in _WITHOUT_REASON else {"reason": after.reason}
    texts |= notes_of(added)
    change.record(
        event,
        resource_of(after),
        before=facts_of(before, removed) if before.version else {},
        after=facts_of(after, added),
        texts=texts,
    )


def resource_of(sheet: Timesheet) -> Resource:
    """The sheet as the resource of a decision or a record."""
    return Resource(KIND, str(sheet.id), sheet.owner, sheet.state, sheet.version)


def facts_of(sheet: Timesheet, entries: Iterable[Entry] = ()) -> dict[str, object]:
    """State, version, week and minutes of the sheet, who approved it, and the given entries; of a submitted sheet also
    how many approvals it needs, unless that is one."""
    facts: dict[str, object] = {
        "state": str(sheet.state),
        "version": sheet.version,
        "period_start": sheet.period_start.isoformat(),
        "minutes": sheet.minutes,
    }
    if sheet.approvals:
        facts["approvals"] = [given.name for given in sheet.approvals]
    if sheet.state is State.SUBMITTED and sheet.approvals_needed != 1:
        facts["approvals_needed"] = sheet.approvals_needed
    if described := [_describe(entry) for entry in entries]:
        facts["entries"] = described
    return facts


def notes_of(entries: Iterable[Entry]) -> Mapping[str, str]:
    """The notes of entries, each as the text `note.ENTRY_ID`."""
    return {f"note.{entry.id}": entry.note for entry in entries if entry.note is not None}


def _describe(entry: Entry) -> dict[str, object]:
    return {
        "id": str(entry.id),
        "day": entry.day.isoformat(),
        "project": entry.project,
        "minutes": entry.minutes,
    }
