"""How long other requests wait while the worst bodies are read: `python -m tests.benchmarks.upload_waits [WORD ...]`.

Figures only, no verdicts; with words, only the bodies whose names hold one of them. The API has one worker, on a
durable Postgres. A small request, GET /v1/me, is sent every 50 ms, and its wait counts from the moment at which it was
due. `nothing` is the same without any body: what the machine itself makes of it. A body is given SECONDS, then its
connection is cut; its status is then 0.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from service.development.local_servers import start_postgres
from service.development.stores import prepare
from tests.benchmarks import uploads
from tests.held_sockets import HeldSockets
from tests.local_http import http_server
from tests.token_forge import header, sign

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    # Makes a body from the ids of the team's people.
    Make = Callable[[Sequence[str]], bytes]

SECONDS = 4.0
EVERY = 0.05
CONNECTIONS = 16
NDJSON, CSV, JSON = "application/x-ndjson", "text/csv", "application/json"
APPROVE, SIMULATE = "/v1/timesheets/batch-approve", "/v1/policies/simulate"
ADMIN = "admin"
SCOPES = b'{"subject":{"client":"a","scopes":[]},"action":"read","resource":{"kind":"timesheet"}}'
HEAD = b"owner,day,project,minutes,external_ref,note\n"
WRONG = b'{"owner":"x","day":"x","project":"a b","minutes":"x","external_ref":"","note":5,"time_zone":"x","other":1}\n'


@dataclass(frozen=True, slots=True)
class Body:
    """A body and where it goes; `client` is who sends it: `importer` has a grant, `stranger` none."""

    name: str
    path: str
    kind: str
    make: Make
    client: str = "importer"
    at_once: int = 1


@dataclass
class Waits:
    """Seconds that each small request waited, in the order in which they were due."""

    found: list[float] = field(default_factory=list)
    failed: int = 0


def main() -> None:
    words = sys.argv[1:]
    bodies = [body for body in BODIES if not words or any(word in body.name for word in words)]
    with (
        http_server(uploads.Keys) as issuer,
        tempfile.TemporaryDirectory() as folder,
        start_postgres(Path(folder), preferred_port=0) as server,
    ):
        owner_url, app_url, _, _ = prepare(Path(folder), server.superuser_url)
        people = asyncio.run(uploads.organisation(owner_url))
        tokens = {client: _token(issuer, client) for client in ("importer", "stranger", ADMIN)}
        held = HeldSockets()
        with uploads.serving(Path(folder), app_url, issuer, held):
            print(
                f"{multiprocessing.cpu_count()} processors; ms that GET /v1/me waited, s that the body took, its answer"
            )
            print(f"{'':<58}{'median':>8}{'99 %':>8}{'longest':>9}{'took':>7}{'status':>8}{'answer':>10}")
            asyncio.run(_measure(held.port, bodies, people, tokens))


async def _measure(port: int, bodies: Sequence[Body], people: Sequence[str], tokens: dict[str, str]) -> None:
    await _probe(port, tokens[ADMIN], asyncio.sleep(1.0))
    waits = await _probe(port, tokens[ADMIN], asyncio.sleep(2.0))
    print(_row("nothing", waits, 2.0, 0, 0), flush=True)
    for body in bodies:
        raw = await asyncio.to_thread(body.make, people)
        started = time.perf_counter()
        answers: list[tuple[int, int]] = []

        async def send(body: Body = body, raw: bytes = raw, answers: list[tuple[int, int]] = answers) -> None:
            answers += await asyncio.gather(*(_send(port, body, raw, tokens[body.client]) for _ in range(body.at_once)))

        waits = await _probe(port, tokens[ADMIN], send())
        print(_row(body.name, waits, time.perf_counter() - started, *max(answers)), flush=True)


def _row(name: str, waits: Waits, took: float, status: int, size: int) -> str:
    times = sorted(waits.found)
    middle, high = statistics.median(times) * 1e3, times[int(len(times) * 0.99)] * 1e3
    told = f"{name:<58}{middle:>8.1f}{high:>8.1f}{times[-1] * 1e3:>9.0f}{took:>7.1f}{status:>8}{size:>10,}"
    return told + (f"  {waits.failed} failed" if waits.failed else "")


async def _probe(port: int, token: str, work: Any) -> Waits:
    """Ask at a steady rate while `work` runs, and until every answer is there."""
    waits, due = Waits(), asyncio.Queue[float]()
    askers = [asyncio.create_task(_ask(port, token, due, waits)) for _ in range(CONNECTIONS)]
    running = asyncio.ensure_future(work)
    moment = time.perf_counter()
    while not running.done():
        due.put_nowait(moment)
        moment += EVERY
        await asyncio.sleep(max(0.0, moment - time.perf_counter()))
    await running
    for _ in askers:
        due.put_nowait(0.0)
    await asyncio.gather(*askers)
    return waits


async def _ask(port: int, token: str, due: asyncio.Queue[float], waits: Waits) -> None:
    request = f"GET /v1/me HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while moment := await due.get():
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        waits.found.append(time.perf_counter() - moment)
        waits.failed += not head.startswith(b"HTTP/1.1 200")
    writer.close()


async def _send(port: int, body: Body, raw: bytes, token: str) -> tuple[int, int]:
    """The status of the answer and its size, or 0 when it took too long."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {body.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
    head += f"Content-Type: {body.kind}\r\nContent-Length: {len(raw)}\r\nConnection: close\r\n\r\n"
    size, status = 0, 0
    try:
        async with asyncio.timeout(SECONDS):
            writer.write(head.encode())
            for start in range(0, len(raw), 65_536):
                writer.write(raw[start : start + 65_536])
                with suppress(ConnectionError):
                    await writer.drain()
            first = await reader.readuntil(b"\r\n\r\n")
            told = int(first.split(b" ", 2)[1])
            while piece := await reader.read(1_048_576):
                size += len(piece)
            status = told
    except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()
    return status, size


