"""An API process, as `supervisor` starts it: `python -m service.api_worker NUMBER WORKERS LISTENER CHANNEL ...`.

NUMBER is that of the worker, from 0, of so many WORKERS. LISTENER is its own listening socket, which the supervisor
opened. CHANNEL is a socket to the supervisor: the worker reports its readiness on it once a second, and ends when it
closes. The other arguments are CONNECTIONS and IDLE_SECONDS. Settings come from the environment.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from functools import partial
from typing import Final

from service import app
from service.listeners import IGNORE_CONNECTIONS, STOP_WORKER, ignore_connections, run_worker
from service.log_lines import GRANIAN_LOGGING
from service.parent import end_with_channel
from service.standard_error import guard_standard_error

# Time for requests under way after the supervisor has ended.
MAX_STOP_SECONDS: Final = 8.0


def main(place: tuple[int, int], listener: int, channel: int, connections: int, idle_seconds: float) -> None:
    """Serve until the supervisor sends STOP_WORKER or ends."""
    guard_standard_error()
    # Ctrl-C and systemd's SIGTERM reach the workers too, but only the supervisor handles them: it drains first.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    listening = socket.socket(fileno=os.dup(listener))
    for inherited in (listener, channel):
        os.set_inheritable(inherited, False)
    signal.signal(IGNORE_CONNECTIONS, lambda _number, _frame: ignore_connections(listening))
    end_with_channel(channel, STOP_WORKER, MAX_STOP_SECONDS)
    run_worker(
        partial(app.create, channel),
        listener,
        place=place,
        connections=connections,
        idle_seconds=idle_seconds,
        logging=GRANIAN_LOGGING,
    )


if __name__ == "__main__":
    number, workers, listener, channel, connections = map(int, sys.argv[1:6])
    main((number, workers), listener, channel, connections, float(sys.argv[6]))
