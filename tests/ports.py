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

FIRST, PORTS = 18_000, 4_000


def unused_port() -> int:
    """A port of this machine on which nobody listens; another one with each call."""
    for _ in range(_own):
        port = next(_ports)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise RuntimeError("all ports of this test process are taken")


# The workers of pytest-xdist have numbers; whoever is none of them has the last share.
_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0"))
_number = os.environ.get("PYTEST_XDIST_WORKER", f"gw{_workers}").removeprefix("gw")
_own = PORTS // (_workers + 1)
# Two runs on one machine begin at different places of the same share.
_start = os.getpid() * 7
_ports = cycle(FIRST + int(_number) * _own + (_start + step) % _own for step in range(_own))
