"""Every request whose answer began has one log line, however the answer goes on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from service.web.http import requests
from service.web.http.requests import RequestFrame

if TYPE_CHECKING:
    from litestar import Litestar

    from service.log_lines import RequestLine

START: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": []}
PART: dict[str, Any] = {"type": "http.response.body", "body": b"part", "more_body": True}
LAST: dict[str, Any] = {"type": "http.response.body", "body": b"last", "more_body": False}
# What the application sends, the place of the message at which the caller is gone, and the lines.
ANSWERS: dict[str, tuple[list[dict[str, Any]], int | None, int]] = {
    "whole": ([START, LAST], None, 1),
    "stream": ([START, PART, PART, LAST], None, 1),
    "ends before its body": ([START], None, 1),
    "caller is gone at the start": ([START, LAST], 0, 1),
    "caller is gone at the body": ([START, LAST], 1, 1),
    "caller is gone in a stream": ([START, PART, PART], 2, 1),
    "never began": ([], None, 0),
}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_that_began_has_one_line_whatever_becomes_of_it(
    name: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages, gone, expected = ANSWERS[name]
    lines: list[RequestLine] = []
    monkeypatch.setattr(requests, "write_request_line", lines.append)
    sent: list[str] = []

    async def answer(_scope: Any, _receive: Any, send: Any) -> None:
        for message in messages:
            await send(dict(message))

    async def send(message: Any) -> None:
        if len(sent) == gone:
            raise asyncio.CancelledError
        assert lines == [] or len(sent) > 1, "the line came before the body"
        sent.append(message["type"])

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": method, "path": "/", "raw_path": b"/", "query_string": b"", "headers": []}
    frame = RequestFrame(cast("Litestar", answer), answer)
    try:
        await frame(cast("Any", scope), receive, cast("Any", send))
    except asyncio.CancelledError:
        assert gone is not None
    assert len(lines) == expected
    assert [line.status for line in lines] == [200] * expected
