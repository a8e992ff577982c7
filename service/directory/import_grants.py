"""Plans what a row of an import does to something that a person holds for a time: a membership, a place in a group, the
lead of a project. Pure.

A row matches what overlaps its validity. It can begin something, or bring an end forward, but not past.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from service.directory.entities import GroupMember, Membership, ProjectLead, Validity

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from service.directory.import_file import ImportRow, RowErrors
    from service.directory.import_plan import Outcome

G = TypeVar("G", Membership, GroupMember, ProjectLead)


@dataclass(slots=True)
class PlannedGrants(Generic[G]):
    """What begins, and what ends at a time."""

    begun: list[G] = field(default_factory=list)
    ended: list[tuple[G, datetime]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class GrantRow(Generic[G]):
    """A row, what is held already for the same things, and how to make it with a validity."""

    row: ImportRow
    there: list[G]
    make: Callable[[Validity], G]


def plan_grant(asked: GrantRow[G], now: datetime, planned: PlannedGrants[G], errors: RowErrors) -> Outcome | None:
    """Plan a row, and add what it begins to `there`. None after an error."""
    row, there, given = asked.row, asked.there, asked.row.validity
    if given.valid_from is None and given.valid_to and any(held.validity.valid_to == given.valid_to for held in there):
        return "unchanged"
    since = given.valid_from or now
    if given.valid_to is not None and given.valid_to <= since:
        errors.at(row, "valid_to", "must be after valid_from, or in the future if there is none")
        return None
    overlapping = [held for held in there if _overlaps(held.validity, since, given.valid_to)]
    if not overlapping:
        made = asked.make(Validity(since, given.valid_to))
        planned.begun.append(made)
        there.append(made)
        return "created"
    held = overlapping[0]
    if len(overlapping) > 1 or (given.valid_from is not None and held.validity.valid_from != given.valid_from):
        errors.at(row, "valid_from", f"the person has had this since {held.validity.valid_from}")
        return None
    return _plan_end(row, held, now, planned, errors)


def _plan_end(row: ImportRow, held: G, now: datetime, planned: PlannedGrants[G], errors: RowErrors) -> Outcome | None:
    """Bring the end of what is held forward, if the row says so."""
    end, present = row.validity.valid_to, held.validity.valid_to
    if end == present:
        return "unchanged"
    if end is None or end < now or (present is not None and end > present):
        until = present or "without end"
        errors.at(row, "valid_to", f"the person has this until {until}; an end can only become earlier, and not past")
        return None
    planned.ended.append((held, end))
    return "updated"


def _overlaps(validity: Validity, since: datetime, until: datetime | None) -> bool:
    begin, end = validity.valid_from, validity.valid_to
    return (end is None or since < end) and (until is None or begin is None or begin < until)
