"""Formats log lines as JSON, without the messages of errors, which may hold personal data. Owns no state.

`standard_error` writes the lines; it never waits and never fails.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from service.standard_error import guard_standard_error, standard_error

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping
    from types import TracebackType

    from service.standard_error import StandardError

# Chained and grouped errors in one log line.
MAX_CHAINED_ERRORS = 10
# Where lines of requests go; None above the level `info`.
_request_lines: StandardError | None = None
# The request that the current task works on, which every line about it names.
REQUEST_ID: Final[ContextVar[str | None]] = ContextVar("request id", default=None)


def _add_request_id(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if (request_id := REQUEST_ID.get()) is not None:
        line.setdefault("request_id", request_id)
    return line


SHARED: Final[list[Any]] = [
    _add_request_id,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.ExceptionRenderer(lambda error: _format_trace(error[1])),
]


class LineHandler(logging.StreamHandler[Any]):
    """Writes log records of the standard library as our lines."""

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


class GranianHandler(LineHandler):
    """Cuts the traceback off that Granian writes into its message: it holds the messages of errors. `RequestFrame` has
    logged what went wrong."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the first line of a record."""
        record.msg, record.args = record.getMessage().partition("\n")[0], None
        super().emit(record)


# The logging configuration of Granian, which otherwise prints to standard output and may block.
GRANIAN_LOGGING: Final[dict[str, Any]] = {
    "formatters": {},
    "handlers": {"line": {"()": GranianHandler}},
    "loggers": {name: {"handlers": ["line"], "propagate": False} for name in ("_granian", "granian.access")},
}


def configure_log_lines(level: str) -> None:
    """Write JSON log lines to standard error, also those of the standard library; never a traceback with values."""
    global _request_lines  # noqa: PLW0603 — one stream for the process
    number = logging.getLevelNamesMapping()[level.upper()]
    stream: Any = guard_standard_error()
    _request_lines = stream if number <= logging.INFO else None
    logging.basicConfig(level=max(number, logging.INFO), handlers=[LineHandler()], force=True)
    logging.captureWarnings(capture=True)
    # Otherwise a record that cannot be formatted is printed with its values.
    logging.raiseExceptions = False
    for noisy in ("httpx2", "httpcore2", "asyncio", "casbin"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # While Postgres refuses connections, each pool warns again and again, with a trace. Our own lines tell of it.
    logging.getLogger("asyncpg.pool").setLevel(logging.ERROR)
    structlog.configure(
        processors=[*SHARED, structlog.processors.JSONRenderer(serializer=_render)],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    # Otherwise uncaught errors are printed with their values.
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda failure: _log_error("a thread ended with an error", failure.exc_value)
    sys.unraisablehook = lambda failure: _log_error("an error could not be raised", failure.exc_value)


class RequestLine(msgspec.Struct, kw_only=True):
    """The line of an answered request. Ids and words of ours only: never a token, a subject, a name or a text."""

    request_id: str
    method: str
    route: str
    status: int
    milliseconds: float
    client: str | None
    decision: str | None
    trace_id: str | None
    event: str = "request"
    level: str = "info"
    timestamp: datetime


def write_request_line(line: RequestLine) -> None:
    """Write the line. Its members are known, so it costs a quarter of what structlog takes for another line. Before
    `configure_log_lines` there are no such lines."""
    if _request_lines is not None:
        _request_lines.write_line(_encode(line))


def _encode(line: object, default: Callable[[object], object] = str) -> bytes:
    """The JSON of a line; `json` writes what msgspec refuses, such as a lone surrogate."""
    try:
        return msgspec.json.encode(line, enc_hook=default)
    except (UnicodeEncodeError, msgspec.ValidationError, TypeError, ValueError):
        members = msgspec.structs.asdict(line) if isinstance(line, msgspec.Struct) else line
        return json.dumps(members, default=default).encode()


def _render(line: object, *, default: Callable[[object], object] = str, **_: object) -> str:
    return _encode(line, default).decode()


def _log_uncaught(_kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    _log_error("the process ends with an error", error)


def _log_error(event: str, error: BaseException | None) -> None:
    if not isinstance(error, KeyboardInterrupt | SystemExit):
        # The standard library has a reentrant lock: the garbage collector may call this while a line is written.
        logging.getLogger("process").critical(event, exc_info=error)


def _format_trace(error: BaseException | None) -> str:
    """The type and lines of each error, also of those in a group. Messages are left out: they may hold values, such as
    the subject of a token."""
    traces: list[str] = []
    # How each is told, and the errors; the next one stands last.
    waiting = [("", error)]
    while waiting and len(traces) < MAX_CHAINED_ERRORS:
        word, error = waiting.pop()
        if error is None:
            continue
        places = (
            f"{frame.filename} line {frame.lineno} in {frame.name}"
            for frame in traceback.extract_tb(error.__traceback__)
        )
        traces.append(word + "\n  ".join((type(error).__qualname__, *places)))
        waiting.append(("after ", error.__cause__ or (None if error.__suppress_context__ else error.__context__)))
        if isinstance(error, BaseExceptionGroup):
            waiting += [("of which ", member) for member in reversed(error.exceptions)]
    return "\n".join(traces)
