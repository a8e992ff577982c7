"""The state machine of a timesheet: transitions between states, and edits of entries. Pure: owns no state.

A submitted timesheet cannot be edited, so every approver decides on what they have read. It stays submitted until it
has all the approvals that it needs. Every change returns a new Timesheet whose version is one higher.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from service.errors import Conflict, Forbidden, NotFound, TimesheetFull, WrongState
from service.fields import Fields
from service.ids import make_id
from service.places import FieldError
from service.policy.approval import MAX_APPROVALS
from service.timesheets.entry import (
    MAX_MINUTES,
    MAX_NOTE_LENGTH,
    WEEK,
    Entry,
    check_comment,
    check_hours,
    check_reason,
    find_project_faults,
    hours_of,
    invalid_field,
    validate_hours,
)
from service.values import Struct, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from datetime import date
    from uuid import UUID

    from service.timesheets.entry import Amendment, Hours, ProjectTerms, WeekHours

MAX_ENTRIES = 500
# Entries of one request. One record of the log describes all that change, before and after.
MAX_ENTRIES_AT_ONCE = 100
TOO_MANY_APPROVALS = (
    f"This timesheet has {MAX_APPROVALS - 1} approvals, and another would not complete them. Withdraw or reject it,"
    " and have the policy looked at"
)
APPROVED_BEFORE = "You have approved this timesheet already; the approvals that it still needs are other people's"
FULL = f"A timesheet holds at most {MAX_ENTRIES} entries; combine hours of one day and project"


class State(StrEnum):
    """The state of a timesheet."""

    DRAFT = "draft"
    SUBMITTED = "submitted"
    APPROVED = "approved"
    REJECTED = "rejected"
    LOCKED = "locked"


@dataclass(frozen=True, slots=True)
class Transition:
    """An action: the states that it starts from, and the state that it leads to, or None if it keeps the state."""

    starts: frozenset[State]
    leads_to: State | None = None


_OPEN = frozenset({State.DRAFT, State.REJECTED})
_SUBMITTED = frozenset({State.SUBMITTED})
_APPROVED = frozenset({State.APPROVED})
# The states of a sheet whose approvals are complete.
ACCEPTED = frozenset({State.APPROVED, State.LOCKED})

TRANSITIONS: Mapping[str, Transition] = MappingProxyType(
    {
        "edit": Transition(_OPEN),
        "upload": Transition(_OPEN),
        "delete": Transition(_OPEN),
        "submit": Transition(_OPEN, State.SUBMITTED),
        "withdraw": Transition(_SUBMITTED, State.DRAFT),
        "approve": Transition(_SUBMITTED, State.APPROVED),
        "reject": Transition(_SUBMITTED, State.REJECTED),
        "reopen": Transition(_APPROVED, State.DRAFT),
        "lock": Transition(_APPROVED, State.LOCKED),
        "unlock": Transition(frozenset({State.LOCKED}), State.APPROVED),
    }
)

NOT_STORED = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a person, or a client that acts for itself. `ids` are the other ids of the person: of people who were
    merged into them, and from before an erasure. `app` is the client through which the person acts."""

    person: UUID | None = None
    client: str | None = None
    ids: frozenset[UUID] = field(default=frozenset(), compare=False)
    app: str | None = field(default=None, compare=False)

    def is_any_of(self, people: Iterable[UUID]) -> bool:
        """Whether any id of the person is among `people`."""
        return self.person is not None and not {self.person, *self.ids}.isdisjoint(people)

    def acts_through(self, clients: Collection[str]) -> bool:
        """Whether one of `clients` acts, for itself or for a person."""
        return self.client in clients or self.app in clients


@dataclass(frozen=True, slots=True)
class GivenApproval:
    """An approval: who gave it, and when. The database sets the time, in UTC."""

    by: Actor
    at: datetime = NOT_STORED

    @property
    def name(self) -> str:
        """The id of the person or client, as `resource.approvals` holds it."""
        return str(self.by.person or self.by.client)


# Whether a sheet with these approvals needs no more.
IsComplete: TypeAlias = "Callable[[Sequence[GivenApproval]], bool]"


