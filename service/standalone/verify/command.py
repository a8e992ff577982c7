"""The command line: what to check, which keys to trust, what was seen before. Durable: --state FILE, replaced whole."""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
import time
import zlib
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, NoReturn, cast
from uuid import UUID

from .bundle import Bundle, Sought
from .findings import INCOMPLETE, MALFORMED, USAGE, WORDS, Fault, Report, need
from .live import LiveLog
from .notes import Checkpoint, Keys, decoded, read_checkpoint, read_keys
from .tree import HASH_SIZE, included, leaf_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import BufferedReader

GZIP = b"\x1f\x8b"
PROOF = "c2sp.org/tlog-proof@v1"
# A record is sealed within this many seconds of its answer; a younger one may rightly not be there yet.
SEALED_WITHIN = 600
CODES = "exit codes: " + ", ".join(f"{code} {word}" for code, word in enumerate(WORDS))


class Arguments(argparse.ArgumentParser):
    """Ends with our own code for a wrong call."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: {message}\n")


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command and exit with its verdict."""
    given = _parser().parse_args(arguments)
    report, checkpoint = Report(quiet=given.json), None
    try:
        keys = read_keys(given.key)
        seen = _seen(given.state, keys)
        checkpoint = cast("Checkpoint", given.check(given, keys, seen, report))
        # A proof shows one record: not that the log extends what was seen, so it does not take that one's place.
        grown = seen is None or (checkpoint.size > seen.size and given.check is not check_proof)
        if given.state and not report.verdict and grown:
            _keep(given.state, checkpoint.note)
    except (Fault, *MALFORMED) as fault:
        report.find(fault)
    except OSError as error:
        report.find(Fault(str(error), USAGE))
    (_print_json if given.json else _print)(report, checkpoint)
    sys.exit(report.verdict)


def check_bundle(given: argparse.Namespace, keys: Keys, seen: Checkpoint | None, report: Report) -> Checkpoint:
    """`bundle PATH`: everything that docs/audit-bundle.md promises."""
    with _opened(given.path) as file:
        bundle = Bundle(file, keys, report)
        bundle.check(seen)
    report.checked["positions"] = [bundle.start, bundle.end - 1]
    return bundle.checkpoint


def check_proof(given: argparse.Namespace, keys: Keys, seen: Checkpoint | None, report: Report) -> Checkpoint:
    """`proof FILE --record FILE`: a C2SP tlog-proof says where in the log these very bytes are."""
    head, _, note = given.path.read_text(encoding="utf-8").partition("\n\n")
    lines = head.split("\n")
    need(lines[0] == PROOF, f"this is not a {PROOF} file")
    if lines[1].startswith("extra "):
        del lines[1]
    try:
        word, index = lines[1].split(" ")
        path = [decoded(one) for one in lines[2:]]
        need(word == "index" and str(int(index)) == index, "the proof names no index")
    except MALFORMED:
        raise Fault("the proof is malformed") from None
    checkpoint, leaf = read_checkpoint(note, keys), leaf_hash(given.record.read_bytes())
    if not included(leaf, int(index), checkpoint.size, path, checkpoint.root):
        report.find(Fault("the record is not what was sealed at this position"), position=int(index))
    report.checked |= {"position": int(index), "leaf": leaf.hex()}
    if seen:
        need(seen.origin == checkpoint.origin, f"this is another log than the one seen before, {seen.origin}")
    if seen and seen.size == checkpoint.size:
        need(seen.root == checkpoint.root, f"fork: size {seen.size} was signed with another root before")
    return checkpoint


def check_live(given: argparse.Namespace, keys: Keys, seen: Checkpoint | None, report: Report) -> Checkpoint:
    """`live URL`: today's log extends the one that was seen."""
    log = LiveLog(given.url, keys)
    log.extends(seen, report)
    if seen:
        report.checked["extends"] = seen.size
    return log.checkpoint


def check_answer(given: argparse.Namespace, keys: Keys, seen: Checkpoint | None, report: Report) -> Checkpoint:
    """`answer`: the record of an answer is in the log, or it was left out."""
    sought = Sought(given.decision_id, given.leaf)
    if given.bundle:
        with _opened(given.bundle) as file:
            bundle = Bundle(file, keys, report)
            bundle.check(seen, sought)
        checkpoint = bundle.checkpoint
        since = _seconds(sought.oldest) + SEALED_WITHIN if bundle.start else 0.0
        until = _seconds(sought.newest) - SEALED_WITHIN
    else:
        log = LiveLog(given.live, keys)
        log.extends(seen, report)
        sought.position, checkpoint = log.find(sought.leaf, report), log.checkpoint
        since, until = 0.0, time.time() - SEALED_WITHIN
    # The first 48 bits of a UUIDv7 are milliseconds since 1970 (RFC 9562 §5.7).
    answered, uid = (given.decision_id.int >> 80) / 1000, str(given.decision_id)
    if sought.position is not None:
        report.checked["position"] = sought.position
    elif since < answered < until:
        report.find(Fault("the record of this answer was left out of the log", uid=uid))
    else:
        report.find(
            Fault("the record of this answer is not here: it belongs before or after this", INCOMPLETE, uid=uid)
        )
    return checkpoint


