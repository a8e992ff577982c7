"""Exponential backoff with jitter. Owns no state."""

from __future__ import annotations

import random
from itertools import count
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST_PAUSE_SECONDS: Final = 0.5
MAX_PAUSE_SECONDS: Final = 30.0


def backoff_seconds() -> Iterator[float]:
    """Pauses in seconds, without end: from half a second, doubled up to half a minute. Each is shortened at random by
    up to a quarter, so that processes that failed together do not retry together."""
    for attempt in count():
        pause = min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(attempt, 16))
        yield pause * random.uniform(0.75, 1.0)  # noqa: S311 — spreads load, guards nothing
