"""A sealed and signed log for tests that alter it as a database superuser could."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

from service.audit.bundle import bundle_lines, make_header
from service.log import checkpoint as notes
from service.log.checkpoint import Signer
from service.log.packing import unpack
from service.log.record import Kind, Record
from service.standalone.verify.findings import TAMPERED, Report
from tests.bundle_forge import verify_bundle
from tests.integration.log_database import SHEET
from tests.integration.log_trees import FORGET_TREE, as_superuser, seal_all

if TYPE_CHECKING:
    from service.database import Database
    from service.log.signing import CheckpointSigner
    from tests.integration.log_database import LogDatabase

ORIGIN = "timesheets.example/audit/mutated"
SIGNER, STRANGER = Signer(ORIGIN, b"1" * 32), Signer(ORIGIN, b"2" * 32)
VKEY = SIGNER.verifier.vkey
FIRST, WHOLE = 300, 520
VICTIM = 7
RECORD = f"(SELECT record_id FROM audit_position WHERE position = {VICTIM})"


@dataclass(slots=True)
class StoredLog:
    """A sealed log of WHOLE records, signed at FIRST and at WHOLE; `kept` is the checkpoint that an auditor has, of
    FIRST."""

    log_database: LogDatabase
    app: Database
    keeper: Database
    signing: CheckpointSigner
    kept: str

    async def alter(self, *statements: str) -> None:
        """Run statements as a superuser without triggers."""
        await as_superuser(self.log_database, *statements)

    async def deny(self) -> None:
        """Alter the bytes of RECORD, an allowed decision, and the column: as if it had been denied."""
        auditor = await self.log_database.connect("auditor")
        body = unpack(await auditor.fetchval(f"SELECT body FROM audit_record WHERE id = {RECORD}"))
        denied = body.replace(b'"outcome":"allow"', b'"outcome":"deny"')
        assert denied != body
        await self.alter(f"UPDATE audit_record SET body = '\\x{denied.hex()}', outcome = 'deny' WHERE id = {RECORD}")

    async def regrow(self) -> None:
        """Recompute the whole tree from the records."""
        await self.alter(FORGET_TREE)
        await seal_all(self.keeper)

    async def sign_anew(self, signer: Signer) -> None:
        """Sign the stored root again as the newest checkpoint."""
        auditor = await self.log_database.connect("auditor")
        head = await auditor.fetchrow("SELECT tree_size, root FROM log_head")
        assert head is not None
        text = notes.Checkpoint(ORIGIN, head["tree_size"], head["root"]).text
        note, root = notes.sign(text, [signer]), head["root"].hex()
        await self.alter(f"UPDATE checkpoint SET note = '{note}', root = '\\x{root}' WHERE size = {head['tree_size']}")

    async def bundle(self, start: int = 0, end: int | None = None, seen: int | None = None) -> bytes:
        async with self.app.connection() as connection:
            header = await make_header(connection, start, end, seen=seen)
        return b"".join([piece async for piece in bundle_lines(self.app, header)])

    async def verify(
        self, start: int = 0, end: int | None = None, seen: int | None = None, retention: str | None = None
    ) -> Report:
        return verify_bundle(await self.bundle(start, end, seen), seen=self.kept, key=VKEY, retention=retention)

    async def seal_and_sign(self) -> None:
        await seal_all(self.keeper)
        assert await self.signing.sign()


def record(number: int, at: datetime | None = None) -> Record:
    """A record with a member for every column; every second has a text."""
    body = {
        "decided_at": at or datetime(2026, 3, 2, 9, tzinfo=UTC),
        "decision": uuid4(),
        "action": "read",
        "principal": {"person": SHEET, "client": "web"},
        "resource": {"kind": "timesheet", "id": str(SHEET), "owner": SHEET},
        "applied": True,
        "outcome": "allow",
        "reason": "allowed",
        "rules": ["read-own"],
        "policy": {"version": 1},
        "request": {"id": f"request-{number}"},
        "returned": [SHEET],
    }
    return Record.make(Kind.DECISION, body, {"note": f"text {number}"} if number % 2 else {})


def assert_named(report: Report, what: str, position: int | None = VICTIM, verdict: int = TAMPERED) -> None:
    assert report.verdict == verdict, report.findings
    named = [finding for finding in report.findings if what in finding["what"] and finding.get("position") == position]
    assert named, report.findings