def _token(issuer: str, client: str) -> str:
    now = int(time.time())
    claims: dict[str, Any] = {"iss": issuer, "aud": uploads.AUDIENCE, "client_id": client, "jti": uuid4().hex}
    claims |= {"iat": now - 1, "exp": now + 3600, "sub": client, "scope": "batch:upload"}
    if client == ADMIN:
        claims |= {"sub": "auth0|ada", "roles": ["administrator", "auditor", "policy-author", "manager"]}
        claims["scope"] = (
            "manage:directory read:audit read:policies approve:timesheets read:timesheets create:timesheets"
        )
    return sign(header(), claims).decode()


def _rows(number: int, owner: Callable[[int], str], day: Callable[[int], str]) -> bytes:
    """Good rows, NDJSON, each with a reference of its own."""
    line = '{{"owner":"{}","day":"{}","project":"ATLAS","minutes":1,"external_ref":"{}/{}","note":"night shift"}}\n'
    job = uuid4().hex[:8]
    return "".join(line.format(owner(value), day(value), job, value) for value in range(number)).encode()


def _day(week: int, day: int) -> str:
    """A day of a week from 2000 on, all of them different in one run of the benchmark."""
    return time.strftime("%Y-%m-%d", time.gmtime(946_857_600 + 86_400 * (7 * week + day)))


def _items(number: int) -> bytes:
    items = [{"id": str(uuid4()), "version": 1} for _ in range(number)]
    return json.dumps({"items": items, "mode": "per-item"}).encode()


UPLOADS, IMPORT = "/v1/uploads", "/v1/directory/import"
PER_ROW, DRY = f"{UPLOADS}?mode=per-row", f"{UPLOADS}?dry_run=true"
LARGE = 33_000_000
UUIDS = [uuid4() for _ in range(10_000)]
LONG_LIST = b'{"owner":' + b"[" * 8_000 + b"]" * 8_000 + b"}\n"


def _members(number: int) -> bytes:
    """Unknown members of an object."""
    return b",".join(b'"%d":1' % place for place in range(number))


def _people(number: int) -> str:
    return f"person,{number}@example.com,Ana {number},https://issuer.example/,{number},,,,\n"


def _nested_team(number: int) -> str:
    return f"team,,,,,T{number},{f'T{number - 1}' if number else ''},,\n"


def _member(number: int) -> str:
    return f"member,{number % 50}@example.com,,,,contractors,,{_time(number)},{_time(number + 1)}\n"


def _many(line: bytes, number: int) -> Make:
    return lambda _: line * number


def _json(text: bytes) -> Make:
    return lambda _: text


