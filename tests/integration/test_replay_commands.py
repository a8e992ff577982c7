"""Ctrl-C in a command that waits for a replay cancels the replay and says so."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest

from tests.until import PATIENCE_SECONDS

JOB = "0198c0de-0000-7000-8000-0000000000aa"


class Unhurried(ThreadingHTTPServer):
    """An API whose replays never end."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Routes)
        self.seen: list[str] = []
        self.waited_for = Event()


class _Routes(BaseHTTPRequestHandler):
    server: Unhurried

    def do_GET(self) -> None:
        self.server.waited_for.set()
        self._answer("running")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer("cancelled" if self.path.endswith("/cancel") else "queued")

    def _answer(self, state: str) -> None:
        self.server.seen.append(f"{self.command} {self.path}")
        job = {"id": JOB, "version": None, "state": state, "progress": 0.5, "result": {"decided": 1234}}
        body = json.dumps({**job, "problem": None}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
        """Nothing."""


@pytest.mark.parametrize("words", [("policy", "replay", "7"), ("audit", "replay")])
async def test_ctrl_c_cancels_the_replay(words: tuple[str, ...]) -> None:
    api = Unhurried()
    thread = Thread(target=api.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{api.server_port}"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "service", *words),
        env={**os.environ, "TIMEWARDEN_API": address, "TIMEWARDEN_TOKEN": "x"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        # As in a terminal, even if these tests run in the background, where SIGINT is ignored.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert await asyncio.to_thread(api.waited_for.wait, 60)
        process.send_signal(signal.SIGINT)
        _, complaints = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    finally:
        api.shutdown()
        thread.join()
        api.server_close()

    assert process.returncode == 130
    assert api.seen[-1] == f"POST /v1/replays/{JOB}/cancel"
    assert "Cancelled after 1,234 decisions" in complaints.decode()
