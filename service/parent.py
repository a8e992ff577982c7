"""Worker processes end with the process that started them, however that ends. Owns a thread that waits for it."""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing import parent_process
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess


def end_with_parent(patience: float = 0.0) -> None:
    """From now on end when the parent does: at once, or with `patience` politely first and so many seconds later for
    good. In a process that nobody started as a worker this does nothing."""
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent, patience), daemon=True).start()


def _end_with(parent: BaseProcess, patience: float) -> None:
    parent.join()
    if patience:
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(patience)
    os._exit(1)
