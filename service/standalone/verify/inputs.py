"""The files that the command is given: bundles packed or not, proofs, checkpoints. What is no such file is a wrong
call; one that was cut off is incomplete. Owns no state."""

from __future__ import annotations

import gzip
import sys
import zlib
from contextlib import contextmanager, nullcontext
from typing import IO, TYPE_CHECKING, NamedTuple, cast

from .findings import INCOMPLETE, MALFORMED, USAGE, Fault, need
from .notes import decoded, read_checkpoint
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
SAVE_AGAIN = "`timewarden audit proof ID` writes a record and its proof as they are"


class Proof(NamedTuple):
    """A C2SP tlog-proof: the record at `place` of the log of `checkpoint`, with the path to its root."""

    place: int
    path: list[bytes]
    checkpoint: Checkpoint


class Consistency(NamedTuple):
    """The proof that the first `size` records begin with the first `old`; `note` is a checkpoint, not yet verified."""

    old: int
    size: int
    hashes: list[bytes]
    note: str


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The bundle's bytes, unpacked when they are gzip's; `-` is standard input."""
    with nullcontext(sys.stdin.buffer) if str(path) == "-" else path.open("rb") as file:
        packed = cast("BufferedReader", file).peek(len(GZIP)).startswith(GZIP)
        try:
            yield cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if packed else file
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise Fault(f"the gzip file is damaged or ends early: {error}", INCOMPLETE) from None


def read_proof(path: Path, keys: Keys) -> Proof:
    """A .tlog-proof file. Raises Fault and OSError."""
    text = _text(path)
    changed = "\r" in text or text.startswith("\ufeff")
    need(not changed, f"{path} was saved with other line ends or a byte order mark: {SAVE_AGAIN}", USAGE)
    head, blank, note = text.partition("\n\n")
    lines = head.split("\n")
    need(lines[0] == PROOF, f"{path} is not a {PROOF} file", USAGE)
    need(blank and note.endswith("\n"), f"{path} ends early: it holds no whole checkpoint", INCOMPLETE)
    if len(lines) > 1 and lines[1].startswith("extra "):
        del lines[1]
    try:
        word, index = lines[1].split(" ")
        hashes = [decoded(line) for line in lines[2:]]
        need(word == "index" and str(int(index)) == index, "it names no index")
    except (Fault, *MALFORMED) as error:
        raise Fault(f"{path} is malformed, and shows nothing: {error}", INCOMPLETE) from None
    return Proof(int(index), hashes, read_checkpoint(note, keys))


def read_record(path: Path) -> bytes:
    """The bytes of one record in a file. Raises Fault and OSError."""
    data = _bytes(path)
    need(data, f"{path} is empty, and holds no record: {SAVE_AGAIN}", USAGE)
    return data


def read_consistency(path: Path) -> Consistency:
    """What `GET /v1/audit/consistency` answers, in a file. Raises Fault and OSError."""
    try:
        said = read_object(_text(path).encode(), CONSISTENCY)
        found = Consistency(said["from"], said["to"], [decoded(one) for one in said["hashes"]], said["checkpoint"])
        whole = type(found.old) is int and type(found.size) is int and isinstance(found.note, str)
        need(whole, "from and to are not integers, or checkpoint is no text")
    except (Fault, *MALFORMED) as error:
        raise Fault(f"{path} is no consistency proof: {error}", USAGE) from None
    return found


def read_note(path: Path, keys: Keys) -> Checkpoint:
    """A checkpoint in a file. Raises Fault and OSError."""
    note = _text(path)
    need("\n\n" in note and "\u2014" in note, f"{path} is no signed checkpoint", USAGE)
    return read_checkpoint(note, keys, str(path))


def read_token(path: Path) -> str:
    """An access token in a file. Raises Fault and OSError."""
    token = _text(path).strip()
    need(token.isascii() and token.isprintable() and " " not in token and token, f"{path} holds no token", USAGE)
    return token


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    need(len(data) <= LARGEST, f"{path} is larger than any such file", USAGE)
    return data


def _text(path: Path) -> str:
    try:
        return _bytes(path).decode()
    except UnicodeDecodeError:
        raise Fault(f"{path} is not text in UTF-8", USAGE) from None