class Timesheet(Struct, frozen=True, kw_only=True):
    """One person's week, Monday to Sunday, as local dates in the sheet's own `time_zone` (IANA).

    `editors` are all people who ever entered hours or submitted the sheet, `uploaders` all clients that did so for
    themselves; both only grow. `reason` is the reason of the last reject, reopen, lock or unlock, or the comment of
    the last approval, if that was the last transition.
    `locked_by` is set while the sheet is locked. `submitted_at` is the time of the last submission, `decided_at` and
    `decided_by` those of the last approval or rejection; a draft has none of them. The database sets the times, in UTC,
    and `decided_by`. `approvals` are those given since the last submission, oldest first and one for each human; a
    sheet that is submitted and has some needs more. `approvals_needed` is how many it needs in all, None if unknown.
    `day_notes` has the note on each day that has one, by day.
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
    locked_by: Actor | None = None
    created_at: datetime = NOT_STORED
    updated_at: datetime = NOT_STORED
    submitted_at: datetime | None = None
    decided_at: datetime | None = None
    decided_by: Actor | None = None
    approvals: tuple[GivenApproval, ...] = ()
    approvals_needed: int | None = 1
    day_notes: tuple[tuple[date, str], ...] = ()
    entries: tuple[Entry, ...] = ()

    @property
    def period_end(self) -> date:
        return self.period_start + timedelta(days=6)

    @property
    def minutes(self) -> int:
        """The sum of all entries."""
        return sum(entry.minutes for entry in self.entries)

    def entry(self, entry_id: UUID) -> Entry:
        """The entry with this id. Raises NotFound."""
        found = next((entry for entry in self.entries if entry.id == entry_id), None)
        if found is None:
            raise NotFound("This timesheet has no such entry")
        return found


def actions_from(state: str) -> tuple[str, ...]:
    """Every action that this state allows, for any caller. `create` is not among them."""
    return ("read", *(action for action, transition in TRANSITIONS.items() if state in transition.starts))


def require_state(sheet: Timesheet, action: str) -> Timesheet:
    """Return the sheet if its state allows `action`. Raises WrongState."""
    starts = TRANSITIONS[action].starts
    if sheet.state not in starts:
        wanted = " or ".join(sorted(starts))
        raise WrongState(
            f"The timesheet is {sheet.state}; this needs it to be {wanted}",
            extra={"state": str(sheet.state), "wanted": wanted},
        )
    return sheet


def add_entry(sheet: Timesheet, entry: Entry, actor: Actor) -> Timesheet:
    """Add an entry. Raises WrongState, InvalidField, TimesheetFull."""
    return with_entries(require_state(sheet, "edit"), (*sheet.entries, _check_entry(sheet, entry)), actor)


def replace_entry(sheet: Timesheet, entry_id: UUID, hours: Hours, actor: Actor) -> Timesheet:
    """Replace the hours of an entry. Raises WrongState, NotFound, InvalidField."""
    old = require_state(sheet, "edit").entry(entry_id)
    new = _check_entry(sheet, old.with_hours(hours))
    return with_entries(sheet, tuple(new if entry is old else entry for entry in sheet.entries), actor)


def amend_entry(sheet: Timesheet, entry_id: UUID, amendment: Amendment, actor: Actor) -> Timesheet:
    """Change some fields of an entry; an empty amendment changes nothing. Raises as `replace_entry`."""
    old = require_state(sheet, "edit").entry(entry_id)
    return sheet if not amendment.values else replace_entry(sheet, entry_id, amendment.of(old), actor)


def add_entries(sheet: Timesheet, hours: Sequence[Hours], actor: Actor) -> Timesheet:
    """Add many entries. Raises WrongState, InvalidField, TimesheetFull."""
    require_state(sheet, "edit")
    _check_list(sheet, sheet.entries, hours)
    return with_entries(sheet, (*sheet.entries, *(Entry.of(item, make_id()) for item in hours)), actor)


def replace_entries(
    sheet: Timesheet, hours: Sequence[WeekHours], actor: Actor, day_notes: Mapping[date, str] | None = None
) -> Timesheet:
    """Replace all entries. Hours with an `id` change that entry; others keep an entry of the same hours, or become a
    new one. Given `day_notes` replace the notes on days. Returns the sheet itself if nothing changes. Raises
    WrongState, InvalidField, and Conflict if more than MAX_ENTRIES_AT_ONCE entries would change or go."""
    known = {entry.id: entry for entry in require_state(sheet, "edit").entries}
    _check_list(sheet, (), hours)
    named = _check_ids(known, hours)
    unnamed: dict[Hours, list[Entry]] = {}
    for entry in reversed(sheet.entries):
        if entry.id not in named:
            unnamed.setdefault(replace(hours_of(entry), billable=None), []).append(entry)
    found: dict[UUID, Entry] = {}
    for item in hours:
        named_entry = known[item.id].with_hours(item) if item.id is not None else None
        entry = named_entry or _pop_same(unnamed, item) or Entry.of(item, make_id())
        found[entry.id] = entry
    notes = sheet.day_notes if day_notes is None else check_day_notes(sheet, day_notes)
    if found == known and notes == sheet.day_notes:
        return sheet
    changed = sum(found.get(entry.id) != entry for entry in sheet.entries)
    if changed > MAX_ENTRIES_AT_ONCE:
        raise Conflict(f"This changes or removes {changed} entries; one request may do so to {MAX_ENTRIES_AT_ONCE}")
    return replace(with_entries(sheet, tuple(found.values()), actor), day_notes=notes)


def amend_day_notes(sheet: Timesheet, notes: Mapping[date, str | None], actor: Actor) -> Timesheet:
    """Set the notes on some days; None removes a note. Returns the sheet itself if nothing changes. Raises WrongState,
    InvalidField."""
    _check_day_notes(require_state(sheet, "edit"), notes)
    merged = {**dict(sheet.day_notes), **notes}
    amended = tuple(sorted((day, note) for day, note in merged.items() if note is not None))
    if amended == sheet.day_notes:
        return sheet
    return replace(_add_writer(sheet, actor), version=sheet.version + 1, day_notes=amended)


def check_day_notes(sheet: Timesheet, notes: Mapping[date, str]) -> tuple[tuple[date, str], ...]:
    """These notes, by day. Raises InvalidField for a day outside the week, and for a text that is no note."""
    _check_day_notes(sheet, notes)
    return tuple(sorted(notes.items()))


def remove_entry(sheet: Timesheet, entry_id: UUID, actor: Actor) -> Timesheet:
    """Remove an entry. Raises WrongState, NotFound."""
    removed = require_state(sheet, "edit").entry(entry_id)
    return with_entries(sheet, tuple(entry for entry in sheet.entries if entry is not removed), actor)


def with_entries(sheet: Timesheet, entries: tuple[Entry, ...], actor: Actor) -> Timesheet:
    """The next version with these entries, all of which lie in the week. Raises InvalidField, TimesheetFull."""
    if full := find_overfull_day(entries):
        raise invalid_field("minutes", full[1])
    if len(entries) > MAX_ENTRIES:
        raise TimesheetFull(FULL)
    ordered = tuple(sorted(entries, key=lambda entry: (entry.day, entry.id)))
    return replace(_add_writer(sheet, actor), version=sheet.version + 1, entries=ordered)


def projects_to_ask(before: Timesheet, after: Timesheet) -> frozenset[str]:
    """The projects of the entries of `after` that are new, or differ in what their project has a say in."""
    known = {entry.id: (entry.project, entry.activity, entry.billable) for entry in before.entries}
    return frozenset(
        entry.project
        for entry in after.entries
        if known.get(entry.id) != (entry.project, entry.activity, entry.billable)
    )


def find_refused_entries(
    before: Timesheet, after: Timesheet, projects: Mapping[str, ProjectTerms]
) -> list[tuple[Entry, list[FieldError]]]:
    """The entries of `after` that these projects do not accept, each with its errors."""
    known = {entry.id: entry for entry in before.entries}
    refused = []
    for entry in after.entries:
        terms = projects.get(entry.project)
        if terms is not None and (found := find_project_faults(entry, known.get(entry.id), terms)):
            refused.append((entry, found))
    return refused


def name_faults(
    before: Timesheet, refused: Sequence[tuple[Entry, Sequence[FieldError]]], listed: Sequence[Hours]
) -> list[FieldError]:
    """The errors of refused entries with the names of the request; they name items of the list `listed`, if the
    request has one."""
    known = {entry.id for entry in before.entries}
    return [
        FieldError(prefix + fault.field, fault.message)
        for entry, faults in refused
        for prefix in _places_of(entry, known, listed)
        for fault in faults
    ]


def settle_billable(sheet: Timesheet, projects: Mapping[str, ProjectTerms]) -> Timesheet:
    """The sheet whose entries are billed as these projects say where a request left that open."""
    settled = (
        replace(entry, billable=projects[entry.project].billable) if entry.billable is None else entry
        for entry in sheet.entries
    )
    return replace(sheet, entries=tuple(settled))


def _places_of(entry: Entry, known: Collection[UUID], listed: Sequence[Hours]) -> list[str]:
    """How a request names an entry: by its places in the list, or not at all."""
    if not listed:
        return [""]
    hours = hours_of(entry)
    return [
        f"entries[{place}]."
        for place, item in enumerate(listed)
        if (getattr(item, "id", None) == entry.id if entry.id in known else hours_of(item) == hours)
    ]


def find_overfull_day(entries: tuple[Entry, ...]) -> tuple[date, str] | None:
    """The first day with more than 1,440 minutes, with an error sentence; None if there is none."""
    totals: Counter[date] = Counter()
    for entry in entries:
        totals[entry.day] += entry.minutes
    return next(
        ((day, _overfull(day, minutes)) for day, minutes in sorted(totals.items()) if minutes > MAX_MINUTES),
        None,
    )


def check_deletable(sheet: Timesheet) -> None:
    """Raise WrongState unless the state allows to delete the sheet."""
    require_state(sheet, "delete")


def submit(sheet: Timesheet, actor: Actor) -> Timesheet:
    """Submit the sheet. Raises WrongState, and Conflict for a sheet without entries."""
    if not require_state(sheet, "submit").entries:
        raise Conflict("A timesheet without entries cannot be submitted")
    return _add_writer(_transition(sheet, "submit"), actor)


def withdraw(sheet: Timesheet) -> Timesheet:
    """Make a submitted sheet a draft again. Raises WrongState."""
    return _transition(sheet, "withdraw")


def needs_one_approval(_: Sequence[GivenApproval]) -> bool:
    """Any approval completes a sheet: the rule of policies that say nothing about it."""
    return True


def approve(
    sheet: Timesheet, actor: Actor, is_complete: IsComplete = needs_one_approval, comment: str | None = None
) -> Timesheet:
    """Add the actor's approval. The sheet becomes approved once its approvals are complete; until then it stays
    submitted. The comment becomes its reason. Raises InvalidField, WrongState, and Conflict for an actor whose approval
    it has, unless that is enough by now. Under any policy, raises Forbidden for the owner, for people who ever entered
    hours or submitted the sheet, and for people who act through a client that uploaded hours into it."""
    check_comment(comment)
    if actor.is_any_of({sheet.owner, *sheet.editors}) or actor.acts_through(sheet.uploaders) or actor == Actor():
        raise Forbidden(["nobody approves hours that are their own, or that they entered or submitted"])
    approved = _transition(sheet, "approve", comment)
    again = has_approval_of(sheet, actor)
    approvals = sheet.approvals if again else (*sheet.approvals, GivenApproval(Actor(actor.person, actor.client)))
    if is_complete(approvals):
        return replace(approved, approvals=approvals)
    if again:
        raise Conflict(APPROVED_BEFORE)
    if len(approvals) >= MAX_APPROVALS:
        raise Conflict(TOO_MANY_APPROVALS)
    return replace(approved, state=State.SUBMITTED, approvals=approvals)


def has_approval_of(sheet: Timesheet, actor: Actor) -> bool:
    """Whether the actor has approved the sheet since it was submitted: a human under any id, a client for itself."""
    return any(
        given.by == actor or (given.by.person is not None and actor.is_any_of({given.by.person}))
        for given in sheet.approvals
    )


def repeats_approval(sheet: Timesheet, actor: Actor) -> bool:
    """Whether the sheet has the actor's approval and needs others, so that another of theirs would be refused."""
    given, needed = len(sheet.approvals), sheet.approvals_needed
    return has_approval_of(sheet, actor) and (needed is None or given < needed)


