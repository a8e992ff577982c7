"""Explains why a file does not match its proof: saved differently, another record, not a record, or altered. Pure.

A file counts as saved differently only if some original form of it has the sealed hash; that is a usage error, not an
intact record. A file without such a form counts as altered.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING
from uuid import UUID

from .findings import MALFORMED, USAGE, Fault
from .inputs import SAVE_AGAIN
from .records import canonical, read_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LONGEST_UID = 80
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def explain_mismatch(data: bytes, record: Path, proof: Path, sealed: Callable[[bytes], bool]) -> Fault:
    """The finding for `data`, read from the file `record`, which does not match `proof`. `sealed` tells whether bytes
    match."""
    for how, body in _other_forms(data):
        if sealed(body):
            return Fault(f"the record verifies {how}; {record} does not hold its exact bytes: {SAVE_AGAIN}", USAGE)
    text = _to_utf8(data)
    if not text.lstrip().startswith(b"{"):
        return Fault(f"{record} is not a record: {SAVE_AGAIN}", USAGE)
    try:
        members = read_object(text)
        uid = (members["record"] if isinstance(members.get("record"), dict) else members).get("uid")
    except (Fault, *MALFORMED):
        return Fault(f"{record} is not what was sealed at this position: the record was altered or truncated")
    if uid is None:
        return Fault(f"{record} is not a record, as it has no uid: {SAVE_AGAIN}", USAGE)
    named = _uid_of(proof)
    if named is not None and named != uid:
        whose = f"{record} is the record {str(uid)[:LONGEST_UID]}, and {proof} is named as the proof of {named}"
        return Fault(f"{whose}: give the record and its own proof", USAGE)
    return Fault(f"{record} is not what was sealed at this position: the record was altered or is another record")


def _other_forms(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Undo what programs do to a saved file. Yields each form with the words for the case that its hash matches."""
    text = _to_utf8(data)
    if text != data:
        yield "without its byte order mark, as UTF-8", text
    for line_end in (b"\n", b"\r\n"):
        if text.endswith(line_end):
            yield "without its trailing newline", text.removesuffix(line_end)
    yield "without the white space around it", text.strip()
    try:
        members = read_object(text)
        yield "once its JSON is written in the canonical form (RFC 8785)", canonical(members).encode()
        # A response of the API and a line of an export contain the record as a member.
        if isinstance(members.get("record"), dict):
            yield "when it is extracted from the response in the file", canonical(members["record"]).encode()
    except (Fault, *MALFORMED):
        return


def _to_utf8(data: bytes) -> bytes:
    """Convert UTF-16 to UTF-8 and drop a byte order mark."""
    if data.startswith(UTF_16):
        data = data.decode("utf-16", "replace").encode("utf-8", "replace")
    return data.removeprefix(codecs.BOM_UTF8)


def _uid_of(proof: Path) -> str | None:
    """The uid in the file name of a proof, as the API and `timewarden audit proof` name it; None without one."""
    try:
        return str(UUID(proof.name.partition(".")[0]))
    except ValueError:
        return None
