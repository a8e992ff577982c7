"""Rows of one week into the sheet of that week: what is new, what differs, what stands there already. Pure.

A closed sheet takes nothing, but a row that stands in it as it is was delivered before and is no fault
(docs/decisions/0014). A change of many entries has several steps, each a version of its own, so that each fits into a
record of the log.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal

from uuid_utils.compat import uuid7

from service.errors import TimesheetFull, WrongState
from service.timesheets.entry import Entry
from service.timesheets.timesheet import FULL, MAX_ENTRIES, overfull, ready, with_entries
from service.timesheets.upload_rows import WRONG, Fault

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from uuid import UUID

    from service.timesheets.timesheet import By, Timesheet
    from service.timesheets.upload_rows import Row

    Numbered = Sequence[tuple[int, Row]]
    Key = tuple[object, ...]

Outcome = Literal["created", "updated", "unchanged"]
ENTRIES_IN_A_RECORD: Final = 100


@dataclass(slots=True)
class MergedWeek:
    """What becomes of the rows, and of the sheet: the versions from `before` on, the last of which is to be stored.
    Without a step nothing changes. `known`: entries that an upload wrote, by their natural key."""

    before: Timesheet
    known: Mapping[Key, Entry] = field(default_factory=dict)
    outcomes: dict[int, tuple[Outcome, UUID]] = field(default_factory=dict)
    faults: dict[int, list[Fault]] = field(default_factory=dict)
    steps: list[Timesheet] = field(default_factory=list)


def merge(before: Timesheet, rows: Numbered, closed: Mapping[str, str], by: By) -> MergedWeek:
    """Merge rows that are good by themselves; `closed` says of projects why they take no hours, if they do not. A row
    that does not fit is a fault, and the others are merged without it."""
    merged = MergedWeek(before, {_key(entry): entry for entry in before.entries if entry.external_ref is not None})
    left = [row for row in rows if not _misplaced(merged, row, closed)]
    # Every round that does not fit takes rows away: those of a day that is too long, or beyond what a sheet holds.
    while not _fits(merged, left, by):
        left = [one for one in left if one[0] not in merged.faults]
    return merged


def _misplaced(merged: MergedWeek, numbered: tuple[int, Row], closed: Mapping[str, str]) -> bool:
    """Whether a row has no place in this sheet, whatever the other rows are."""
    index, row = numbered
    before = merged.before
    old = merged.known.get(_key(row))
    zone = before.version and row.time_zone not in {None, before.time_zone}
    if zone:
        _blame(merged, [index], WRONG, f"the week's timesheet is in {before.time_zone}", "time_zone")
    if old is None and closed.get(row.project):
        _blame(merged, [index], WRONG, closed[row.project], "project")
    if old is None or not _same(old, row):
        try:
            ready(before, "upload")
        except WrongState as error:
            _blame(merged, [index], error.slug, error.public)
    return index in merged.faults


def _fits(merged: MergedWeek, rows: Numbered, by: By) -> bool:
    """Put the rows in; False, with new faults, if the sheet does not hold them."""
    before = merged.before
    entries = {entry.id: entry for entry in before.entries}
    merged.outcomes = {}
    changed: dict[UUID, int] = {}
    for index, row in rows:
        old = merged.known.get(_key(row))
        entry_id = uuid7() if old is None else old.id
        same = old is not None and _same(old, row)
        merged.outcomes[index] = ("unchanged" if same else "created" if old is None else "updated", entry_id)
        if not same:
            entries[entry_id] = Entry.of(row, entry_id, external_ref=row.external_ref, uploader=by.client)
            changed[entry_id] = index
    if not changed:
        return True
    if full := overfull(tuple(entries.values())):
        day = [index for entry_id, index in changed.items() if entries[entry_id].day == full[0]]
        _blame(merged, day, WRONG, full[1], "minutes")
        return False
    if len(entries) > MAX_ENTRIES:
        created = [index for index, (outcome, _) in merged.outcomes.items() if outcome == "created"]
        beyond = created[MAX_ENTRIES - len(before.entries) :]
        _blame(merged, beyond, TimesheetFull.slug, FULL)
        return False
    merged.steps = _steps(before, entries, list(changed), by)
    return True


def _steps(before: Timesheet, entries: Mapping[UUID, Entry], changed: Sequence[UUID], by: By) -> list[Timesheet]:
    last = with_entries(ready(before, "upload"), tuple(entries.values()), by)
    old = {entry.id: entry for entry in before.entries}
    found: list[Timesheet] = []
    for done in range(ENTRIES_IN_A_RECORD, len(changed) + ENTRIES_IN_A_RECORD, ENTRIES_IN_A_RECORD):
        waiting = set(changed[done:])
        version = before.version + 1 + len(found)
        found.append(replace(last, version=version, entries=_so_far(last.entries, old, waiting)))
    return found


def _so_far(entries: Iterable[Entry], old: Mapping[UUID, Entry], waiting: Collection[UUID]) -> tuple[Entry, ...]:
    """The entries when those that wait were not yet written."""
    now = ((old.get(entry.id) if entry.id in waiting else entry) for entry in entries)
    return tuple(one for one in now if one is not None)


def _same(entry: Entry, row: Row) -> bool:
    return (entry.minutes, entry.note) == (row.minutes, row.note)


def _key(entry: Entry | Row) -> Key:
    return entry.day, entry.project, entry.external_ref


def _blame(merged: MergedWeek, indexes: Iterable[int], slug: str, reason: str, name: str | None = None) -> None:
    for index in indexes:
        merged.faults.setdefault(index, []).append(Fault(slug, reason, name))
