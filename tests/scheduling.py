"""How xdist spreads the tests: a worker takes a file at a time, or all files that share a started service.

A start takes five seconds of CPU, and a service that nobody asks anything takes some more all the time.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).resolve().parents[1]
# Fixtures of a package that start a service, as tests/acceptance asks for them.
STARTED = {
    "hurt": re.compile(r"\bhurt: RunningService"),
    "service": re.compile(r"\bservice: RunningService|\bcallers: Callers"),
}
HALF = "tests/acceptance/test_i"
# What takes longest begins first; unit tests fill the gaps at the end.
ORDER = ("service", "browser", "hurt", "acceptance", "integration")


class FileScheduling(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """`--dist loadfile`, with files of one started service kept together."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        service = shared_service(ROOT / file)
        if service == "service":
            # One worker would be busy with these for the whole run: two take half of the alphabet each.
            return "service, first half" if file < HALF else "service, second half"
        return service or file


@cache
def shared_service(path: Path) -> str | None:
    """The fixture of a session by which the tests of a file start a service, if they do."""
    if path.parent.name == "browser":
        return "browser"
    if path.parent.name != "acceptance":
        return None
    text = path.read_text(encoding="utf-8")
    return next((name for name, used in STARTED.items() if used.search(text)), None)


def place(path: Path) -> int:
    """Where the tests of a file stand in the order."""
    group = shared_service(path) or path.parent.name
    return ORDER.index(group) if group in ORDER else len(ORDER)
