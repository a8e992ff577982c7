"""The addresses of the service that `timewarden up` started, in a file of its state directory."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

STATE_VARIABLE = "TIMEWARDEN_STATE"
FILE = "running.json"
# Where a development service keeps the key that signs its log, in its state directory.
DEVELOPMENT_KEY = Path("log", "key")


class NotRunning(Exception):
    """Nothing was started from the state directory, or it has stopped."""


@dataclass(frozen=True, slots=True)
class Running:
    """The addresses of a running service, and the id of its process. `console` is empty if it was started without."""

    pid: int
    api: str
    management: str
    issuer: str
    audience: str
    redis_url: str
    stream: str
    console: str


def state_directory() -> Path:
    """`.local` of this checkout, unless TIMEWARDEN_STATE names another directory."""
    named = os.environ.get(STATE_VARIABLE)
    return Path(named) if named else Path(__file__).resolve().parents[2] / ".local"


def running() -> Running:
    """Read the addresses of the running service. Raises NotRunning."""
    file = state_directory() / FILE
    try:
        found = Running(**json.loads(file.read_text(encoding="utf-8")))
        os.kill(found.pid, 0)
    except (OSError, ValueError, TypeError) as error:
        raise NotRunning("Nothing runs here: start it with `make run` in another terminal.") from error
    return found


def announce(found: Running) -> None:
    """Write the addresses for commands in other terminals. Only the owner may read the file: it holds a password."""
    file = state_directory() / FILE
    new = file.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(json.dumps(asdict(found), indent=2), encoding="utf-8")
    new.replace(file)


def withdraw() -> None:
    """Remove the file: the service has stopped."""
    (state_directory() / FILE).unlink(missing_ok=True)
