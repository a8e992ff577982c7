"""The verdict over the whole log, from the stored rows: every answered decision is there once, no change is half done,
and every signed checkpoint is of one tree. Reads only, and shares no code with the sealer: it computes the root itself.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg

from service.log.checkpoint import BadNote, Verifier, verify
from service.log.key_files import read_key
from service.log.packing import stored_leaf, unpack

if TYPE_CHECKING:
    from tests.soak.estate import Estate
    from tests.soak.traffic import Answers

# Every record in the order of the log.
SEALED = """
    SELECT p.position, r.id, r.uid, r.kind, r.body, r.stored_hash
    FROM audit_position p JOIN audit_record r ON r.id = p.record_id ORDER BY p.position
"""


@dataclass
class Verdict:
    """Every count must be 0, except `records`, `checkpoints` and `changes`, which count what was checked."""

    records: int = 0
    changes: int = 0
    checkpoints: int = 0
    lost: int = 0
    undone_yet_there: int = 0
    gaps: int = 0
    duplicates: int = 0
    unsealed: int = 0
    inversions: int = 0
    half_done: int = 0
    wrong_leaves: int = 0
    wrong_roots: int = 0
    wrong_signatures: int = 0
    wrong_answers: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        looked_at = {"records", "changes", "checkpoints"}
        return not any(value for name, value in asdict(self).items() if name not in looked_at)

    def __str__(self) -> str:
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in asdict(self).items())


async def settle(estate: Estate, seconds: float = 60.0) -> None:
    """Wait until everything is sealed and the last checkpoint covers it; traffic must have ended."""
    auditor = await asyncpg.connect(estate.urls["auditor"])
    try:
        row = None
        for _ in range(int(seconds / 0.1)):
            # How much there is, how much has a place, and how far the signed checkpoints reach.
            row = await auditor.fetchrow(
                "SELECT (SELECT count(*) FROM audit_record) AS records, (SELECT size FROM log_head) AS size,"
                " (SELECT max(size) FROM checkpoint WHERE note IS NOT NULL) AS signed"
            )
            if row is not None and row["records"] == row["size"] == row["signed"]:
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"the log is not sealed and signed after {seconds:.0f} s: {row}")
    finally:
        await auditor.close()


async def count_lost(estate: Estate, answers: Answers) -> int:
    """Count the answers since the last call that have no record with their leaf; forget the others."""
    auditor = await asyncpg.connect(estate.urls["auditor"])
    try:
        wanted = dict(answers.leaves)
        # The leaves of these decisions.
        rows = await auditor.fetch(
            "SELECT uid, body, stored_hash FROM audit_record WHERE uid = ANY($1)", [UUID(uid) for uid in wanted]
        )
    finally:
        await auditor.close()
    for row in rows:
        if wanted.get(str(row["uid"])) == stored_leaf(row["body"], row["stored_hash"]).hex():
            del wanted[str(row["uid"])], answers.leaves[str(row["uid"])]
    return len(wanted)


async def check_log(estate: Estate, answers: Answers) -> Verdict:
    """Read everything. Call it when the log has settled."""
    found = Verdict(lost=await count_lost(estate, answers), wrong_answers=answers.wrong[:5])
    auditor = await asyncpg.connect(estate.urls["auditor"])
    try:
        async with auditor.transaction(isolation="repeatable_read", readonly=True):
            await _records(auditor, answers, found, Verifier.parse(read_key(estate.key).verifier.vkey))
            await _sheets(auditor, answers, found)
    finally:
        await auditor.close()
    return found


async def _records(
    auditor: asyncpg.Connection[asyncpg.Record], answers: Answers, found: Verdict, known: Verifier
) -> None:
    # Every checkpoint that was ever made.
    signed = {row["size"]: row for row in await auditor.fetch("SELECT size, root, note FROM checkpoint")}
    subtrees: list[tuple[int, bytes]] = []
    seen: set[UUID] = set()
    found.checkpoints = len(signed)
    async for row in auditor.cursor(SEALED, prefetch=1000):
        found.gaps += row["position"] != found.records
        found.records += 1
        found.duplicates += row["uid"] in seen
        found.undone_yet_there += row["uid"] in answers.undone
        seen.add(row["uid"])
        leaf = hashlib.sha256(b"\x00" + unpack(row["body"])).digest()
        found.wrong_leaves += leaf != stored_leaf(row["body"], row["stored_hash"])
        subtrees.append((0, leaf))
        while len(subtrees) > 1 and subtrees[-1][0] == subtrees[-2][0]:
            (level, left), (_, right) = subtrees[-2:]
            subtrees[-2:] = [(level + 1, hashlib.sha256(b"\x01" + left + right).digest())]
        if (checkpoint := signed.pop(found.records, None)) is not None:
            root = _root(subtrees)
            found.wrong_roots += checkpoint["root"] != root
            found.wrong_signatures += not _is_signed(checkpoint["note"], known, found.records, root)
    # A checkpoint over more records than there are.
    found.wrong_roots += len(signed)
    # The root in the head row.
    head = await auditor.fetchrow("SELECT size, root FROM log_head")
    assert head is not None
    found.wrong_roots += (head["size"], head["root"]) != (found.records, _root(subtrees))
    # Records without a place.
    found.unsealed = await auditor.fetchval("SELECT count(*) FROM audit_record") - found.records


async def _sheets(auditor: asyncpg.Connection[asyncpg.Record], answers: Answers, found: Verdict) -> None:
    reached: dict[str, int] = {}
    async for row in auditor.cursor(f"SELECT * FROM ({SEALED}) AS sealed WHERE kind = 'change' ORDER BY position"):
        body = json.loads(row["body"])
        sheet, version = body["resource"]["id"], body["change"]["to"]["version"]
        found.changes += 1
        found.inversions += version != reached.get(sheet, 0) + 1
        reached[sheet] = version
    # The versions in the sheets.
    stored = {str(row["id"]): row["version"] for row in await auditor.fetch("SELECT id, version FROM timesheet")}
    found.half_done = sum(stored.get(sheet) != version for sheet, version in reached.items())
    found.half_done += len(stored.keys() - reached.keys())
    found.lost += sum(reached.get(sheet, 0) < version for sheet, version in answers.versions.items())


def _root(subtrees: list[tuple[int, bytes]]) -> bytes:
    *rest, (_, root) = subtrees
    for _, left in reversed(rest):
        root = hashlib.sha256(b"\x01" + left + root).digest()
    return root


def _is_signed(note: str | None, known: Verifier, size: int, root: bytes) -> bool:
    """Whether the log's key signed this size and root. A checkpoint without a note was never signed."""
    if note is None:
        return True
    try:
        verify(note, [known])
    except BadNote:
        return False
    return note.split("\n")[1:3] == [str(size), base64.b64encode(root).decode()]
