"""Forges bundles for tests, from records and the recursive definition of the tree."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from service.log import checkpoint as notes
from service.log import merkle
from service.standalone.verify.bundle import Bundle
from service.standalone.verify.findings import Fault, Report
from service.standalone.verify.notes import read_checkpoint, read_keys
from service.standalone.verify.state import State
from service.standalone.verify.times import parse_age
from service.standalone.verify.tree import subtrees

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from service.log.record import Record
    from service.standalone.verify.bundle import SoughtAnswer

ORIGIN = "timesheets.example/audit/2026"
SIGNER = notes.Signer(ORIGIN, bytes(range(32)))
STRANGER = notes.Signer(ORIGIN, bytes(range(1, 33)))
VKEY = SIGNER.verifier.vkey


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def root_of(leaves: Sequence[bytes]) -> bytes:
    return merkle.root_hash(leaves)


def sign_checkpoint(leaves: Sequence[bytes], size: int | None = None, signer: notes.Signer = SIGNER) -> str:
    size = len(leaves) if size is None else size
    return notes.sign(notes.Checkpoint(signer.name, size, merkle.root_hash(leaves[:size])).text, [signer])


def hash_at(leaves: Sequence[bytes]) -> merkle.HashAt:
    return lambda level, index: merkle.root_hash(leaves[index << level : (index + 1) << level])


@dataclass(slots=True)
class ForgedBundle:
    """A bundle that a test may change: `header` and `lines`."""

    leaves: list[bytes]
    header: dict[str, Any]
    lines: list[dict[str, Any]] = field(default_factory=list)

    @property
    def content(self) -> bytes:
        return b"".join(
            json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
            for line in [self.header, *self.lines]
        )


def forge_bundle(
    records: Sequence[Record], start: int = 0, end: int | None = None, size: int | None = None, old: int = 0
) -> ForgedBundle:
    """The bundle of [start, end) in a log of the first `size` records, with a start checkpoint of size `old`."""
    leaves = [record.leaf for record in records][:size]
    end = len(leaves) if end is None else end
    at = hash_at(leaves)
    proof = [b64(value) for value in merkle.consistency_path(old, len(leaves), at)] if old else []
    header = {
        "format": "timewarden-bundle/1",
        "from": start,
        "to": end,
        "checkpoint": sign_checkpoint(leaves),
        "left": [b64(at(*place)) for place in subtrees(0, start)],
        "right": [b64(at(*place)) for place in subtrees(end, len(leaves))],
        "start": {"checkpoint": sign_checkpoint(leaves, old), "consistency": proof} if old else None,
        "pruned": None,
    }
    return ForgedBundle(
        leaves, header, [line(record, start + place) for place, record in enumerate(records[start:end])]
    )


def line(record: Record, position: int) -> dict[str, Any]:
    body = json.loads(record.body)
    columns = {name: plain(value) for name, value in record.columns.items() if name != "actors" or value is not None}
    return {
        "position": position,
        "sealed": record.leaf.hex(),
        "uid": str(record.uid),
        "leaf": record.leaf.hex(),
        "body": b64(record.body),
        "columns": {"kind": body["kind"], **columns},
        "texts": {text.field: {"salt": text.salt.hex(), "value": text.value} for text in record.texts},
    }


def plain(value: Any) -> Any:
    """A column value as JSON."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if hasattr(value, "strftime"):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return value if value is None or isinstance(value, str | bool | int) else str(value)


def uid_at(at: datetime) -> str:
    """A Decision-Id of that time."""
    return str(UUID(int=(int(at.timestamp() * 1000) << 80) | 7 << 76 | 1 << 63))


def verify_bundle(
    content: bytes,
    *,
    seen: str | None = None,
    sought: SoughtAnswer | None = None,
    key: str | Sequence[str] = VKEY,
    retention: str | None = None,
    state: State | None = None,
) -> Report:
    """The verifier's report on a bundle. `seen` is a checkpoint seen before, `retention` the policy that the auditor
    gives. `state` gets a mark, as by the command."""
    report, keys = Report(quiet=True), read_keys([key] if isinstance(key, str) else key)
    state = state or State(None, keys)
    try:
        if seen:
            state.checkpoint = read_checkpoint(seen, keys)
        bundle = Bundle(
            io.BytesIO(content), keys, report, state=state, retention=parse_age(retention) if retention else None
        )
        bundle.check(sought)
        if bundle.passed and not report.verdict:
            state.add_mark(bundle.end, bundle.passed)
    except Fault as fault:
        report.add(fault)
    return report
