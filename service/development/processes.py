"""Starts, finds and ends local server processes. Owns the processes that it starts.

Processes of an earlier start are recognized by a mark in their command line, never by their number alone: after a
kill -9 the number may belong to another program.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from service.errors import TimewardenError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ROTATE_LOG_AT_BYTES = 8 * 1024 * 1024
PR_SET_PDEATHSIG = 1


class LocalServerFailed(TimewardenError):
    """A local server could not be started; the sentence says what to do."""

    slug = "local-server-failed"
    summary = "A local server could not be started"


@dataclass(frozen=True)
class Account:
    """The account of a server: a command prefix, or a user to become. Empty: our own account."""

    prefix: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None

    def arguments(self) -> dict[str, object]:
        """The arguments of `subprocess` for that user."""
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def silent(_sentence: str) -> None:
    """Print nothing: the default of `say`."""


def spawn(
    command: Sequence[str],
    *,
    log: Path,
    directory: Path,
    environment: Mapping[str, str],
    account: Account | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
    standard_input: bytes = b"",
    inherited: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a server that writes to `log`, in its own session, so that Ctrl-C reaches only this process. It inherits
    the file descriptors `inherited`."""
    account = account or Account()
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > ROTATE_LOG_AT_BYTES:
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as out:
        process: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]  # user and group come as a dict
            [*account.prefix, *command],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env=dict(environment),
            start_new_session=True,
            pass_fds=inherited,
            preexec_fn=die_with_parent(death_signal),  # noqa: PLW1509 - only from the main thread
            **account.arguments(),
        )
    with contextlib.suppress(BrokenPipeError), process.stdin or contextlib.nullcontext() as pipe:
        if pipe is not None:
            pipe.write(standard_input)
    return process


def die_with_parent(death_signal: signal.Signals) -> Callable[[], None] | None:
    """A function that a child runs before its program, so that the kernel signals it when this process dies. None if
    that is not possible."""
    # The kernel watches the thread that forked, and only the main thread lives as long as the process.
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def in_child() -> None:
        prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return in_child


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll every 10 ms. Returns True when the condition holds, False when the time is up."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def last_words(log: Path, since: int) -> str:
    """The last lines that a server wrote after byte `since` of its log, joined in one line."""
    with log.open("rb") as file:
        file.seek(min(since, log.stat().st_size))
        return " / ".join(file.read().decode(errors="replace").splitlines()[-10:])


def wait_for_start(process: subprocess.Popen[bytes], ready: Callable[[], bool], seconds: float) -> bool:
    """Wait until a server is ready. Returns False if it ended; a server that is not ready in time is ended."""
    try:
        if wait_until(lambda: process.poll() is not None or ready(), seconds) and process.poll() is None:
            return True
    except BaseException:
        end(process, ((signal.SIGTERM, 5.0),))
        raise
    end(process, ((signal.SIGTERM, 5.0),))
    return False


def end(process: subprocess.Popen[bytes], ladder: Sequence[tuple[signal.Signals, float]]) -> None:
    """Send each signal of the ladder and wait its seconds for the process to end; last, SIGKILL."""
    for number, seconds in (*ladder, (signal.SIGKILL, 10.0)):
        if process.poll() is not None:
            return
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)


def end_leftovers(mark: str, leader_mark: str, ladder: Sequence[tuple[signal.Signals, float]]) -> bool:
    """End processes of an earlier start: the leader by the ladder, then the rest. Returns whether there were any."""
    if not processes_with_mark(mark):
        return False
    for number, seconds in ladder:
        for pid in processes_with_mark(leader_mark):
            _kill(pid, number)
        if wait_until(lambda: not processes_with_mark(mark), seconds):
            return True
    kill_all(mark)
    return True


def kill_all(mark: str) -> None:
    """SIGKILL every process with the mark and wait until all have ended."""

    def have_ended() -> bool:
        pids = processes_with_mark(mark)
        for pid in pids:
            _kill(pid, signal.SIGKILL)
        return not pids

    if not wait_until(have_ended, 15.0):
        raise LocalServerFailed(f"Processes {processes_with_mark(mark)} of an earlier start do not end.")


def processes_with_mark(mark: str) -> list[int]:
    """The processes with the mark in their command line or title. Zombies have neither."""
    return [pid for pid, line in _read_command_lines() if mark in line and pid != os.getpid()]


def _read_command_lines() -> Iterator[tuple[int, str]]:
    processes = Path("/proc")
    if not (processes / "self" / "cmdline").exists():
        yield from _read_command_lines_by_ps()
    for folder in processes.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield int(folder.name), (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def _read_command_lines_by_ps() -> Iterator[tuple[int, str]]:
    listing = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,command="], capture_output=True, text=True, check=True)
    for line in listing.stdout.splitlines():
        pid, _, command = line.strip().partition(" ")
        yield int(pid), command


def _kill(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
