"""The inbox of pending approvals, and batches that approve, reject, lock or unlock many sheets. Owns no state.

The inbox is compiled from the rules for `approve`: it holds the sheets that the caller may approve one by one. Its
record says that it was a list. In a batch every sheet has its own version, decision and change record; sheets are
locked in the same order as by uploads, so that two requests cannot deadlock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.authorization.enforcement import allowed_actions
from service.authorization.enforcement.changes import AbortChange, Target
from service.authorization.enforcement.names import load_names_of_change, load_names_of_rows
from service.errors import Conflict, Forbidden, InsufficientScope, NotFound, TimewardenError
from service.fields import Fields
from service.policy.known_words import LIST_APPROVALS
from service.timesheets import approvals_store, store, timesheet
from service.timesheets.actions import DetailedSheet, Details, actor_of, approve, event_of, ids_in, save
from service.timesheets.change_record import record_change
from service.timesheets.entry import check_comment, check_reason
from service.timesheets.relations import KIND
from service.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from service.authorization.enforcement.changes import Answer, AnswerToAll, Caller, Change, Expect, Outcome
    from service.authorization.enforcement.gate import Gate
    from service.authorization.enforcement.names import Names
    from service.errors import StepUpNeeded
    from service.timesheets.approvals_store import Place
    from service.timesheets.timesheet import Timesheet

    Step = Callable[[Timesheet, Change], Timesheet]
    Changed = Sequence[DetailedSheet]

MAX_ITEMS = 100
PLAIN = Details()


@dataclass(frozen=True, slots=True)
class Approval:
    """A sheet that the caller may approve, the time of its submission, the relations and rules that allow the approval,
    and the names of the people and projects in it, None if they were not asked for."""

    sheet: Timesheet
    since: datetime
    relations: tuple[str, ...]
    rules: tuple[str, ...]
    names: Names | None


@dataclass(frozen=True, slots=True)
class ApprovalPage:
    """Pending approvals, oldest first; `after` is the keyset of the next page, None on the last page. `step_up` is the
    sign-in that would show more of them."""

    items: tuple[Approval, ...]
    after: Place | None
    step_up: StepUpNeeded | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One sheet of a batch; `expect` checks the version that the caller has read."""

    sheet: UUID
    expect: Expect


