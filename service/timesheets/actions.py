"""What people and clients do with timesheets: one use case for each action, all through the gate.

Owns no state. Whoever asks is told by `Ask`; the owner of a new sheet is that person, never somebody from a body.
`expect` judges the version that the caller has seen (If-Match) and raises PreconditionRequired or PreconditionFailed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from uuid_utils.compat import uuid7

from service.authorization.enforcement.changes import Answer, Target, refused_under
from service.authorization.enforcement.relationships import asker
from service.errors import Conflict
from service.identity.refusals import refusal
from service.timesheets import listing, store, timesheet
from service.timesheets.approvers import need_approver
from service.timesheets.changed import changed, facts_of, resource_of
from service.timesheets.entry import Entry, check_amendment, check_hours, check_reason, check_week, wrong
from service.timesheets.relations import KIND
from service.timesheets.timesheet import By, Timesheet

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date
    from uuid import UUID

    from service.authorization.enforcement.changes import Change
    from service.authorization.enforcement.decision_record import Caller
    from service.authorization.enforcement.gate import Gate
    from service.authorization.enforcement.judgement import Expect
    from service.timesheets.entry import Amendment, Hours
    from service.timesheets.listing import Filters, Page, Place

    Move = Callable[[Timesheet, By], Timesheet]


@dataclass(frozen=True, slots=True)
class Edited:
    """A sheet, and the entry in it that was added, replaced or read."""

    sheet: Timesheet
    entry: Entry


class Timesheets:
    """Every method raises Denied, TryLater and what it names; a change also NotApplied."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def create(self, caller: Caller, period_start: date, time_zone: str) -> Answer[Timesheet]:
        """Open the asker's own sheet for the week from `period_start`. Raises InvalidField, Conflict."""
        check_week(period_start, time_zone)
        owner, _ = asker(caller.principal)

        target = Target() if owner is None else Target(lock=store.lock_week(owner, period_start), owner=owner)
        async with self._gate.change(caller, KIND, "create", target) as change:
            if change.row is not None:
                raise Conflict(
                    "There is already a timesheet for this person and week", extra={"timesheet": str(change.row["id"])}
                )
            if owner is None:
                raise Conflict("A client that acts for itself has no hours of its own")
            sheet = Timesheet(
                id=uuid7(), owner=owner, period_start=period_start, time_zone=time_zone, editors=frozenset({owner})
            )
            sheet = await store.create(change.permit, change.connection, sheet)
            # An erasure of the owner has the new row wait for it, and has looked for sheets before.
            if await store.is_revoked(change.connection, caller.principal):
                raise refusal("revoked")
            change.record("timesheet.created", resource_of(sheet), before={}, after=facts_of(sheet))
        return change.answer(sheet)

    async def read(self, caller: Caller, sheet_id: UUID) -> Answer[Timesheet]:
        """One sheet with its entries."""
        async with self._gate.read(caller, KIND, "read", sheet_id) as reading:
            sheet = store.sheet_of_row(reading.permit, reading.found)
            reading.returned = [str(sheet_id)]
        return reading.answer(sheet)

    async def read_entry(self, caller: Caller, sheet_id: UUID, entry_id: UUID) -> Answer[Edited]:
        """One entry, by reading its sheet. Raises NotFound also when the sheet has no such entry."""
        answer = await self.read(caller, sheet_id)
        with refused_under(answer.receipt):
            return _edited(answer, entry_id)

    async def list(
        self, caller: Caller, filters: Filters, *, after: Place | None = None, limit: int = 50
    ) -> Answer[Page]:
        """A page of what single reads would show to the asker; newest period first."""
        async with self._gate.list(caller, KIND, "read") as listed:
            page = await listing.page(listed.visibility, listed.connection, filters, after=after, limit=limit)
            listed.returned = [str(sheet.id) for sheet in page.items]
        return listed.answer(page)

    async def add_entry(self, caller: Caller, sheet_id: UUID, expect: Expect, hours: Hours) -> Answer[Edited]:
        """Raises InvalidField, also for a day out of the period or with more than 1,440 minutes, and for a project that
        is not known or takes no more hours."""
        check_hours(hours)
        entry = Entry.of(hours, uuid7())
        answer = await self._edit(caller, sheet_id, expect, lambda sheet, by: timesheet.add(sheet, entry, by))
        return _edited(answer, entry.id)

    async def replace_entry(
        self, caller: Caller, sheet_id: UUID, expect: Expect, entry_id: UUID, hours: Hours
    ) -> Answer[Edited]:
        """As `add_entry`, in place of an entry. Raises NotFound when the sheet has no such entry."""
        check_hours(hours)
        answer = await self._edit(
            caller, sheet_id, expect, lambda sheet, by: timesheet.replace_entry(sheet, entry_id, hours, by)
        )
        return _edited(answer, entry_id)

    async def amend_entry(
        self, caller: Caller, sheet_id: UUID, expect: Expect, entry_id: UUID, amendment: Amendment
    ) -> Answer[Edited]:
        """As `replace_entry`, of some fields; of none, nothing is changed."""
        check_amendment(amendment)
        answer = await self._edit(
            caller, sheet_id, expect, lambda sheet, by: timesheet.amend_entry(sheet, entry_id, amendment, by)
        )
        return _edited(answer, entry_id)

    async def remove_entry(self, caller: Caller, sheet_id: UUID, expect: Expect, entry_id: UUID) -> Answer[Timesheet]:
        """Raises NotFound when the sheet has no such entry."""
        return await self._edit(caller, sheet_id, expect, lambda sheet, by: timesheet.remove(sheet, entry_id, by))

    async def delete(self, caller: Caller, sheet_id: UUID, expect: Expect) -> Answer[None]:
        """Remove a sheet with its entries."""
        async with self._gate.change(caller, KIND, "delete", _known(sheet_id), expect=expect) as change:
            sheet = store.sheet_of_row(change.permit, change.found)
            timesheet.delete(sheet)
            await store.delete(change.permit, change.connection, sheet)
            change.record("timesheet.deleted", resource_of(sheet), before=facts_of(sheet), after={})
        return change.answer(None)

    async def submit(self, caller: Caller, sheet_id: UUID, expect: Expect) -> Answer[Timesheet]:
        """Raises Conflict for a sheet without entries, NoApprover where nobody could approve it."""
        return await self._move(caller, "submit", sheet_id, expect, timesheet.submit)

    async def withdraw(self, caller: Caller, sheet_id: UUID, expect: Expect) -> Answer[Timesheet]:
        """Take a submitted sheet back to draft."""
        return await self._move(caller, "withdraw", sheet_id, expect, lambda sheet, _: timesheet.withdraw(sheet))

    async def approve(self, caller: Caller, sheet_id: UUID, expect: Expect) -> Answer[Timesheet]:
        """Nobody approves what is theirs or what they entered or submitted, whatever the policy says: Forbidden."""
        return await self._move(caller, "approve", sheet_id, expect, timesheet.approve)

    async def reject(self, caller: Caller, sheet_id: UUID, expect: Expect, reason: str) -> Answer[Timesheet]:
        """Raises InvalidField for a reason that is empty or longer than 1,000 characters."""
        check_reason(reason)
        return await self._move(caller, "reject", sheet_id, expect, lambda sheet, _: timesheet.reject(sheet, reason))

    async def reopen(self, caller: Caller, sheet_id: UUID, expect: Expect, reason: str) -> Answer[Timesheet]:
        """Take an approval back: the sheet is a draft again. Raises InvalidField as `reject`."""
        check_reason(reason)
        return await self._move(caller, "reopen", sheet_id, expect, lambda sheet, _: timesheet.reopen(sheet, reason))

    async def lock(self, caller: Caller, sheet_id: UUID, expect: Expect, reason: str) -> Answer[Timesheet]:
        """Lock an approved sheet for payroll. Raises InvalidField as `reject`."""
        check_reason(reason)
        return await self._move(caller, "lock", sheet_id, expect, lambda sheet, by: timesheet.lock(sheet, reason, by))

    async def unlock(self, caller: Caller, sheet_id: UUID, expect: Expect, reason: str) -> Answer[Timesheet]:
        """The sheet is approved again. Raises InvalidField as `reject`; whoever locked it does not unlock it, whatever
        the policy says: Forbidden."""
        check_reason(reason)
        return await self._move(
            caller, "unlock", sheet_id, expect, lambda sheet, by: timesheet.unlock(sheet, reason, by)
        )

    async def _edit(self, caller: Caller, sheet_id: UUID, expect: Expect, move: Move) -> Answer[Timesheet]:
        return await self._change(caller, ("edit", "timesheet.edited"), sheet_id, expect, move)

    async def _move(self, caller: Caller, action: str, sheet_id: UUID, expect: Expect, move: Move) -> Answer[Timesheet]:
        return await self._change(caller, (action, EVENTS[action]), sheet_id, expect, move)

    async def _change(
        self, caller: Caller, names: tuple[str, str], sheet_id: UUID, expect: Expect, move: Move
    ) -> Answer[Timesheet]:
        action, event = names
        async with self._gate.change(caller, KIND, action, _known(sheet_id), expect=expect) as change:
            before = store.sheet_of_row(change.permit, change.found)
            after = move(before, by(change))
            if after is not before:
                if entered := timesheet.projects_entered(before, after):
                    closed = await store.closed_projects(change.permit, change.connection, entered)
                    if closed:
                        raise wrong("project", next(iter(closed.values())))
                if action == "submit":
                    await need_approver(change.permit, change.connection, after)
                after = await store.save(change.permit, change.connection, before, after)
                changed(change, event, before, after)
        return change.answer(after)


EVENTS = {
    "submit": "timesheet.submitted",
    "withdraw": "timesheet.withdrawn",
    "approve": "timesheet.approved",
    "reject": "timesheet.rejected",
    "reopen": "timesheet.reopened",
    "lock": "timesheet.locked",
    "unlock": "timesheet.unlocked",
}


def by(change: Change) -> By:
    """Who acts: the person, under every id by which laws know them, or the client that acts for itself."""
    return By(*asker(change.caller.principal), change.seen.same_human, change.caller.principal.client)


def _known(sheet_id: UUID) -> Target:
    return Target(str(sheet_id), store.lock(sheet_id), must_exist=True)


def _edited(answer: Answer[Timesheet], entry_id: UUID) -> Answer[Edited]:
    return Answer(Edited(answer.value, answer.value.entry(entry_id)), answer.receipt)
