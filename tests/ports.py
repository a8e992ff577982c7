"""Ports for servers that a test starts later, or never.

They lie below those that the system gives to connections and to port 0 (32768 on Linux), and each test process has
its own. So nobody takes one between the choice and the start, or while a server restarts. Those plus 10,000, which the
bus of a Redis Cluster uses, are free for the same reason.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from itertools import cycle

FIRST, PORTS_PER_PROCESS, PROCESSES = 18_000, 1_000, 4


def unused_port() -> int:
    """A port of this machine on which nobody listens; another one with each call."""
    for _ in range(PORTS_PER_PROCESS):
        port = next(_ports)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise RuntimeError("all ports of this test process are taken")


# Two runs on one machine begin at different places of the same range.
_first = FIRST + int(os.environ.get("PYTEST_XDIST_WORKER", "gw3").removeprefix("gw")) % PROCESSES * PORTS_PER_PROCESS
_ports = cycle(_first + (os.getpid() * 7 + step) % PORTS_PER_PROCESS for step in range(PORTS_PER_PROCESS))
