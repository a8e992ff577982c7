"""Measures what protection costs beside the hot read: `... protection [WORKERS] [WEEKS] [ROUNDS]`.

Refusals, lists, pages of the decision log and a week's work over HTTP, each beside its unprotected rival of the same
run; then the time from an answer to its event in Redis, and the bytes that a decision leaves in Postgres. 10,000 people
have WEEKS sheets each. Figures only; the floors of the targets are printed beside them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING, Self

import asyncpg
import httpx2

from events.stream import open_redis, stream_name
from service.commands.policy_bootstrap import bootstrap_policy
from tests.benchmarks import figures
from tests.benchmarks.cost import count_statements
from tests.benchmarks.crowd import gather
from tests.benchmarks.ground import ground
from tests.benchmarks.servers import (
    ROOT,
    SECONDS,
    keeper,
    measure_load,
    median_of,
    run_load,
    servers,
    sheet,
    token_of,
    wait_sealed,
    with_a_project,
)
from tests.integration.api import key_server

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from tests.benchmarks.ground import Ground
    from tests.benchmarks.servers import Measured, Server

PEOPLE = 10_000
CONNECTIONS = 32
THREADS = 8
SCOPES = "read:timesheets create:timesheets approve:timesheets read:audit"
CYCLE_SECONDS = 10.0
LAG_SAMPLES = 40
# From when the backlog of the load before is sealed.
IDLE_AFTER_SECONDS = 5.0
# Behind all weeks of the crowd.
FIRST_MONDAY = date(2027, 1, 4)
# Subjects of the tokens, and the number of the person in the crowd: person N leads team N, and team 1 holds 1,110.
CAST = {"employee": PEOPLE - 1, "lead of ten": PEOPLE // 10 - 1, "lead of 1,110": 1, "auditor": PEOPLE - 2}


@dataclass(frozen=True, slots=True)
class Pair:
    """A request to the service and the rival's, with the least ratio that is wanted. `closeness` multiplies the rounds
    of a pair whose sides cost nearly the same. A machine's speed may change by a tenth between rounds."""

    name: str
    path: str
    who: str
    rival: str
    rival_path: str
    floor: float
    headers: tuple[str, ...] = ()
    status: str = "200"
    closeness: int = 1


async def main(workers: int = 1, weeks: int = 52, rounds: int = 7) -> None:
    async with ground() as stores, contextlib.AsyncExitStack() as stack:
        issuer = stack.enter_context(contextlib.contextmanager(key_server)())
        await bootstrap_policy(stores.owner_url, ROOT / "policies")
        await with_a_project(stores.owner_url)
        await make_crowd(stores.owner_url, issuer, weeks)
        await _settle(stores)
        tokens = {who: token_of(issuer, who, SCOPES) for who in CAST}
        with servers(stores, issuer, workers, ["kept", "ours"]) as ports:
            path = await sheet(ports["ours"].port, tokens["employee"], FIRST_MONDAY - timedelta(weeks=1))
            written = await measure_bytes(stores.owner_url, ports["ours"].port, path, tokens["employee"])
            found = await measure_pairs(stores, ports, await pairs(stores.owner_url, path), tokens, rounds)
            found["bytes"] = written
            found["cycles"] = await measure_cycles(stores, ports["ours"].port, issuer)
            with keeper(stores):
                found["lag"] = await measure_lag(stores, ports["ours"].port, tokens["employee"])
    figures.keep("protection", found)


async def make_crowd(owner_url: str, issuer: str, weeks: int) -> None:
    """People, teams and sheets, and subjects that speak for those of `CAST`."""
    connection = await asyncpg.connect(owner_url)
    await gather(connection, PEOPLE, weeks)
    for subject, number in CAST.items():
        await connection.execute(
            "INSERT INTO person_link (issuer, subject, person_id) VALUES ($1, $2, md5('person' || $3::int)::uuid)",
            issuer,
            subject,
            number,
        )
    await connection.execute(
        "INSERT INTO person_role (person_id, role, valid_from)"
        " VALUES (md5('person' || $1::int)::uuid, 'auditor', now() - interval '1 day')",
        CAST["auditor"],
    )
    await connection.close()


async def pairs(owner_url: str, path: str) -> list[Pair]:
    """The requests that are compared; the sheet at `path` is the employee's."""
    connection = await asyncpg.connect(owner_url)
    employee: UUID = await connection.fetchval("SELECT md5('person' || $1::int)::uuid", CAST["employee"])
    await connection.close()
    own, everybody = f"/list/{employee}", "/list"
    listing = "/v1/timesheets?limit=50"
    return [
        Pair("read / kept", path, "employee", "kept", path, 0.65),
        Pair(
            "refused approval / read",
            f"POST {path}/approve",
            "employee",
            "ours",
            path,
            0.9,
            ('If-Match: "6"',),
            "403",
            closeness=3,
        ),
        Pair("list of 50, own / bare", listing, "employee", "kept", own, 0.6),
        Pair("list of 50, lead of ten / bare", listing, "lead of ten", "kept", everybody, 0.5),
        Pair("list of 50, lead of 1,110 / bare", listing, "lead of 1,110", "kept", everybody, 0.3),
        Pair("page of 50 of the log / bare", "/v1/decisions?limit=50", "auditor", "kept", "/log", 0.3),
    ]