def reject(sheet: Timesheet, reason: str) -> Timesheet:
    """Reject the sheet. Raises WrongState, InvalidField."""
    check_reason(reason)
    return _transition(sheet, "reject", reason)


def reopen(sheet: Timesheet, reason: str) -> Timesheet:
    """Make an approved sheet a draft again. Raises WrongState, InvalidField."""
    check_reason(reason)
    return _transition(sheet, "reopen", reason)


def lock(sheet: Timesheet, reason: str, actor: Actor) -> Timesheet:
    """Lock the sheet for payroll: only unlock may follow. Raises WrongState, InvalidField."""
    check_reason(reason)
    return replace(_transition(sheet, "lock", reason), locked_by=actor)


def unlock(sheet: Timesheet, reason: str, actor: Actor) -> Timesheet:
    """Unlock the sheet. Raises WrongState, InvalidField. Under any policy, raises Forbidden for who locked
    it."""
    check_reason(reason)
    unlocked = replace(_transition(sheet, "unlock", reason), locked_by=None)
    locker = sheet.locked_by
    if locker is None or actor in {locker, Actor()} or (locker.person and actor.is_any_of({locker.person})):
        raise Forbidden(["nobody unlocks what they locked themselves"])
    return unlocked


def _add_writer(sheet: Timesheet, actor: Actor) -> Timesheet:
    """Remember who entered hours or submitted the sheet, for good."""
    return replace(
        sheet,
        editors=sheet.editors | ({actor.person} if actor.person else set()),
        uploaders=sheet.uploaders | ({actor.client} if actor.client else set()),
    )


