"""The lines that a process writes to standard error: JSON, and no value of an error in them. Owns no state."""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Any

import structlog

# A log line tells of this many errors that came of one another.
LONGEST_CHAIN = 10


def configure_log_lines(level: str) -> None:
    """JSON log lines on standard error, the standard library's included; never a traceback with values."""
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=max(number, logging.INFO), stream=sys.stderr, force=True)
    logging.getLogger().handlers[0].setFormatter(_Lines("%(message)s"))
    for noisy in ("httpx", "httpcore", "asyncio", "casbin"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(lambda found: _Lines().formatException(found)),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


class _Lines(logging.Formatter):
    """Traces by kind and place of each error: their own sentences may hold values, such as the subject of a token."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 — the standard library's name
        told: list[str] = []
        error: BaseException | None = ei[1]
        while error is not None and len(told) < LONGEST_CHAIN:
            places = (
                f"{one.filename} line {one.lineno} in {one.name}" for one in traceback.extract_tb(error.__traceback__)
            )
            told.append("\n  ".join((type(error).__qualname__, *places)))
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\nafter ".join(told)
