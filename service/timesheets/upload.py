"""Import of hours by a client that acts for itself, all rows together or each good one. Owns no state.

A row is known by (owner, day, project, external_ref), so a job that runs twice changes nothing. One decision is made
for each sheet that the rows touch. Together, all sheets change in one transaction, locked in the order of owner and
week; per row, each sheet in one of its own, so that a file that was cut off is simply sent again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING

from uuid_utils.compat import uuid7

from service.authorization.enforcement.changes import Target, refused_under
from service.authorization.enforcement.decision_record import DRY_RUN
from service.authorization.enforcement.preflight import admit
from service.authorization.enforcement.relationships import asker
from service.errors import (
    Denied,
    Forbidden,
    InsufficientScope,
    NotApplied,
    TimewardenError,
    TryLater,
)
from service.identity.principal import PrincipalKind
from service.pacing import finish, paced, slices
from service.timesheets import store
from service.timesheets.changed import changed
from service.timesheets.entry import wrong
from service.timesheets.relations import KIND
from service.timesheets.timesheet import By, Timesheet
from service.timesheets.upload_merge import MergedWeek, merge
from service.timesheets.upload_results import Results
from service.timesheets.upload_rows import MAX_ROWS, Fault, Faults
from service.timesheets.upload_store import WeekLocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from service.authorization.enforcement.changes import Change, Outcome
    from service.authorization.enforcement.decision_record import Caller
    from service.authorization.enforcement.gate import Gate
    from service.log.log import Receipt
    from service.timesheets.upload_rows import Rows, Week

# A transaction holds locks, and keeps new policy versions waiting: what goes together is bounded.
MAX_TOGETHER = 10_000
MAX_SHEETS_TOGETHER = 2_000
# Transactions that one upload per row has at once, and the sheets in each.
AT_ONCE = 3
SHEETS_AT_ONCE = 50
# Entries of new sheets in one statement, so that none takes long.
MAX_ENTRIES_WRITTEN = 1_000
DEFAULT_ZONE = "UTC"
FOR_CLIENTS = "hours are uploaded by clients that act for themselves, and not for a person"
NOT_FOR_YOU = "you may not upload for this person and week: no grant covers them, or their timesheet is closed"


class UploadMode(StrEnum):
    """TOGETHER: all rows or none. PER_ROW: each good row, and a report of the others."""

    TOGETHER = "together"
    PER_ROW = "per-row"


class DryRun(NotApplied):
    """Ends a transaction in which everything would have worked. Never leaves: it is recorded, and then answered."""

    slug = DRY_RUN


@dataclass(slots=True)
class UploadResult:
    """What became of each row, and the receipts of the decisions, one for each sheet, in the order in which they were
    made. `refused` is the receipt of the first one that refused a sheet; `together`: without one sheet the others are
    of no use."""

    results: Results
    together: bool = False
    receipts: list[Receipt] = field(default_factory=list)
    refused: Receipt | None = None
    wanted: Callable[[], bool] = lambda: True


class Uploads:
    """The use case of importing jobs."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def admit(self, caller: Caller) -> None:
        """Refuse whoever could not upload anything, before a row is read. Raises InsufficientScope; Forbidden for a
        person, whatever the policy says; both recorded."""
        never = FOR_CLIENTS if caller.principal.kind is not PrincipalKind.CLIENT else None
        await admit(self._gate, caller, KIND, "upload", any_row=True, never=never)

    async def upload(
        self,
        caller: Caller,
        rows: Rows,
        *,
        mode: UploadMode = UploadMode.TOGETHER,
        dry_run: bool = False,
        wanted: Callable[[], bool] = lambda: True,
    ) -> tuple[UploadResult, Receipt]:
        """Import the rows, or, in a dry run, say what would become of them. The receipt is of the first decision. Per
        row it stops between sheets when the answer is no longer `wanted`. A dry run of all rows together tries each
        sheet by itself, so that it tells of every row that would be refused.

        Raises InvalidField with paths such as `rows[3].minutes`; Forbidden or WrongState, whose extra `rows` tells
        the refused rows; InsufficientScope; Conflict; TryLater. Per row it only raises when no row could be tried.
        """
        together = mode is UploadMode.TOGETHER
        await _compare(rows, together=together)
        if together and rows.faults and not dry_run:
            raise rows.refusal(rows.faults)
        uploaded = UploadResult(Results(rows, dry_run=dry_run), together, wanted=wanted)
        by = By(*asker(caller.principal))
        if together and not dry_run:
            await self._together(caller, rows, by, uploaded)
        else:
            await self._per_row(caller, rows, by, uploaded, dry_run=dry_run)
        if not uploaded.receipts:
            raise rows.refusal(rows.faults)
        if together and uploaded.results.faults:
            with refused_under(uploaded.refused or uploaded.receipts[0]):
                raise rows.refusal(uploaded.results.faults)
        return uploaded, uploaded.receipts[0]

    async def _together(self, caller: Caller, rows: Rows, by: By, uploaded: UploadResult) -> None:
        order = sorted(rows.weeks)
        locks = WeekLocks(order)

        def combine(refusals: Mapping[int, TimewardenError]) -> TimewardenError:
            return _refusal(rows, [(order[place], error) for place, error in sorted(refusals.items())])

        targets = [Target(lock=locks.of(place), owner=week[0]) for place, week in enumerate(order)]
        async with self._gate.change_all(caller, KIND, "upload", targets, combine=combine) as changes:
            closed: dict[str, str] = {}
            found: list[tuple[Change, MergedWeek]] = []
            async for change, week in paced(zip(changes, order, strict=True)):
                merged = await _merge(change, rows, week, by, closed)
                uploaded.results.put(merged)
                found.append((change, merged))
            if uploaded.results.faults:
                raise rows.refusal(uploaded.results.faults)
            async for some in paced(_in_statements(found)):
                await _write(some)
        uploaded.receipts = [change.receipt for change in changes]

    async def _per_row(self, caller: Caller, rows: Rows, by: By, uploaded: UploadResult, *, dry_run: bool) -> None:
        waiting = _batches(week for week, found in rows.weeks.items() if any(one not in rows.faults for one in found))
        # The first alone: what stops it whatever its sheets are, stops the upload before anything was done.
        for batch in islice(waiting, 1):
            await self._batch(caller, rows, batch, by, uploaded, dry_run=dry_run)

        async def some() -> None:
            for batch in waiting:
                if not uploaded.wanted():
                    return
                await self._batch(caller, rows, batch, by, uploaded, dry_run=dry_run)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(some())
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _batch(
        self, caller: Caller, rows: Rows, batch: Sequence[Week], by: By, uploaded: UploadResult, *, dry_run: bool
    ) -> None:
        """Some sheets in one transaction, each for itself; what refuses one becomes the fault of its rows."""
        locks = WeekLocks(batch)
        found: dict[Week, MergedWeek] = {}
        closed: dict[str, str] = {}
        targets = [Target(lock=locks.of(place), owner=week[0]) for place, week in enumerate(batch)]
        week_of = dict(zip(targets, batch, strict=True))
        try:
            async with self._gate.change_each(caller, KIND, "upload", targets) as each:
                async for change in each:
                    await slices().rest()
                    async with each.savepoint(change):
                        week = week_of[change.target]
                        found[week] = await _merge(change, rows, week, by, closed)
                        _refuse_if_all_wrong(rows, found[week])
                        if dry_run:
                            raise DryRun
                        await _write([(change, found[week])])
        except (TryLater, InsufficientScope) as error:
            if uploaded.together or not uploaded.receipts:
                raise
            for week in batch:
                uploaded.results.refuse(rows.weeks[week], _fault(error))
            return
        for week, outcome in zip(batch, each.outcomes(), strict=True):
            _note(uploaded, rows, week, outcome, found.get(week))