def _transition(sheet: Timesheet, action: str, reason: str | None = None) -> Timesheet:
    """The sheet after the step; only a lock and its end keep the approvals."""
    state = TRANSITIONS[action].leads_to or sheet.state
    approvals = sheet.approvals if action in {"lock", "unlock"} else ()
    return replace(
        require_state(sheet, action), state=state, version=sheet.version + 1, reason=reason, approvals=approvals
    )


def _check_list(sheet: Timesheet, others: Sequence[Entry], hours: Sequence[Hours]) -> None:
    """Raise InvalidField naming every wrong field of hours that would stand in the sheet beside `others`."""
    fields = Fields()
    if len(hours) > MAX_ENTRIES_AT_ONCE:
        fields.wrong("entries", f"must be at most {MAX_ENTRIES_AT_ONCE}")
    totals: Counter[date] = Counter()
    for item in (*others, *hours):
        totals[item.day] += item.minutes
    for place, item in enumerate(hours):
        validate_hours(item, fields, f"entries[{place}].")
        if wrong := _find_wrong_day(sheet, item.day):
            fields.wrong(f"entries[{place}].day", wrong)
        elif totals[item.day] > MAX_MINUTES:
            fields.wrong(f"entries[{place}].minutes", _overfull(item.day, totals[item.day]))
    fields.refuse()


