"""Why the bytes in a file are not what a proof is about: saved otherwise, another record, no record, or altered. Pure.

Only a hash that fits says that a file holds the record in another form, and that is a wrong file and never an intact
one. Whatever fits in no form counts as altered.
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
    """The finding about `data`, read from the file `record`, which is not what `proof` is about. `sealed` says whether
    bytes are."""
    for how, body in _other_forms(data):
        if sealed(body):
            return Fault(f"the record verifies {how}; {record} does not hold its exact bytes: {SAVE_AGAIN}", USAGE)
    text = _decoded(data)
    if not text.lstrip().startswith(b"{"):
        return Fault(f"{record} is no record: {SAVE_AGAIN}", USAGE)
    try:
        said = read_object(text)
        uid = (said["record"] if isinstance(said.get("record"), dict) else said).get("uid")
    except (Fault, *MALFORMED):
        return Fault(f"{record} is not what was sealed at this position: the record was altered, or cut off")
    if uid is None:
        return Fault(f"{record} is no record, which would name its uid: {SAVE_AGAIN}", USAGE)
    named = _uid_of(proof)
    if named is not None and named != uid:
        whose = f"{record} is the record {str(uid)[:LONGEST_UID]}, and {proof} by its name the proof of {named}"
        return Fault(f"{whose}: give the two of one record", USAGE)
    return Fault(f"{record} is not what was sealed at this position: the record was altered, or is another one")


def _other_forms(data: bytes) -> Iterator[tuple[str, bytes]]:
    """What people's programs make of a file, undone, each with what to say when the hash of that fits."""
    text = _decoded(data)
    if text != data:
        yield "without its byte order mark, as UTF-8", text
    for line_end in (b"\n", b"\r\n"):
        if text.endswith(line_end):
            yield "without its trailing newline", text.removesuffix(line_end)
    yield "without the white space around it", text.strip()
    try:
        said = read_object(text)
        yield "once its JSON is written in the canonical form (RFC 8785)", canonical(said).encode()
        # What the API answers about a record, and a line of an export, hold it as a member.
        if isinstance(said.get("record"), dict):
            yield "when it is taken out of the answer that is in the file", canonical(said["record"]).encode()
    except (Fault, *MALFORMED):
        return


def _decoded(data: bytes) -> bytes:
    """In UTF-8 without a byte order mark, which some programs write before it, or before UTF-16."""
    if data.startswith(UTF_16):
        data = data.decode("utf-16", "replace").encode("utf-8", "replace")
    return data.removeprefix(codecs.BOM_UTF8)


def _uid_of(proof: Path) -> str | None:
    """The record that a proof is called after, as the API and `timewarden audit proof` call it."""
    try:
        return str(UUID(proof.name.partition(".")[0]))
    except ValueError:
        return None
