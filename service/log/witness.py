"""The seam for outside witnesses (C2SP tlog-witness, tlog-cosignature); the keeper brings none along.

A witness remembers the last checkpoint that it cosigned, and cosigns another only when a consistency proof shows that
the log extends that one; so the keeper has to say from which size on, with the proof. What a witness knows is kept in
memory alone: one that is asked from another size says its own. Lines that the witness's key did not make are dropped.
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from service.log.checkpoint import KEY_ID, BadNote, Note, Verifier

if TYPE_CHECKING:
    from service.log.checkpoint import Signature

COSIGNATURE = b"\x04"
TIMESTAMP = 8
PATIENCE = 10.0

# The RFC 9162 proof that the checkpoint in question extends the log's first so many records.
ProofFrom: TypeAlias = Callable[[int], Awaitable[Sequence[bytes]]]


class OtherSize(Exception):
    """The witness knows the log at another size than it was asked from (HTTP 409)."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the witness knows the log at size {size}")
        self.size = size


class Cosigner:
    """The public half of a witness's key, with its name: verifies timestamped Ed25519 cosignatures."""

    def __init__(self, name: str, public: bytes) -> None:
        """`public` are the 32 raw bytes. Raises BadNote."""
        self.name = Verifier(name, public).name
        self._key = Ed25519PublicKey.from_public_bytes(public)
        self.key_id = hashlib.sha256(name.encode() + b"\n" + COSIGNATURE + public).digest()[:KEY_ID]

    def verifies(self, text: str, signature: Signature) -> bool:
        """Whether this key cosigned the checkpoint, at the time that the cosignature names."""
        if (signature.name, signature.key_id) != (self.name, self.key_id) or len(signature.value) <= TIMESTAMP:
            return False
        (moment,) = struct.unpack(">Q", signature.value[:TIMESTAMP])
        try:
            self._key.verify(signature.value[TIMESTAMP:], f"cosignature/v1\ntime {moment}\n{text}".encode())
        except InvalidSignature:
            return False
        return True


class Witness(Protocol):
    """A client of one witness."""

    @property
    def cosigner(self) -> Cosigner: ...

    async def add_checkpoint(self, old: int, proof: Sequence[bytes], note: str) -> Sequence[str]:
        """The add-checkpoint call: `old` is the size that the witness is taken to know, 0 for none, `proof` leads from
        there. Returns cosignature lines. Raises OtherSize, OSError and TimeoutError."""


class Witnesses:
    """Asks each in turn; one that fails is no reason not to publish."""

    def __init__(self, witnesses: Sequence[Witness]) -> None:
        self._witnesses = tuple(witnesses)
        self._known: dict[bytes, int] = {}

    def verified(self, note: Note) -> list[Signature]:
        """The cosignatures of these witnesses that a note has."""
        cosigners = [witness.cosigner for witness in self._witnesses]
        return [
            signature for signature in note.signatures if any(by.verifies(note.text, signature) for by in cosigners)
        ]

    async def cosign(self, note: Note, size: int, proof: ProofFrom) -> list[Signature]:
        """The cosignatures under the checkpoint of this size."""
        found: list[Signature] = []
        for witness in self._witnesses:
            try:
                async with asyncio.timeout(PATIENCE):
                    lines = await self._asked(witness, note, size, proof)
                new = Note.parse(f"{note.text}\n" + "".join(f"{line.rstrip()}\n" for line in lines))
            except (OSError, TimeoutError, OtherSize, BadNote):
                continue
            self._known[witness.cosigner.key_id] = size
            found += [line for line in new.signatures if witness.cosigner.verifies(note.text, line)]
        return found

    async def _asked(self, witness: Witness, note: Note, size: int, proof: ProofFrom) -> Sequence[str]:
        """Once more when it knows another size that is no longer than the log is."""
        old = min(self._known.get(witness.cosigner.key_id, 0), size)
        try:
            return await witness.add_checkpoint(old, await proof(old), str(note))
        except OtherSize as error:
            if not 0 <= error.size <= size:
                raise
            return await witness.add_checkpoint(error.size, await proof(error.size), str(note))
