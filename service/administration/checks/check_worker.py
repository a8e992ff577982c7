"""Work on whole policies that takes seconds, done aside: in a process of its own, so that requests go on as they were.

Owns that process, which lives for one piece of work: it is told on standard input, answers on standard output, and ends
with its time, with whoever asked, or by itself. Nothing is durable.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from service.administration.checks import examination
from service.administration.checks.diff import PolicyDiff, policy_diff
from service.errors import PolicyRejected, TryLater
from service.places import Complaint
from service.policy.policy_file import PolicyText, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

# Seconds. The work is bounded by what it looks at, well below this on a machine that is not overloaded.
LONGEST: Final = 120
POLITE: Final = 10
COMMAND: Final = (sys.executable, "-m", "service.administration.checks.check_worker")
UNFINISHED: Final = Complaint("policy.csv", 0, 0, "The policy could not be looked at to the end: tell us what it holds")
_log = structlog.get_logger(__name__)


class Texts(msgspec.Struct):
    """The texts of a policy, on their way."""

    model: str
    rules: str
    vocabulary: str
    cases: dict[str, str]

    @staticmethod
    def of(text: PolicyText) -> Texts:
        """From a policy's text."""
        return Texts(text.model, text.rules, text.vocabulary, dict(text.cases))

    def text(self) -> PolicyText:
        """As a policy's text."""
        return PolicyText(self.model, self.rules, self.vocabulary, self.cases)


class Check(msgspec.Struct, tag=True):
    """See `examination.report`."""

    text: Texts
    number: int
    beside: Texts | None


class Compare(msgspec.Struct, tag=True):
    """See `policy_diff`."""

    before: Texts
    after: Texts


class Compared(msgspec.Struct):
    """What differs, or the complaints about what cannot be read."""

    diff: PolicyDiff | None = None
    complaints: tuple[Complaint, ...] = ()


async def checked(text: PolicyText, number: int, beside: PolicyText | None = None) -> examination.PolicyReport:
    """`examination.report`, aside. Raises TryLater when it cannot be done now, or not in time."""
    try:
        said = await _aside(Check(Texts.of(text), number, Texts.of(beside) if beside else None))
    except PolicyRejected as error:
        return examination.PolicyReport(error.complaints)
    return msgspec.json.decode(said, type=examination.PolicyReport)


async def compared(before: PolicyText, after: PolicyText) -> PolicyDiff:
    """`policy_diff`, aside. Raises TryLater, and PolicyRejected for texts that this code cannot read."""
    said = await _aside(Compare(Texts.of(before), Texts.of(after)))
    found = msgspec.json.decode(said, type=Compared)
    if found.diff is None:
        raise PolicyRejected(found.complaints)
    return found.diff


async def _aside(work: Check | Compare) -> bytes:
    """What the process answers. Raises TryLater, and PolicyRejected when the work makes it fail."""
    try:
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_without_settings(os.environ),
        )
    except OSError as error:
        raise TryLater(cause=f"no process could be started: {type(error).__name__}") from error
    try:
        async with asyncio.timeout(LONGEST):
            said, told = await process.communicate(msgspec.json.encode(work))
    except TimeoutError as error:
        sentence = f"The policy was not looked at to the end within {LONGEST} s; try again when less is going on"
        raise TryLater(sentence, cause="no end in time") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    code = process.returncode or 0
    if code == 0:
        return said
    _log.error("policy_work_failed", code=code, told=told.decode("utf-8", "replace")[-2_000:])
    if code < 0:
        raise TryLater(cause=f"the process was ended by signal {-code}")
    raise PolicyRejected([UNFINISHED])


def _without_settings(variables: Mapping[str, str]) -> dict[str, str]:
    """No secret goes where it is not needed."""
    return {name: value for name, value in variables.items() if not name.startswith("TIMEWARDEN_")}


def _done(work: Check | Compare) -> examination.PolicyReport | Compared:
    if isinstance(work, Check):
        return examination.report(work.text.text(), work.number, work.beside.text() if work.beside else None)
    try:
        return Compared(policy_diff(parse(work.before.text()), parse(work.after.text())))
    except PolicyRejected as error:
        return Compared(complaints=error.complaints)


def main() -> None:
    """Be that process: take only the time that requests leave, leave Ctrl-C to the parent, and end in time without it.

    What anybody prints goes to standard error, so that standard output holds the answer alone.
    """
    os.nice(POLITE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.alarm(LONGEST)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    answer = os.dup(1)
    os.dup2(2, 1)
    work: Any = msgspec.json.decode(sys.stdin.buffer.read(), type=Check | Compare)
    found = msgspec.json.encode(_done(work))
    with os.fdopen(answer, "wb") as file:
        file.write(found)


if __name__ == "__main__":
    main()
