"""What the log is told of a changed sheet: states, versions and the entries that differ. Pure: owns no state.

Notes and reasons are people's words, so a record only commits to them; they are handed on beside it as texts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.authorization.enforcement.decision_point import Resource
from service.timesheets.relations import KIND

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from service.authorization.enforcement.changes import Change
    from service.timesheets.entry import Entry
    from service.timesheets.timesheet import Timesheet


def changed(change: Change, event: str, before: Timesheet, after: Timesheet) -> None:
    """Have the way from `before`, which has version 0 if it never was, to `after` recorded as `event`."""
    old = {entry.id: entry for entry in before.entries}
    new = {entry.id: entry for entry in after.entries}
    gone = [entry for entry in before.entries if new.get(entry.id) != entry]
    came = [entry for entry in after.entries if old.get(entry.id) != entry]
    texts = {} if after.reason is None or after.reason == before.reason else {"reason": after.reason}
    texts |= notes_of(came)
    change.record(
        event,
        resource_of(after),
        before=facts_of(before, gone) if before.version else {},
        after=facts_of(after, came),
        texts=texts,
    )


def resource_of(sheet: Timesheet) -> Resource:
    """The sheet as decisions and records name it."""
    return Resource(KIND, str(sheet.id), sheet.owner, sheet.state, sheet.version)


def facts_of(sheet: Timesheet, entries: Iterable[Entry] = ()) -> dict[str, object]:
    """State and version, whose week it is, and these of its entries."""
    facts: dict[str, object] = {
        "state": str(sheet.state),
        "version": sheet.version,
        "period_start": sheet.period_start.isoformat(),
        "minutes": sheet.minutes,
    }
    if listed := [_entry(entry) for entry in entries]:
        facts["entries"] = listed
    return facts


def notes_of(entries: Iterable[Entry]) -> Mapping[str, str]:
    """The notes of entries, each under a name of its own."""
    return {f"note.{entry.id}": entry.note for entry in entries if entry.note is not None}


def _entry(entry: Entry) -> dict[str, object]:
    return {
        "id": str(entry.id),
        "day": entry.day.isoformat(),
        "project": entry.project,
        "minutes": entry.minutes,
    }
