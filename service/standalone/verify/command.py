"""The command line of timewarden-verify. Durable: --state FILE (`state`)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, cast
from uuid import UUID

from . import VERSION
from .checks import (
    check_answer,
    check_archive,
    check_bundle,
    check_consistency,
    check_live,
    check_proof,
    check_witnesses,
)
from .findings import INTACT, MALFORMED, USAGE, WORDS, Fault, Report, require
from .notes import COSIGNATURE, read_keys
from .output import INTERRUPTED, flush_output, print_report
from .state import State
from .times import parse_age, parse_given_time
from .tree import HASH_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from .notes import Checkpoint

CODES = "exit codes: " + ", ".join(f"{code} {word}" for code, word in enumerate(WORDS))

TIME = "to read the time of the newest record"
QUORUM = "--quorum is a number between 1 and that of the witnesses"


class Arguments(argparse.ArgumentParser):
    """A parser that exits with the code USAGE."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: {message}\n")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        # After a help text or the version.
        flush_output()
        super().exit(status, message)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command and exit with its verdict."""
    given = _parser().parse_args(arguments)
    report, checkpoint = Report(quiet=given.json), None
    try:
        keys, witnesses = read_keys(given.key), read_keys(given.witness, COSIGNATURE)
        # A witness with several keys, as after a change of keys, is one witness.
        names = {name for name, _ in witnesses}
        quorum = len(names) if given.quorum is None else given.quorum
        require(0 < quorum <= len(names) or not (witnesses or given.quorum), QUORUM, USAGE)
        state = State(given.state, keys)
        checkpoint = cast("Checkpoint", given.check(given, keys, state, report))
        if witnesses:
            check_witnesses(checkpoint.note, witnesses, quorum, report)
        if report.verdict == INTACT:
            state.save(checkpoint, grown=given.check is not check_proof)
    except (Fault, *MALFORMED) as fault:
        report.add(fault)
    except OSError as error:
        report.add(Fault(str(error), USAGE))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    print_report(report, checkpoint, as_json=given.json)
    sys.exit(report.verdict)


def _parser() -> Arguments:
    parser = Arguments(prog="timewarden-verify", description="Check whether the audit log is intact.", epilog=CODES)
    parser.add_argument("--version", action="version", version=f"timewarden-verify {VERSION}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, check: Callable[..., Checkpoint]) -> Arguments:
        sentence = (check.__doc__ or "").partition(": ")[2]
        # `@FILE` reads arguments from a file, one a line.
        found = commands.add_parser(name, help=sentence, epilog=CODES, fromfile_prefix_chars="@")
        found.add_argument(
            "--key", action="append", required=True, metavar="VKEY", help="a trusted key of the log; repeatable"
        )
        found.add_argument(
            "--witness",
            action="append",
            default=[],
            metavar="VKEY",
            help="a witness that must have cosigned the checkpoint; repeatable",
        )
        found.add_argument("--quorum", type=int, metavar="N", help="how many of the witnesses; default: all")
        found.add_argument(
            "--state", type=Path, metavar="FILE", help="the state of earlier checks; read, then replaced"
        )
        found.add_argument("--json", action="store_true", help="print JSON")
        found.set_defaults(check=check)
        return found

    bundle = command("bundle", check_bundle)
    bundle.add_argument("path", type=Path, help="a bundle, which may be gzipped; - for standard input")
    bundle.add_argument(
        "--since", type=_time, metavar="TIME", help="require all records decided at or after this RFC 3339 time"
    )
    bundle.add_argument(
        "--until", type=_time, metavar="TIME", help="require all records decided before this RFC 3339 time"
    )
    proof = command("proof", check_proof)
    proof.add_argument("path", type=Path, metavar="FILE", help="a .tlog-proof file")
    proof.add_argument("--record", type=Path, required=True, metavar="FILE", help="the exact bytes of the record")
    proof.add_argument(
        "--consistency",
        type=Path,
        metavar="FILE",
        help="a consistency proof between the sizes of --state and of the proof",
    )
    consistency = command("consistency", check_consistency)
    consistency.add_argument("path", type=Path, metavar="FILE", help="a response of /v1/audit/consistency")
    consistency.add_argument("--old", type=Path, metavar="FILE", help="the older checkpoint; default: that of --state")
    live = command("live", check_live)
    live.add_argument("url", help="the URL of the log, without /checkpoint")
    archive = command("archive", check_archive)
    archive.add_argument("place", help="the directory or URL of an archived log, without /checkpoint")
    archive.add_argument("--output", type=Path, metavar="FILE", help="write the records that are intact, a line each")
    answer = command("answer", check_answer)
    answer.add_argument("--decision-id", type=UUID, required=True, metavar="UUID", help="the answer's Decision-Id")
    answer.add_argument("--leaf", type=_leaf, required=True, metavar="HEX", help="the answer's Decision-Leaf")
    where = answer.add_mutually_exclusive_group(required=True)
    where.add_argument("--bundle", type=Path, metavar="PATH", help="search a bundle")
    where.add_argument("--live", metavar="URL", help="search the served log")
    for subcommand in (bundle, answer):
        subcommand.add_argument(
            "--retention", type=_age, metavar="AGE", help="the age, such as 36mo, at which your policy allows pruning"
        )
    for subcommand, why in ((live, TIME), (answer, TIME), (archive, "to read the records of a served log")):
        subcommand.add_argument("--token-file", type=Path, metavar="FILE", help=f"an auditor's token, {why}")
    return parser


def _age(text: str) -> timedelta:
    try:
        return parse_age(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _time(text: str) -> datetime:
    try:
        return parse_given_time(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _leaf(text: str) -> bytes:
    try:
        leaf = bytes.fromhex(text)
    except ValueError:
        leaf = b""
    if len(leaf) != HASH_SIZE:
        raise argparse.ArgumentTypeError(f"{text!r} is not a Decision-Leaf of {2 * HASH_SIZE} hex digits")
    return leaf
