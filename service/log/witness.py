"""Outside witnesses (C2SP tlog-witness, tlog-cosignature): their keys, a client, and asking them for cosignatures.

A witness remembers the last checkpoint that it cosigned. It cosigns another only with a consistency proof from that
size, which the keeper sends. The keeper holds that size in memory only; a witness that knows another one replies with
it. A witness that knows another history of this log stops the signer; one that fails in any other way does not. Lines
that the witness's key did not sign are dropped.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import struct
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias
from urllib.parse import urlsplit

import httpx2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from service import metrics
from service.errors import Misconfigured
from service.log.checkpoint import KEY_ID_BYTES, BadNote, Note, Verifier, split_key

if TYPE_CHECKING:
    from service.log.checkpoint import Signature

COSIGNATURE = b"\x04"
TIMESTAMP_BYTES = 8
TIMEOUT_SECONDS = 10.0
# A witness that failed is asked again with the first checkpoint after so many seconds.
PAUSE_SECONDS = 30.0
MAX_ANSWER_BYTES = 16 * 1024
MAX_SIZE_DIGITS = 19
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

# The RFC 9162 consistency proof from a size to the checkpoint that is to be cosigned.
ProofFrom: TypeAlias = Callable[[int], Awaitable[Sequence[bytes]]]


class SizeConflict(Exception):
    """The witness knows the log at another size than the request says (HTTP 409)."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the witness knows the log at size {size}")
        self.size = size


class OtherHistory(Exception):
    """A witness knows another history of this log; the message says which witness and what it knows."""


