"""Checks and compares policies in another process, so that seconds of work do not delay requests.

Owns that process, which does a single job: it reads it on standard input and writes the result on standard output. It
ends by itself, after its time, or with its parent. Nothing is durable.
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
from service.administration.checks.diff import PolicyDiff, compare_policies
from service.errors import PolicyRejected, TryLater
from service.places import Complaint
from service.policy.policy_file import PolicyText, parse
from service.shared_core import every_core

if TYPE_CHECKING:
    from collections.abc import Mapping

# Seconds. The bounds of the work end it well before, on a machine that is not overloaded.
MAX_SECONDS: Final = 120
NICENESS: Final = 10
COMMAND: Final = (sys.executable, "-m", "service.administration.checks.check_worker")
UNFINISHED: Final = Complaint(
    "policy.csv", 0, 0, "The check of the policy failed. Please report this, with the texts of the policy"
)
_log = structlog.get_logger(__name__)


class Texts(msgspec.Struct):
    """The texts of a policy, as they are sent."""

    model: str
    rules: str
    vocabulary: str
    cases: dict[str, str]

    @staticmethod
    def of(text: PolicyText) -> Texts:
        """From the texts of a policy."""
        return Texts(text.model, text.rules, text.vocabulary, dict(text.cases))

    def text(self) -> PolicyText:
        """Back to the texts of a policy."""
        return PolicyText(self.model, self.rules, self.vocabulary, self.cases)


class Check(msgspec.Struct, tag=True):
    """A job for `examination.report`."""

    text: Texts
    number: int
    beside: Texts | None


class Compare(msgspec.Struct, tag=True):
    """A job for `compare_policies`."""

    before: Texts
    after: Texts


class Compared(msgspec.Struct):
    """The differences, or the complaints about texts that cannot be read."""

    diff: PolicyDiff | None = None
    complaints: tuple[Complaint, ...] = ()


async def check(text: PolicyText, number: int, beside: PolicyText | None = None) -> examination.PolicyReport:
    """`examination.report` in another process. Raises TryLater if that cannot start or finish in time."""
    try:
        output = await _run_in_worker(Check(Texts.of(text), number, Texts.of(beside) if beside else None))
    except PolicyRejected as error:
        return examination.PolicyReport(error.complaints)
    return msgspec.json.decode(output, type=examination.PolicyReport)


async def compare(before: PolicyText, after: PolicyText) -> PolicyDiff:
    """`compare_policies` in another process. Raises TryLater, and PolicyRejected for texts that cannot be read."""
    output = await _run_in_worker(Compare(Texts.of(before), Texts.of(after)))
    found = msgspec.json.decode(output, type=Compared)
    if found.diff is None:
        raise PolicyRejected(found.complaints)
    return found.diff


async def _run_in_worker(work: Check | Compare) -> bytes:
    """The output of the process. Raises TryLater, and PolicyRejected if the job makes the process fail."""
    try:
        with every_core():
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
        async with asyncio.timeout(MAX_SECONDS):
            output, errors = await process.communicate(msgspec.json.encode(work))
    except TimeoutError as error:
        sentence = f"The check did not finish within {MAX_SECONDS} s. Try again when the service is less busy"
        raise TryLater(sentence, cause="not finished in time") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    code = process.returncode or 0
    if code == 0:
        return output
    _log.error("policy_work_failed", code=code, errors=errors.decode("utf-8", "replace")[-2_000:])
    if code < 0:
        raise TryLater(cause=f"signal {-code} ended the process")
    raise PolicyRejected([UNFINISHED])


def _without_settings(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment without settings: the process needs no secret."""
    return {name: value for name, value in variables.items() if not name.startswith("TIMEWARDEN_")}


def _work_on(work: Check | Compare) -> examination.PolicyReport | Compared:
    if isinstance(work, Check):
        return examination.report(work.text.text(), work.number, work.beside.text() if work.beside else None)
    try:
        return Compared(compare_policies(parse(work.before.text()), parse(work.after.text())))
    except PolicyRejected as error:
        return Compared(complaints=error.complaints)


def main() -> None:
    """Run the job of this process: at low priority, leaving Ctrl-C and SIGTERM to the parent, and ending in time
    without it.

    Everything printed goes to standard error, so that standard output holds only the result.
    """
    os.nice(NICENESS)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    signal.alarm(MAX_SECONDS)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    answer = os.dup(1)
    os.dup2(2, 1)
    work: Any = msgspec.json.decode(sys.stdin.buffer.read(), type=Check | Compare)
    found = msgspec.json.encode(_work_on(work))
    with os.fdopen(answer, "wb") as file:
        file.write(found)


if __name__ == "__main__":
    main()
