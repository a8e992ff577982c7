"""C2SP signed notes and checkpoints: parses them strictly and verifies signatures. Pure."""

from __future__ import annotations

import base64
import hashlib
import struct
import unicodedata
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from .findings import MALFORMED, UNTRUSTED, USAGE, Fault, require
from .tree import HASH_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable

# Public keys by name and key id.
Keys: TypeAlias = dict[tuple[str, bytes], bytes]

ED25519 = 1
# The kind of key with which witnesses sign (C2SP tlog-cosignature).
COSIGNATURE = 4
TIMESTAMP = struct.Struct(">Q")
KEY_ID = 4
LARGEST_NOTE = 64 * 1024
MAX_SIGNATURES = 64
EM_DASH = "\u2014"


class Checkpoint(NamedTuple):
    """A checkpoint: the first `size` records of the log `origin` have the tree root `root`."""

    origin: str
    size: int
    root: bytes
    note: str


def decode_base64(text: str) -> bytes:
    """Decode canonical base64 (standard alphabet, padded). Raises ValueError and Fault."""
    data = base64.b64decode(text, validate=True)
    require(base64.b64encode(data).decode() == text, "base64 that is not canonical")
    return data


def read_keys(vkeys: Iterable[str], kind: int = ED25519) -> Keys:
    """Parse C2SP vkeys of one kind: `<name>+<id>+<base64 of type and key>`. Raises Fault (usage)."""
    keys: Keys = {}
    for vkey in vkeys:
        try:
            name, key_id, encoded = vkey.strip().split("+", 2)
            key = decode_base64(encoded)
        except (Fault, *MALFORMED):
            raise Fault(f"this is not a vkey: {vkey}", USAGE) from None
        known = hashlib.sha256(f"{name}\n".encode() + key).digest()[:KEY_ID]
        require(name and known.hex() == key_id, f"the vkey's id does not match its name and key: {vkey}", USAGE)
        whose = "a witness's" if kind == COSIGNATURE else "an Ed25519"
        require(len(key) == HASH_SIZE + 1 and key[0] == kind, f"this is not {whose} vkey: {vkey}", USAGE)
        keys[name, known] = key[1:]
    return keys


def read_checkpoint(note: str, keys: Keys, what: str = "checkpoint") -> Checkpoint:
    """Parse and verify a signed checkpoint. Signatures of unknown keys are ignored.

    Raises Fault: untrusted when no known key of the log's name has signed; tampered for a wrong signature of a known
    key and for malformed input.
    """
    text, signatures = _split_note(note, what)
    signers = {name for name in (_verify_line(line, text, keys, what) for line in signatures) if name}
    origin = text.partition("\n")[0]
    require(origin in signers, f"{what}: no key that you trust has signed for the log {origin}", UNTRUSTED)
    return _parse_checkpoint(text, note, what)


def claimed_checkpoint(note: str, what: str = "checkpoint") -> Checkpoint:
    """Parse a checkpoint without verifying signatures. Raises Fault (tampered) for malformed input."""
    text, _ = _split_note(note, what)
    return _parse_checkpoint(text, note, what)


def read_cosignatures(note: str, witnesses: Keys) -> dict[str, datetime]:
    """When each of these witnesses cosigned a checkpoint, by its name. Raises Fault (tampered) for a wrong signature of
    a known key and for malformed input."""
    text, lines = _split_note(note, "checkpoint")
    found: dict[str, datetime] = {}
    for line in lines:
        name, key_id, value = _parse_line(line, "checkpoint")
        public = witnesses.get((name, key_id))
        if public is None:
            continue
        try:
            (seconds,) = TIMESTAMP.unpack(value[: TIMESTAMP.size])
            signed = f"cosignature/v1\ntime {seconds}\n{text}".encode()
            Ed25519PublicKey.from_public_bytes(public).verify(value[TIMESTAMP.size :], signed)
            found[name] = datetime.fromtimestamp(seconds, UTC)
        except (InvalidSignature, struct.error, *MALFORMED):
            raise Fault(f"checkpoint: the cosignature of {name} is wrong: the note or it was altered") from None
    return found


def _split_note(note: str, what: str) -> tuple[str, list[str]]:
    """Split a note into its text and its signature lines."""
    clean = all(character == "\n" or unicodedata.category(character) != "Cc" for character in note[:LARGEST_NOTE])
    text, blank, lines = note.rpartition("\n\n")
    text_lines, signatures = text.split("\n"), lines.split("\n")
    shaped = blank and len(text_lines) >= len(("origin", "size", "root")) and all(text_lines) and signatures.pop() == ""
    require(clean and shaped and len(note) <= LARGEST_NOTE, f"{what}: this is not a signed note")
    require(len(signatures) <= MAX_SIGNATURES, f"{what}: more than {MAX_SIGNATURES} signatures")
    return f"{text}\n", signatures


def _parse_line(line: str, what: str) -> tuple[str, bytes, bytes]:
    """The name, the key's id and the signature of a signature line."""
    try:
        dash, name, encoded = line.split(" ")
        signature = decode_base64(encoded)
    except (Fault, *MALFORMED):
        raise Fault(f"{what}: malformed signature line") from None
    require(dash == EM_DASH and name and len(signature) > KEY_ID, f"{what}: malformed signature line")
    return name, signature[:KEY_ID], signature[KEY_ID:]


def _verify_line(line: str, text: str, keys: Keys, what: str) -> str | None:
    """Verify a signature line. Returns the name of the key, or None for an unknown key."""
    name, key_id, signature = _parse_line(line, what)
    public = keys.get((name, key_id))
    if public is None:
        return None
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, text.encode())
    except (InvalidSignature, ValueError):
        raise Fault(f"{what}: the signature of {name} is wrong: the note or the signature was altered") from None
    return name


def _parse_checkpoint(text: str, note: str, what: str) -> Checkpoint:
    text_lines = text.split("\n")
    try:
        size, root = int(text_lines[1]), decode_base64(text_lines[2])
    except (Fault, *MALFORMED):
        raise Fault(f"{what}: no valid size or root") from None
    require(str(size) == text_lines[1] and size >= 0 and len(root) == HASH_SIZE, f"{what}: no valid size or root")
    return Checkpoint(text_lines[0], size, root, note)
