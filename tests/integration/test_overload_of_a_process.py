"""A real API process under a real crowd of connections, while a lock makes Postgres slow."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import httpx2

from tests.integration.api import token_of
from tests.integration.served import serve
from tests.until import lock_is_waited_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]

# Of two connections' requests, eight reads are worked on at once.
AT_ONCE, CROWD = 8, 150
SETTINGS = {
    "DATABASE_POOL": "2",
    "DATABASE_TIMEOUT": "30",
    "LOCK_TIMEOUT": "30",
    "ADMISSION_TIMEOUT": "0.3",
    "CLIENT_RATE": "0",
    "ADDRESS_RATE": "0",
}


class Connection:
    """One connection that is kept; `ask` sends a request over it and returns status, headers and body."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str) -> None:
        self.reader, self.writer, self.token = reader, writer, token

    async def ask(self, path: str) -> tuple[int, dict[str, str], bytes]:
        lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {self.token}"]
        self.writer.write("\r\n".join([*lines, "", ""]).encode())
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        return int(head[0].split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))


async def test_every_connection_is_answered_and_kept_and_served_when_there_is_time_again(
    house: House, issuer: str, tmp_path: Path
) -> None:
    connections: list[Connection] = []
    async with serve(house.log_database.url("app"), issuer, tmp_path, **SETTINGS) as service:
        await service.ready()
        token = token_of(issuer)
        try:
            connections += [
                Connection(*await asyncio.open_connection("127.0.0.1", service.held.port), token) for _ in range(CROWD)
            ]
            assert (await connections[0].ask("/v1/timesheets"))[0] == 200
            before = await house.count("audit_record")
            async with house.owner.transaction():
                await house.owner.execute("LOCK TABLE timesheet IN ACCESS EXCLUSIVE MODE")
                tasks = [asyncio.create_task(connection.ask("/v1/timesheets")) for connection in connections]
                await lock_is_waited_for(house.owner)
                async with asyncio.timeout(30):
                    while sum(task.done() for task in tasks) < CROWD - AT_ONCE:  # noqa: ASYNC110 — for any of them
                        await asyncio.sleep(0.01)
                assert (await service.health()).status_code == httpx2.codes.OK
            answers = await asyncio.gather(*tasks)
            assert sorted(status for status, _, _ in answers) == [200] * AT_ONCE + [503] * (CROWD - AT_ONCE)
            refusals = [(headers, json.loads(body)) for status, headers, body in answers if status == 503]
            assert all(body["type"] == "urn:timewarden:problem:try-later" for _, body in refusals)
            assert all(1 <= int(headers["retry-after"]) <= 5 for headers, _ in refusals)
            assert await house.count("audit_record") == before + AT_ONCE
            for connection in connections:
                assert (await connection.ask("/v1/me"))[0] == 200
        finally:
            for connection in connections:
                connection.writer.close()