def _parser() -> Arguments:
    parser = Arguments(prog="timewarden-verify", description="Is the audit log intact?", epilog=CODES)
    parser.set_defaults(state=None)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, check: Callable[..., Checkpoint]) -> Arguments:
        sentence = (check.__doc__ or "").partition(": ")[2]
        # `@FILE` stands for arguments in a file, one a line.
        found = commands.add_parser(name, help=sentence, epilog=CODES, fromfile_prefix_chars="@")
        found.add_argument("--key", action="append", required=True, metavar="VKEY", help="a key of the log; repeatable")
        found.add_argument("--state", type=Path, metavar="FILE", help="the last checkpoint seen; read, then replaced")
        found.add_argument("--json", action="store_true", help="for machines")
        found.set_defaults(check=check)
        return found

    command("bundle", check_bundle).add_argument("path", type=Path, help="a bundle, .gz or not; - for standard input")
    proof = command("proof", check_proof)
    proof.add_argument("path", type=Path, metavar="FILE", help="a .tlog-proof file")
    proof.add_argument("--record", type=Path, required=True, metavar="FILE", help="the record's exact bytes")
    command("live", check_live).add_argument("url", help="of the log: what stands before /checkpoint")
    answer = command("answer", check_answer)
    answer.add_argument("--decision-id", type=UUID, required=True, metavar="UUID", help="the answer's Decision-Id")
    answer.add_argument("--leaf", type=_leaf, required=True, metavar="HEX", help="the answer's Decision-Leaf")
    where = answer.add_mutually_exclusive_group(required=True)
    where.add_argument("--bundle", type=Path, metavar="PATH", help="look in a bundle")
    where.add_argument("--live", metavar="URL", help="look through the log that is served")
    return parser


def _leaf(text: str) -> bytes:
    leaf = bytes.fromhex(text)
    if len(leaf) != HASH_SIZE:
        raise ValueError(text)
    return leaf


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The bundle's bytes, unpacked when they are gzip's."""
    with nullcontext(sys.stdin.buffer) if str(path) == "-" else path.open("rb") as file:
        packed = cast("BufferedReader", file).peek(len(GZIP)).startswith(GZIP)
        try:
            yield cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if packed else file
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise Fault(f"the gzip file is damaged or ends early: {error}", INCOMPLETE) from None


def _seen(state: Path | None, keys: Keys) -> Checkpoint | None:
    """The checkpoint of the state file. None when there is no such file yet."""
    if state is None or not state.exists():
        return None
    return read_checkpoint(state.read_text(encoding="utf-8"), keys, str(state))


def _keep(state: Path, note: str) -> None:
    """Replace the state file; a crash leaves the old one or the new one."""
    fresh = state.with_name(f"{state.name}.new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(note)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(state)


def _seconds(moment: str) -> float:
    """A record's time in seconds since 1970; 0 for none."""
    return datetime.fromisoformat(moment).timestamp() if moment else 0.0


def _print_json(report: Report, checkpoint: Checkpoint | None) -> None:
    said = {"verdict": WORDS[report.verdict], "findings": report.findings, "unsaid": report.unsaid}
    signed = (
        {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex()} if checkpoint else None
    )
    print(json.dumps({**said, "checked": report.checked, "checkpoint": signed}, indent=2))


def _print(report: Report, checkpoint: Checkpoint | None) -> None:
    print(WORDS[report.verdict])
    for one in report.findings:
        place = " ".join(f"{name} {one[name]}" for name in ("position", "uid") if name in one)
        print(f"  {one['verdict']}: {_harmless(place)}{': ' if place else ''}{_harmless(one['what'])}")
    if report.unsaid:
        print(f"  and {report.unsaid:,} more")
    for name, value in report.checked.items():
        print(f"  {name}: {f'{value:,}' if isinstance(value, int) else value}")
    if checkpoint:
        print(f"  checkpoint: {_harmless(checkpoint.origin)}, size {checkpoint.size:,}, root {checkpoint.root.hex()}")


def _harmless(text: str) -> str:
    """Without anything that a terminal would act on: what is told may quote who altered the log."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
