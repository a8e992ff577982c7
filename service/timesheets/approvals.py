"""What waits for whom, and many sheets approved or sent back with one request. Owns no state.

A list of approvals is compiled from the rules for `approve`, so it holds what single approvals would be allowed; its
record says that it was a list. In a batch every sheet has its own version, its own decision and its own change record;
sheets are locked in the order in which an upload locks them, so that no two requests block each other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from service.authorization.enforcement import allowed_actions
from service.authorization.enforcement.changes import Target
from service.authorization.enforcement.judgement import NotDone
from service.errors import Conflict, Forbidden, InsufficientScope, NotFound, TimewardenError
from service.fields import Fields
from service.policy.known_words import LIST_APPROVALS
from service.timesheets import store, timesheet, waiting
from service.timesheets.actions import EVENTS, by
from service.timesheets.changed import changed
from service.timesheets.entry import check_reason
from service.timesheets.relations import KIND

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from service.authorization.enforcement.changes import Answer, AnswerToAll, Change, Outcome
    from service.authorization.enforcement.decision_record import Caller
    from service.authorization.enforcement.gate import Gate
    from service.authorization.enforcement.judgement import Expect
    from service.errors import StepUpNeeded
    from service.timesheets.timesheet import By, Timesheet
    from service.timesheets.waiting import Place

    Move = Callable[[Timesheet, By], Timesheet]

MAX_ITEMS = 100


@dataclass(frozen=True, slots=True)
class Approval:
    """A sheet that waits for the asker since a moment, what its owner is called, and the relations and rules by which
    it waits."""

    sheet: Timesheet
    since: datetime
    owner_name: str | None
    relations: tuple[str, ...]
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ApprovalPage:
    """Approvals, longest waiting first; `after` is the place to go on from, None on the last page. `step_up` asks for
    the sign-in after which more would wait here."""

    items: tuple[Approval, ...]
    after: Place | None
    step_up: StepUpNeeded | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One sheet of a batch: `expect` judges the version that the caller has seen."""

    sheet: UUID
    expect: Expect


