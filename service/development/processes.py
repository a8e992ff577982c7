"""Starting, finding and ending local server processes. Owns nothing but the processes that it starts.

Processes of an earlier life are recognised by a mark on their command line, never by a number alone: after a kill -9
that number may be a stranger's.
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
    """Under whose name a server runs: a command in front of it, or a user to become; empty means ourselves."""

    prefix: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None

    def arguments(self) -> dict[str, object]:
        """What `subprocess` needs to become that user."""
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def silent(_sentence: str) -> None:
    """Say nothing: the default where nobody reads along."""


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
    """Start a server whose output goes to `log`, in a session of its own, so that Ctrl-C reaches only us. It gets the
    file descriptors `inherited`."""
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
    """What a child runs before its program, so that the kernel signals it when we die; None where that cannot be."""
    # The kernel watches the thread that forked, not the process; only the main thread lives as long as we do.
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
    """Poll every 10 ms; true as soon as the condition holds, false when the time is up."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def last_words(log: Path, since: int) -> str:
    """The last lines that a server wrote after byte `since` of its log, in one line."""
    with log.open("rb") as file:
        file.seek(min(since, log.stat().st_size))
        return " / ".join(file.read().decode(errors="replace").splitlines()[-10:])


def came_up(process: subprocess.Popen[bytes], ready: Callable[[], bool], seconds: float) -> bool:
    """Wait until a server is ready. False if it ended, or was not ready in time and has been ended."""
    try:
        if wait_until(lambda: process.poll() is not None or ready(), seconds) and process.poll() is None:
            return True
    except BaseException:
        end(process, ((signal.SIGTERM, 5.0),))
        raise
    end(process, ((signal.SIGTERM, 5.0),))
    return False


def end(process: subprocess.Popen[bytes], ladder: Sequence[tuple[signal.Signals, float]]) -> None:
    """Send each signal in turn, waiting its seconds for the process to end; the last resort is SIGKILL."""
    for how, patience in (*ladder, (signal.SIGKILL, 10.0)):
        if process.poll() is not None:
            return
        process.send_signal(how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)


def end_leftovers(mark: str, leader_mark: str, ladder: Sequence[tuple[signal.Signals, float]]) -> bool:
    """End processes of an earlier life: the leader politely, then whatever remains. True if there were any."""
    if not carrying(mark):
        return False
    for how, patience in ladder:
        for pid in carrying(leader_mark):
            _kill(pid, how)
        if wait_until(lambda: not carrying(mark), patience):
            return True
    kill_all(mark)
    return True


def kill_all(mark: str) -> None:
    """SIGKILL everything that carries the mark and wait until it is gone."""

    def gone() -> bool:
        pids = carrying(mark)
        for pid in pids:
            _kill(pid, signal.SIGKILL)
        return not pids

    if not wait_until(gone, 15.0):
        raise LocalServerFailed(f"Processes {carrying(mark)} of an earlier start do not end.")


def carrying(mark: str) -> list[int]:
    """The processes whose command line or title holds the mark. Zombies have neither."""
    return [pid for pid, line in _command_lines() if mark in line and pid != os.getpid()]


def _command_lines() -> Iterator[tuple[int, str]]:
    processes = Path("/proc")
    if not (processes / "self" / "cmdline").exists():
        yield from _command_lines_by_ps()
    for folder in processes.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield int(folder.name), (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def _command_lines_by_ps() -> Iterator[tuple[int, str]]:
    listing = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,command="], capture_output=True, text=True, check=True)
    for line in listing.stdout.splitlines():
        pid, _, command = line.strip().partition(" ")
        yield int(pid), command


def _kill(pid: int, how: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, how)