async def measure_pairs(
    ground: Ground, ports: Mapping[str, Server], compared: list[Pair], tokens: Mapping[str, str], rounds: int
) -> dict[str, dict[str, float]]:
    """Print the median rates of each pair, the median of the ratios of its rounds, in which both take turns within
    seconds, and what a request costs the service."""
    print(
        f"\nat {CONNECTIONS} connections, medians of {rounds} rounds or more; us of CPU and statements of our requests"
    )
    print(
        f"  {'':<34}{'ours/s':>8}{'rival/s':>8}{'ratio':>7}{'floor':>7}{'server':>9}{'Postgres':>9}{'statements':>11}"
    )
    found: dict[str, dict[str, float]] = {}
    for pair in compared:
        token = tokens[pair.who]
        told: dict[str, list[Measured]] = {"ours": [], "rival": []}
        request, wanted = (pair.path, token, *pair.headers), pair.status
        measure = {
            "ours": partial(measure_load, ground, ports["ours"], CONNECTIONS, *request, status=wanted),
            "rival": partial(measure_load, ground, ports[pair.rival], CONNECTIONS, pair.rival_path, token),
        }
        for turn in range(rounds * pair.closeness + 1):
            for side in measure if turn % 2 else reversed(measure):
                measured = await measure[side]()
                # The first round warms both.
                if turn:
                    told[side].append(measured)
        here, there = (median_of(told[side]) for side in ("ours", "rival"))

        async def send(request: tuple[str, ...] = request, wanted: str = wanted) -> int:
            sent = await run_load(ports["ours"].port, 1, SECONDS / 3, *request, status=wanted)
            return int(sent["statuses"][wanted])

        statements = await count_statements(ground, send)
        ratio = statistics.median(mine.rate / other.rate for mine, other in zip(*told.values(), strict=True))
        print(f"  {pair.name:<34}{here.rate:>8.0f}{there.rate:>8.0f}{ratio:>7.2f}{pair.floor:>7.2f}"
              f"{here.server:>9.0f}{here.postgres:>9.0f}{statements:>11.1f}", flush=True)  # fmt: skip
        found[pair.name] = {"ratio": ratio, "floor": pair.floor, "statements": statements, **asdict(here)}
    return found


async def measure_bytes(owner_url: str, port: int, path: str, token: str) -> dict[str, float]:
    """Print how many bytes a decision leaves in the log's tables and in the write-ahead log, without a keeper and
    before the log is vacuumed. After a vacuum, records also fill the ends of older pages, and after a checkpoint each
    such page is written whole: about 65 bytes a record more, with a vacuum every 300,000 records."""
    await run_load(port, CONNECTIONS, SECONDS * 6, path, token)
    connection = await asyncpg.connect(owner_url)
    # How many records there are, how large their table with its indexes is, and how far the write-ahead log is.
    measure = (
        "SELECT (SELECT count(*) FROM audit_record) AS records, (SELECT sum(pg_total_relation_size(relid))"
        " FROM pg_partition_tree('audit_record')) AS bytes, pg_current_wal_lsn() AS lsn"
    )
    before = await connection.fetchrow(measure)
    await run_load(port, CONNECTIONS, SECONDS * 4, path, token)
    after = await connection.fetchrow(measure)
    assert before is not None
    assert after is not None
    records = after["records"] - before["records"]
    written = await connection.fetchval("SELECT $1::pg_lsn - $2::pg_lsn", after["lsn"], before["lsn"])
    await connection.close()
    found = {"disk": float(after["bytes"] - before["bytes"]) / records, "wal": float(written) / records}
    print(f"\nbytes a decision: {found['disk']:.0f} on disk (floor 1,400), {found['wal']:.0f} of WAL (floor 1,600),"
          f" of {records:,} reads")  # fmt: skip
    return found


async def _settle(ground: Ground) -> None:
    """Let Postgres do now what it would do in the background after the load before, which rewrites whole pages."""
    for url, statement in ((ground.owner_url, "VACUUM"), (ground.superuser_url, "CHECKPOINT")):
        connection = await asyncpg.connect(url)
        await connection.execute(statement)
        await connection.close()


