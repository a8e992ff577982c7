"""The interface for outside witnesses (C2SP tlog-witness, tlog-cosignature); no client of a witness is included.

A witness remembers the last checkpoint that it cosigned. It cosigns another only with a consistency proof from that
size, which the keeper sends. The keeper holds that size in memory only; a witness that knows another one replies with
it. Lines that the witness's key did not sign are dropped.
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from service.log.checkpoint import KEY_ID_BYTES, BadNote, Note, Verifier

if TYPE_CHECKING:
    from service.log.checkpoint import Signature

COSIGNATURE = b"\x04"
TIMESTAMP_BYTES = 8
TIMEOUT_SECONDS = 10.0

# The RFC 9162 consistency proof from a size to the checkpoint that is to be cosigned.
ProofFrom: TypeAlias = Callable[[int], Awaitable[Sequence[bytes]]]


class SizeConflict(Exception):
    """The witness knows the log at another size than the request says (HTTP 409)."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the witness knows the log at size {size}")
        self.size = size


class Cosigner:
    """A witness's public key with its name: verifies timestamped Ed25519 cosignatures."""

    def __init__(self, name: str, public: bytes) -> None:
        """`public` is the 32 raw bytes. Raises BadNote."""
        self.name = Verifier(name, public).name
        self._key = Ed25519PublicKey.from_public_bytes(public)
        self.key_id = hashlib.sha256(name.encode() + b"\n" + COSIGNATURE + public).digest()[:KEY_ID_BYTES]

    def verifies(self, text: str, signature: Signature) -> bool:
        """Whether the cosignature is by this key, over this text and its own timestamp."""
        if (signature.name, signature.key_id) != (self.name, self.key_id) or len(signature.value) <= TIMESTAMP_BYTES:
            return False
        (timestamp,) = struct.unpack(">Q", signature.value[:TIMESTAMP_BYTES])
        try:
            self._key.verify(signature.value[TIMESTAMP_BYTES:], f"cosignature/v1\ntime {timestamp}\n{text}".encode())
        except InvalidSignature:
            return False
        return True


class Witness(Protocol):
    """A client of one witness."""

    @property
    def cosigner(self) -> Cosigner: ...

    async def add_checkpoint(self, old: int, proof: Sequence[bytes], note: str) -> Sequence[str]:
        """Call add-checkpoint. `old` is the size that the witness is assumed to know, 0 for none; `proof` begins there.
        Returns cosignature lines. Raises SizeConflict, OSError and TimeoutError."""


class Witnesses:
    """Asks each witness in turn for a cosignature. A checkpoint is published even if one fails."""

    def __init__(self, witnesses: Sequence[Witness]) -> None:
        self._witnesses = tuple(witnesses)
        self._known_sizes: dict[bytes, int] = {}

    def verify_cosignatures(self, note: Note) -> list[Signature]:
        """The valid cosignatures of these witnesses in a note."""
        cosigners = [witness.cosigner for witness in self._witnesses]
        return [
            signature for signature in note.signatures if any(by.verifies(note.text, signature) for by in cosigners)
        ]

    async def cosign(self, note: Note, size: int, proof: ProofFrom) -> list[Signature]:
        """Ask every witness to cosign the checkpoint of this size; returns the valid cosignatures."""
        found: list[Signature] = []
        for witness in self._witnesses:
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    lines = await self._add_checkpoint(witness, note, size, proof)
                new = Note.parse(f"{note.text}\n" + "".join(f"{line.rstrip()}\n" for line in lines))
            except (OSError, TimeoutError, SizeConflict, BadNote):
                continue
            self._known_sizes[witness.cosigner.key_id] = size
            found += [line for line in new.signatures if witness.cosigner.verifies(note.text, line)]
        return found

    async def _add_checkpoint(self, witness: Witness, note: Note, size: int, proof: ProofFrom) -> Sequence[str]:
        """Ask from the known size, and again from the size that the witness names, if the log has it."""
        old = min(self._known_sizes.get(witness.cosigner.key_id, 0), size)
        try:
            return await witness.add_checkpoint(old, await proof(old), str(note))
        except SizeConflict as error:
            if not 0 <= error.size <= size:
                raise
            return await witness.add_checkpoint(error.size, await proof(error.size), str(note))