def _refuse_if_all_wrong(rows: Rows, merged: MergedWeek) -> None:
    """Raises InvalidField when no row of the sheet can go in."""
    if merged.faults and not merged.outcomes:
        faults = Faults()
        faults.update(merged.faults)
        raise rows.refusal(faults)


def _note(uploaded: UploadResult, rows: Rows, week: Week, outcome: Outcome[None], merged: MergedWeek | None) -> None:
    """What became of one sheet of a batch."""
    uploaded.receipts.append(outcome.receipt)
    refused = outcome.error
    if merged and (refused is None or isinstance(refused, DryRun) or not merged.outcomes):
        uploaded.results.put(merged)
    elif refused is not None:
        uploaded.results.refuse(rows.weeks[week], _fault(refused))
    if refused is not None and not isinstance(refused, DryRun):
        uploaded.refused = uploaded.refused or outcome.receipt


def _batches(weeks: Iterable[Week]) -> Iterator[Sequence[Week]]:
    """Some weeks for each transaction, sorted as they are locked."""
    left = iter(weeks)
    while batch := sorted(islice(left, SHEETS_AT_ONCE)):
        yield batch


def _in_statements(found: Sequence[tuple[Change, MergedWeek]]) -> Iterator[Sequence[tuple[Change, MergedWeek]]]:
    """The sheets that are written with one statement each time."""
    some: list[tuple[Change, MergedWeek]] = []
    for changed_sheet in found:
        some.append(changed_sheet)
        if sum(len(merged.outcomes) for _, merged in some) >= MAX_ENTRIES_WRITTEN:
            yield some
            some = []
    yield some


