"""Times uploads of files over HTTP, with the memory that they take: `python -m tests.benchmarks.uploads [ROWS ...]`.

Figures only, no verdicts. The API is a process of its own with one worker, on a durable Postgres; each person of a team
has seven rows a week. `first` makes the sheets, `again` changes nothing; `COPY` stores the same rows without policy,
log and sheets (`plain_rows`), and `times` is how many times as fast that is as `first`. `worker` is the processor time
of the API for a thousand rows of `first`, which a busy machine does not change. `peak` is how far the worker's memory
rose above what it had before the upload; `others` is the longest that a small request waited meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import httpx2

from service.administration.checks import examination
from service.administration.versions.bootstrap import bootstrap
from service.database import Database
from service.development.local_servers import start_postgres
from service.development.processes import spawn, wait_until
from service.development.stores import prepare
from service.log.epochs import open_log
from service.log.log import Log
from service.migrations.run import migrate
from tests import policy_forge
from tests.benchmarks.plain_rows import copy_rows
from tests.held_sockets import HeldSockets
from tests.local_http import Answering, http_server
from tests.token_forge import good_jwks, header, sign

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

AUDIENCE = "https://timewarden.example/timesheets"
PEOPLE = 200
SIZES = (1_000, 10_000, 100_000)
HEAD = ("owner", "day", "project", "minutes", "external_ref", "note")
KINDS = {"ndjson": "application/x-ndjson", "csv": "text/csv"}


class Keys(Answering):
    def respond(self) -> None:
        self.answer(good_jwks())


def main() -> None:
    sizes = [int(value) for value in sys.argv[1:]] or list(SIZES)
    with (
        http_server(Keys) as issuer,
        tempfile.TemporaryDirectory() as folder,
        start_postgres(Path(folder), preferred_port=0) as server,
    ):
        owner_url, app_url, _, _ = prepare(Path(folder), server.superuser_url)
        people = asyncio.run(organisation(owner_url))
        print(f"{multiprocessing.cpu_count()} processors; rows a second, ms, MiB of the file, MiB above before, ms")
        head = f"{'first':>8} {'again':>8} {'COPY':>8} {'times':>6} {'worker':>6} {'file':>7} {'peak':>7} {'others':>7}"
        print(f"{'':<32} {head}")
        for size in sizes:
            for kind in KINDS:
                held = HeldSockets()
                port = held.port
                with serving(Path(folder), app_url, issuer, held) as pid:
                    print(_row(size, kind, people, issuer, port, pid, owner_url), flush=True)


def _row(size: int, kind: str, people: Sequence[str], issuer: str, port: int, pid: int, url: str) -> str:
    rows = _rows(size, people)
    file = _file(rows, kind)
    mode = "together" if size <= 10_000 else "per-row"
    api = f"http://127.0.0.1:{port}"
    bearer = {"Authorization": f"Bearer {_token(issuer)}"}
    with httpx2.Client(base_url=api, headers=bearer, timeout=900, trust_env=False) as http:
        # The memory that the process needs after its first answer is no part of the upload.
        http.post("/v1/uploads", content=_file(_rows(50, people), kind), headers={"Content-Type": KINDS[kind]})
        before = _resident(pid)
        took, waits, peak, worked = [], [0.0], before, [_cpu_seconds(pid)]
        for outcome in ("created", "unchanged"):
            with _watched(pid, api, bearer) as seen:
                started = time.perf_counter()
                answer = http.post(f"/v1/uploads?mode={mode}", content=file, headers={"Content-Type": KINDS[kind]})
                took.append(time.perf_counter() - started)
            worked.append(_cpu_seconds(pid))
            assert answer.status_code == httpx2.codes.OK, answer.text[:500]
            assert answer.json()["counts"][outcome] == size, answer.json()["counts"]
            waits, peak = [*waits, *seen["waits"]], max(peak, *seen["resident"])
    copy = asyncio.run(copy_rows(url, rows))
    name = f"{size:>9,} rows, {kind}, {mode}"
    speeds = f"{size / took[0]:>8,.0f} {size / took[1]:>8,.0f} {size / copy:>8,.0f} {took[0] / copy:>6.1f}"
    speeds += f" {(worked[1] - worked[0]) / size * 1e6:>6.0f}"
    figures = f"{speeds} {len(file) / 2**20:>7.1f} {(peak - before) / 2**20:>7.1f}"
    return f"{name:<32} {figures} {max(waits) * 1e3:>7.0f}"


class _watched:  # noqa: N801 — a context manager
    """Looks at the process, and asks a small thing of it, again and again."""

    def __init__(self, pid: int, api: str, headers: dict[str, str]) -> None:
        self._pid, self._api, self._headers = pid, api, headers
        self._seen: dict[str, list[float]] = {"waits": [0.0], "resident": [0.0]}
        self._done = False
        self._threads = [Thread(target=self._look), Thread(target=self._ask)]

    def __enter__(self) -> dict[str, list[float]]:
        for thread in self._threads:
            thread.start()
        return self._seen

    def __exit__(self, *_: object) -> None:
        self._done = True
        for thread in self._threads:
            thread.join()

    def _look(self) -> None:
        while not self._done:
            self._seen["resident"].append(_resident(self._pid))
            time.sleep(0.02)

    def _ask(self) -> None:
        with httpx2.Client(base_url=self._api, timeout=60, trust_env=False) as http:
            while not self._done:
                started = time.perf_counter()
                http.get("/health/live")
                self._seen["waits"].append(time.perf_counter() - started)
                time.sleep(0.02)


def _rows(size: int, people: Sequence[str]) -> list[tuple[str, str, str, int, str, str]]:
    """Rows of people and weeks, all different from every other file's."""
    job, monday = uuid4().hex[:8], date(2001, 1, 1) + timedelta(weeks=uuid4().int % 2000)
    rows = []
    for number in range(size):
        week, who, day = number // (7 * len(people)), number // 7 % len(people), number % 7
        when = monday + timedelta(weeks=week, days=day)
        rows.append((people[who], when.isoformat(), "ATLAS", 60, f"{job}/{number}", "night shift, gate 4"))
    return rows


