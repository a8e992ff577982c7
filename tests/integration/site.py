"""A tiny real HTTP server on loopback that answers what it is told, byte for byte, and keeps what it was asked."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator


@dataclass(frozen=True, slots=True)
class Question:
    """A request as it came over the wire; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Site:
    """A tiny HTTP server: path to the whole answer, head and body; what it was asked for; how slowly it answers."""

    origin: str = ""
    answers: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    pause: float = 0.0
    drip: float = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            question = await _question(reader)
            path = question.path
            self.asked.append(path)
            self.questions.append(question)
            await asyncio.sleep(self.pause)
            answer = self.answers.get(path, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            for start in range(0, len(answer), 40 if self.drip else len(answer)):
                writer.write(answer[start : start + (40 if self.drip else len(answer))])
                await writer.drain()
                await asyncio.sleep(self.drip)
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()


def ok(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@asynccontextmanager
async def site(port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    """A site on loopback, closed at the end."""
    made = Site()
    server = await asyncio.start_server(made.serve, "127.0.0.1", port, ssl=tls)
    made.origin = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        await server.wait_closed()


async def _question(reader: asyncio.StreamReader) -> Question:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = lines[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:-2])}
    return Question(method, path, headers, await reader.readexactly(int(headers.get("content-length", "0"))))
