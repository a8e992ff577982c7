"""How long to wait before the next attempt at what is away: longer each time, and not all at the same moment.

Owns no state.
"""

from __future__ import annotations

import random
from itertools import count
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST_PAUSE_SECONDS: Final = 0.5
MAX_PAUSE_SECONDS: Final = 30.0


def growing_pauses() -> Iterator[float]:
    """Seconds, without end: from half a second, doubled up to half a minute. Each is up to a quarter shorter by chance,
    so that processes that failed together do not come back together."""
    for attempt in count():
        pause = min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(attempt, 16))
        yield pause * random.uniform(0.75, 1.0)  # noqa: S311 — spreads load, guards nothing
