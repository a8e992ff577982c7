"""Signed notes and checkpoints of C2SP (signed-note.md, tlog-checkpoint.md), with Ed25519. Pure; keys are parameters.

A checkpoint says that the log named `origin` has `size` records, whose tree has this root. Ed25519 is deterministic, so
signing the same checkpoint after a crash gives the same note. Parsers are strict: one spelling, no trailing data.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from service.log.merkle import HASH_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ED25519 = b"\x01"
PRIVATE = "PRIVATE+KEY"
MAX_SIGNATURES_PER_NOTE = 64
MAX_NOTE_BYTES = 64 * 1024
KEY_ID_BYTES = 4
SEED_BYTES = 32


class BadNote(ValueError):
    """A note, checkpoint or key that does not follow C2SP; the message names the fault."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The first `size` records of the log `origin` have the tree root `root`."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{_encode(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Parse a note text; extension lines are ignored. Raises BadNote."""
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1] or not all(lines[:-1]):  # noqa: PLR2004 - origin, size, root, empty rest
            raise BadNote("A checkpoint has an origin, a size and a root, each on a line")
        size = lines[1]
        if not (size.isascii() and size.isdigit()) or (size[0] == "0" and size != "0") or len(size) > 19:  # noqa: PLR2004 - bigint
            raise BadNote("The size of a checkpoint is a decimal number without leading zeros")
        root = _decode(lines[2], "The root")
        if len(root) != HASH_SIZE:
            raise BadNote(f"A root has {HASH_SIZE} bytes")
        return cls(lines[0], int(size), root)


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line of a note: the signer's name, the key's id and the signature."""

    name: str
    key_id: bytes
    value: bytes

    @property
    def line(self) -> str:
        return f"\u2014 {self.name} {_encode(self.key_id + self.value)}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A text with signature lines, which are not verified yet."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        return self.text + "\n" + "".join(signature.line for signature in self.signatures)

    @classmethod
    def parse(cls, note: str) -> Note:
        """Parse a note of at most 64 signatures and 64 KiB. Raises BadNote."""
        if len(note) > MAX_NOTE_BYTES or any(_is_control(character) for character in note):
            raise BadNote("A note is UTF-8 of at most 64 KiB, without control characters other than line ends")
        text, blank, lines = note.rpartition("\n\n")
        if not blank or not lines.endswith("\n"):
            raise BadNote("A note has a text, a blank line and signature lines")
        found = lines[:-1].split("\n")
        if len(found) > MAX_SIGNATURES_PER_NOTE:
            raise BadNote(f"A note has at most {MAX_SIGNATURES_PER_NOTE} signatures")
        return cls(text + "\n", tuple(_parse_signature(line) for line in found))


class Verifier:
    """A public key with its name."""

    def __init__(self, name: str, public: bytes) -> None:
        """`public` is the 32 raw bytes. Raises BadNote for a name that a note cannot hold."""
        _check_name(name)
        if len(public) != SEED_BYTES:
            raise BadNote("An Ed25519 public key has 32 bytes")
        self.name = name
        self.public = public
        self.key_id = hashlib.sha256(name.encode() + b"\n" + ED25519 + public).digest()[:KEY_ID_BYTES]

    @property
    def vkey(self) -> str:
        """The key as auditors get it: name, key id and key in one line."""
        return f"{self.name}+{self.key_id.hex()}+{_encode(ED25519 + self.public)}"

    @classmethod
    def parse(cls, vkey: str) -> Verifier:
        """Parse a vkey. Raises BadNote."""
        name, key_id, key = split_key(vkey)
        if key[:1] != ED25519:
            raise BadNote("The key is not an Ed25519 key")
        verifier = cls(name, key[1:])
        if verifier.key_id.hex() != key_id:
            raise BadNote("The key's id is not the hash of its name and key")
        return verifier

    def verifies(self, text: str, signature: Signature) -> bool:
        """Whether the signature over the text is by this key."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature.value, text.encode())
        except InvalidSignature:
            return False
        return True


class Signer:
    """A private key with its name. Only `private`, the text of a key file, holds the seed."""

    def __init__(self, name: str, seed: bytes) -> None:
        """`seed` is the 32 raw bytes of an Ed25519 private key. Raises BadNote."""
        if len(seed) != SEED_BYTES:
            raise BadNote("An Ed25519 private key has 32 bytes")
        self._seed = seed
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.verifier = Verifier(name, self._key.public_key().public_bytes_raw())

    @property
    def name(self) -> str:
        return self.verifier.name

    @property
    def private(self) -> str:
        """The text of a key file, in the form of Go's note package. Secret."""
        return f"{PRIVATE}+{self.name}+{self.verifier.key_id.hex()}+{_encode(ED25519 + self._seed)}"

    @classmethod
    def parse(cls, private: str) -> Signer:
        """Parse the text of a key file. Raises BadNote, which never quotes the text."""
        kind, _, rest = private.strip().partition("+KEY+")
        if kind != "PRIVATE":
            raise BadNote("A key file begins with PRIVATE+KEY+")
        name, key_id, key = split_key(rest)
        if key[:1] != ED25519:
            raise BadNote("The key is not an Ed25519 key")
        signer = cls(name, key[1:])
        if signer.verifier.key_id.hex() != key_id:
            raise BadNote("The key's id is not the hash of its name and key")
        return signer

    def sign(self, text: str) -> Signature:
        return Signature(self.name, self.verifier.key_id, self._key.sign(text.encode()))


def sign(text: str, signers: Sequence[Signer]) -> str:
    """The note: the text with a signature of each signer. Raises BadNote for a text that no note can hold."""
    if not signers or not text.endswith("\n") or any(_is_control(character) for character in text):
        raise BadNote("A note has a text that ends with a line end, and a signer")
    return str(Note(text, tuple(signer.sign(text) for signer in signers)))


def verify(note: str, verifiers: Iterable[Verifier]) -> Note:
    """The parsed note, if a known key signed it. Signatures of unknown keys are ignored. Raises BadNote, also for a
    wrong signature of a known key."""
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    parsed, good = Note.parse(note), 0
    for signature in parsed.signatures:
        if verifier := known.get((signature.name, signature.key_id)):
            if not verifier.verifies(parsed.text, signature):
                raise BadNote(f"The signature of {signature.name} is wrong")
            good += 1
    if not good:
        raise BadNote("No known key has signed the note")
    return parsed


def _parse_signature(line: str) -> Signature:
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    if dash != "\u2014":
        raise BadNote("A signature line begins with an em dash")
    _check_name(name)
    value = _decode(encoded, "A signature")
    if len(value) <= KEY_ID_BYTES:
        raise BadNote("A signature is longer than its key's id")
    return Signature(name, value[:KEY_ID_BYTES], value[KEY_ID_BYTES:])


def split_key(key: str) -> tuple[str, str, bytes]:
    """The name, the id in hex and the bytes of a key in its text form. Raises BadNote."""
    # Base64 may contain a plus; a name and an id may not.
    parts = key.split("+", 2)
    if len(parts) != 3 or not parts[2]:  # noqa: PLR2004 - name, id, key
        raise BadNote("A key has a name, an id and the key, joined by +")
    return parts[0], parts[1], _decode(parts[2], "The key")


def _check_name(name: str) -> None:
    if not name or "+" in name or any(character.isspace() or _is_control(character) for character in name):
        raise BadNote("A key's name is not empty and has neither spaces nor a plus")


def _is_control(character: str) -> bool:
    return character != "\n" and unicodedata.category(character) in {"Cc", "Cs"}


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: str, what: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadNote(f"{what} is not base64") from None
    if _encode(data) != text:
        raise BadNote(f"{what} is not in canonical base64")
    return data
