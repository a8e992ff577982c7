"""A typed client of Timewarden for other people's programs: `async with Timewarden(url, token) as api: await api.me()`.

Imports nothing of the service: with httpx, msgspec and its neighbours `client_*` it can be copied as it is. Owns no
state but connections. Async alone, since servers and jobs call it; a script wraps what it does in `asyncio.run`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from .client_directory import Delegation, Membership, Organisation, Person, Project, Role, Team
from .client_problems import Busy, Conflict, Denied, Invalid, NotFound, Problem, Stale, Unauthenticated
from .client_sending import MERGE_PATCH, read, receipt_of
from .client_shapes import (
    Access,
    Answered,
    Batch,
    Decision,
    Entry,
    Explanation,
    HoursReport,
    Me,
    PolicyTexts,
    PolicyVersion,
    Receipt,
    Reminded,
    Replay,
    Timesheet,
    Uploaded,
    UploadRow,
    Waiting,
)
from .client_tokens import TokenRefused, Tokens, client_credentials, refreshing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping
    from datetime import date, datetime

__all__ = [
    "Access",
    "Answered",
    "Batch",
    "Busy",
    "Conflict",
    "Decision",
    "Delegation",
    "Denied",
    "Entry",
    "Explanation",
    "HoursReport",
    "Invalid",
    "Me",
    "Membership",
    "NotFound",
    "Person",
    "PolicyTexts",
    "PolicyVersion",
    "Problem",
    "Project",
    "Receipt",
    "Reminded",
    "Replay",
    "Role",
    "Stale",
    "Team",
    "Timesheet",
    "Timewarden",
    "TokenRefused",
    "Tokens",
    "Unauthenticated",
    "UploadRow",
    "Uploaded",
    "Waiting",
    "client_credentials",
    "refreshing",
]

SHEETS, UPLOADS, DECISIONS, VERSIONS = "/v1/timesheets", "/v1/uploads", "/v1/decisions", "/v1/policies/versions"
REPLAYS = "/v1/replays"


class Timewarden(Organisation):
    """The API: every route that an app needs, as a method; `call` and `pages` reach the others. Sheets are changed as
    they were read: a method takes the sheet, sends its version in If-Match, and returns the sheet as it is then."""

    async def me(self) -> Me:
        """Who the token says one is, and what it may do."""
        return await self.call(Me, "GET", "/v1/me")

    def timesheets(
        self,
        *,
        owner: str | None = None,
        state: str | None = None,
        since: date | None = None,
        until: date | None = None,
        actions: bool = False,
    ) -> AsyncIterator[Timesheet]:
        """Every sheet that one may read, newest week first; with `actions`, what this token could do to each."""
        include = "actions" if actions else None
        return self.pages(Timesheet, SHEETS, owner=owner, state=state, since=since, until=until, include=include)

    async def timesheet(self, sheet_id: str, *, actions: bool = False) -> Timesheet:
        """A sheet by its id."""
        query = {"include": "actions"} if actions else {}
        return await self.call(Timesheet, "GET", f"{SHEETS}/{sheet_id}", query=query)

    async def open_week(self, monday: date, time_zone: str = "UTC") -> Timesheet:
        """A new draft of one's own. Raises Conflict, whose member `timesheet` is its id, when there is one already."""
        return await self.call(Timesheet, "POST", SHEETS, body={"period_start": monday, "time_zone": time_zone})

    async def delete(self, sheet: Timesheet) -> Receipt:
        """Delete a draft."""
        return receipt_of(await self.send("DELETE", f"{SHEETS}/{sheet.id}", version=sheet.version))

    async def add_entry(
        self, sheet: Timesheet, day: date, project: str, minutes: int, note: str | None = None
    ) -> Timesheet:
        """Add hours; the sheet as it is then."""
        return await self._change(sheet, "POST", "entries", _hours(day, project, minutes, note))

    async def replace_entry(
        self, sheet: Timesheet, entry_id: str, day: date, project: str, minutes: int, note: str | None = None
    ) -> Timesheet:
        """Put other hours in an entry's place."""
        return await self._change(sheet, "PUT", f"entries/{entry_id}", _hours(day, project, minutes, note))

    async def amend_entry(self, sheet: Timesheet, entry_id: str, **fields: date | str | int | None) -> Timesheet:
        """Change some fields of an entry: `minutes=60`, or `note=None` to take the note away."""
        file = (MERGE_PATCH, msgspec.json.encode(fields))
        answer = await self.send("PATCH", f"{SHEETS}/{sheet.id}/entries/{entry_id}", file=file, version=sheet.version)
        return read(Timesheet, answer)

    async def remove_entry(self, sheet: Timesheet, entry_id: str) -> Timesheet:
        """Take an entry out."""
        return await self._change(sheet, "DELETE", f"entries/{entry_id}")

    async def submit(self, sheet: Timesheet) -> Timesheet:
        """Hand a draft in."""
        return await self._change(sheet, "POST", "submit")

    async def withdraw(self, sheet: Timesheet) -> Timesheet:
        """Take a submitted sheet back."""
        return await self._change(sheet, "POST", "withdraw")

    async def approve(self, sheet: Timesheet) -> Timesheet:
        """Approve the sheet as it was read: raises Stale when it has changed since."""
        return await self._change(sheet, "POST", "approve")

    async def reject(self, sheet: Timesheet, reason: str) -> Timesheet:
        """Send a submitted sheet back; the owner reads the reason."""
        return await self._change(sheet, "POST", "reject", {"reason": reason})

    async def reopen(self, sheet: Timesheet, reason: str) -> Timesheet:
        """Take an approval back."""
        return await self._change(sheet, "POST", "reopen", {"reason": reason})

    async def lock(self, sheet: Timesheet, reason: str) -> Timesheet:
        """Close an approved sheet for payroll."""
        return await self._change(sheet, "POST", "lock", {"reason": reason})

    async def unlock(self, sheet: Timesheet, reason: str) -> Timesheet:
        """Open a locked sheet again: another person than the one who locked it."""
        return await self._change(sheet, "POST", "unlock", {"reason": reason})

    def approvals(self) -> AsyncIterator[Waiting]:
        """What waits for one's approval, longest first, also as a delegate."""
        return self.pages(Waiting, "/v1/approvals")

    async def approve_all(self, sheets: Iterable[Timesheet], *, per_item: bool = False) -> Batch:
        """Approve many sheets as they were read: all or none, or, `per_item`, those that can be."""
        return await self.call(Batch, "POST", f"{SHEETS}/batch-approve", body=_batch(sheets, per_item=per_item))

    async def reject_all(self, sheets: Iterable[Timesheet], reason: str, *, per_item: bool = False) -> Batch:
        """Send many sheets back, likewise."""
        return await self._all("reject", sheets, reason, per_item=per_item)

    async def lock_all(self, sheets: Iterable[Timesheet], reason: str, *, per_item: bool = False) -> Batch:
        """Close many approved sheets for payroll, likewise."""
        return await self._all("lock", sheets, reason, per_item=per_item)

    async def unlock_all(self, sheets: Iterable[Timesheet], reason: str, *, per_item: bool = False) -> Batch:
        """Open many locked sheets again, likewise: another person than the one who locked them."""
        return await self._all("unlock", sheets, reason, per_item=per_item)

    async def remind(self, waiting_days: int) -> Reminded:
        """Have an event published for each week that has waited for its approval for so long."""
        return await self.call(Reminded, "POST", "/v1/approvals/reminders", body={"waiting_days": waiting_days})

    async def hours(
        self, by: str, since: date, until: date, *, state: str | None = None, owner: str | None = None
    ) -> HoursReport:
        """Hours added up by `person`, `project`, `team` or `week`, of the sheets that one may read."""
        query = {"by": by, "since": since, "until": until, "state": state, "owner": owner}
        return await self.call(HoursReport, "GET", "/v1/reports/hours", query=query)

    async def access(self, sheet: Timesheet) -> Access:
        """Who may do what to a sheet, by which rule."""
        path, found = f"{SHEETS}/{sheet.id}/access", None
        while found is None or found.next_cursor is not None:
            page = await self.call(Access, "GET", path, query={"cursor": found.next_cursor if found else None})
            if found is None:
                found = page
            else:
                found.items, found.next_cursor = [*found.items, *page.items], page.next_cursor
        return found

    async def upload(
        self, rows: Iterable[UploadRow], *, per_row: bool = False, dry_run: bool = False, key: str | None = None
    ) -> Uploaded:
        """Import up to 100 rows: all or none, or, `per_row`, the good ones. `key`: an Idempotency-Key of one's own, for
        all or none alone."""
        query = _mode(per_row=per_row, dry_run=dry_run)
        return await self.call(Uploaded, "POST", UPLOADS, body={"rows": list(rows)}, query=query, key=key)

    async def upload_file(
        self,
        content: bytes,
        *,
        kind: str = "text/csv",
        per_row: bool = False,
        dry_run: bool = False,
        key: str | None = None,
    ) -> Uploaded:
        """Import a file as it is, CSV or `application/x-ndjson`. It needs no key: its rows are known again."""
        query = _mode(per_row=per_row, dry_run=dry_run)
        return read(Uploaded, await self.send("POST", UPLOADS, file=(kind, content), query=query, key=key))

    def decisions(self, **filters: str | int | datetime | None) -> AsyncIterator[Decision]:
        """Recorded decisions, newest first. Filters are those of `GET /v1/decisions`, such as `outcome` and `since`."""
        return self.pages(Decision, DECISIONS, **filters)

    async def decision(self, decision_id: str) -> Decision:
        """A recorded decision; its id stands in every receipt."""
        return await self.call(Decision, "GET", f"{DECISIONS}/{decision_id}")

    async def explanation(self, decision_id: str) -> Explanation:
        """Why a decision is what it is."""
        return await self.call(Explanation, "GET", f"{DECISIONS}/{decision_id}/explanation")

    def policy_versions(self) -> AsyncIterator[PolicyVersion]:
        """Versions, newest first."""
        return self.pages(PolicyVersion, VERSIONS)

    async def policy_version(self, number: int | None = None) -> PolicyTexts:
        """A version with its texts; without a number the one that decides."""
        return await self.call(PolicyTexts, "GET", f"{VERSIONS}/{number}" if number else "/v1/policies/active")

    async def propose_policy(
        self, message: str, *, model: str, rules: str, vocabulary: str, cases: Mapping[str, str]
    ) -> PolicyVersion:
        """Put a policy forward. Raises Invalid, whose member `complaints` says what is wrong in which file and line."""
        body = {"message": message, "model": model, "rules": rules, "vocabulary": vocabulary, "cases": cases}
        return await self.call(PolicyVersion, "POST", VERSIONS, body=body)

    async def activate_policy(self, number: int, *, instead_of: int) -> PolicyVersion:
        """Let a version decide. Raises Conflict when it is not `instead_of` that decides now."""
        body = {"expected_active": instead_of}
        return await self.call(PolicyVersion, "POST", f"{VERSIONS}/{number}/activate", body=body)

    async def start_replay(self, version: int | None = None, **filters: str | datetime | None) -> Replay:
        """Have recorded requests evaluated again under a version, or each under the version that decided it. Filters
        are `since`, `until`, `action` and `kind`."""
        body = filters if version is None else {"version": version, **filters}
        return await self.call(Replay, "POST", REPLAYS, body=body)

    async def replay(self, replay_id: str) -> Replay:
        """A replay with its progress and its result so far."""
        return await self.call(Replay, "GET", f"{REPLAYS}/{replay_id}")

    def replays(self) -> AsyncIterator[Replay]:
        """Replays, newest first."""
        return self.pages(Replay, REPLAYS)

    async def _all(self, step: str, sheets: Iterable[Timesheet], reason: str, *, per_item: bool) -> Batch:
        body = {"reason": reason, **_batch(sheets, per_item=per_item)}
        return await self.call(Batch, "POST", f"{SHEETS}/batch-{step}", body=body)

    async def _change(self, sheet: Timesheet, method: str, rest: str, body: object = None) -> Timesheet:
        return await self.call(Timesheet, method, f"{SHEETS}/{sheet.id}/{rest}", body=body, version=sheet.version)


def _batch(sheets: Iterable[Timesheet], *, per_item: bool) -> dict[str, Any]:
    items = [{"id": sheet.id, "version": sheet.version} for sheet in sheets]
    return {"items": items, "mode": "per-item" if per_item else "all-or-nothing"}


def _mode(*, per_row: bool, dry_run: bool) -> dict[str, Any]:
    return {"mode": "per-row" if per_row else None, "dry_run": True if dry_run else None}


def _hours(day: date, project: str, minutes: int, note: str | None) -> dict[str, Any]:
    return {"day": day, "project": project, "minutes": minutes} | ({"note": note} if note is not None else {})
