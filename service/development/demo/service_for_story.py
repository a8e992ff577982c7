"""The service that the story is told against: the one that runs here, or one that is started for it and stopped after.

What was started is a child of ours; it ends with us on Linux, even if we are killed. Its data stay where they are.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from service.commands.running import NotRunning, Running, running, state_directory
from service.development.processes import end, last_words, spawn
from service.development.up import ROOT
from service.errors import Misconfigured

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 120.0
SHUTDOWN = ((signal.SIGINT, 30.0), (signal.SIGTERM, 10.0))


@contextlib.contextmanager
def running_service() -> Iterator[Running]:
    """The running service. Raises Misconfigured when it has to be started and does not come up."""
    try:
        yield running()
    except NotRunning:
        pass
    else:
        return
    state = state_directory()
    state.mkdir(mode=0o700, exist_ok=True)
    log = state / "logs" / "demo-up.log"
    said = log.stat().st_size if log.exists() else 0
    command = [sys.executable, "-m", "service", "up"]
    child = spawn(command, log=log, directory=ROOT, environment=os.environ, death_signal=signal.SIGINT)
    try:
        yield _up(child, log, said)
    finally:
        end(child, SHUTDOWN)


def _up(child: subprocess.Popen[bytes], log: Path, said: int) -> Running:
    deadline = time.monotonic() + PATIENCE
    while child.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(NotRunning):
            return running()
        time.sleep(0.1)
    raise Misconfigured(f"The service did not start; {log} says: {last_words(log, said)}")
