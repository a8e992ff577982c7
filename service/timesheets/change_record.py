"""The log record of a change of a timesheet: state, version and the entries that differ. Pure: owns no state.

Notes, tags and reasons are personal texts: the record holds a commitment, and the texts are stored beside it.
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
    texts |= texts_of(after, added, before)
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
    """State, version, week and minutes of the sheet, who approved it, the days with notes, and the given entries; of a
    submitted sheet also how many approvals it needs, unless that is one."""
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
    if sheet.day_notes:
        facts["day_notes"] = [day.isoformat() for day, _ in sheet.day_notes]
    if described := [_describe(entry) for entry in entries]:
        facts["entries"] = described
    return facts


def texts_of(sheet: Timesheet, entries: Iterable[Entry], before: Timesheet | None = None) -> Mapping[str, str]:
    """The notes and tags of entries, as the texts `note.ENTRY_ID` and `tags.ENTRY_ID`, and the notes on days that
    differ from those `before`, as `day.DAY`."""
    found: dict[str, str] = {}
    for entry in entries:
        if entry.note is not None:
            found[f"note.{entry.id}"] = entry.note
        if entry.tags:
            found[f"tags.{entry.id}"] = ", ".join(entry.tags)
    known = set() if before is None else set(before.day_notes)
    return found | {f"day.{day}": note for day, note in sheet.day_notes if (day, note) not in known}


def _describe(entry: Entry) -> dict[str, object]:
    described: dict[str, object] = {
        "id": str(entry.id),
        "day": entry.day.isoformat(),
        "project": entry.project,
        "minutes": entry.minutes,
    }
    if entry.activity is not None:
        described["activity"] = entry.activity
    if entry.billable:
        described["billable"] = True
    return described
