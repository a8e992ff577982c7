"""Log lines tell where something failed and never with which values: an error's own sentence may hold a subject."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

FAIL = """
import logging, structlog
from service.log_lines import configure_log_lines
configure_log_lines("info")
subject = "auth0|" + "5f7c8ec7"
try:
    try:
        raise KeyError(subject)
    except KeyError as error:
        raise ValueError(f"Key (issuer, subject)=(x, {subject}) already exists") from error
except ValueError as error:
    LOG
"""


@pytest.mark.parametrize(
    "log",
    [
        'structlog.get_logger("problems").error("unexpected error", exc_info=error)',
        'logging.getLogger("asyncio").error("Task exception was never retrieved", exc_info=error)',
    ],
)
def test_a_trace_names_errors_and_places_without_what_they_say(log: str) -> None:
    script = FAIL.replace("LOG", log)
    lines = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stderr
    (line,) = lines.splitlines()
    assert json.loads(line)["level"] == "error"
    assert "ValueError" in lines
    assert "KeyError" in lines
    assert "line 8" in lines
    assert "auth0|5f7c8ec7" not in lines


FAIL_TOGETHER = """
import asyncio
from service.log_lines import configure_log_lines
configure_log_lines("info")
async def fail(error):
    raise error("auth0|5f7c8ec7") from LookupError()
async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(fail(KeyError))
        group.create_task(fail(ValueError))
asyncio.run(main())
"""


def test_the_trace_of_a_group_names_its_errors() -> None:
    run = subprocess.run([sys.executable, "-c", FAIL_TOGETHER], capture_output=True, text=True, check=False)
    (line,) = run.stderr.splitlines()
    told = [part.partition("\n")[0] for part in json.loads(line)["exception"].split("\n") if part[0] != " "]
    assert told == [
        "ExceptionGroup",
        "of which KeyError",
        "after LookupError",
        "of which ValueError",
        "after LookupError",
    ]
    assert run.stderr.count("in fail") == 2
    assert "auth0|5f7c8ec7" not in run.stderr


RECORDS = """
import logging, logging.config
from service.log_lines import GRANIAN_LOGGING, configure_log_lines
configure_log_lines("info")
logging.config.dictConfig({**GRANIAN_LOGGING, "version": 1, "disable_existing_loggers": False})
logging.getLogger("_granian.utils").error("Application callable raised an exception\\nTraceback: %s", "auth0|5f7c8ec7")
logging.getLogger("asyncpg.pool").warning("Failed to restore the pool connection floor; retrying")
"""


def test_granians_traceback_and_the_warnings_of_pools_are_left_out() -> None:
    run = subprocess.run([sys.executable, "-c", RECORDS], capture_output=True, text=True, check=True)
    (line,) = run.stderr.splitlines()
    assert json.loads(line)["event"] == "Application callable raised an exception"


UNCAUGHT = """
import threading, warnings
from service.log_lines import configure_log_lines
configure_log_lines("info")
subject = "auth0|" + "5f7c8ec7"
class Broken:
    def __del__(self):
        raise ValueError(subject)
def fail():
    raise KeyError(subject)
thread = threading.Thread(target=fail)
thread.start()
thread.join()
Broken()
warnings.warn("a warning")
fail()
"""


def test_what_nobody_caught_is_a_line_without_what_it_says() -> None:
    run = subprocess.run([sys.executable, "-c", UNCAUGHT], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    lines = [json.loads(line) for line in run.stderr.splitlines()]
    assert [line["event"].partition("\n")[0].rpartition(": ")[2] for line in lines] == [
        "a thread ended with an error",
        "an error could not be raised",
        "a warning",
        "the process ends with an error",
    ]
    assert "auth0|5f7c8ec7" not in run.stderr
