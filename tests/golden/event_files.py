"""One example of every event type, as bytes: what tests/golden/events/ holds. `files()` gives name and content."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from events.envelope import TYPES, PublishedChange, serialize

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCE = "https://timesheets.example.com"
SHEET = "019c0000-0000-7000-8000-000000000001"
ANA = "019c0000-0000-7000-8000-00000000000a"
TEAM, PARENT = "019c0000-0000-7000-8000-0000000000a1", "019c0000-0000-7000-8000-0000000000a2"
DRAFT, SUBMITTED, APPROVED, REJECTED = (("draft", 2), ("submitted", 3), ("approved", 4), ("rejected", 4))
LOCKED = ("locked", 5)

# Of each type: the state before and after.
SHEETS: Mapping[str, tuple[tuple[str, int] | None, tuple[str, int] | None]] = {
    "timesheet.created": (None, ("draft", 1)),
    "timesheet.edited": (("draft", 1), DRAFT),
    "timesheet.deleted": (DRAFT, None),
    "timesheet.submitted": (DRAFT, SUBMITTED),
    "timesheet.withdrawn": (SUBMITTED, ("draft", 4)),
    "timesheet.approval-given": (SUBMITTED, ("submitted", 4)),
    "timesheet.approved": (SUBMITTED, APPROVED),
    "timesheet.rejected": (SUBMITTED, REJECTED),
    "timesheet.reopened": (APPROVED, ("draft", 5)),
    "timesheet.locked": (APPROVED, LOCKED),
    "timesheet.unlocked": (LOCKED, ("approved", 6)),
    "timesheet.reminded": (None, SUBMITTED),
    "timesheet.uploaded": (None, ("draft", 1)),
}
# Members that an event of this type has after the change.
MORE: Mapping[str, Mapping[str, object]] = {
    "timesheet.approval-given": {"approvals": [ANA], "approvals_needed": 2},
    "timesheet.approved": {"approvals": [ANA]},
    "timesheet.reminded": {"approvers": [ANA]},
}
OTHERS: Mapping[str, tuple[str, str, Mapping[str, object], Mapping[str, object]]] = {
    "policy.proposed": ("policy", "2", {}, {"number": 2, "digest": "c0" * 32, "parent": 1}),
    "policy.activated": ("policy", "2", {"active": 1}, {"active": 2, "digest": "c0" * 32}),
    "directory.changed": ("directory", TEAM, {"parent": None}, {"what": "team.changed", "parent": PARENT}),
    "token.revoked": ("token", "019c0000-0000-7000-8000-00000000000b", {}, {"what": "person"}),
}


def files() -> dict[str, str]:
    """File name and content of every golden event, indented for readers; the stream holds the same without spaces."""
    return {f"{change.type}.json": _readable(change) for change in examples()}


def examples() -> list[PublishedChange]:
    """One change of each type, in one little log."""
    return [_example(type_, place) for place, type_ in enumerate(TYPES)]


def _example(type_: str, place: int) -> PublishedChange:
    if type_ in SHEETS:
        before, after = SHEETS[type_]
        kind, subject = "timesheet", SHEET
        now = after or before
        state: dict[str, object] = {"owner": ANA, **_state(now)}
        former, latter = _state(before), {**_state(after), **MORE.get(type_, {})}
    else:
        kind, subject, from_, to = OTHERS[type_]
        state = {"owner": None, "state": None, "version": None}
        former, latter = dict(from_), dict(to)
    return PublishedChange(
        position=3 * place + 1,
        previous=3 * place - 2 if place else None,
        uid=UUID(f"019c0000-0000-7000-8000-0000000001{place:02x}"),
        leaf=f"{place:02x}" * 32,
        type=type_,
        subject=subject,
        time=datetime(2026, 3, 2, 9, 30, place, 125000, tzinfo=UTC),
        data={
            "resource": {"kind": kind, "id": subject, **state},
            "from": former,
            "to": latter,
            "by": {"kind": "user", "person": ANA, "client": "web"},
            "decision": f"019c0000-0000-7000-8000-0000000002{place:02x}",
        },
        # A caller may send none.
        trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" if type_ == "timesheet.approved" else None,
    )


def _state(of: tuple[str, int] | None) -> dict[str, object]:
    return {} if of is None else {"state": of[0], "version": of[1]}


def _readable(change: PublishedChange) -> str:
    return json.dumps(json.loads(serialize(change, SOURCE)), indent=2, ensure_ascii=False) + "\n"
