"""Merges the rows of one week into its sheet: each row is created, updated or unchanged. Pure.

A closed sheet accepts no change, but a row that is already in it unchanged is no fault (docs/decisions/0014). A change
of many entries has several steps, each a version of its own, so that each fits into a record of the log.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

from service.errors import Conflict, TimesheetFull, WrongState
from service.ids import make_id
from service.timesheets.entry import Entry, find_project_faults
from service.timesheets.timesheet import FULL, MAX_ENTRIES, find_overfull_day, require_state, with_entries
from service.timesheets.upload_rows import WRONG, Fault
from service.values import replace

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from uuid import UUID

    from service.timesheets.entry import ProjectTerms
    from service.timesheets.timesheet import Actor, Timesheet
    from service.timesheets.upload_rows import Row

    Numbered = Sequence[tuple[int, Row]]
    Key = tuple[object, ...]

Outcome = Literal["created", "updated", "unchanged"]
MAX_ENTRIES_PER_RECORD: Final = 100
IN_ANOTHER_SHEET: Final = "is already in another timesheet of this person and week, with other values; change it there"


@dataclass(slots=True)
class MergedWeek:
    """The outcomes and faults of the rows, and the `steps`: versions that follow `before`, of which the last is stored.
    Without steps nothing changes. `known` has the entries of earlier uploads by their natural key; `elsewhere` has
    those in other timesheets of the same person and week, each with its timesheet, and `other_sheets` the timesheets of
    the rows that are there."""

    before: Timesheet
    known: Mapping[Key, Entry] = field(default_factory=dict)
    elsewhere: Mapping[Key, tuple[UUID, Entry]] = field(default_factory=dict)
    outcomes: dict[int, tuple[Outcome, UUID]] = field(default_factory=dict)
    faults: dict[int, list[Fault]] = field(default_factory=dict)
    other_sheets: dict[int, UUID] = field(default_factory=dict)
    steps: list[Timesheet] = field(default_factory=list)

    def in_another_sheet(self, row: Row) -> tuple[UUID, Entry] | None:
        """The timesheet and entry of this row, if it is not in this timesheet but in another."""
        key = _key(row)
        return None if key in self.known else self.elsewhere.get(key)


def merge(
    before: Timesheet,
    rows: Numbered,
    projects: Mapping[str, ProjectTerms],
    actor: Actor,
    elsewhere: Mapping[UUID, Iterable[Entry]] = MappingProxyType({}),
) -> MergedWeek:
    """Merge rows that are valid by themselves; `projects` has theirs. A row that does not fit is a fault, and the
    others are merged without it. `elsewhere` has the entries of the owner's other timesheets of this week, which a
    merge of two people can leave (docs/decisions/0018): a row that is among them is not added again."""
    others = {key: (sheet, entry) for sheet, found in elsewhere.items() for key, entry in _uploaded(found).items()}
    merged = MergedWeek(before, _uploaded(before.entries), others)
    remaining = [row for row in rows if not _find_faults(merged, row, projects)]
    # Every round that does not fit removes rows: those of a day with too many minutes, or beyond the last free entry.
    while not _merge_all(merged, remaining, projects, actor):
        remaining = [row for row in remaining if row[0] not in merged.faults]
    return merged


def _find_faults(merged: MergedWeek, numbered: tuple[int, Row], projects: Mapping[str, ProjectTerms]) -> bool:
    """Add the faults of one row in this sheet, independent of the other rows; return whether there are any."""
    index, row = numbered
    before = merged.before
    if (other := merged.in_another_sheet(row)) is not None:
        if not _is_unchanged(other[1], row):
            _blame(merged, [index], Conflict.slug, IN_ANOTHER_SHEET)
        return index in merged.faults
    old = merged.known.get(_key(row))
    if before.version and row.time_zone not in {None, before.time_zone}:
        _blame(merged, [index], WRONG, f"differs from that of the timesheet, {before.time_zone}", "time_zone")
    for fault in find_project_faults(row, old, projects[row.project]):
        _blame(merged, [index], WRONG, fault.message, fault.field)
    if old is None or not _is_unchanged(old, row):
        try:
            require_state(before, "upload")
        except WrongState as error:
            _blame(merged, [index], error.slug, error.public)
    return index in merged.faults


def _merge_all(merged: MergedWeek, rows: Numbered, projects: Mapping[str, ProjectTerms], actor: Actor) -> bool:
    """Merge the rows; return False, with new faults, if they do not fit into the sheet."""
    before = merged.before
    entries = {entry.id: entry for entry in before.entries}
    merged.outcomes = {}
    changed: dict[UUID, int] = {}
    for index, row in rows:
        if (other := merged.in_another_sheet(row)) is not None:
            merged.other_sheets[index], entry = other
            merged.outcomes[index] = ("unchanged", entry.id)
            continue
        old = merged.known.get(_key(row))
        entry_id = make_id() if old is None else old.id
        same = old is not None and _is_unchanged(old, row)
        merged.outcomes[index] = ("unchanged" if same else "created" if old is None else "updated", entry_id)
        if not same:
            billable = projects[row.project].billable if old is None else old.billable
            entries[entry_id] = Entry.of(
                row, entry_id, external_ref=row.external_ref, uploader=actor.client, billable=billable
            )
            changed[entry_id] = index
    if not changed:
        return True
    if full := find_overfull_day(tuple(entries.values())):
        day = [index for entry_id, index in changed.items() if entries[entry_id].day == full[0]]
        _blame(merged, day, WRONG, full[1], "minutes")
        return False
    if len(entries) > MAX_ENTRIES:
        created = [index for index, (outcome, _) in merged.outcomes.items() if outcome == "created"]
        beyond = created[MAX_ENTRIES - len(before.entries) :]
        _blame(merged, beyond, TimesheetFull.slug, FULL)
        return False
    merged.steps = _steps(before, entries, list(changed), actor)
    return True


def _steps(before: Timesheet, entries: Mapping[UUID, Entry], changed: Sequence[UUID], actor: Actor) -> list[Timesheet]:
    last = with_entries(require_state(before, "upload"), tuple(entries.values()), actor)
    old = {entry.id: entry for entry in before.entries}
    found: list[Timesheet] = []
    for done in range(MAX_ENTRIES_PER_RECORD, len(changed) + MAX_ENTRIES_PER_RECORD, MAX_ENTRIES_PER_RECORD):
        pending = set(changed[done:])
        version = before.version + 1 + len(found)
        found.append(replace(last, version=version, entries=_entries_so_far(last.entries, old, pending)))
    return found


def _entries_so_far(
    entries: Iterable[Entry], old: Mapping[UUID, Entry], pending: Collection[UUID]
) -> tuple[Entry, ...]:
    """The entries before the pending ones are written."""
    written = ((old.get(entry.id) if entry.id in pending else entry) for entry in entries)
    return tuple(entry for entry in written if entry is not None)


def _is_unchanged(entry: Entry, row: Row) -> bool:
    return (entry.minutes, entry.note, entry.activity, entry.tags) == (
        row.minutes,
        row.note,
        row.activity,
        row.tags,
    ) and row.billable in {None, entry.billable}


def _uploaded(entries: Iterable[Entry]) -> dict[Key, Entry]:
    return {_key(entry): entry for entry in entries if entry.external_ref is not None}


def _key(entry: Entry | Row) -> Key:
    return entry.day, entry.project, entry.external_ref


def _blame(merged: MergedWeek, indexes: Iterable[int], slug: str, reason: str, name: str | None = None) -> None:
    for index in indexes:
        merged.faults.setdefault(index, []).append(Fault(slug, reason, name))
