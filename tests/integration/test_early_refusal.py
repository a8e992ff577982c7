"""Granian asks the application in its own thread whether to refuse a request, before it wakes the event loop."""

from __future__ import annotations

import asyncio

from tests.worker_program import running_program

# Reads are answered with the name of the thread that refused them or, as 200, of the one that ran the application.
PROGRAM = """
import sys, threading
from service.listeners import run_worker
from service.log_lines import GRANIAN_LOGGING

def answer(status):
    yield {"type": "http.response.start", "status": status, "headers": []}
    yield {"type": "http.response.body", "body": str(threading.get_ident()).encode(), "more_body": False}

class Application:
    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            for message in answer(200):
                await send(message)
        else:
            for _ in range(2):
                await send({"type": (await receive())["type"] + ".complete"})

    def refuse_early(self, scope, send, receive):
        if scope["path"] == "/fails":
            raise LookupError
        if scope["path"] == "/refused":
            if scope["method"] == "POST":
                part = receive()
                if scope["query_string"] == b"stalled":
                    threading.Timer(0.3, part.cancel).start()
            for message in answer(503):
                send(message)
        return scope["path"] == "/refused"

run_worker(Application, int(sys.argv[1]), place=(0, 1), connections=8, idle_seconds=5, logging=GRANIAN_LOGGING)
"""


async def test_the_application_refuses_in_granians_thread_and_answers_in_the_event_loop() -> None:
    async with running_program(PROGRAM) as http:
        refused, answered, failed = [await http.get(path) for path in ("/refused", "/answered", "/fails")]
    assert (refused.status_code, answered.status_code, failed.status_code) == (503, 200, 200)
    assert refused.text != answered.text == failed.text


async def test_a_refused_body_that_arrives_later_leaves_the_connection_usable() -> None:
    async with running_program(PROGRAM) as http:
        assert (await http.get("/answered")).status_code == 200
        reader, writer = await asyncio.open_connection("127.0.0.1", http.base_url.port)
        for _ in range(3):
            writer.write(b"POST /refused HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b"connection: close" not in head.lower()
            # The body of a caller whose answer comes first.
            writer.write(b"body")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            await reader.readexactly(length)
        writer.write(b"GET /answered HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_reading_a_refused_body_that_does_not_arrive_can_be_ended_and_closes_the_connection() -> None:
    async with running_program(PROGRAM) as http:
        assert (await http.get("/answered")).status_code == 200
        reader, writer = await asyncio.open_connection("127.0.0.1", http.base_url.port)
        writer.write(b"POST /refused?stalled HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
        async with asyncio.timeout(10):
            assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
        writer.close()
