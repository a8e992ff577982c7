"""What timesheets look like in answers, wherever they are answered. Pure: owns no state."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.timesheets.entry import Entry
    from service.timesheets.timesheet import Timesheet


class EntryBody(msgspec.Struct):
    """An entry of a sheet. `external_ref` is an importing job's own name for it."""

    id: str
    day: date
    project: str
    minutes: int
    note: str | None
    external_ref: str | None


class SheetBody(msgspec.Struct):
    """A person's week. `version` is also the ETag; `reason` is why it was rejected, reopened, locked or unlocked, if
    that was its last step. `submitted_at`: when it was handed in last; `decided_at` and `decided_by`: when, and by
    which person or client, it was approved or rejected; a draft has none of them. `actions`, with `include=actions`
    alone: what this token could do to it at that moment, by the policy and the sheet's state."""

    id: str
    owner: str
    period_start: date
    period_end: date
    time_zone: str
    state: str
    version: int
    minutes: int
    reason: str | None
    created_at: datetime
    updated_at: datetime
    submitted_at: datetime | None
    decided_at: datetime | None
    decided_by: str | None
    entries: list[EntryBody]
    actions: list[str] | msgspec.UnsetType = msgspec.UNSET


class SheetPage(msgspec.Struct):
    """Sheets, newest week first. `next_cursor` is null on the last page."""

    items: list[SheetBody]
    next_cursor: str | None


def body_of(sheet: Timesheet, actions: Sequence[str] | None = None) -> SheetBody:
    """A sheet as it is answered."""
    return SheetBody(
        id=str(sheet.id),
        owner=str(sheet.owner),
        period_start=sheet.period_start,
        period_end=sheet.period_end,
        time_zone=sheet.time_zone,
        state=str(sheet.state),
        version=sheet.version,
        minutes=sheet.minutes,
        reason=sheet.reason,
        created_at=sheet.created_at,
        updated_at=sheet.updated_at,
        submitted_at=sheet.submitted_at,
        decided_at=sheet.decided_at,
        decided_by=None if sheet.decided_by is None else str(sheet.decided_by.person or sheet.decided_by.client),
        entries=[entry_body(one) for one in sheet.entries],
        actions=msgspec.UNSET if actions is None else list(actions),
    )


def entry_body(one: Entry) -> EntryBody:
    """An entry as it is answered."""
    return EntryBody(str(one.id), one.day, one.project, one.minutes, one.note, one.external_ref)