class Cosigner:
    """A witness's public key with its name: verifies timestamped Ed25519 cosignatures."""

    def __init__(self, name: str, public: bytes) -> None:
        """`public` is the 32 raw bytes. Raises BadNote."""
        self.name = Verifier(name, public).name
        self._key = Ed25519PublicKey.from_public_bytes(public)
        self.key_id = hashlib.sha256(name.encode() + b"\n" + COSIGNATURE + public).digest()[:KEY_ID_BYTES]

    @classmethod
    def parse(cls, vkey: str) -> Cosigner:
        """Parse a witness's vkey. Raises BadNote."""
        name, key_id, key = split_key(vkey)
        if key[:1] != COSIGNATURE:
            raise BadNote("The key is not a witness's Ed25519 key")
        cosigner = cls(name, key[1:])
        if cosigner.key_id.hex() != key_id:
            raise BadNote("The key's id is not the hash of its name and key")
        return cosigner

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
        Returns cosignature lines. Raises SizeConflict, OtherHistory, OSError and TimeoutError."""


class HttpWitness:
    """A witness over HTTP. Owns its connections."""

    def __init__(self, cosigner: Cosigner, url: str) -> None:
        self.cosigner = cosigner
        self._url = url.rstrip("/") + "/add-checkpoint"
        # The environment's proxies are not used for loopback.
        outside = urlsplit(url).hostname not in LOOPBACK
        self._http = httpx2.AsyncClient(trust_env=outside, timeout=TIMEOUT_SECONDS, follow_redirects=False)

    @classmethod
    def parse(cls, text: str) -> HttpWitness:
        """Parse `VKEY URL`. Raises Misconfigured."""
        vkey, _, url = text.strip().partition(" ")
        try:
            parts = urlsplit(url.strip())
            if not parts.hostname or parts.scheme not in (
                {"http", "https"} if parts.hostname in LOOPBACK else {"https"}
            ):
                raise BadNote("its URL is not an https URL")
            return cls(Cosigner.parse(vkey), url.strip())
        except ValueError as error:
            raise Misconfigured(
                f"TIMEWARDEN_LOG_WITNESSES: a witness is a vkey, a space and an https URL: {error}"
            ) from error

    async def add_checkpoint(self, old: int, proof: Sequence[bytes], note: str) -> Sequence[str]:
        """Call add-checkpoint. Raises SizeConflict, OtherHistory, OSError and TimeoutError."""
        hashes = "".join(f"{base64.b64encode(node).decode()}\n" for node in proof)
        try:
            request = self._http.stream("POST", self._url, content=f"old {old}\n{hashes}\n{note}".encode())
            async with request as answer:
                status, body = answer.status_code, bytearray()
                async for part in answer.aiter_bytes():
                    body += part
                    if len(body) > MAX_ANSWER_BYTES:
                        raise OSError("it sends too much")
        except httpx2.HTTPError as error:
            raise OSError(type(error).__name__) from error
        text = body.decode(errors="replace")
        if status == httpx2.codes.OK:
            return text.splitlines()
        if status == httpx2.codes.CONFLICT and (size := text.strip()).isdecimal() and len(size) <= MAX_SIZE_DIGITS:
            raise SizeConflict(int(size))
        if status == httpx2.codes.UNPROCESSABLE_CONTENT:
            raise OtherHistory(f"The witness {self.cosigner.name} knows another history of this log")
        raise OSError(f"status {status}")

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


class Witnesses:
    """Asks all witnesses for cosignatures at once. A checkpoint is published even if one fails, but not if one knows
    another history of the log."""

    def __init__(self, witnesses: Sequence[Witness]) -> None:
        self._witnesses = tuple(witnesses)
        for witness in witnesses:
            # So that the first is seen as a change: Prometheus sees no increase in a series that begins with 1.
            metrics.WITNESS_REQUESTS.add((witness.cosigner.name, "failed"), 0)
            metrics.WITNESS_REQUESTS.add((witness.cosigner.name, "refused"), 0)
        self._known_sizes: dict[bytes, int] = {}
        # Why a witness failed, and until when it is not asked again.
        self._failed: dict[bytes, tuple[str, float]] = {}

    def verify_cosignatures(self, note: Note) -> list[Signature]:
        """The valid cosignatures of these witnesses in a note."""
        cosigners = [witness.cosigner for witness in self._witnesses]
        return [
            signature for signature in note.signatures if any(by.verifies(note.text, signature) for by in cosigners)
        ]

    def wait_for(self, note: Note) -> bool:
        """Whether a witness that can be asked now has not cosigned the note."""
        have = {signature.key_id for signature in self.verify_cosignatures(note)}
        return any(witness.cosigner.key_id not in have for witness in self._due())

    def describe_failures(self) -> str:
        """What the witnesses that failed last said, for the operator; empty if none failed."""
        names = {witness.cosigner.key_id: witness.cosigner.name for witness in self._witnesses}
        return "; ".join(f"no cosignature of {names[key_id]}: {why}" for key_id, (why, _) in self._failed.items())

    async def cosign(self, note: Note, size: int, proof: ProofFrom) -> list[Signature]:
        """Ask every witness to cosign the checkpoint of this size; returns the valid cosignatures. Raises
        OtherHistory."""
        asked = await asyncio.gather(
            *(self._ask(witness, note, size, proof) for witness in self._due()), return_exceptions=True
        )
        found: list[Signature] = []
        for answer in asked:
            if isinstance(answer, BaseException):
                raise answer
            found += answer
        return found

    def _due(self) -> list[Witness]:
        now = time.monotonic()
        return [
            witness
            for witness in self._witnesses
            if (failed := self._failed.get(witness.cosigner.key_id)) is None or failed[1] <= now
        ]

    async def _ask(self, witness: Witness, note: Note, size: int, proof: ProofFrom) -> list[Signature]:
        key_id, name = witness.cosigner.key_id, witness.cosigner.name
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                lines = await self._add_checkpoint(witness, note, size, proof)
            new = Note.parse(f"{note.text}\n" + "".join(f"{line.rstrip()}\n" for line in lines))
            found = [line for line in new.signatures if witness.cosigner.verifies(note.text, line)]
            if not found:
                raise BadNote("its answer holds no signature of its key")
        except (OSError, TimeoutError, SizeConflict, BadNote) as error:
            self._failed[key_id] = (str(error) or type(error).__name__, time.monotonic() + PAUSE_SECONDS)
            metrics.WITNESS_REQUESTS.add((name, "failed"))
            return []
        except OtherHistory:
            metrics.WITNESS_REQUESTS.add((name, "refused"))
            raise
        self._failed.pop(key_id, None)
        self._known_sizes[key_id] = size
        metrics.WITNESS_REQUESTS.add((name, "cosigned"))
        metrics.WITNESS_SIZE.set(size, (name,))
        return found

    async def _add_checkpoint(self, witness: Witness, note: Note, size: int, proof: ProofFrom) -> Sequence[str]:
        """Ask from the known size, and again from the size that the witness names. Raises OtherHistory if the log is
        shorter than that."""
        old = min(self._known_sizes.get(witness.cosigner.key_id, 0), size)
        try:
            return await witness.add_checkpoint(old, await proof(old), str(note))
        except SizeConflict as error:
            if error.size > size:
                name = witness.cosigner.name
                raise OtherHistory(
                    f"The witness {name} has cosigned {error.size} records of this log, which has {size}"
                ) from error
            return await witness.add_checkpoint(error.size, await proof(error.size), str(note))
