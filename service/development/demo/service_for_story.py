"""The service for the demo: the running one, or one that is started for the demo and stopped afterwards.

A started service is a child of this process. On Linux it ends with this process even if that is killed. Its data
remain.
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

START_SECONDS = 120.0
SHUTDOWN = ((signal.SIGINT, 30.0), (signal.SIGTERM, 10.0))


@contextlib.contextmanager
def running_service() -> Iterator[Running]:
    """The running service. Raises Misconfigured if it cannot be started."""
    try:
        yield running()
    except NotRunning:
        pass
    else:
        return
    state = state_directory()
    state.mkdir(mode=0o700, exist_ok=True)
    log = state / "logs" / "demo-up.log"
    log_size = log.stat().st_size if log.exists() else 0
    command = [sys.executable, "-m", "service", "up"]
    child = spawn(command, log=log, directory=ROOT, environment=os.environ, death_signal=signal.SIGINT)
    try:
        yield _wait_for_start(child, log, log_size)
    finally:
        end(child, SHUTDOWN)


def _wait_for_start(child: subprocess.Popen[bytes], log: Path, log_size: int) -> Running:
    deadline = time.monotonic() + START_SECONDS
    while child.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(NotRunning):
            return running()
        time.sleep(0.1)
    raise Misconfigured(f"The service did not start; {log} says: {last_words(log, log_size)}")