def _check_day_notes(sheet: Timesheet, notes: Mapping[date, str | None]) -> None:
    fields = Fields()
    for day, note in notes.items():
        if wrong := _find_wrong_day(sheet, day):
            fields.wrong(f"day_notes.{day}", wrong)
        if note is not None:
            fields.text(f"day_notes.{day}", note, MAX_NOTE_LENGTH)
    fields.refuse()


def _pop_same(unnamed: Mapping[Hours, list[Entry]], hours: Hours) -> Entry | None:
    """Take an entry of the same hours; `unnamed` has them by their hours without `billable`."""
    entries = unnamed.get(replace(hours_of(hours), billable=None), [])
    for place in reversed(range(len(entries))):
        if hours.billable in {None, entries[place].billable}:
            return entries.pop(place)
    return None


def _check_ids(known: Collection[UUID], hours: Sequence[WeekHours]) -> Collection[UUID]:
    """The entries that the hours name. Raises InvalidField for an unknown id and for one that is named twice."""
    fields = Fields()
    named: dict[UUID, int] = {}
    for place, item in enumerate(hours):
        if item.id is None:
            continue
        if item.id not in known:
            fields.wrong(f"entries[{place}].id", "is not the id of an entry of this timesheet")
        elif (twin := named.setdefault(item.id, place)) != place:
            fields.wrong(f"entries[{place}].id", f"is the same as that of entries[{twin}]")
    fields.refuse()
    return named


def _check_entry(sheet: Timesheet, entry: Entry) -> Entry:
    check_hours(entry)
    if wrong := _find_wrong_day(sheet, entry.day):
        raise invalid_field("day", wrong)
    return entry


def _find_wrong_day(sheet: Timesheet, day: date) -> str | None:
    """An error sentence for a day outside the week."""
    if sheet.period_start <= day < sheet.period_start + WEEK:
        return None
    return f"must lie in the timesheet's week, {sheet.period_start} to {sheet.period_end}"


def _overfull(day: date, minutes: int) -> str:
    return f"{day} would have {minutes} minutes; a day has {MAX_MINUTES}"
