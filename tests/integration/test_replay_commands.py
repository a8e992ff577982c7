"""Ctrl-C in a command that waits for a replay cancels the replay and says so. An unfinished command has no result."""

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


async def start_command(address: str, *words: str) -> asyncio.subprocess.Process:
    """A command of this API, as a terminal starts it."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "service", *words),
        env={**os.environ, "TIMEWARDEN_API": address, "TIMEWARDEN_TOKEN": "x"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        # Even if these tests run in the background, where SIGINT is ignored.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.parametrize("words", [("policy", "replay", "7"), ("audit", "replay")])
async def test_ctrl_c_cancels_the_replay(words: tuple[str, ...]) -> None:
    class Api(Unhurried):
        seen: ClassVar[list[str]] = []
        waited_for: ClassVar[Event] = Event()

    with http_server(Api) as address:
        process = await start_command(address, *words)
        assert await asyncio.to_thread(Api.waited_for.wait, 60)
        process.send_signal(signal.SIGINT)
        _, complaints = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)

    assert process.returncode == 130
    assert Api.seen[-1] == f"POST /v1/replays/{JOB}/cancel"
    assert "Cancelled after 1,234 decisions" in complaints.decode()


class Endless(Answering):
    """An API with a further page of policy versions after each. A test takes a class of its own."""

    waited_for: ClassVar[Event]

    def respond(self) -> None:
        version = {"number": 1, "author": "x", "proposed_at": "2026-03-02T00:00:00Z", "message": "x" * 500}
        record = {"kind": "policy", "at": "2026-03-02T00:00:00Z", "id": JOB, "record": version, "names": {}}
        self.waited_for.set()
        self.answer(json.dumps({"items": [record] * 20, "next_cursor": "more"}).encode())


@pytest.mark.parametrize(("interrupted", "code"), [(True, 130), (False, 141)])
async def test_a_command_that_is_ended_before_its_result_has_no_exit_code_of_a_result(
    *, interrupted: bool, code: int
) -> None:
    class Api(Endless):
        waited_for: ClassVar[Event] = Event()

    with http_server(Api) as address:
        process = await start_command(address, "audit", "search", "--all", "--json")
        assert await asyncio.to_thread(Api.waited_for.wait, 60)
        assert process.stdout is not None
        await process.stdout.readline()
        if interrupted:
            process.send_signal(signal.SIGINT)
            _, complaints = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
        else:
            process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]  # asyncio has no other way
            assert process.stderr is not None
            complaints = await asyncio.wait_for(process.stderr.read(), PATIENCE_SECONDS)
            await process.wait()
    assert process.returncode == code
    assert complaints.decode() == ("Aborted.\n" if interrupted else "")
