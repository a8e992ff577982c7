"""A week as a grid of projects and days: built from a sheet, and compared with what a form holds. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from service.standalone.client import Entry

DAYS_PER_WEEK = 7
MINUTES_PER_DAY = 24 * 60
_HOURS = re.compile(
    r"(\d{1,2}):([0-5]\d)|(\d{1,2})(?:[.,](\d{1,2}))?\s*h?|(\d{1,2})\s*h\s*([0-5]?\d)\s*m?|(\d{1,4})\s*m(?:in)?"
)


class WrongHours(ValueError):
    """A cell does not hold a time."""


@dataclass(slots=True)
class Cell:
    """The time of a project on a day. It can be edited in the grid if it has at most one entry."""

    day: date
    project: str
    entries: list[Entry] = field(default_factory=list)
    typed: str | None = None
    problem: str = ""

    @property
    def minutes(self) -> int:
        return sum(entry.minutes for entry in self.entries)

    @property
    def editable(self) -> bool:
        return len(self.entries) <= 1

    @property
    def name(self) -> str:
        """The name of its field in a form."""
        return f"{self.project}/{self.day.isoformat()}"


@dataclass(slots=True)
class Grid:
    """The cells of a week, by project and day. `notes` are those that were typed, by entry."""

    days: list[date]
    rows: dict[str, list[Cell]]
    notes: dict[str, str] = field(default_factory=dict)

    def day_minutes(self, number: int) -> int:
        """The minutes of a day of the week."""
        return sum(cells[number].minutes for cells in self.rows.values())

    def row_minutes(self, project: str) -> int:
        """The minutes of a project."""
        return sum(cell.minutes for cell in self.rows[project])

    @property
    def minutes(self) -> int:
        return sum(map(self.row_minutes, self.rows))


@dataclass(frozen=True, slots=True)
class WeekEdits:
    """Entries to remove, by id; to amend, by id with the new fields; and to add."""

    removed: tuple[str, ...]
    amended: tuple[tuple[str, dict[str, Any]], ...]
    added: tuple[Mapping[str, Any], ...]


def monday_of(day: date) -> date:
    """The first day of a week."""
    return day - timedelta(days=day.weekday())


def make_grid(monday: date, entries: Iterable[Entry], projects: Sequence[str] = ()) -> Grid:
    """The grid of a week: a row for each project with entries, and for those that are named."""
    days = [monday + timedelta(days=number) for number in range(DAYS_PER_WEEK)]
    found = list(entries)
    names = sorted({entry.project for entry in found} | set(projects))
    rows = {name: [Cell(day, name) for day in days] for name in names}
    for entry in found:
        rows[entry.project][(entry.day - monday).days].entries.append(entry)
    return Grid(days, rows)


def read_form(grid: Grid, form: Mapping[str, str]) -> list[dict[str, Any]]:
    """The entries of the whole week that a form holds, as the API takes them. Cells and notes keep what was typed.

    Raises WrongHours at the end if cells are wrong; those have a problem.
    """
    entries: list[dict[str, Any]] = []
    wrong = False
    grid.notes = {name.removeprefix("note:"): text for name, text in form.items() if name.startswith("note:")}
    for cell in (cell for cells in grid.rows.values() for cell in cells):
        cell.typed = form.get(cell.name) if cell.editable else None
        kept = [_kept_entry(entry, form) for entry in cell.entries]
        if cell.typed is not None:
            try:
                minutes = parse_hours(cell.typed)
            except WrongHours as error:
                cell.problem, wrong = str(error), True
                continue
            new = kept[0] if kept else {"day": cell.day, "project": cell.project}
            kept = [{**new, "minutes": minutes}] if minutes else []
        entries += kept
    if wrong:
        raise WrongHours
    return entries


def list_unsaved(typed: Grid, saved: Grid) -> list[tuple[str, date, str, str]]:
    """What was typed into a grid and differs from what is saved: the project, the day, the hours and the note; of the
    last two, one is empty."""
    hours = {cell.name: cell.minutes for cells in saved.rows.values() for cell in cells}
    notes = {entry.id: entry.note for cells in saved.rows.values() for cell in cells for entry in cell.entries}
    cells = [cell for cells in typed.rows.values() for cell in cells]
    found = [
        (cell.project, cell.day, cell.typed.strip() or "0", "")
        for cell in cells
        if cell.typed is not None and not _is_typed(cell.typed, hours.get(cell.name, 0))
    ]
    for entry in (entry for cell in cells for entry in cell.entries):
        note = typed.notes.get(entry.id, "")
        # A browser may send other line ends than it got.
        if entry.id in typed.notes and note.split() != (notes.get(entry.id) or "").split():
            found.append((entry.project, entry.day, "", note.strip() or "none"))
    return found


def _is_typed(text: str, minutes: int) -> bool:
    try:
        return parse_hours(text) == minutes
    except WrongHours:
        return False


def _kept_entry(entry: Entry, form: Mapping[str, str]) -> dict[str, Any]:
    """An entry with its id, with the note of the form, and with all else that a replacement would take away."""
    note = form.get(f"note:{entry.id}", entry.note or "").strip()
    kept = {"id": entry.id, "day": entry.day, "project": entry.project, "minutes": entry.minutes}
    more = {"activity": entry.activity, "billable": entry.billable, "tags": entry.tags}
    return {**kept, **more, "note": note or None}


def is_same(entries: Sequence[Mapping[str, Any]], before: Sequence[Entry]) -> bool:
    """Whether these are the entries that the sheet has."""
    known = {entry.id: (entry.minutes, entry.note) for entry in before}
    return {entry.get("id"): (entry["minutes"], entry.get("note")) for entry in entries} == known


def find_changes(entries: Sequence[Mapping[str, Any]], before: Sequence[Entry]) -> WeekEdits:
    """The edits that turn the entries `before` of a sheet into these. Hours that become fewer come
    first, so that no day holds more than 24 of them meanwhile."""
    known = {entry.id: entry for entry in before}
    kept = {entry["id"]: entry for entry in entries if "id" in entry}
    changed = [
        (entry_id, entry)
        for entry_id, entry in kept.items()
        if (entry["minutes"], entry["note"]) != (known[entry_id].minutes, known[entry_id].note)
    ]
    changed.sort(key=lambda change: change[1]["minutes"] - known[change[0]].minutes)
    amended = [(entry_id, {name: entry[name] for name in ("minutes", "note")}) for entry_id, entry in changed]
    added = [entry for entry in entries if "id" not in entry]
    return WeekEdits(tuple(known.keys() - kept.keys()), tuple(amended), tuple(added))


def parse_hours(text: str) -> int:
    """Minutes of a time as people write it: `7:30`, `7.5`, `7,5`, `8`, `7h30`, `450m`; nothing is 0.

    Raises WrongHours."""
    text = text.strip().lower()
    if not text:
        return 0
    found = _HOURS.fullmatch(text) if text.isascii() else None
    if found is None:
        raise WrongHours("Write a time like 7:30 or 7.5")
    clock_hours, clock_minutes, hours, fraction, spoken_hours, spoken_minutes, only_minutes = found.groups()
    if only_minutes is not None:
        minutes = int(only_minutes)
    elif clock_hours is not None or spoken_hours is not None:
        minutes = int(clock_hours or spoken_hours) * 60 + int(clock_minutes or spoken_minutes)
    else:
        minutes = int(hours) * 60 + round(int(fraction or 0) * 60 / 10 ** len(fraction or ""))
    if minutes > MINUTES_PER_DAY:
        raise WrongHours("A day has 24 hours")
    return minutes