async def _compare(rows: Rows, *, together: bool) -> None:
    """Judge the rows among themselves. Raises InvalidField if they are too many to go together, or none."""
    if len(rows) == 0:
        raise wrong("rows", "are none: send at least one")
    if together and len(rows) > MAX_TOGETHER:
        says = f"are {len(rows)}; at most {MAX_TOGETHER} go in together, and {MAX_ROWS} with mode=per-row"
        raise wrong("rows", says)
    await finish(step for week in rows.weeks for step in rows.compare(week))
    if together and len(rows.weeks) > MAX_SHEETS_TOGETHER:
        most = f"at most {MAX_SHEETS_TOGETHER} go in together, more with mode=per-row"
        raise wrong("rows", f"touch {len(rows.weeks)} weeks of people; {most}")


async def _merge(change: Change, rows: Rows, week: Week, by: By, closed: dict[str, str]) -> MergedWeek:
    """The rows of one week, and its sheet, which begins here if there is none. `closed` is what is known of projects in
    this transaction: why they take no hours, or nothing."""
    numbered = [row async for row in paced(rows.of_week(week))]
    if change.row is None:
        zone = next((row.time_zone for _, row in numbered if row.time_zone), DEFAULT_ZONE)
        before = Timesheet(id=uuid7(), owner=week[0], period_start=week[1], time_zone=zone, version=0)
    else:
        before = store.sheet_of_row(change.permit, change.row)
    if unknown := {row.project for _, row in numbered} - closed.keys():
        closed |= dict.fromkeys(unknown, "")
        closed |= await store.closed_projects(change.permit, change.connection, unknown)
    await slices().rest()
    return merge(before, numbered, closed, by)


async def _write(found: Sequence[tuple[Change, MergedWeek]]) -> None:
    """Store what the rows changed, new sheets in one statement, and have it recorded."""
    changing = [(change, merged) for change, merged in found if merged.steps]
    new = [(change.permit, merged.steps[-1]) for change, merged in changing if not merged.before.version]
    if new:
        await store.create_all(new, changing[0][0].connection)
    for change, merged in changing:
        if merged.before.version:
            await store.save(change.permit, change.connection, merged.before, merged.steps[-1])
        before = merged.before
        async for after in paced(merged.steps):
            changed(change, "timesheet.uploaded", before, after)
            before = after


def _refusal(rows: Rows, refused: Sequence[tuple[Week, TimewardenError]]) -> TimewardenError:
    """One error for all refused rows, which is the same for a sheet that the client may not know of as for none."""
    for _, error in refused:
        if isinstance(error, InsufficientScope):
            return error
    faults = Faults()
    for week, error in refused:
        faults.update(dict.fromkeys(rows.weeks[week], (_fault(error),)))
    return rows.refusal(faults)


def _fault(error: TimewardenError) -> Fault:
    """Why a whole sheet was refused, as each of its rows is told."""
    if isinstance(error, Denied):
        return Fault(Forbidden.slug, NOT_FOR_YOU)
    return Fault(error.slug, error.public)