class Approvals:
    """Every method raises Denied, TryLater and the errors that it names."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def list_pending(
        self, caller: Caller, details: Details = PLAIN, *, after: Place | None = None, limit: int = 50
    ) -> Answer[ApprovalPage]:
        """A page of the sheets that the caller may approve now, with names or some fields only, and the sign-in that
        would show more."""
        async with self._gate.list(replace(caller, recorded_as=LIST_APPROVALS), KIND, "approve") as listing:
            found = await approvals_store.list_pending(
                listing.visibility, listing.connection, after=after, limit=limit, with_entries=details.with_entries
            )
            named: Mapping[UUID, Names] = {}
            if details.names:
                ids = {sheet.id: ids_in(sheet, details.fields) for sheet, _ in found.items}
                named = await load_names_of_rows(listing.visibility, listing.connection, ids)
            items = []
            for sheet, row in found.items:
                ground = allowed_actions.explain_listed_row(listing.visibility, row)
                names = named.get(sheet.id)
                items.append(Approval(sheet, row["submitted_at"], ground.relations, ground.rules, names))
            listing.returned = [str(item.sheet.id) for item in items]
            step_up = None
            if (stronger := listing.visibility.after_step_up()) is not None:
                visibility, challenge = stronger
                more = await approvals_store.list_pending(
                    visibility, listing.connection, after=after, limit=limit, with_entries=False
                )
                if not {sheet.id for sheet, _ in more.items} <= {item.sheet.id for item in items}:
                    step_up = challenge
        return listing.answer(ApprovalPage(tuple(items), found.after, step_up))

    async def approve_all(
        self, caller: Caller, items: Sequence[Item], comment: str | None = None
    ) -> AnswerToAll[Changed]:
        """Approve every sheet or none, with one comment; returns the sheets in the order of the items, with the names
        of their owners if asked. Raises InvalidField; Forbidden or Conflict, whose extra `items` lists each refused
        item."""
        check_comment(comment)
        return await self._change_all(caller, "approve", items, lambda sheet, change: approve(sheet, change, comment))

    async def reject_all(self, caller: Caller, items: Sequence[Item], reason: str) -> AnswerToAll[Changed]:
        """Reject every sheet or none, with one reason. Raises as `approve_all`."""
        check_reason(reason)
        return await self._change_all(caller, "reject", items, lambda sheet, _: timesheet.reject(sheet, reason))

    async def lock_all(self, caller: Caller, items: Sequence[Item], reason: str) -> AnswerToAll[Changed]:
        """Lock every sheet for payroll or none, with one reason. Raises as `approve_all`."""
        check_reason(reason)
        return await self._change_all(
            caller, "lock", items, lambda sheet, change: timesheet.lock(sheet, reason, actor_of(change))
        )

    async def unlock_all(self, caller: Caller, items: Sequence[Item], reason: str) -> AnswerToAll[Changed]:
        """Unlock every sheet or none, with one reason. Raises as `approve_all`."""
        check_reason(reason)
        return await self._change_all(
            caller, "unlock", items, lambda sheet, change: timesheet.unlock(sheet, reason, actor_of(change))
        )

    async def approve_each(
        self, caller: Caller, items: Sequence[Item], comment: str | None = None
    ) -> Sequence[Outcome[DetailedSheet]]:
        """Approve each sheet by itself, with one comment; every item has its own outcome. Raises InvalidField,
        InsufficientScope."""
        check_comment(comment)
        return await self._change_each(caller, "approve", items, lambda sheet, change: approve(sheet, change, comment))

    async def reject_each(self, caller: Caller, items: Sequence[Item], reason: str) -> Sequence[Outcome[DetailedSheet]]:
        """Reject each sheet by itself, with one reason. Raises as `approve_each`."""
        check_reason(reason)
        return await self._change_each(caller, "reject", items, lambda sheet, _: timesheet.reject(sheet, reason))

    async def lock_each(self, caller: Caller, items: Sequence[Item], reason: str) -> Sequence[Outcome[DetailedSheet]]:
        """Lock each sheet for payroll by itself, with one reason. Raises as `approve_each`."""
        check_reason(reason)
        return await self._change_each(
            caller, "lock", items, lambda sheet, change: timesheet.lock(sheet, reason, actor_of(change))
        )

    async def unlock_each(self, caller: Caller, items: Sequence[Item], reason: str) -> Sequence[Outcome[DetailedSheet]]:
        """Unlock each sheet by itself, with one reason. Raises as `approve_each`."""
        check_reason(reason)
        return await self._change_each(
            caller, "unlock", items, lambda sheet, change: timesheet.unlock(sheet, reason, actor_of(change))
        )

    async def _change_all(self, caller: Caller, action: str, items: Sequence[Item], step: Step) -> AnswerToAll[Changed]:
        def combine(refusals: Mapping[int, TimewardenError]) -> TimewardenError:
            return _refusal(items, refusals)

        sheets: list[DetailedSheet] = []
        async with self._gate.change_all(caller, KIND, action, _targets(items), combine=combine) as changes:
            for place, change in enumerate(changes):
                try:
                    sheets.append(await _change_sheet(change, action, step))
                except TimewardenError as error:
                    refused = change.permit.decision if isinstance(error, Forbidden) else None
                    raise AbortChange(_refusal(items, {place: error}), refused) from error
        return changes.answer(sheets)

    async def _change_each(
        self, caller: Caller, action: str, items: Sequence[Item], step: Step
    ) -> Sequence[Outcome[DetailedSheet]]:
        async with self._gate.change_each(caller, KIND, action, _targets(items)) as each:
            async for change in each:
                async with each.savepoint(change):
                    change.value = await _change_sheet(change, action, step)
        return each.outcomes()


async def _change_sheet(change: Change, action: str, step: Step) -> DetailedSheet:
    before = store.sheet_of_row(change.permit, change.found)
    after = await save(change, before, step(before, change))
    record_change(change, event_of(action, after), before, after)
    return DetailedSheet(after, None, await load_names_of_change(change, [str(after.owner)], after.state))


def _targets(items: Sequence[Item]) -> list[Target]:
    """One for each item. The first locks all sheets in one order; the others find theirs locked."""
    fields = Fields()
    first: dict[UUID, int] = {}
    if not 1 <= len(items) <= MAX_ITEMS:
        fields.wrong("items", f"must be 1 to {MAX_ITEMS}")
    for index, item in enumerate(items):
        twin = first.setdefault(item.sheet, index)
        if twin != index:
            fields.wrong(f"items[{index}].id", f"is the same as that of items[{twin}]")
    fields.refuse()
    locks = [store.lock_many(list(first), items[0].sheet), *(store.lock(item.sheet) for item in items[1:])]
    return [
        Target(str(item.sheet), lock, must_exist=True, expect=item.expect)
        for item, lock in zip(items, locks, strict=True)
    ]


def _refusal(items: Sequence[Item], refused: Mapping[int, TimewardenError]) -> TimewardenError:
    """One error for all refused items; each item has the problem of a request for it alone."""
    scope = next((error for error in refused.values() if isinstance(error, InsufficientScope)), None)
    if scope is not None:
        return scope
    problems: list[dict[str, object]] = [
        {"item": index, "id": str(items[index].sheet), "problem": error.slug, "detail": error.public, **_access(error)}
        for index, error in sorted(refused.items())
    ]
    sentences = [f"items[{problem['item']}]: {problem['detail']}" for problem in problems]
    denied = any(isinstance(error, Forbidden | NotFound) for error in refused.values())
    error = Forbidden(sentences) if denied else Conflict(sentences[0])
    error.extra["items"] = problems
    return error


def _access(error: TimewardenError) -> dict[str, object]:
    """The member of a refused item that says what access to ask for, if that could help."""
    return {} if error.request_access is None else {"request_access": error.request_access}
