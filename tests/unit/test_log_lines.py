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
