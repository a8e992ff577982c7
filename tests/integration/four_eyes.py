"""What tests of who never approves what share: everybody's requests, and rows that would allow more than is shipped, so
that the laws are what forbids it. Fixture: four_eyes_fixtures.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx2

    from tests.integration.api import InProcess
    from tests.integration.house import House

# Rules that an installation might add to the shipped policy.
MORE = """
p, allow, manager, edit, draft or rejected, timesheet, create:timesheets, always, edit-team
p, allow, manager, submit, draft or rejected, timesheet, create:timesheets, always, submit-team
p, allow, delegate, edit, draft or rejected, timesheet, create:timesheets, always, edit-as-delegate
p, allow, client:payroll-import, read, any, timesheet, read:timesheets, always, read-as-machine
p, allow, client:payroll-import, approve, submitted, timesheet, approve:timesheets, always, approve-as-machine
p, allow, client:robot, read, any, timesheet, read:timesheets, always, read-as-robot
p, allow, client:robot, approve, submitted, timesheet, approve:timesheets, always, approve-as-robot
"""
ALL = "read:timesheets create:timesheets delete:timesheets approve:timesheets batch:upload"
ENTRY = {"day": "2026-03-02", "project": "ATLAS", "minutes": 60}
PAYROLL: dict[str, Any] = {"roles": ["payroll"]}
WAYS = ["alone", "in a batch", "in a batch, item by item"]


@dataclass(frozen=True, slots=True)
class Site:
    """The API, and everybody's requests to it."""

    running: InProcess
    house: House

    def token(self, name: str, **claims: Any) -> str:
        if name in {"payroll-import", "robot"}:
            return self.running.token(sub=name, client_id=name, scope=ALL, **claims)
        return self.running.token(sub=name, scope=ALL, amr=["pwd", "mfa"], **claims)

    async def send(
        self, name: str, method: str, path: str, body: object = None, version: int | None = None, **claims: Any
    ) -> httpx2.Response:
        headers = {} if version is None else {"If-Match": f'"{version}"'}
        if method == "PATCH":
            headers["Content-Type"] = "application/merge-patch+json"
        return await self.running.send(method, path, self.token(name, **claims), headers=headers, body=body)

    async def make_draft(self, owner: str) -> str:
        """The path of a fresh sheet with one entry, at version 2."""
        made = await self.send(owner, "POST", "/v1/timesheets", {"period_start": "2026-03-02"})
        path = f"/v1/timesheets/{made.json()['id']}"
        assert (await self.send(owner, "POST", f"{path}/entries", ENTRY, 1)).status_code == 201
        return path

    async def version(self, owner: str, path: str) -> int:
        return int((await self.send(owner, "GET", path)).json()["version"])

    async def handed_in(self, owner: str, path: str, by: str = "") -> int:
        """Submit it; its version."""
        version = await self.version(owner, path)
        assert (await self.send(by or owner, "POST", f"{path}/submit", None, version)).status_code == 200
        return version + 1

    async def approve(self, name: str, path: str, version: int, way: str, **claims: Any) -> int:
        """The status that the one sheet got."""
        if way == "alone":
            return (await self.send(name, "POST", f"{path}/approve", None, version, **claims)).status_code
        mode = "per-item" if "item by item" in way else "all-or-nothing"
        body = {"items": [{"id": path.rsplit("/", 1)[1], "version": version}], "mode": mode}
        answer = await self.send(name, "POST", "/v1/timesheets/batch-approve", body, **claims)
        if answer.status_code != 200:
            return answer.status_code
        return int(answer.json()["items"][0]["status"])

    async def expect_refusals(self, name: str, owner: str, path: str, **claims: Any) -> None:
        """`name` approves it in no way, and nothing happens."""
        version = await self.version(owner, path)
        for way in WAYS:
            assert await self.approve(name, path, version, way, **claims) in {403, 404}
        seen = (await self.send(owner, "GET", path)).json()
        assert (seen["state"], seen["version"]) == ("submitted", version)
        assert await self.house.count("audit_record WHERE kind = 'change' AND action = 'approve'") == 0

    async def nobody_but(self, right: str, name: str, owner: str, path: str) -> None:
        """`name` does not approve it; `right` does."""
        await self.expect_refusals(name, owner, path)
        assert await self.approve(right, path, await self.version(owner, path), "in a batch") == 200
