"""Ends a worker process when its parent ends, however the parent ends. Owns the thread that waits for it."""

from __future__ import annotations

import os
import select
import threading
from multiprocessing import parent_process
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable


def end_with_parent() -> None:
    """End this process at once when its parent ends. Does nothing in a process that is not a multiprocessing worker."""
    parent = parent_process()
    if parent is not None:
        _end_after(parent.join)


def end_with_channel(channel: int, stop: signal.Signals, patience: float) -> None:
    """End this process when the other end of the socket closes, as it does when the parent ends: first by the signal
    `stop`, and after `patience` seconds by exit."""
    poll = select.poll()
    poll.register(channel, select.POLLHUP)
    _end_after(poll.poll, stop, patience)


def _end_after(wait: Callable[[], object], stop: signal.Signals | None = None, patience: float = 0.0) -> None:
    def watch() -> None:
        wait()
        if stop is not None:
            os.kill(os.getpid(), stop)
            threading.Event().wait(patience)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
