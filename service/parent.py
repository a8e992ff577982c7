"""Worker processes end with the process that started them, however that ends. Owns a thread that waits for it."""

from __future__ import annotations

import os
import select
import signal
import threading
from multiprocessing import parent_process
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def end_with_parent() -> None:
    """From now on end at once when the parent does. In a process that nobody started as a worker this does nothing."""
    parent = parent_process()
    if parent is not None:
        _end_after(parent.join, patience=0.0)


def end_with_channel(channel: int, patience: float) -> None:
    """From now on end when the other end of this socket is closed, as it is when its process ends: politely first
    (SIGTERM), and `patience` seconds later for good."""
    poll = select.poll()
    poll.register(channel, select.POLLHUP)
    _end_after(poll.poll, patience)


def _end_after(wait: Callable[[], object], patience: float) -> None:
    def watch() -> None:
        wait()
        if patience:
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(patience)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
