"""The client: a method for each route that an app needs. Owns HTTP connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from .directory import DirectoryApi
from .problems import Stale
from .shapes import (
    Access,
    Batch,
    Decision,
    Explanation,
    HoursReport,
    Me,
    OwnDecision,
    PendingApproval,
    PolicyTexts,
    PolicyVersion,
    Receipt,
    Reminded,
    Replay,
    Sort,
    State,
    Timesheet,
    Uploaded,
    UploadRow,
)
from .transport import decode, details, receipt_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping
    from datetime import date, datetime

SHEETS, UPLOADS, DECISIONS, VERSIONS = "/v1/timesheets", "/v1/uploads", "/v1/decisions", "/v1/policies/versions"
REPLAYS, OWN_DECISIONS = "/v1/replays", "/v1/me/decisions"
MAX_APPROVALS = 10


class Timewarden(DirectoryApi):
    """The API, with a method for every route that an app needs; `call` and `pages` reach the others. A method that
    changes a sheet takes the sheet as it was read, sends its version in If-Match, and returns the changed sheet, with
    names if that had names."""

    async def me(self, *, names: bool = False) -> Me:
        """The caller and what the token may do."""
        return await self.call(Me, "GET", "/v1/me", query=details(names=names))

    def timesheets(
        self,
        *,
        owner: str | None = None,
        state: State | list[State] | None = None,
        project: str | list[str] | None = None,
        team: str | None = None,
        text: str | None = None,
        since: date | None = None,
        until: date | None = None,
        sort: Sort | None = None,
        actions: bool = False,
        names: bool = False,
    ) -> AsyncIterator[Timesheet]:
        """All sheets that the caller may read, without `sort` the newest week first; with `actions`, the allowed
        actions of each, and with `names`, the names in it. `text` is a part of a note."""
        query: dict[str, Any] = {"owner": owner, "state": state, "since": since, "until": until}
        query |= {"project": project, "team": team, "text": text, "sort": sort}
        return self.pages(Timesheet, SHEETS, **query, **details(actions=actions, names=names))

    def timesheet_fields(self, *fields: str, **query: Any) -> AsyncIterator[dict[str, Any]]:
        """As `timesheets`, of each sheet only these fields; the other parameters are those of `GET /v1/timesheets`."""
        return self.list_fields(SHEETS, *fields, **query)

    async def list_fields(self, path: str, *fields: str, **query: Any) -> AsyncIterator[dict[str, Any]]:
        """Of each item of a list, such as `/v1/people`, only these fields; `query` has the list's other parameters."""
        async for raw, _ in self.raw_pages(path, fields=fields, **query):
            yield msgspec.json.decode(raw)

    async def timesheet(self, sheet_id: str, *, actions: bool = False, names: bool = False) -> Timesheet:
        """A sheet by its id."""
        query = details(actions=actions, names=names)
        return await self.call(Timesheet, "GET", f"{SHEETS}/{sheet_id}", query=query)

    async def open_week(
        self,
        monday: date,
        time_zone: str | None = None,
        entries: Iterable[Mapping[str, Any]] = (),
        *,
        copy_from: date | None = None,
        names: bool = False,
    ) -> Timesheet:
        """Create a draft for the caller, with entries such as `{"day": day, "project": "ATLAS", "minutes": 450}`, or
        with those of the week from `copy_from` and in its time zone; else the default is UTC. Raises Conflict if there
        is one; its member `timesheet` is the id."""
        body = {"period_start": monday, "time_zone": time_zone, "entries": list(entries), "copy_from": copy_from}
        return await self.call(Timesheet, "POST", SHEETS, body=body, query=details(names=names))

    async def replace_entries(self, sheet: Timesheet, entries: Iterable[Mapping[str, Any]]) -> Timesheet:
        """Replace all entries of a sheet. An `id` in an entry changes that entry and keeps its id."""
        return await self._change(sheet, "PUT", "entries", {"entries": list(entries)})

    async def note_days(self, sheet: Timesheet, day_notes: Mapping[date, str | None]) -> Timesheet:
        """Set the notes on some days of a sheet; None removes a note."""
        fields = {"day_notes": dict(day_notes)}
        return await self._amend(Timesheet, f"{SHEETS}/{sheet.id}", fields, sheet.version, _names_as_in(sheet))

    async def add_entries(self, sheet: Timesheet, entries: Iterable[Mapping[str, Any]]) -> Timesheet:
        """Add many entries, all or none."""
        return await self._change(sheet, "POST", "entries/batch", {"entries": list(entries)})

    async def delete(self, sheet: Timesheet) -> Receipt:
        """Delete a draft."""
        return receipt_of(await self.send("DELETE", f"{SHEETS}/{sheet.id}", version=sheet.version))

    async def add_entry(
        self, sheet: Timesheet, day: date, project: str, minutes: int, note: str | None = None
    ) -> Timesheet:
        """Add an entry."""
        return await self._change(sheet, "POST", "entries", _entry(day, project, minutes, note))

    async def replace_entry(
        self, sheet: Timesheet, entry_id: str, day: date, project: str, minutes: int, note: str | None = None
    ) -> Timesheet:
        """Replace an entry."""
        return await self._change(sheet, "PUT", f"entries/{entry_id}", _entry(day, project, minutes, note))

    async def amend_entry(self, sheet: Timesheet, entry_id: str, **fields: object) -> Timesheet:
        """Change fields of an entry: `minutes=60`, or `note=None` to remove the note."""
        path = f"{SHEETS}/{sheet.id}/entries/{entry_id}"
        return await self._amend(Timesheet, path, fields, sheet.version, _names_as_in(sheet))

    async def remove_entry(self, sheet: Timesheet, entry_id: str) -> Timesheet:
        """Remove an entry."""
        return await self._change(sheet, "DELETE", f"entries/{entry_id}")

    async def submit(self, sheet: Timesheet) -> Timesheet:
        """Submit a draft."""
        return await self._change(sheet, "POST", "submit")

    async def withdraw(self, sheet: Timesheet) -> Timesheet:
        """Withdraw a submitted sheet."""
        return await self._change(sheet, "POST", "withdraw")

    async def approve(self, sheet: Timesheet, comment: str | None = None) -> Timesheet:
        """Approve the sheet as it was read, also if it has got other approvals since. It stays submitted while it needs
        more of them. The owner reads the comment. Raises Stale if it has changed in another way, and Conflict if the
        caller has approved it."""
        body = None if comment is None else {"comment": comment}
        for _ in range(MAX_APPROVALS):
            try:
                return await self._change(sheet, "POST", "approve", body)
            except Stale:
                newer = await self.timesheet(sheet.id, names=sheet.names is not None)
                # A submitted sheet cannot be edited.
                same = (newer.state, newer.submitted_at) == (sheet.state, sheet.submitted_at)
                if not same or newer.version == sheet.version:
                    raise
                sheet = newer
        return await self._change(sheet, "POST", "approve", body)

    async def reject(self, sheet: Timesheet, reason: str) -> Timesheet:
        """Reject a submitted sheet; the owner sees the reason."""
        return await self._change(sheet, "POST", "reject", {"reason": reason})

    async def reopen(self, sheet: Timesheet, reason: str) -> Timesheet:
        """Reopen an approved sheet."""
        return await self._change(sheet, "POST", "reopen", {"reason": reason})

    async def lock(self, sheet: Timesheet, reason: str) -> Timesheet:
        """Lock an approved sheet for payroll."""
        return await self._change(sheet, "POST", "lock", {"reason": reason})

    async def unlock(self, sheet: Timesheet, reason: str) -> Timesheet:
        """Unlock a locked sheet. The person who locked it may not."""
        return await self._change(sheet, "POST", "unlock", {"reason": reason})

    def approvals(self, *, names: bool = False) -> AsyncIterator[PendingApproval]:
        """Sheets that wait for the caller's approval, also as a delegate; the longest waiting first."""
        return self.pages(PendingApproval, "/v1/approvals", **details(names=names))

    async def approve_all(
        self, sheets: Iterable[Timesheet], comment: str | None = None, *, per_item: bool = False, names: bool = False
    ) -> Batch:
        """Approve many sheets as they were read: all or none, or with `per_item` each on its own. With `names`, the
        items have those of the owners."""
        body, query = {**_batch(sheets, per_item=per_item), "comment": comment}, details(names=names)
        return await self.call(Batch, "POST", f"{SHEETS}/batch-approve", body=body, query=query)

    async def reject_all(
        self, sheets: Iterable[Timesheet], reason: str, *, per_item: bool = False, names: bool = False
    ) -> Batch:
        """Reject many sheets, likewise."""
        return await self._all("reject", sheets, reason, per_item=per_item, names=names)

    async def lock_all(
        self, sheets: Iterable[Timesheet], reason: str, *, per_item: bool = False, names: bool = False
    ) -> Batch:
        """Lock many approved sheets for payroll, likewise."""
        return await self._all("lock", sheets, reason, per_item=per_item, names=names)

    async def unlock_all(
        self, sheets: Iterable[Timesheet], reason: str, *, per_item: bool = False, names: bool = False
    ) -> Batch:
        """Unlock many locked sheets, likewise. The person who locked them may not."""
        return await self._all("unlock", sheets, reason, per_item=per_item, names=names)

    async def remind(self, waiting_days: int) -> Reminded:
        """Publish a reminder event for each sheet that has waited for approval for `waiting_days`."""
        return await self.call(Reminded, "POST", "/v1/approvals/reminders", body={"waiting_days": waiting_days})

    async def hours(
        self,
        by: str,
        since: date,
        until: date,
        *,
        then: str | None = None,
        state: State | list[State] | None = None,
        project: str | list[str] | None = None,
        owner: str | None = None,
        team: str | None = None,
        sort: str | None = None,
        names: bool = False,
    ) -> HoursReport:
        """Total hours by `person`, `project`, `team`, `week`, `day` or `activity`, and `then` by another of them, over
        the sheets that the caller may read. `sort` is `key`, `minutes` or `-minutes`."""
        query = {"by": by, "then": then, "since": since, "until": until, "state": state, "project": project}
        query |= {"owner": owner, "team": team, "sort": sort, **details(names=names)}
        return await self.call(HoursReport, "GET", "/v1/reports/hours", query=query)

    async def access(self, sheet: Timesheet, *, names: bool = False) -> Access:
        """The people and clients who may act on a sheet, and by which rules."""
        path, query = f"{SHEETS}/{sheet.id}/access", details(names=names)
        access = await self.call(Access, "GET", path, query=query)
        while access.next_cursor is not None:
            page = await self.call(Access, "GET", path, query={**query, "cursor": access.next_cursor})
            access.items, access.next_cursor = [*access.items, *page.items], page.next_cursor
        return access

    async def upload(
        self, rows: Iterable[UploadRow], *, per_row: bool = False, dry_run: bool = False, key: str | None = None
    ) -> Uploaded:
        """Import up to 100 rows: all or none, or with `per_row` the valid ones. `key` is an Idempotency-Key; it applies
        to all-or-none imports only."""
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
        """Import a file, CSV or `application/x-ndjson`. It needs no key: repeated rows are recognised."""
        query = _mode(per_row=per_row, dry_run=dry_run)
        return decode(Uploaded, await self.send("POST", UPLOADS, file=(kind, content), query=query, key=key))

    def decisions(self, *, names: bool = False, **filters: str | int | datetime | None) -> AsyncIterator[Decision]:
        """Recorded decisions, newest first. The filters are those of `GET /v1/decisions`, such as `outcome`."""
        return self.pages(Decision, DECISIONS, **filters, **details(names=names))

    async def decision(self, decision_id: str, *, names: bool = False) -> Decision:
        """A recorded decision; every receipt has its id."""
        return await self.call(Decision, "GET", f"{DECISIONS}/{decision_id}", query=details(names=names))

    async def explanation(self, decision_id: str) -> Explanation:
        """The explanation of a decision."""
        return await self.call(Explanation, "GET", f"{DECISIONS}/{decision_id}/explanation")

    def own_decisions(self, *, names: bool = False, **filters: str | datetime | None) -> AsyncIterator[OwnDecision]:
        """Decisions about requests in the caller's name, and of others about what is theirs, newest first. The filters
        are those of `GET /v1/me/decisions`, such as `by="others"`."""
        return self.pages(OwnDecision, OWN_DECISIONS, **filters, **details(names=names))

    async def own_decision(self, decision_id: str, *, names: bool = False) -> OwnDecision:
        """One of them, with its explanation."""
        return await self.call(OwnDecision, "GET", f"{OWN_DECISIONS}/{decision_id}", query=details(names=names))

    def policy_versions(self) -> AsyncIterator[PolicyVersion]:
        """Policy versions, newest first."""
        return self.pages(PolicyVersion, VERSIONS)

    async def policy_version(self, number: int | None = None) -> PolicyTexts:
        """A version with its files; without a number, the active one."""
        return await self.call(PolicyTexts, "GET", "/v1/policies/active" if number is None else f"{VERSIONS}/{number}")

    async def propose_policy(
        self, message: str, *, model: str, rules: str, vocabulary: str, cases: Mapping[str, str]
    ) -> PolicyVersion:
        """Propose a policy version. Raises Invalid; its member `complaints` lists errors with file and line."""
        body = {"message": message, "model": model, "rules": rules, "vocabulary": vocabulary, "cases": cases}
        return await self.call(PolicyVersion, "POST", VERSIONS, body=body)

    async def activate_policy(self, number: int, *, instead_of: int) -> PolicyVersion:
        """Activate a version. Raises Conflict if the active version is not `instead_of`."""
        body = {"expected_active": instead_of}
        return await self.call(PolicyVersion, "POST", f"{VERSIONS}/{number}/activate", body=body)

    async def start_replay(self, version: int | None = None, **filters: str | datetime | None) -> Replay:
        """Have recorded requests evaluated again under a version, or each under the version that decided it. Filters
        are `since`, `until`, `action` and `kind`."""
        body = filters if version is None else {"version": version, **filters}
        return await self.call(Replay, "POST", REPLAYS, body=body)

    async def replay(self, replay_id: str, *, names: bool = False) -> Replay:
        """A replay with its progress and its result so far."""
        return await self.call(Replay, "GET", f"{REPLAYS}/{replay_id}", query=details(names=names))

    def replays(self, *, names: bool = False) -> AsyncIterator[Replay]:
        """Replays, newest first."""
        return self.pages(Replay, REPLAYS, **details(names=names))

    async def _all(self, step: str, sheets: Iterable[Timesheet], reason: str, *, per_item: bool, names: bool) -> Batch:
        body = {"reason": reason, **_batch(sheets, per_item=per_item)}
        return await self.call(Batch, "POST", f"{SHEETS}/batch-{step}", body=body, query=details(names=names))

    async def _change(self, sheet: Timesheet, method: str, rest: str, body: object = None) -> Timesheet:
        path, query = f"{SHEETS}/{sheet.id}/{rest}", _names_as_in(sheet)
        return await self.call(Timesheet, method, path, body=body, query=query, version=sheet.version)


def _names_as_in(sheet: Timesheet) -> dict[str, str]:
    """The parameter that asks for names, if the sheet was read with names."""
    return details(names=sheet.names is not None)


def _batch(sheets: Iterable[Timesheet], *, per_item: bool) -> dict[str, Any]:
    items = [{"id": sheet.id, "version": sheet.version} for sheet in sheets]
    return {"items": items, "mode": "per-item" if per_item else "all-or-nothing"}


def _mode(*, per_row: bool, dry_run: bool) -> dict[str, Any]:
    return {"mode": "per-row" if per_row else None, "dry_run": True if dry_run else None}


def _entry(day: date, project: str, minutes: int, note: str | None) -> dict[str, Any]:
    return {"day": day, "project": project, "minutes": minutes} | ({"note": note} if note is not None else {})
