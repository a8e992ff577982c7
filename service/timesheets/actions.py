"""The use cases of a single timesheet, one for each action, all through the gate. Owns no state.

The owner of a new sheet is the caller, never a person named in the body. `expect` checks the version that the caller
has read (If-Match); it raises PreconditionRequired or PreconditionFailed.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from service.authorization.enforcement import allowed_actions, names
from service.authorization.enforcement.changes import Answer, Listed, Target, refused_under
from service.authorization.enforcement.fact_statements import person_or_client
from service.errors import Conflict, InvalidField
from service.ids import make_id
from service.pacing import pace_page
from service.policy.approval import is_complete
from service.timesheets import listing, store, timesheet
from service.timesheets.approvers import require_approver
from service.timesheets.change_record import facts_of, record_change, resource_of, texts_of
from service.timesheets.entry import (
    Entry,
    check_amendment,
    check_comment,
    check_hours,
    check_reason,
    check_week,
    find_last_week,
    hours_of,
    invalid_field,
)
from service.timesheets.known_projects import KnownProjects
from service.timesheets.listing import Filters
from service.timesheets.relations import KIND, describe_new
from service.timesheets.timesheet import MAX_ENTRIES_AT_ONCE, Actor, State, Timesheet, actions_from, repeats_approval
from service.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import date
    from uuid import UUID

    from service.authorization.enforcement.changes import AllowedOnFacts, Caller, Change, Expect
    from service.authorization.enforcement.fact_lookup import FactLookup
    from service.authorization.enforcement.gate import Gate
    from service.authorization.enforcement.names import Names
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection
    from service.identity.principal import Principal
    from service.timesheets.entry import Amendment, Hours, WeekHours
    from service.timesheets.listing import ListTotals, Page, Place
    from service.timesheets.timesheet import GivenApproval

    Step = Callable[[Timesheet, Change], Timesheet]

T = TypeVar("T")
APPROVAL_GIVEN = "timesheet.approval-given"
# A person has several sheets of a week only where accounts were merged.
MAX_SHEETS_OF_WEEK = 10
MAX_SHEETS_OF_TOTALS = 10_000
NO_NOTES: Mapping[date, str] = MappingProxyType({})
DEFAULT_ZONE = "UTC"
# Members of a sheet in an answer that hold its entries or their sum.
NEED_ENTRIES = frozenset({"entries", "minutes"})


@dataclass(frozen=True, slots=True)
class Edited:
    """A sheet, and the entry in it that was added, replaced or read."""

    sheet: Timesheet
    entry: Entry


@dataclass(frozen=True, slots=True)
class Details:
    """What a request asks for beside a sheet: the actions that both its state and the policy allow the caller, and the
    names of the people and projects in it; beside a list, its totals. With `fields`, the answer shows only these
    members of a sheet."""

    actions: bool = False
    names: bool = False
    totals: bool = False
    fields: frozenset[str] | None = None

    @property
    def with_entries(self) -> bool:
        """Whether the answer needs the entries of a sheet."""
        return self.fields is None or not self.fields.isdisjoint(NEED_ENTRIES)


@dataclass(frozen=True, slots=True)
class DetailedSheet:
    """A sheet with these details, None where they were not asked for; `names` are by id."""

    sheet: Timesheet
    actions: tuple[str, ...] | None
    names: Names | None


@dataclass(frozen=True, slots=True)
class DetailedPage:
    """Sheets, newest period first; `after` is the keyset of the next page, None on the last page. `totals` are those of
    all pages, None where they were not asked for."""

    items: tuple[DetailedSheet, ...]
    after: Place | None
    totals: ListTotals | None = None


class Timesheets:
    """Every method raises Denied, TryLater and the errors that it names; a change also NotApplied. Sheets are created
    for at most `weeks_ahead` weeks after this one."""

    def __init__(self, gate: Gate, *, weeks_ahead: int | None = None) -> None:
        self._gate = gate
        self._weeks_ahead = weeks_ahead
        self._projects = KnownProjects()

    async def create(
        self,
        caller: Caller,
        period_start: date,
        time_zone: str | None,
        hours: Sequence[Hours] = (),
        *,
        day_notes: Mapping[date, str] = NO_NOTES,
        copy_from: date | None = None,
    ) -> Answer[Timesheet]:
        """Create the caller's own sheet for the week from `period_start`, with these hours and notes on days, or with
        the hours of the caller's week from `copy_from` without their notes. Without a `time_zone`, a copy has that of
        its week, and any other sheet UTC. Raises InvalidField, Conflict, and with hours or notes also a refusal if the
        caller may not edit the sheet."""
        zone = DEFAULT_ZONE if time_zone is None else time_zone
        check_week(period_start, zone, find_last_week(self._weeks_ahead))
        owner, _ = person_or_client(caller.principal)
        if copy_from is not None:
            copied_zone, hours = await self._copy_week(caller, owner, copy_from, period_start)
            zone = copied_zone if time_zone is None else zone
        target = Target()
        if owner is not None:
            target = Target(lock=store.lock_week(owner, period_start), owner=owner, new=describe_new(period_start))
        async with self._gate.change(caller, KIND, "create", target) as change:
            if change.row is not None:
                raise Conflict(
                    "This person already has a timesheet for this week", extra={"timesheet": str(change.row["id"])}
                )
            if owner is None:
                raise Conflict("A client that acts for itself has no hours of its own")
            sheet = Timesheet(
                id=make_id(), owner=owner, period_start=period_start, time_zone=zone, editors=frozenset({owner})
            )
            if hours or day_notes:
                allowed_actions.require(change.permit, "edit")
                filled = timesheet.add_entries(sheet, hours, actor_of(change))
                filled = await self._settle_projects(change, sheet, filled, hours, copied=copy_from is not None)
                notes = timesheet.check_day_notes(sheet, day_notes)
                sheet = replace(filled, version=sheet.version, day_notes=notes)
            sheet = await store.create(change.permit, change.connection, sheet)
            sheet = await store.refresh_approvals_needed(change.permit, change.connection, sheet)
            change.made = sheet.id
            change.record(
                "timesheet.created",
                resource_of(sheet),
                before={},
                after=facts_of(sheet, sheet.entries),
                texts=texts_of(sheet, sheet.entries),
            )
            change.names = await names.load_names_of_change(change, ids_in(sheet), sheet.state)
        return change.answer(sheet)

    async def _copy_week(
        self, caller: Caller, owner: UUID | None, copy_from: date, period_start: date
    ) -> tuple[str, Sequence[Hours]]:
        """The time zone and the hours of the owner's week from `copy_from`, on the same days of the week from
        `period_start`. They are read as a list, with a decision and a record of its own."""
        if copy_from.weekday() != 0 or copy_from == period_start:
            raise invalid_field("copy_from", "must be the Monday of another week")
        read = await self.list(caller, Filters(owner=owner, since=copy_from, until=copy_from), limit=MAX_SHEETS_OF_WEEK)
        sheets = [sheet for sheet in read.value.items if owner is not None and sheet.entries]
        entries = [entry for sheet in sheets for entry in sheet.entries]
        with refused_under(read.receipt):
            if not entries:
                raise invalid_field("copy_from", "is a week in which you have no hours that you may read")
            if len(entries) > MAX_ENTRIES_AT_ONCE:
                message = f"has {len(entries)} entries; one request copies at most {MAX_ENTRIES_AT_ONCE}"
                raise invalid_field("copy_from", message)
        moved = period_start - copy_from
        hours = [replace(hours_of(entry), day=entry.day + moved, note=None) for entry in entries]
        return sheets[0].time_zone, hours

    async def read(self, caller: Caller, sheet_id: UUID) -> Answer[Timesheet]:
        """One sheet with its entries."""

        def show(reading: AllowedOnFacts) -> Answer[Timesheet]:
            return reading.answer(store.sheet_of_row(reading.permit, reading.found))

        return await self._gate.read_row(caller, KIND, "read", sheet_id, show)

    async def read_stored(self, caller: Caller, sheet_id: UUID, respond: Callable[[Answer[store.StoredSheet]], T]) -> T:
        """As `read`, for a caller who only wants to show the sheet: what `respond` makes of the answer."""

        def show(reading: AllowedOnFacts) -> T:
            return respond(reading.answer(store.stored_sheet(reading.permit, reading.found)))

        return await self._gate.read_row(caller, KIND, "read", sheet_id, show)

    async def read_entry(self, caller: Caller, sheet_id: UUID, entry_id: UUID) -> Answer[Edited]:
        """One entry, by reading its sheet. Raises NotFound also when the sheet has no such entry."""
        answer = await self.read(caller, sheet_id)
        with refused_under(answer.receipt):
            return _select_entry(answer, entry_id)

    async def read_with_details(self, caller: Caller, sheet_id: UUID, details: Details) -> Answer[DetailedSheet]:
        """As `read`, with details."""
        async with self._gate.read(caller, KIND, "read", sheet_id) as reading:
            sheet, actions, shown = store.sheet_of_row(reading.permit, reading.found), None, None
            if details.actions:
                allowed = allowed_actions.of_row(reading.permit, actions_from(sheet.state))
                actor = _actor(reading.decision.request.principal, reading.lookup)
                actions = _without_repetition(sheet, actor, allowed)
            if details.names:
                shown = await names.load_names_of_row(reading, ids_in(sheet, details.fields))
            reading.returned = [str(sheet_id)]
        return reading.answer(DetailedSheet(sheet, actions, shown))

    async def list(
        self,
        caller: Caller,
        filters: Filters,
        *,
        after: Place | None = None,
        limit: int = 50,
        with_entries: bool = True,
    ) -> Answer[Page]:
        """A page of the sheets that the caller may read; without entries, the rows have none."""

        async def read(visibility: Visibility, connection: Connection) -> Listed[Page]:
            page = await listing.page(
                visibility, connection, filters, after=after, limit=limit, with_entries=with_entries
            )
            return Listed(page, page.ids, page.confirmation)

        return await self._gate.list_at_once(caller, KIND, "read", read)

    async def list_with_details(
        self, caller: Caller, filters: Filters, details: Details, *, after: Place | None = None, limit: int = 50
    ) -> Answer[DetailedPage]:
        """As `list`, each sheet with details. The statement that reads the rows also reads relations for actions. With
        totals, the record names all sheets of the list. Raises InvalidField if they are more than MAX_SHEETS_OF_TOTALS.
        """

        async def read(visibility: Visibility, connection: Connection) -> Listed[DetailedPage]:
            page = await listing.page(
                visibility,
                connection,
                filters,
                after=after,
                limit=limit,
                with_relations=details.actions,
                with_entries=details.with_entries,
            )
            items, actor = list[DetailedSheet](), _actor(visibility.principal, visibility.lookup)
            # A page may hold 100,000 entries.
            async for row in pace_page(page.rows):
                sheet, actions = store.sheet_of(row), None
                if details.actions:
                    allowed = allowed_actions.of_listed_row(visibility, row, actions_from(sheet.state))
                    actions = _without_repetition(sheet, actor, allowed)
                items.append(DetailedSheet(sheet, actions, None))
            if details.names:
                ids = {item.sheet.id: ids_in(item.sheet, details.fields) for item in items}
                found = await names.load_names_of_rows(visibility, connection, ids)
                items = [replace(item, names=found[item.sheet.id]) for item in items]
            return Listed(DetailedPage(tuple(items), page.after), page.ids, page.confirmation)

        if not details.totals:
            return await self._gate.list_at_once(caller, KIND, "read", read)
        async with self._gate.list(caller, KIND, "read") as listed:
            found = await read(listed.visibility, listed.connection)
            totals = await listing.total(listed.visibility, listed.connection, filters, MAX_SHEETS_OF_TOTALS + 1)
            if len(totals.ids) > MAX_SHEETS_OF_TOTALS:
                raise invalid_field("query.totals", f"covers at most {MAX_SHEETS_OF_TOTALS} timesheets")
            listed.returned = [str(sheet) for sheet in sorted(totals.ids)]
        return listed.answer(replace(found.value, totals=totals))

    async def add_entry(self, caller: Caller, sheet_id: UUID, expect: Expect, hours: Hours) -> Answer[Edited]:
        """Add an entry. Raises InvalidField, also for a day outside the week, a day with more than 1,440 minutes, and a
        project that does not exist or accepts no more hours; TimesheetFull."""
        check_hours(hours)
        entry = Entry.of(hours, make_id())
        answer = await self._edit(
            caller, sheet_id, expect, lambda sheet, actor: timesheet.add_entry(sheet, entry, actor)
        )
        return _select_entry(answer, entry.id)

    async def add_entries(
        self, caller: Caller, sheet_id: UUID, expect: Expect, hours: Sequence[Hours]
    ) -> Answer[Timesheet]:
        """Add many entries, all or none. Raises as `add_entry`, with fields such as `entries[3].minutes`."""
        return await self._edit(
            caller, sheet_id, expect, lambda sheet, actor: timesheet.add_entries(sheet, hours, actor), hours
        )

    async def replace_entries(
        self,
        caller: Caller,
        sheet_id: UUID,
        expect: Expect,
        hours: Sequence[WeekHours],
        day_notes: Mapping[date, str] | None = None,
    ) -> Answer[Timesheet]:
        """Replace all entries, and the notes on days if some are given; without a difference, change nothing. Raises as
        `add_entries`, and Conflict if too many entries would change or go."""
        return await self._edit(
            caller,
            sheet_id,
            expect,
            lambda sheet, actor: timesheet.replace_entries(sheet, hours, actor, day_notes),
            hours,
        )

    async def amend_day_notes(
        self, caller: Caller, sheet_id: UUID, expect: Expect, notes: Mapping[date, str | None]
    ) -> Answer[Timesheet]:
        """Set the notes on some days; None removes a note. Raises InvalidField."""
        return await self._edit(
            caller, sheet_id, expect, lambda sheet, actor: timesheet.amend_day_notes(sheet, notes, actor)
        )

    async def replace_entry(
        self, caller: Caller, sheet_id: UUID, expect: Expect, entry_id: UUID, hours: Hours
    ) -> Answer[Edited]:
        """Replace an entry. Raises as `add_entry`, and NotFound if the sheet has no such entry."""
        check_hours(hours)
        answer = await self._edit(
            caller, sheet_id, expect, lambda sheet, actor: timesheet.replace_entry(sheet, entry_id, hours, actor)
        )
        return _select_entry(answer, entry_id)

    async def amend_entry(
        self, caller: Caller, sheet_id: UUID, expect: Expect, entry_id: UUID, amendment: Amendment
    ) -> Answer[Edited]:
        """Change some fields of an entry; without a field, change nothing. Raises as `replace_entry`."""
        check_amendment(amendment)
        answer = await self._edit(
            caller, sheet_id, expect, lambda sheet, actor: timesheet.amend_entry(sheet, entry_id, amendment, actor)
        )
        return _select_entry(answer, entry_id)

    async def remove_entry(self, caller: Caller, sheet_id: UUID, expect: Expect, entry_id: UUID) -> Answer[Timesheet]:
        """Remove an entry. Raises NotFound if the sheet has no such entry."""
        return await self._edit(
            caller, sheet_id, expect, lambda sheet, actor: timesheet.remove_entry(sheet, entry_id, actor)
        )

    async def delete(self, caller: Caller, sheet_id: UUID, expect: Expect) -> Answer[None]:
        """Delete a sheet with its entries."""
        async with self._gate.change(caller, KIND, "delete", _existing(sheet_id, expect)) as change:
            sheet = store.sheet_of_row(change.permit, change.found)
            timesheet.check_deletable(sheet)
            await store.delete(change.permit, change.connection, sheet)
            change.record("timesheet.deleted", resource_of(sheet), before=facts_of(sheet), after={})
        return change.answer(None)

    async def submit(self, caller: Caller, sheet_id: UUID, expect: Expect) -> Answer[Timesheet]:
        """Submit a sheet. Raises Conflict for a sheet without entries, NoApprover if nobody could approve it."""
        return await self._change(caller, "submit", sheet_id, expect, _submit)

    async def withdraw(self, caller: Caller, sheet_id: UUID, expect: Expect) -> Answer[Timesheet]:
        """Make a submitted sheet a draft again."""
        return await self._change(caller, "withdraw", sheet_id, expect, lambda sheet, _: timesheet.withdraw(sheet))

    async def approve(
        self, caller: Caller, sheet_id: UUID, expect: Expect, comment: str | None = None
    ) -> Answer[Timesheet]:
        """Approve a sheet; it stays submitted while it needs more approvals. Raises InvalidField for a comment that
        could not be a reason; Conflict for a caller whose approval it has; and Forbidden, under any policy, for the
        owner and for people who entered hours or submitted the sheet."""
        check_comment(comment)
        return await self._change(
            caller, "approve", sheet_id, expect, lambda sheet, change: approve(sheet, change, comment)
        )

    async def reject(self, caller: Caller, sheet_id: UUID, expect: Expect, reason: str) -> Answer[Timesheet]:
        """Reject a submitted sheet. Raises InvalidField for a reason that is empty or longer than 1,000 characters."""
        check_reason(reason)
        return await self._change(caller, "reject", sheet_id, expect, lambda sheet, _: timesheet.reject(sheet, reason))

    async def reopen(self, caller: Caller, sheet_id: UUID, expect: Expect, reason: str) -> Answer[Timesheet]:
        """Make an approved sheet a draft again. Raises InvalidField as `reject`."""
        check_reason(reason)
        return await self._change(caller, "reopen", sheet_id, expect, lambda sheet, _: timesheet.reopen(sheet, reason))

    async def lock(self, caller: Caller, sheet_id: UUID, expect: Expect, reason: str) -> Answer[Timesheet]:
        """Lock an approved sheet for payroll. Raises InvalidField as `reject`."""
        check_reason(reason)
        return await self._change(
            caller, "lock", sheet_id, expect, lambda sheet, change: timesheet.lock(sheet, reason, actor_of(change))
        )

    async def unlock(self, caller: Caller, sheet_id: UUID, expect: Expect, reason: str) -> Answer[Timesheet]:
        """Unlock a sheet; it is approved again. Raises InvalidField as `reject`, and Forbidden, whatever the policy
        says, for who locked it."""
        check_reason(reason)
        return await self._change(
            caller, "unlock", sheet_id, expect, lambda sheet, change: timesheet.unlock(sheet, reason, actor_of(change))
        )

    async def _edit(
        self,
        caller: Caller,
        sheet_id: UUID,
        expect: Expect,
        step: Callable[[Timesheet, Actor], Timesheet],
        hours: Sequence[Hours] = (),
    ) -> Answer[Timesheet]:
        """Change what stands in a sheet; `hours` as for `_change`."""
        return await self._change(
            caller, "edit", sheet_id, expect, lambda sheet, change: step(sheet, actor_of(change)), hours
        )

    async def _change(
        self,
        caller: Caller,
        action: str,
        sheet_id: UUID,
        expect: Expect,
        step: Step,
        hours: Sequence[Hours] = (),
    ) -> Answer[Timesheet]:
        """Change a sheet by one step; `hours` is the list of a request with many entries."""
        async with self._gate.change(caller, KIND, action, _existing(sheet_id, expect)) as change:
            before = store.sheet_of_row(change.permit, change.found)
            after = step(before, change)
            if after is not before:
                after = await self._settle_projects(change, before, after, hours)
                if action == "submit":
                    await require_approver(change.permit, change.connection, after)
                after = await save(change, before, after)
                record_change(change, event_of(action, after), before, after)
            if caller.names:
                change.names = await names.load_names_of_change(change, ids_in(after), after.state)
        return change.answer(after)

    async def _settle_projects(
        self, change: Change, before: Timesheet, after: Timesheet, listed: Sequence[Hours] = (), *, copied: bool = False
    ) -> Timesheet:
        """The sheet `after` with the defaults of the projects of its changed entries. Raises InvalidField for what they
        do not accept; it names items of the list `listed`, or that they were `copied`."""
        codes = timesheet.projects_to_ask(before, after)
        if not codes:
            return after
        projects = await self._projects.load(change.permit, change.connection, codes)
        if refused := timesheet.find_refused_entries(before, after, projects):
            if copied:
                entry, (fault, *_) = refused[0]
                raise invalid_field("copy_from", f"has hours on {entry.project} whose {fault.field} {fault.message}")
            raise InvalidField(*timesheet.name_faults(before, refused, listed))
        return timesheet.settle_billable(after, projects)


_EVENTS = {
    "edit": "timesheet.edited",
    "submit": "timesheet.submitted",
    "withdraw": "timesheet.withdrawn",
    "approve": "timesheet.approved",
    "reject": "timesheet.rejected",
    "reopen": "timesheet.reopened",
    "lock": "timesheet.locked",
    "unlock": "timesheet.unlocked",
}


def event_of(action: str, after: Timesheet) -> str:
    """The event of an action that led to this sheet."""
    return APPROVAL_GIVEN if action == "approve" and after.state is State.SUBMITTED else _EVENTS[action]


def approve(sheet: Timesheet, change: Change, comment: str | None = None) -> Timesheet:
    """Add the caller's approval, with a comment. Whether it is the last one is for the version and the values that
    decided, which were read once the sheet was locked. Raises as `timesheet.approve`."""

    def is_enough(approvals: Sequence[GivenApproval]) -> bool:
        expression, attributes = change.permit.snapshot.vocabulary.approval, change.lookup.attributes
        return is_complete(expression, attributes, [given.name for given in approvals])

    return timesheet.approve(sheet, actor_of(change), is_enough, comment)


async def save(change: Change, before: Timesheet, after: Timesheet) -> Timesheet:
    """Store the sheet, and return it as it is stored."""
    stored = await store.save(change.permit, change.connection, before, after)
    return await store.refresh_approvals_needed(change.permit, change.connection, stored)


def actor_of(change: Change) -> Actor:
    """Who makes the change: the person, with every id of theirs, or the client that acts for itself."""
    return _actor(change.caller.principal, change.lookup)


def _actor(principal: Principal, lookup: FactLookup) -> Actor:
    return Actor(*person_or_client(principal), lookup.same_human, principal.client)


def ids_in(sheet: Timesheet, fields: Collection[str] | None = None) -> frozenset[str]:
    """The ids of the people and the codes of the projects in a sheet, as answers show it, or in these members of it."""
    found = {
        "owner": [str(sheet.owner)],
        "approvals": [str(given.by.person) for given in sheet.approvals if given.by.person],
        "decided_by": [str(sheet.decided_by.person)] if sheet.decided_by and sheet.decided_by.person else [],
        "entries": [entry.project for entry in sheet.entries],
    }
    return frozenset(key for field, keys in found.items() if fields is None or field in fields for key in keys)


def _without_repetition(sheet: Timesheet, actor: Actor, actions: tuple[str, ...]) -> tuple[str, ...]:
    """The actions without an approval that the sheet has."""
    if "approve" in actions and repeats_approval(sheet, actor):
        return tuple(action for action in actions if action != "approve")
    return actions


def _submit(sheet: Timesheet, change: Change) -> Timesheet:
    return timesheet.submit(sheet, actor_of(change))


def _existing(sheet_id: UUID, expect: Expect) -> Target:
    lock, lock_now = store.lock(sheet_id), store.lock(sheet_id, now=True)
    return Target(str(sheet_id), lock, must_exist=True, expect=expect, row_id=sheet_id, lock_now=lock_now)


def _select_entry(answer: Answer[Timesheet], entry_id: UUID) -> Answer[Edited]:
    return Answer(Edited(answer.value, answer.value.entry(entry_id)), answer.receipt, answer.names)
