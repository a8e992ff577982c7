"""C2SP signed notes and checkpoints: read strictly, trusted by key. Pure."""

from __future__ import annotations

import base64
import hashlib
import unicodedata
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from .findings import MALFORMED, UNTRUSTED, USAGE, Fault, need
from .tree import HASH_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable

# Public keys by name and key id.
Keys: TypeAlias = dict[tuple[str, bytes], bytes]

ED25519 = 1
KEY_ID = 4
LARGEST_NOTE = 64 * 1024
MAX_SIGNATURES = 64
EM_DASH = "\u2014"


class Checkpoint(NamedTuple):
    """What a trusted key has signed: the first `size` records of the log `origin` have this root."""

    origin: str
    size: int
    root: bytes
    note: str


def decoded(text: str) -> bytes:
    """Base64 (standard, padded) in its one spelling."""
    data = base64.b64decode(text, validate=True)
    need(base64.b64encode(data).decode() == text, "base64 in another spelling than the usual")
    return data


def read_keys(vkeys: Iterable[str]) -> Keys:
    """C2SP vkeys: `<name>+<id>+<base64 of type and key>`. Raises Fault (usage)."""
    keys: Keys = {}
    for vkey in vkeys:
        try:
            name, key_id, encoded = vkey.strip().split("+", 2)
            key = decoded(encoded)
        except (Fault, *MALFORMED):
            raise Fault(f"this is not a vkey: {vkey}", USAGE) from None
        known = hashlib.sha256(f"{name}\n".encode() + key).digest()[:KEY_ID]
        need(name and known.hex() == key_id, f"the vkey's id is not that of its name and key: {vkey}", USAGE)
        need(len(key) == HASH_SIZE + 1 and key[0] == ED25519, f"this is not an Ed25519 vkey: {vkey}", USAGE)
        keys[name, known] = key[1:]
    return keys


def read_checkpoint(note: str, keys: Keys, what: str = "checkpoint") -> Checkpoint:
    """A signed checkpoint. A key that is not known is ignored; a known one that did not sign this text is a Fault.

    Raises Fault: untrusted when no known key of the log's own name has signed, tampered for anything malformed.
    """
    text, signatures = _parted(note, what)
    signers = {name for name in (_signer(line, text, keys, what) for line in signatures) if name}
    origin = text.partition("\n")[0]
    need(origin in signers, f"{what}: no key that you trust has signed for the log {origin}", UNTRUSTED)
    return _read(text, note, what)


def claimed_checkpoint(note: str, what: str = "checkpoint") -> Checkpoint:
    """What a note says, whoever signed it. Raises Fault (tampered) for anything malformed."""
    text, _ = _parted(note, what)
    return _read(text, note, what)


def _parted(note: str, what: str) -> tuple[str, list[str]]:
    """The text of a note, and its signature lines."""
    clean = all(one == "\n" or unicodedata.category(one) != "Cc" for one in note[:LARGEST_NOTE])
    text, blank, lines = note.rpartition("\n\n")
    said, signatures = text.split("\n"), lines.split("\n")
    shaped = blank and len(said) >= len(("origin", "size", "root")) and all(said) and signatures.pop() == ""
    need(clean and shaped and len(note) <= LARGEST_NOTE, f"{what}: this is not a signed note")
    need(len(signatures) <= MAX_SIGNATURES, f"{what}: more than {MAX_SIGNATURES} signatures")
    return f"{text}\n", signatures


def _signer(line: str, text: str, keys: Keys, what: str) -> str | None:
    """The name of the known key that signed, or None for a key that is not known."""
    try:
        dash, name, encoded = line.split(" ")
        signature = decoded(encoded)
    except (Fault, *MALFORMED):
        raise Fault(f"{what}: a line under it is not a signature") from None
    need(dash == EM_DASH and name and len(signature) > KEY_ID, f"{what}: a line under it is not a signature")
    public = keys.get((name, signature[:KEY_ID]))
    if public is None:
        return None
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature[KEY_ID:], text.encode())
    except (InvalidSignature, ValueError):
        raise Fault(f"{what}: the signature of {name} is wrong: the note or the signature was altered") from None
    return name


def _read(text: str, note: str, what: str) -> Checkpoint:
    said = text.split("\n")
    try:
        size, root = int(said[1]), decoded(said[2])
    except (Fault, *MALFORMED):
        raise Fault(f"{what}: it has no size or no root") from None
    need(str(size) == said[1] and size >= 0 and len(root) == HASH_SIZE, f"{what}: it has no size or no root")
    return Checkpoint(said[0], size, root, note)
