"""The interface of the embedded servers: start Postgres and Redis in a state directory, and stop all that run in one.

`make clean` calls `python -m service.development.local_servers stop DIRECTORY` before it removes the directory.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

from service.development.local_postgres import LocalPostgres, run_psql_script, start_postgres, stop_leftover_postgres
from service.development.local_redis import LocalRedis, start_redis, stop_leftover_redis
from service.development.processes import LocalServerFailed, wait_until
from service.development.server_directory import DirectoryLock, free_port, held_port, owner_of

__all__ = [
    "LocalPostgres",
    "LocalRedis",
    "LocalServerFailed",
    "free_port",
    "held_port",
    "run_psql_script",
    "start_postgres",
    "start_redis",
    "stop_everything",
]


def stop_everything(state: Path) -> list[str]:
    """Stop the process that owns a state directory, then any server left in it. Returns what was stopped."""
    stopped = []
    for name, stop_leftover in (("postgres", stop_leftover_postgres), ("redis", stop_leftover_redis)):
        if not (state / name).is_dir():
            continue
        if _stop_owner(state, name):
            stopped.append(f"the owner of {name}")
        if stop_leftover(state / name):
            stopped.append(name)
    return stopped


def _stop_owner(state: Path, name: str) -> bool:
    lock = DirectoryLock(state, name)
    if not lock.is_held_by_another():
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(owner_of(lock.path), signal.SIGINT)
    if not wait_until(lambda: not lock.is_held_by_another(), 30.0):
        raise LocalServerFailed(f"Process {owner_of(lock.path)} does not release {state}; stop it first.")
    return True


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] != "stop":  # noqa: PLR2004 - the command and its two arguments
        sys.exit("usage: python -m service.development.local_servers stop DIRECTORY")
    try:
        for what in stop_everything(Path(sys.argv[2])):
            print(f"stopped {what}")
    except LocalServerFailed as failure:
        sys.exit(str(failure))
