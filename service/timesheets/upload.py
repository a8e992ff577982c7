"""Import of hours by a client that acts for itself: all rows or none, or each valid row. Owns no state.

The key of a row is (owner, day, project, external_ref), so sending rows again changes nothing. Each sheet that the rows
touch has its own decision. With `together`, all sheets change in one transaction, locked in the order of owner and
week. With `per-row`, batches of sheets change in transactions of their own; if a file is cut off, send it again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING

from service.authorization.enforcement.changes import Target, refused_under
from service.authorization.enforcement.decision_record import DRY_RUN
from service.authorization.enforcement.fact_statements import person_or_client
from service.authorization.enforcement.person_references import ERASED
from service.authorization.enforcement.preflight import admit
from service.errors import (
    Denied,
    Forbidden,
    InsufficientScope,
    NotApplied,
    TimewardenError,
    TryLater,
)
from service.identity.principal import PrincipalKind
from service.ids import make_id
from service.pacing import finish, pace, slices
from service.timesheets import store
from service.timesheets.change_record import record_change
from service.timesheets.entry import find_last_week, invalid_field
from service.timesheets.known_projects import KnownProjects
from service.timesheets.relations import KIND, describe_new
from service.timesheets.timesheet import Actor, Timesheet
from service.timesheets.upload_merge import MergedWeek, merge
from service.timesheets.upload_results import Results
from service.timesheets.upload_rows import MAX_ROWS, WRONG, Fault, Faults
from service.timesheets.upload_store import WeekLocks, refuse_erased

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import date

    from service.authorization.enforcement.changes import Caller, Change, Outcome
    from service.authorization.enforcement.gate import Gate
    from service.log.log import Receipt
    from service.timesheets.entry import ProjectTerms
    from service.timesheets.upload_rows import Rows, Week

# One transaction holds locks and delays the activation of policy versions, so its size is bounded.
MAX_TOGETHER = 10_000
MAX_SHEETS_TOGETHER = 2_000
# With `per-row`: concurrent transactions of one upload, and sheets in each.
CONCURRENT_BATCHES = 3
SHEETS_PER_BATCH = 50
# Entries of new sheets that one statement inserts, so that no statement takes long.
MAX_ENTRIES_PER_STATEMENT = 1_000
DEFAULT_ZONE = "UTC"
CLIENTS_ONLY = "only a client that acts for itself, not for a person, may upload hours"
NOT_ALLOWED = "you may not upload for this person and week: no grant covers them, or their timesheet is closed"


class UploadMode(StrEnum):
    """TOGETHER: all rows or none. PER_ROW: each valid row; the others are reported."""

    TOGETHER = "together"
    PER_ROW = "per-row"


class DryRun(NotApplied):
    """Rolls back a transaction that would have succeeded. It is recorded, and never reaches the caller."""

    slug = DRY_RUN


@dataclass(slots=True)
class UploadResult:
    """The result of each row, and the receipts of the decisions, one for each sheet, in the order of the decisions.
    `refused` is the receipt of the first decision that refused a sheet. `together`: one refused sheet refuses all.
    `wanted` returns whether the caller still waits for the answer."""

    results: Results
    together: bool = False
    receipts: list[Receipt] = field(default_factory=list)
    refused: Receipt | None = None
    wanted: Callable[[], bool] = lambda: True


class Uploads:
    """The use case. `weeks_ahead`: hours are accepted for at most so many weeks after this one."""

    def __init__(self, gate: Gate, *, weeks_ahead: int | None = None) -> None:
        self._gate = gate
        self._weeks_ahead = weeks_ahead
        self._projects = KnownProjects()

    async def preflight(self, caller: Caller) -> None:
        """Refuse callers who could not upload any row, before rows are read. Raises InsufficientScope, and Forbidden
        for a person, under any policy; both are recorded."""
        never = CLIENTS_ONLY if caller.principal.kind is not PrincipalKind.CLIENT else None
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
        """Import the rows, or, in a dry run, return what an import would do. The receipt is of the first decision. With
        `per-row`, the import stops between sheets once the answer is not `wanted` any more. A dry run with `together`
        tries each sheet by itself, so that it reports every row that would be refused.

        Raises InvalidField with paths such as `rows[3].minutes`; Forbidden or WrongState, whose extra `rows` lists the
        refused rows; InsufficientScope; Conflict; TryLater. With `per-row` it raises only if no row could be tried.
        """
        together = mode is UploadMode.TOGETHER
        found = await self._gate.find_people(rows.references.keys()) if rows.references else {}
        # Rows for two ids of one person may be for one timesheet.
        rows.name_owners(found, await self._gate.find_merged({owner for owner, _ in rows.weeks}))
        await _check_rows(rows, find_last_week(self._weeks_ahead), together=together)
        if together and rows.faults and not dry_run:
            raise rows.refusal(rows.faults)
        uploaded = UploadResult(Results(rows, dry_run=dry_run), together, wanted=wanted)
        actor = Actor(*person_or_client(caller.principal))
        if together and not dry_run:
            await self._upload_together(caller, rows, actor, uploaded)
        else:
            await self._upload_per_row(caller, rows, actor, uploaded, dry_run=dry_run)
        if not uploaded.receipts:
            raise rows.refusal(rows.faults)
        if together and uploaded.results.faults:
            with refused_under(uploaded.refused or uploaded.receipts[0]):
                raise rows.refusal(uploaded.results.faults)
        return uploaded, uploaded.receipts[0]

    async def _upload_together(self, caller: Caller, rows: Rows, actor: Actor, uploaded: UploadResult) -> None:
        order = sorted(rows.weeks)
        locks = WeekLocks(order, actor.client)

        def combine(refusals: Mapping[int, TimewardenError]) -> TimewardenError:
            return _refusal(rows, [(order[place], error) for place, error in sorted(refusals.items())])

        targets = _targets(order, locks)
        async with self._gate.change_all(caller, KIND, "upload", targets, combine=combine) as changes:
            projects: dict[str, ProjectTerms] = {}
            found: list[tuple[Change, MergedWeek]] = []
            async for change, week in pace(zip(changes, order, strict=True)):
                merged = await self._merge(change, rows, week, actor, projects, locks)
                uploaded.results.put(merged)
                found.append((change, merged))
            if uploaded.results.faults:
                raise rows.refusal(uploaded.results.faults)
            async for sheets in pace(_statements(found)):
                await _write(sheets)
        uploaded.receipts = [change.receipt for change in changes]

    async def _upload_per_row(
        self, caller: Caller, rows: Rows, actor: Actor, uploaded: UploadResult, *, dry_run: bool
    ) -> None:
        batches = _batches(
            week for week, indexes in rows.weeks.items() if any(index not in rows.faults for index in indexes)
        )
        # The first batch runs alone: an error that would stop every batch stops the upload before anything is done.
        for batch in islice(batches, 1):
            await self._upload_batch(caller, rows, batch, actor, uploaded, dry_run=dry_run)

        async def work() -> None:
            for batch in batches:
                if not uploaded.wanted():
                    return
                await self._upload_batch(caller, rows, batch, actor, uploaded, dry_run=dry_run)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(CONCURRENT_BATCHES):
                    group.create_task(work())
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _upload_batch(
        self, caller: Caller, rows: Rows, batch: Sequence[Week], actor: Actor, uploaded: UploadResult, *, dry_run: bool
    ) -> None:
        """Change some sheets in one transaction, each in a savepoint; the refusal of a sheet is the fault of its
        rows."""
        locks = WeekLocks(batch, actor.client)
        found: dict[Week, MergedWeek] = {}
        projects: dict[str, ProjectTerms] = {}
        targets = _targets(batch, locks)
        week_of = dict(zip(targets, batch, strict=True))
        try:
            async with self._gate.change_each(caller, KIND, "upload", targets) as each:
                async for change in each:
                    await slices().rest()
                    async with each.savepoint(change):
                        week = week_of[change.target]
                        found[week] = await self._merge(change, rows, week, actor, projects, locks)
                        _refuse_if_all_invalid(rows, found[week])
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
            _store_outcome(uploaded, rows, week, outcome, found.get(week))

    async def _merge(
        self,
        change: Change,
        rows: Rows,
        week: Week,
        actor: Actor,
        projects: dict[str, ProjectTerms],
        locks: WeekLocks,
    ) -> MergedWeek:
        """Merge the rows of one week into its sheet, or into a new one. `projects` caches those of this transaction.
        Rows for an erased person are faults."""
        numbered = [row async for row in pace(rows.of_week(week))]
        if change.row is None:
            zone = next((row.time_zone for _, row in numbered if row.time_zone), DEFAULT_ZONE)
            before = Timesheet(id=make_id(), owner=week[0], period_start=week[1], time_zone=zone, version=0)
        else:
            before = store.sheet_of_row(change.permit, change.row)
        if locks.is_erased(week[0]):
            return MergedWeek(before, faults={index: [Fault(WRONG, ERASED, "owner")] for index, _ in numbered})
        if unknown := {row.project for _, row in numbered} - projects.keys():
            projects |= await self._projects.load(change.permit, change.connection, unknown)
        await slices().rest()
        other_sheets = locks.other_sheets(week)
        elsewhere = await store.load_entries(change.permit, change.connection, other_sheets) if other_sheets else {}
        return merge(before, numbered, projects, actor, elsewhere)


def _targets(weeks: Sequence[Week], locks: WeekLocks) -> list[Target]:
    return [
        Target(lock=locks.of(place), owner=owner, new=describe_new(period_start))
        for place, (owner, period_start) in enumerate(weeks)
    ]


def _refuse_if_all_invalid(rows: Rows, merged: MergedWeek) -> None:
    """Raise InvalidField if no row of the sheet is valid."""
    if merged.faults and not merged.outcomes:
        faults = Faults()
        faults.update(merged.faults)
        raise rows.refusal(faults)


def _store_outcome(
    uploaded: UploadResult, rows: Rows, week: Week, outcome: Outcome[None], merged: MergedWeek | None
) -> None:
    """Store the outcome of one sheet of a batch."""
    uploaded.receipts.append(outcome.receipt)
    refused = outcome.error
    if merged and (refused is None or isinstance(refused, DryRun) or not merged.outcomes):
        uploaded.results.put(merged)
    elif refused is not None:
        uploaded.results.refuse(rows.weeks[week], _fault(refused))
    if refused is not None and not isinstance(refused, DryRun):
        uploaded.refused = uploaded.refused or outcome.receipt


def _batches(weeks: Iterable[Week]) -> Iterator[Sequence[Week]]:
    """The weeks of each transaction, in the order in which they are locked."""
    remaining = iter(weeks)
    while batch := sorted(islice(remaining, SHEETS_PER_BATCH)):
        yield batch


def _statements(found: Sequence[tuple[Change, MergedWeek]]) -> Iterator[Sequence[tuple[Change, MergedWeek]]]:
    """The sheets of each INSERT statement."""
    sheets: list[tuple[Change, MergedWeek]] = []
    for changed_sheet in found:
        sheets.append(changed_sheet)
        if sum(len(merged.outcomes) for _, merged in sheets) >= MAX_ENTRIES_PER_STATEMENT:
            yield sheets
            sheets = []
    yield sheets


async def _check_rows(rows: Rows, last_week: date, *, together: bool) -> None:
    """Find conflicts between rows, and those after `last_week`. Raises InvalidField if there are no rows, or too many
    for one transaction."""
    if len(rows) == 0:
        raise invalid_field("rows", "must not be empty")
    if together and len(rows) > MAX_TOGETHER:
        message = f"are {len(rows)}; mode=together takes at most {MAX_TOGETHER}, mode=per-row {MAX_ROWS}"
        raise invalid_field("rows", message)
    await finish(step for week in rows.weeks for step in rows.compare(week))
    await finish(step for week in rows.weeks if week[1] > last_week for step in rows.refuse_after(last_week, week))
    if together and len(rows.weeks) > MAX_SHEETS_TOGETHER:
        message = (
            f"touch {len(rows.weeks)} timesheets; mode=together takes at most {MAX_SHEETS_TOGETHER}, mode=per-row more"
        )
        raise invalid_field("rows", message)


async def _write(found: Sequence[tuple[Change, MergedWeek]]) -> None:
    """Store and record the changes; new sheets are inserted with one statement."""
    changing = [(change, merged) for change, merged in found if merged.steps]
    new = [(change.permit, merged.steps[-1]) for change, merged in changing if not merged.before.version]
    if new:
        await store.create_all(new, changing[0][0].connection)
        await refuse_erased(changing[0][0].connection, {sheet.owner for _, sheet in new})
    for change, merged in changing:
        if merged.before.version:
            await store.save(change.permit, change.connection, merged.before, merged.steps[-1])
        before = merged.before
        async for after in pace(merged.steps):
            record_change(change, "timesheet.uploaded", before, after)
            before = after


def _refusal(rows: Rows, refused: Sequence[tuple[Week, TimewardenError]]) -> TimewardenError:
    """One error for all refused rows. It does not tell whether a sheet that the client may not see exists."""
    for _, error in refused:
        if isinstance(error, InsufficientScope):
            return error
    faults = Faults()
    for week, error in refused:
        faults.update(dict.fromkeys(rows.weeks[week], (_fault(error),)))
    return rows.refusal(faults)


def _fault(error: TimewardenError) -> Fault:
    """The fault that each row of a refused sheet gets."""
    if isinstance(error, Denied):
        return Fault(Forbidden.slug, NOT_ALLOWED)
    return Fault(error.slug, error.public)
