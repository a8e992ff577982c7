"""The life of a timesheet: which state follows which, and what may be written when. Pure: owns no state.

A sheet that was handed in is frozen, so that the approver approves what they saw. Every change makes a new Timesheet
whose version is one more.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from service.errors import Conflict, Forbidden, NotFound, TimesheetFull, WrongState
from service.timesheets.entry import MAX_MINUTES, WEEK, Amendment, Entry, check_hours, check_reason, wrong

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import date
    from uuid import UUID

    from service.timesheets.entry import Hours

MAX_ENTRIES = 500
FULL = f"A timesheet holds at most {MAX_ENTRIES} entries; put hours of one project and day together"


class State(StrEnum):
    """Where a sheet stands between its owner and whoever approves it."""

    DRAFT = "draft"
    SUBMITTED = "submitted"
    APPROVED = "approved"
    REJECTED = "rejected"
    LOCKED = "locked"


@dataclass(frozen=True, slots=True)
class Transition:
    """An action: the states that it starts from, and the one that it leads to; None when it leaves the state alone."""

    starts: frozenset[State]
    leads_to: State | None = None


_OPEN = frozenset({State.DRAFT, State.REJECTED})
_WAITING = frozenset({State.SUBMITTED})
_APPROVED = frozenset({State.APPROVED})

TRANSITIONS: Mapping[str, Transition] = MappingProxyType(
    {
        "edit": Transition(_OPEN),
        "upload": Transition(_OPEN),
        "delete": Transition(_OPEN),
        "submit": Transition(_OPEN, State.SUBMITTED),
        "withdraw": Transition(_WAITING, State.DRAFT),
        "approve": Transition(_WAITING, State.APPROVED),
        "reject": Transition(_WAITING, State.REJECTED),
        "reopen": Transition(_APPROVED, State.DRAFT),
        "lock": Transition(_APPROVED, State.LOCKED),
        "unlock": Transition(frozenset({State.LOCKED}), State.APPROVED),
    }
)


NOT_STORED = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class By:
    """Who does it: a person, or a client that acts for itself. `ids` are all by which the person is known to the laws:
    of others who were merged into them, and from before an erasure. `app` is the client through which a person acts."""

    person: UUID | None = None
    client: str | None = None
    ids: frozenset[UUID] = field(default=frozenset(), compare=False)
    app: str | None = field(default=None, compare=False)

    def is_any_of(self, people: Iterable[UUID]) -> bool:
        """Whether the person is one of these, under whatever id."""
        return self.person is not None and not {self.person, *self.ids}.isdisjoint(people)

    def acts_through(self, clients: Collection[str]) -> bool:
        """Whether one of these clients acts, for itself or for a person."""
        return self.client in clients or self.app in clients


@dataclass(frozen=True, slots=True, kw_only=True)
class Timesheet:
    """One person's week, Monday to Sunday, as local dates in `time_zone` (IANA), which is the sheet's and no viewer's.

    `editors` are all the people who ever wrote in it or handed it in, `uploaders` all the clients that did so for
    themselves; both only grow. `reason` is why it was rejected, reopened, locked or unlocked, if that was the last
    step; `locked_by` is who locked it, for as long as it is locked. `submitted_at` and `decided_at` are of the last
    time that it was handed in, and approved or rejected, `decided_by` is who did that; a draft has none of them. The
    database sets the times, in UTC, and who decided.
    """

    id: UUID
    owner: UUID
    period_start: date
    time_zone: str
    state: State = State.DRAFT
    version: int = 1
    editors: frozenset[UUID] = frozenset()
    uploaders: frozenset[str] = frozenset()
    reason: str | None = None
    locked_by: By | None = None
    created_at: datetime = NOT_STORED
    updated_at: datetime = NOT_STORED
    submitted_at: datetime | None = None
    decided_at: datetime | None = None
    decided_by: By | None = None
    entries: tuple[Entry, ...] = ()

    @property
    def period_end(self) -> date:
        return self.period_start + timedelta(days=6)

    @property
    def minutes(self) -> int:
        """The minutes of the whole week."""
        return sum(entry.minutes for entry in self.entries)

    def entry(self, entry_id: UUID) -> Entry:
        """One of its entries. Raises NotFound."""
        found = next((entry for entry in self.entries if entry.id == entry_id), None)
        if found is None:
            raise NotFound("There is no such entry in this timesheet")
        return found


def ready(sheet: Timesheet, action: str) -> Timesheet:
    """The same sheet, if its state allows the action. Raises WrongState."""
    starts = TRANSITIONS[action].starts
    if sheet.state not in starts:
        wanted = " or ".join(sorted(starts))
        raise WrongState(
            f"The timesheet is {sheet.state}; this needs it to be {wanted}",
            extra={"state": str(sheet.state), "wanted": wanted},
        )
    return sheet


def add(sheet: Timesheet, entry: Entry, by: By) -> Timesheet:
    """With one more entry. Raises WrongState, InvalidField, Conflict."""
    return with_entries(ready(sheet, "edit"), (*sheet.entries, _fitting(sheet, entry)), by)


def replace_entry(sheet: Timesheet, entry_id: UUID, hours: Hours, by: By) -> Timesheet:
    """With other hours in one entry. Raises WrongState, NotFound, InvalidField."""
    old = ready(sheet, "edit").entry(entry_id)
    new = _fitting(sheet, Entry.of(hours, old.id, external_ref=old.external_ref, uploader=old.uploader))
    return with_entries(sheet, tuple(new if entry is old else entry for entry in sheet.entries), by)


def amend_entry(sheet: Timesheet, entry_id: UUID, amendment: Amendment, by: By) -> Timesheet:
    """With other values in some fields of one entry, or, where none is named, as it is. Raises as `replace_entry`."""
    old = ready(sheet, "edit").entry(entry_id)
    return sheet if amendment == Amendment() else replace_entry(sheet, entry_id, amendment.of(old), by)


def remove(sheet: Timesheet, entry_id: UUID, by: By) -> Timesheet:
    """Without one entry. Raises WrongState, NotFound."""
    gone = ready(sheet, "edit").entry(entry_id)
    return with_entries(sheet, tuple(entry for entry in sheet.entries if entry is not gone), by)


def with_entries(sheet: Timesheet, entries: tuple[Entry, ...], by: By) -> Timesheet:
    """The next version with these entries, all of which fit the period. Raises InvalidField, Conflict."""
    if full := overfull(entries):
        raise wrong("minutes", full[1])
    if len(entries) > MAX_ENTRIES:
        raise TimesheetFull(FULL)
    ordered = tuple(sorted(entries, key=lambda entry: (entry.day, entry.id)))
    return replace(_written(sheet, by), version=sheet.version + 1, entries=ordered)


def projects_entered(before: Timesheet, after: Timesheet) -> frozenset[str]:
    """The projects on which something was entered between two versions. What stood there already may stay on a project
    that has been closed since."""
    known = {entry.id: entry.project for entry in before.entries}
    return frozenset(entry.project for entry in after.entries if known.get(entry.id) != entry.project)


def overfull(entries: tuple[Entry, ...]) -> tuple[date, str] | None:
    """The first day with more minutes than a day has, and the sentence that says so."""
    totals: Counter[date] = Counter()
    for entry in entries:
        totals[entry.day] += entry.minutes
    return next(
        (
            (day, f"{day} would have {minutes} minutes, and a day has {MAX_MINUTES}")
            for day, minutes in sorted(totals.items())
            if minutes > MAX_MINUTES
        ),
        None,
    )


def delete(sheet: Timesheet) -> None:
    """Judge whether the sheet may go. Raises WrongState."""
    ready(sheet, "delete")


def submit(sheet: Timesheet, by: By) -> Timesheet:
    """Hand it in. Raises WrongState, and Conflict for a sheet without entries."""
    if not ready(sheet, "submit").entries:
        raise Conflict("A timesheet without entries cannot be submitted")
    return _written(_moved(sheet, "submit"), by)


def withdraw(sheet: Timesheet) -> Timesheet:
    """Take it back before it was judged. Raises WrongState."""
    return _moved(sheet, "withdraw")


def approve(sheet: Timesheet, by: By) -> Timesheet:
    """Accept it. Raises WrongState, and Forbidden for whoever owns it or ever edited, submitted or uploaded it, and for
    a person who acts through the client that uploaded it, whatever any policy says."""
    if by.is_any_of({sheet.owner, *sheet.editors}) or by.acts_through(sheet.uploaders) or by == By():
        raise Forbidden(["nobody approves hours that are their own, or that they entered or submitted"])
    return _moved(sheet, "approve")


def reject(sheet: Timesheet, reason: str) -> Timesheet:
    """Send it back. Raises WrongState, InvalidField."""
    check_reason(reason)
    return _moved(sheet, "reject", reason)


def reopen(sheet: Timesheet, reason: str) -> Timesheet:
    """Take an approval back. Raises WrongState, InvalidField."""
    check_reason(reason)
    return _moved(sheet, "reopen", reason)


def lock(sheet: Timesheet, reason: str, by: By) -> Timesheet:
    """Hand it to payroll: nothing changes it until it is unlocked. Raises WrongState, InvalidField."""
    check_reason(reason)
    return replace(_moved(sheet, "lock", reason), locked_by=by)


def unlock(sheet: Timesheet, reason: str, by: By) -> Timesheet:
    """Take it back from payroll. Raises WrongState, InvalidField, and Forbidden for whoever locked it, whatever any
    policy says."""
    check_reason(reason)
    unlocked = replace(_moved(sheet, "unlock", reason), locked_by=None)
    locker = sheet.locked_by
    if locker is None or by in {locker, By()} or (locker.person and by.is_any_of({locker.person})):
        raise Forbidden(["nobody unlocks what they locked themselves"])
    return unlocked


def _written(sheet: Timesheet, by: By) -> Timesheet:
    """The sheet, with whoever wrote in it or handed it in remembered for good."""
    return replace(
        sheet,
        editors=sheet.editors | ({by.person} if by.person else set()),
        uploaders=sheet.uploaders | ({by.client} if by.client else set()),
    )


def _moved(sheet: Timesheet, action: str, reason: str | None = None) -> Timesheet:
    state = TRANSITIONS[action].leads_to or sheet.state
    return replace(ready(sheet, action), state=state, version=sheet.version + 1, reason=reason)


def _fitting(sheet: Timesheet, entry: Entry) -> Entry:
    check_hours(entry)
    if not sheet.period_start <= entry.day < sheet.period_start + WEEK:
        raise wrong("day", f"must lie in the timesheet's week, {sheet.period_start} to {sheet.period_end}")
    return entry