async def measure_cycles(ground: Ground, port: int, issuer: str) -> dict[str, float]:
    """Print how many weeks a second pass from creation to approval, eight requests each, on eight threads; and the
    statements of a week that passes alone."""
    connection = await asyncpg.connect(ground.owner_url)
    # Members of team 999, one for each thread, and their lead, who approves.
    members = [number for number in range(PEOPLE) if number % (PEOPLE // 10) == PEOPLE // 10 - 1][1 : THREADS + 1]
    for number in members:
        await connection.execute(
            "INSERT INTO person_link (issuer, subject, person_id) VALUES ($1, $2, md5('person' || $3::int)::uuid)"
            " ON CONFLICT DO NOTHING",
            issuer,
            f"member {number}",
            number,
        )
    await connection.close()
    lead = token_of(issuer, "lead of ten", SCOPES)
    tokens = [token_of(issuer, f"member {number}", SCOPES) for number in members]
    until = time.perf_counter() + CYCLE_SECONDS
    rate = sum(await asyncio.gather(*(work_weeks(port, member, lead, until) for member in tokens))) / CYCLE_SECONDS
    later = FIRST_MONDAY + timedelta(weeks=520)
    statements = await count_statements(
        ground, lambda: work_weeks(port, tokens[0], lead, time.perf_counter() + 0.5, later)
    )
    print(f"cycles a second on {THREADS} threads: {rate:.0f} (floor 45); statements of a cycle: {statements:.0f}")
    return {"rate": rate, "statements": statements}


async def work_weeks(port: int, member: str, lead: str, until: float, first: date = FIRST_MONDAY) -> int:
    """One person's weeks from the first Monday on, one after the other; how many were approved in time."""
    done = 0
    async with Sender(port) as sender:
        while time.perf_counter() < until:
            monday = first + timedelta(weeks=done)
            days = [str(monday + timedelta(days=day)) for day in range(5)]
            made = await sender.send("POST", "/v1/timesheets", member, {"period_start": days[0]}, status=201)
            path = f"/v1/timesheets/{made['id']}"
            for version, day in enumerate(days, start=1):
                entry = {"day": day, "project": "ATLAS", "minutes": 480}
                await sender.send("POST", f"{path}/entries", member, entry, version=version, status=201)
            await sender.send("POST", f"{path}/submit", member, version=6)
            await sender.send("POST", f"{path}/approve", lead, version=7)
            done += 1
    return done


class Sender:
    """Sends one request after the other on a connection of its own, with little work for the client."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def send(
        self,
        method: str,
        path: str,
        token: str,
        body: object = None,
        *,
        version: int | None = None,
        status: int = 200,
    ) -> dict[str, object]:
        """The body of the answer, which must have the status."""
        sent = b"" if body is None else json.dumps(body).encode()
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: 127.0.0.1:{self._port}",
            f"Authorization: Bearer {token}",
            f"Content-Length: {len(sent)}",
            *(["Content-Type: application/json"] if sent else []),
            *([f'If-Match: "{version}"'] if version is not None else []),
        ]
        self._writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + sent)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        received = await self._reader.readexactly(length)
        assert int(head[9:12]) == status, received
        found: dict[str, object] = json.loads(received)
        return found


async def measure_lag(stores: Ground, port: int, token: str) -> dict[str, float]:
    """Print the time from an answer to its event in the stream, of changes that come one by one."""
    connection = await asyncpg.connect(stores.owner_url)
    epoch = await connection.fetchval("SELECT epoch FROM log_head")
    await connection.close()
    await wait_sealed(stores.owner_url)
    await _settle(stores)
    redis = open_redis(stores.redis_url)
    stream = stream_name("timewarden:events", epoch)
    await asyncio.sleep(IDLE_AFTER_SECONDS)
    lags = []
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
        headers = {"Authorization": f"Bearer {token}"}
        for week in range(LAG_SAMPLES):
            newest = await redis.xrevrange(stream, count=1)
            after = newest[0][0] or "0-0" if newest else "0-0"
            monday = str(FIRST_MONDAY + timedelta(weeks=week))
            made = await http.post("/v1/timesheets", json={"period_start": monday}, headers=headers)
            answered = time.perf_counter()
            assert made.status_code == httpx2.codes.CREATED, made.text
            while not await redis.xread({stream: after}, block=1_000):
                pass
            lags.append((time.perf_counter() - answered) * 1e3)
            await asyncio.sleep(0.25)
    await redis.aclose()
    ordered = sorted(lags)
    half, most = statistics.median(ordered), ordered[int(len(ordered) * 0.9)]
    print(f"answer to Redis, idle: p50 {half:.0f} ms (floor 30), p90 {most:.0f} ms")
    return {"p50": half, "p90": most}


if __name__ == "__main__":
    asyncio.run(main(*(int(argument) for argument in sys.argv[1:])))