def _file(rows: Sequence[Sequence[object]], kind: str) -> bytes:
    if kind == "ndjson":
        return "".join(json.dumps(dict(zip(HEAD, row, strict=True))) + "\n" for row in rows).encode()
    table = [",".join(HEAD), *(",".join((*map(str, row[:-1]), f'"{row[-1]}"')) for row in rows)]
    return ("\n".join(table) + "\n").encode()


def _token(issuer: str) -> str:
    now = int(time.time())
    claims: dict[str, Any] = {"iss": issuer, "aud": AUDIENCE, "sub": "importer", "client_id": "importer"}
    claims |= {"jti": uuid4().hex, "iat": now - 1, "exp": now + 3600, "scope": "batch:upload"}
    return sign(header(), claims).decode()


def _resident(pid: int) -> float:
    """Bytes of memory of the API's one worker, which is the youngest of its processes."""
    pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _cpu_seconds(pid: int) -> float:
    """Seconds of processor time that it has had."""
    used = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[11:13]
    return sum(map(int, used)) / os.sysconf("SC_CLK_TCK")


class serving:  # noqa: N801 — a context manager
    """The API in a process of its own; gives its worker's number."""

    def __init__(self, folder: Path, database: str, issuer: str, held: HeldSockets) -> None:
        self._folder, self._held = folder, held
        self._settings = {
            "ENVIRONMENT": "development",
            "DATABASE_URL": database,
            "ISSUER": issuer,
            "JWKS_URL": f"{issuer}/jwks",
            "AUDIENCE": AUDIENCE,
            "PUBLIC_URL": held.api,
            "CURSOR_KEY": "0" * 32,
            "WEEKS_AHEAD": "5000",
            "CLIENT_RATE": "0",
            "ADDRESS_RATE": "0",
            "LOG_LEVEL": "error",
        }

    def __enter__(self) -> int:
        environment = {**os.environ, **{f"TIMEWARDEN_{name}": value for name, value in self._settings.items()}}
        with self._held as held:
            self._process = spawn(
                [sys.executable, "-m", "service", "serve", *held.options],
                log=self._folder / "serve.log",
                directory=Path(__file__).resolve().parents[2],
                environment=environment,
                inherited=held.numbers,
            )
        if not wait_until(self._ready, 60):
            raise SystemExit((self._folder / "serve.log").read_text()[-2000:])
        return max(_children(self._process.pid))

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)

    def _ready(self) -> bool:
        try:
            return httpx2.get(f"{self._held.management}/health/ready", timeout=1, trust_env=False).is_success
        except httpx2.HTTPError:
            return False


def _children(pid: int) -> Iterator[int]:
    yield pid
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            yield int(folder.name)


async def organisation(url: str) -> list[str]:
    """A migrated database, and a team of people for whom the client may upload."""
    await migrate(url)
    database = Database(url, size=1, timeout=60)
    await database.open()
    async with database.connection() as connection:
        await open_log(connection)
    async with database.transaction() as connection:
        await bootstrap(connection, Log(database), policy_forge.read_shipped(), examination.load, datetime.now(UTC))
    await database.close()
    people, team = [uuid4() for _ in range(PEOPLE)], uuid4()
    owner: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(url)
    await owner.execute("INSERT INTO project (code, name) VALUES ('ATLAS', 'Atlas')")
    await owner.execute("INSERT INTO team (id, name) VALUES ($1, 'contractors')", team)
    await owner.execute("INSERT INTO team_path (ancestor_id, descendant_id, depth) VALUES ($1, $1, 0)", team)
    await owner.executemany("INSERT INTO person (id) VALUES ($1)", [(person,) for person in people])
    await owner.executemany(
        "INSERT INTO membership (id, person_id, team_id, part, valid_from) VALUES ($1, $2, $3, 'member', '2000-01-01')",
        [(uuid4(), person, team) for person in people],
    )
    await owner.execute(
        "INSERT INTO importer_grant (id, client_id, team_id, valid_from) VALUES ($1, 'importer', $2, '2000-01-01')",
        uuid4(),
        team,
    )
    await owner.close()
    return [str(person) for person in people]


if __name__ == "__main__":
    main()
