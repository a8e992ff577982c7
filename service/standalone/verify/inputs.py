"""Reads the input files: bundles, with or without gzip, proofs and checkpoints. A file of another kind is a usage
error; a truncated file is incomplete. Owns no state."""

from __future__ import annotations

import gzip
import sys
import zlib
from contextlib import contextmanager, nullcontext
from typing import IO, TYPE_CHECKING, NamedTuple, cast

from .findings import INCOMPLETE, MALFORMED, USAGE, Fault, require
from .notes import decode_base64, read_checkpoint
from .records import read_object

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader
    from pathlib import Path

    from .notes import Checkpoint, Keys

GZIP = b"\x1f\x8b"
PROOF = "c2sp.org/tlog-proof@v1"
CONSISTENCY = {"from", "to", "hashes", "checkpoint"}
LARGEST = 1 << 20
SAVE_AGAIN = "`timewarden audit proof ID` saves a record and its proof unchanged"


class Proof(NamedTuple):
    """A C2SP tlog-proof: the position (`place`) of a record, and the path to the root of `checkpoint`."""

    place: int
    path: list[bytes]
    checkpoint: Checkpoint


class Consistency(NamedTuple):
    """Proves that the first `old` records are a prefix of the first `size`. `note` is a checkpoint, not yet
    verified."""

    old: int
    size: int
    hashes: list[bytes]
    note: str


@contextmanager
def open_bundle(path: Path) -> Iterator[IO[bytes]]:
    """Open a bundle and unpack gzip; `-` is standard input."""
    with nullcontext(sys.stdin.buffer) if str(path) == "-" else path.open("rb") as file:
        packed = cast("BufferedReader", file).peek(len(GZIP)).startswith(GZIP)
        try:
            yield cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if packed else file
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise Fault(f"the gzip file is damaged or truncated: {error}", INCOMPLETE) from None


def read_proof(path: Path, keys: Keys) -> Proof:
    """Read a .tlog-proof file. Raises Fault and OSError."""
    text = _text(path)
    converted = "\r" in text or text.startswith("\ufeff")
    require(not converted, f"{path} was saved with different line ends or a byte order mark: {SAVE_AGAIN}", USAGE)
    head, blank, note = text.partition("\n\n")
    lines = head.split("\n")
    require(lines[0] == PROOF, f"{path} is not a {PROOF} file", USAGE)
    require(blank and note.endswith("\n"), f"{path} is truncated: its checkpoint is not complete", INCOMPLETE)
    if len(lines) > 1 and lines[1].startswith("extra "):
        del lines[1]
    try:
        word, index = lines[1].split(" ")
        hashes = [decode_base64(line) for line in lines[2:]]
        require(word == "index" and str(int(index)) == index, "no index")
    except (Fault, *MALFORMED) as error:
        raise Fault(f"{path} is malformed and proves nothing: {error}", INCOMPLETE) from None
    return Proof(int(index), hashes, read_checkpoint(note, keys))


def read_record(path: Path) -> bytes:
    """Read the bytes of a record. Raises Fault and OSError."""
    data = _bytes(path)
    require(data, f"{path} is empty: {SAVE_AGAIN}", USAGE)
    return data


def read_consistency(path: Path) -> Consistency:
    """Read a response of `GET /v1/audit/consistency`. Raises Fault and OSError."""
    try:
        members = read_object(_text(path).encode(), CONSISTENCY)
        found = Consistency(
            members["from"], members["to"], [decode_base64(text) for text in members["hashes"]], members["checkpoint"]
        )
        whole = type(found.old) is int and type(found.size) is int and isinstance(found.note, str)
        require(whole, "from or to is not an integer, or checkpoint is not text")
    except (Fault, *MALFORMED) as error:
        raise Fault(f"{path} is not a consistency proof: {error}", USAGE) from None
    return found


def read_note(path: Path, keys: Keys) -> Checkpoint:
    """Read a checkpoint. Raises Fault and OSError."""
    note = _text(path)
    require("\n\n" in note and "\u2014" in note, f"{path} is not a signed checkpoint", USAGE)
    return read_checkpoint(note, keys, str(path))


def read_token(path: Path) -> str:
    """Read an access token. Raises Fault and OSError."""
    token = _text(path).strip()
    require(
        token.isascii() and token.isprintable() and " " not in token and token,
        f"{path} does not contain a token",
        USAGE,
    )
    return token


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    require(len(data) <= LARGEST, f"{path} is too large", USAGE)
    return data


def _text(path: Path) -> str:
    try:
        return _bytes(path).decode()
    except UnicodeDecodeError:
        raise Fault(f"{path} is not UTF-8 text", USAGE) from None
