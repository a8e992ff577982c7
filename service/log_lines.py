"""The lines that a process writes to standard error: JSON, and no value of an error in them. Owns no state.

Writing them is the work of `standard_error`: it never waits and never fails.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any, Final

import structlog

from service.standard_error import guard_standard_error, standard_error

if TYPE_CHECKING:
    from types import TracebackType

# A log line tells of this many errors that came of one another.
LONGEST_CHAIN = 10
SHARED: Final[list[Any]] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.ExceptionRenderer(lambda found: _trace(found[1])),
]


class LineHandler(logging.StreamHandler[Any]):
    """The standard library's log records as our lines."""

    def __init__(self) -> None:
        super().__init__(standard_error())
        self.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=[structlog.stdlib.add_logger_name, *SHARED],
                processors=[
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.JSONRenderer(),
                ],
            )
        )


# What Granian is told, in its own process and in each worker: without this it prints to standard output and waits.
GRANIAN_LOGGING: Final[dict[str, Any]] = {
    "formatters": {},
    "handlers": {"line": {"()": LineHandler}},
    "loggers": {name: {"handlers": ["line"], "propagate": False} for name in ("_granian", "granian.access")},
}


def configure_log_lines(level: str) -> None:
    """JSON log lines on standard error, the standard library's included; never a traceback with values."""
    number = logging.getLevelNamesMapping()[level.upper()]
    stream: Any = guard_standard_error()
    logging.basicConfig(level=max(number, logging.INFO), handlers=[LineHandler()], force=True)
    logging.captureWarnings(capture=True)
    # A record that cannot be written as a line would be printed with its values.
    logging.raiseExceptions = False
    for noisy in ("httpx", "httpcore", "asyncio", "casbin"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*SHARED, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    # What nobody caught would be printed with its values.
    sys.excepthook = _end_of_process
    threading.excepthook = lambda told: _tell("a thread ended with an error", told.exc_value)
    sys.unraisablehook = lambda told: _tell("an error could not be raised", told.exc_value)


def _end_of_process(_kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    _tell("the process ends with an error", error)


def _tell(event: str, error: BaseException | None) -> None:
    if not isinstance(error, KeyboardInterrupt | SystemExit):
        # By the standard library, whose lock is reentrant: the garbage collector may call this while a line is written.
        logging.getLogger("process").critical(event, exc_info=error)


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
