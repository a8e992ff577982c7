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
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(lambda found: _trace(found[1])),
    ]
    logging.basicConfig(level=max(number, logging.INFO), stream=sys.stderr, force=True)
    logging.getLogger().handlers[0].setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    for noisy in ("httpx", "httpcore", "asyncio", "casbin"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _trace(error: BaseException | None) -> str:
    """The kind and places of each error: their own sentences may hold values, such as the subject of a token."""
    told: list[str] = []
    while error is not None and len(told) < LONGEST_CHAIN:
        places = (
            f"{one.filename} line {one.lineno} in {one.name}" for one in traceback.extract_tb(error.__traceback__)
        )
        told.append("\n  ".join((type(error).__qualname__, *places)))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\nafter ".join(told)