class Approvals:
    """Every method raises Denied, TryLater and what it names."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def waiting(self, caller: Caller, *, after: Place | None = None, limit: int = 50) -> Answer[ApprovalPage]:
        """A page of the sheets that the asker could approve now, or with another sign-in."""
        async with self._gate.list(replace(caller, recorded_as=LIST_APPROVALS), KIND, "approve") as listing:
            found = await waiting.page(listing.visibility, listing.connection, after=after, limit=limit)
            names = await waiting.names(listing.connection, {sheet.owner for sheet, _ in found.items})
            items = []
            for sheet, row in found.items:
                hint = allowed_actions.by_what(listing.visibility, row)
                items.append(Approval(sheet, row["updated_at"], names.get(sheet.owner), hint.relations, hint.rules))
            listing.returned = [str(item.sheet.id) for item in items]
            step_up = None
            if (stronger := listing.after_step_up()) is not None:
                then, challenge = stronger
                would = (await waiting.page(then, listing.connection, after=after, limit=limit)).items
                if not {sheet.id for sheet, _ in would} <= {item.sheet.id for item in items}:
                    step_up = challenge
        return listing.answer(ApprovalPage(tuple(items), found.after, step_up))

    async def approve_all(self, caller: Caller, items: Sequence[Item]) -> AnswerToAll[Sequence[Timesheet]]:
        """Approve every sheet or none; sheets come in the order of the items. Raises InvalidField; Forbidden or
        Conflict, whose extra `items` tells each refused one."""
        return await self._all(caller, "approve", items, timesheet.approve)

    async def reject_all(self, caller: Caller, items: Sequence[Item], reason: str) -> AnswerToAll[Sequence[Timesheet]]:
        """As `approve_all`, sent back with one reason."""
        check_reason(reason)
        return await self._all(caller, "reject", items, lambda sheet, _: timesheet.reject(sheet, reason))

    async def lock_all(self, caller: Caller, items: Sequence[Item], reason: str) -> AnswerToAll[Sequence[Timesheet]]:
        """As `approve_all`, locked for payroll with one reason."""
        check_reason(reason)
        return await self._all(caller, "lock", items, lambda sheet, by: timesheet.lock(sheet, reason, by))

    async def unlock_all(self, caller: Caller, items: Sequence[Item], reason: str) -> AnswerToAll[Sequence[Timesheet]]:
        """As `lock_all`, unlocked by somebody else than who locked them."""
        check_reason(reason)
        return await self._all(caller, "unlock", items, lambda sheet, by: timesheet.unlock(sheet, reason, by))

    async def approve_each(self, caller: Caller, items: Sequence[Item]) -> Sequence[Outcome[Timesheet]]:
        """Approve what can be approved; every item has its own outcome. Raises InvalidField, InsufficientScope."""
        return await self._each(caller, "approve", items, timesheet.approve)

    async def reject_each(self, caller: Caller, items: Sequence[Item], reason: str) -> Sequence[Outcome[Timesheet]]:
        """As `approve_each`, sent back with one reason."""
        check_reason(reason)
        return await self._each(caller, "reject", items, lambda sheet, _: timesheet.reject(sheet, reason))

    async def lock_each(self, caller: Caller, items: Sequence[Item], reason: str) -> Sequence[Outcome[Timesheet]]:
        """As `approve_each`, locked for payroll with one reason."""
        check_reason(reason)
        return await self._each(caller, "lock", items, lambda sheet, by: timesheet.lock(sheet, reason, by))

    async def unlock_each(self, caller: Caller, items: Sequence[Item], reason: str) -> Sequence[Outcome[Timesheet]]:
        """As `lock_each`, unlocked by somebody else than who locked them."""
        check_reason(reason)
        return await self._each(caller, "unlock", items, lambda sheet, by: timesheet.unlock(sheet, reason, by))

    async def _all(
        self, caller: Caller, action: str, items: Sequence[Item], move: Move
    ) -> AnswerToAll[Sequence[Timesheet]]:
        def combine(refusals: Mapping[int, TimewardenError]) -> TimewardenError:
            return _refusal(items, refusals)

        sheets: list[Timesheet] = []
        async with self._gate.change_all(caller, KIND, action, _targets(items), combine=combine) as changes:
            for place, change in enumerate(changes):
                try:
                    sheets.append(await _moved(change, action, move))
                except TimewardenError as error:
                    refused = change.permit.decision if isinstance(error, Forbidden) else None
                    raise NotDone(_refusal(items, {place: error}), refused) from error
        return changes.answer(sheets)

    async def _each(
        self, caller: Caller, action: str, items: Sequence[Item], move: Move
    ) -> Sequence[Outcome[Timesheet]]:
        async with self._gate.change_each(caller, KIND, action, _targets(items)) as each:
            async for change in each:
                async with each.savepoint(change):
                    change.value = await _moved(change, action, move)
        return each.outcomes()


async def _moved(change: Change, action: str, move: Move) -> Timesheet:
    before = store.sheet_of_row(change.permit, change.found)
    after = await store.save(change.permit, change.connection, before, move(before, by(change)))
    changed(change, EVENTS[action], before, after)
    return after


def _targets(items: Sequence[Item]) -> list[Target]:
    """One for each item. The first locks all of them in one order; the others find theirs locked."""
    fields = Fields()
    first: dict[UUID, int] = {}
    if not 1 <= len(items) <= MAX_ITEMS:
        fields.wrong("items", f"must be 1 to {MAX_ITEMS}")
    for index, item in enumerate(items):
        twin = first.setdefault(item.sheet, index)
        if twin != index:
            fields.wrong(f"items[{index}].id", f"is that of items[{twin}]")
    fields.refuse()
    locks = [store.lock_many(list(first), items[0].sheet), *(store.lock(item.sheet) for item in items[1:])]
    return [
        Target(str(item.sheet), lock, must_exist=True, expect=item.expect)
        for item, lock in zip(items, locks, strict=True)
    ]


def _refusal(items: Sequence[Item], refused: Mapping[int, TimewardenError]) -> TimewardenError:
    """One error for all refused items, each told as it would have been told alone."""
    scope = next((one for one in refused.values() if isinstance(one, InsufficientScope)), None)
    if scope is not None:
        return scope
    told = [
        {"item": index, "id": str(items[index].sheet), "problem": error.slug, "detail": error.public}
        for index, error in sorted(refused.items())
    ]
    sentences = [f"items[{one['item']}]: {one['detail']}" for one in told]
    denied = any(isinstance(error, Forbidden | NotFound) for error in refused.values())
    error = Forbidden(sentences) if denied else Conflict(sentences[0])
    error.extra["items"] = told
    return error