def _hours(number: int, who: int, week: int, a_week: int) -> Make:
    """Good rows of `who` people from the team, `a_week` rows in each of their weeks, the first of which is `week`."""

    def make_rows(people: Sequence[str]) -> bytes:
        return _rows(
            number,
            lambda place: people[4 + place % who],
            lambda place: _day(week + place // who // a_week, place // who % 7),
        )

    return make_rows


def _strangers(number: int, who: int) -> Make:
    return lambda _: _rows(number, lambda place: str(UUIDS[place % who]), lambda place: _day(0, place // who % 7))


def _table(row: bytes, number: int) -> Make:
    return lambda _: HEAD + row * number


def _organisation(row: Callable[[int], str], number: int = 5_000) -> Make:
    head = "record,email,name,issuer,subject,team,parent,valid_from,valid_to\n"
    return lambda _: (head + "".join(map(row, range(number)))).encode()


BODIES = (
    Body("100,000 x {}, per row", PER_ROW, NDJSON, _many(b"{}\n", 100_000)),
    Body("100,000 x {}, per row, no grant", PER_ROW, NDJSON, _many(b"{}\n", 100_000), "stranger"),
    Body("100,000 x {}, together", UPLOADS, NDJSON, _many(b"{}\n", 100_000)),
    Body("5,000 rows wrong in every field", PER_ROW, NDJSON, _many(WRONG, 5_000)),
    Body("5,000 rows wrong in every field, four files at once", PER_ROW, NDJSON, _many(WRONG, 5_000), at_once=4),
    Body("200,000 lines of one byte", PER_ROW, NDJSON, _many(b"1\n", 200_000)),
    Body("33 MB of empty lines", PER_ROW, NDJSON, _many(b"\n", LARGE)),
    Body("2,000 lines of 16 KB, nested", PER_ROW, NDJSON, _many(LONG_LIST, 2_000)),
    Body("2,000 lines of 16 KB, unknown members", PER_ROW, NDJSON, _many(b"{" + _members(1_700) + b"}\n", 2_000)),
    Body("one line of 33 MB", PER_ROW, NDJSON, _many(b"x", LARGE)),
    Body("CSV: 100,000 rows of empty cells", PER_ROW, CSV, _table(b",,,,,\n", 100_000)),
    Body("CSV: 100,000 rows wrong in every cell", PER_ROW, CSV, _table(b"=,=,=,=,=,=\n", 100_000)),
    Body("CSV: 2,000 rows of 16,000 cells", PER_ROW, CSV, _table(b"," * 16_000 + b"\n", 2_000)),
    Body("CSV: a quote never closed, then 33 MB of line ends", PER_ROW, CSV, _table(b'"' + b"\n" * LARGE, 1)),
    Body("CSV: 2,000 rows of 8,000 lines in quotes", PER_ROW, CSV, _table(b'"' + b"\n" * 8_000 + b'",,,,,\n', 2_000)),
    Body("10,000 good rows, 2,000 unknown people, together", UPLOADS, NDJSON, _strangers(10_000, 2_000)),
    Body("10,000 good rows of as many people, per row", PER_ROW, NDJSON, _strangers(10_000, 10_000)),
    Body("100,000 rows of one person and week, per row", PER_ROW, NDJSON, _hours(100_000, 1, 10, 100_000)),
    Body("2,800 good rows of one person, 400 weeks, together", UPLOADS, NDJSON, _hours(2_800, 1, 100, 7)),
    Body("10,000 good rows, 20 weeks of 500, together", UPLOADS, NDJSON, _hours(10_000, 1, 600, 500)),
    Body("10,000 good rows, 20 weeks of 500, dry run", DRY, NDJSON, _hours(10_000, 1, 700, 500)),
    Body("10,000 good rows, 1,400 weeks, together", UPLOADS, NDJSON, _hours(10_000, 190, 800, 7)),
    Body("30,000 good rows, per row", PER_ROW, NDJSON, _hours(30_000, 190, 900, 7)),
    Body("JSON: 87,000 x {}", PER_ROW, JSON, _json(b'{"rows":[' + b",".join([b"{}"] * 87_000) + b"]}")),
    Body("JSON: one row of 80,000 x {}", PER_ROW, JSON, _json(b'{"rows":[[' + b",".join([b"{}"] * 80_000) + b"]]}")),
    Body("JSON: 262,000 brackets", PER_ROW, JSON, _json(b"[" * 131_000 + b"]" * 131_000)),
    Body("JSON: 25,000 unknown members", PER_ROW, JSON, _json(b'{"rows":[1],' + _members(25_000) + b"}")),
    Body(
        "batch-approve: 130,000 items", APPROVE, JSON, _json(b'{"items":[' + b",".join([b"0"] * 130_000) + b"]}"), ADMIN
    ),
    Body("batch-approve: 3,500 good items", APPROVE, JSON, lambda _: _items(3_500), ADMIN),
    Body("batch-approve: 100 unknown weeks", APPROVE, JSON, lambda _: _items(100), ADMIN),
    Body("simulate: 25,000 unknown members", SIMULATE, JSON, _json(b"{" + _members(25_000) + b"}"), ADMIN),
    Body(
        "simulate: 60,000 scopes",
        SIMULATE,
        JSON,
        _json(SCOPES.replace(b"[]", b'["a"' + b',"a"' * 60_000 + b"]")),
        ADMIN,
    ),
    Body("directory: 5,000 people", IMPORT, CSV, _organisation(_people), ADMIN),
    Body("directory: the same 5,000 people again", IMPORT, CSV, _organisation(_people), ADMIN),
    Body("directory: 5,000 wrong rows", IMPORT, CSV, _organisation(lambda _: "lead,=a,=b,=c,=d,=e,=f,x,y\n"), ADMIN),
    Body("directory: 5,000 teams in one another", f"{IMPORT}?dry_run=true", CSV, _organisation(_nested_team), ADMIN),
    Body("directory: 5,000 members of one team", f"{IMPORT}?dry_run=true", CSV, _organisation(_member), ADMIN),
    Body("directory: 2 MB of empty lines", IMPORT, CSV, lambda _: b"record\n" + b"\n" * 1_999_000, ADMIN),
    Body("directory: 2 MB of empty cells", IMPORT, CSV, lambda _: b"record" + b"," * 1_999_000, ADMIN),
)


def _time(number: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_800_000_000 + 3_600 * number))


if __name__ == "__main__":
    main()
