"""Ctrl-C in a command that waits for a replay cancels the replay and says so."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from functools import partial
from threading import Event
from typing import ClassVar

import pytest

from tests.local_http import Answering, http_server
from tests.until import PATIENCE_SECONDS

JOB = "0198c0de-0000-7000-8000-0000000000aa"


class Unhurried(Answering):
    """An API whose replays never end. A test takes a class of its own."""

    seen: ClassVar[list[str]]
    waited_for: ClassVar[Event]

    def respond(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.command == "GET":
            self.waited_for.set()
            state = "running"
        else:
            state = "cancelled" if self.path.endswith("/cancel") else "queued"
        self.seen.append(f"{self.command} {self.path}")
        job = {"id": JOB, "version": None, "state": state, "progress": 0.5, "result": {"decided": 1234}}
        self.answer(json.dumps({**job, "problem": None}).encode())


@pytest.mark.parametrize("words", [("policy", "replay", "7"), ("audit", "replay")])
async def test_ctrl_c_cancels_the_replay(words: tuple[str, ...]) -> None:
    class Api(Unhurried):
        seen: ClassVar[list[str]] = []
        waited_for: ClassVar[Event] = Event()

    with http_server(Api) as address:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "service", *words),
            env={**os.environ, "TIMEWARDEN_API": address, "TIMEWARDEN_TOKEN": "x"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # As in a terminal, even if these tests run in the background, where SIGINT is ignored.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )
        assert await asyncio.to_thread(Api.waited_for.wait, 60)
        process.send_signal(signal.SIGINT)
        _, complaints = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)

    assert process.returncode == 130
    assert Api.seen[-1] == f"POST /v1/replays/{JOB}/cancel"
    assert "Cancelled after 1,234 decisions" in complaints.decode()
