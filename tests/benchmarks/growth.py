"""Measures how the cost of a read grows: `make bench ARGS="growth [--records N] [--sheets N] [--tokens N]"`.

Each size has a database of its own: one dimension grows, the others stay small. On 32 connections, owners read sheets
of theirs with five entries, each with its own token. A figure is processor time of a read, which drifts less than the
rate. By default, the log grows to 300,000 records, sheets to 100,000 and tokens to 10,000. Last comes the installation
that `large` keeps, if it is there, in which all are large. Figures only.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final

import asyncpg

from service.commands.database import migrate_database
from service.commands.policy_bootstrap import bootstrap_policy
from service.development.local_servers import start_postgres
from service.development.stores import prepare
from tests.benchmarks import figures, large
from tests.benchmarks.crowd import gather
from tests.benchmarks.ground import ground
from tests.benchmarks.servers import ROOT, Measured, measure_load, median_of, run_load, servers, wait_ready
from tests.generated_log import generate
from tests.integration.api import AUDIENCE, key_server
from tests.token_forge import ec_key, header, sign

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from uuid import UUID

    from tests.benchmarks.ground import Ground

CONNECTIONS: Final = 32
ROUNDS: Final = 3
WARM_SECONDS: Final = 1.0
SEEN_SECONDS: Final = 5.0
# Five entries in each of these sheets.
ENTRIES: Final = """
    INSERT INTO entry (id, timesheet_id, day, project, minutes, note)
    SELECT gen_random_uuid(), t.id, t.period_start + day, 'ATLAS', 480, 'as planned'
    FROM timesheet AS t, generate_series(0, 4) AS day WHERE t.id = ANY($1)
"""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much there is of each thing. `rows`: rows of the policy; 0 for those that are shipped."""

    rows: int = 0
    people: int = 100
    sheets: int = 1_000
    records: int = 0
    tokens: int = 100


async def main(people: int = 10_000, sheets: int = 100_000, records: int = 300_000, tokens: int = 10_000) -> None:
    grown = {
        "rows of the policy": {count: Sizes(rows=count) for count in (shipped_rows(), 1_000, 10_000)},
        "people": {count: Sizes(people=count, sheets=count) for count in steps(10, people)},
        "timesheets": {count: Sizes(sheets=count) for count in steps(1_000, sheets)},
        "records in the log": {count: Sizes(records=count) for count in steps(3_000, records)},
        "tokens": {count: Sizes(people=1_000, tokens=count) for count in steps(10, tokens)},
    }
    print(f"\n{'CPU us of a read':<25}{'':>12}{'server':>8}{'Postgres':>10}{'p50 ms':>8}")
    kept = {}
    with contextlib.contextmanager(key_server)() as issuer:
        for dimension, points in grown.items():
            found: dict[str, object] = {}
            async with ground() as stores:
                for size, sizes in points.items():
                    measured = await measure_size(stores, issuer, f"bench_{size}", sizes)
                    print(f"{dimension:<25}{size:>12,}{measured.server:>8.0f}{measured.postgres:>10.0f}"
                          f"{measured.p50:>8.1f}", flush=True)  # fmt: skip
                    found[str(size)] = asdict(measured)
            kept[dimension] = found
        figures.keep("growth", kept)
        if large.DONE.exists():
            async with ground() as stores:
                size, measured = await measure_large(stores, issuer, tokens)
            print(
                f"{'all of these':<25}{size:>12,}{measured.server:>8.0f}{measured.postgres:>10.0f}{measured.p50:>8.1f}"
            )
            figures.keep("large", {str(size): asdict(measured)})


def steps(first: int, last: int) -> Iterator[int]:
    """A hundred times more each, up to the last."""
    while first < last:
        yield first
        first *= 100
    yield last


async def measure_size(stores: Ground, issuer: str, name: str, sizes: Sizes) -> Measured:
    """The cost of a read in a new database of these sizes."""
    owner, app, keeper, auditor = prepare(stores.folder, stores.superuser_url, name)
    stores = replace(stores, owner_url=owner, app_url=app, keeper_url=keeper, auditor_url=auditor)
    await migrate_database(owner)
    policies = write_policies(stores.folder / name, sizes.rows)
    await bootstrap_policy(owner, policies)
    connection = await asyncpg.connect(owner)
    await gather(connection, sizes.people, sizes.sheets // sizes.people)
    if sizes.records:
        await generate(connection, sizes.records)
    sheets = await link_owners(connection, issuer, sizes)
    await connection.execute(ENTRIES, sheets)
    await connection.close()
    return await measure_reads(stores, issuer, name, sheets, sizes.tokens)


async def measure_large(stores: Ground, issuer: str, tokens: int) -> tuple[int, Measured]:
    """How many records the large installation has, and the cost of a read in it."""
    made = json.loads(large.DONE.read_text(encoding="utf-8"))
    with start_postgres(large.FOLDER, preferred_port=0) as postgres:
        owner, app, keeper, auditor = prepare(large.FOLDER, postgres.superuser_url)
        stores = replace(stores, owner_url=owner, app_url=app, keeper_url=keeper, auditor_url=auditor,
                         postgres_pid=postgres.pid)  # fmt: skip
        await migrate_database(owner)
        connection = await asyncpg.connect(owner)
        sizes = Sizes(people=made["people"], sheets=made["people"] * made["weeks"], tokens=tokens)
        sheets = await link_owners(connection, issuer, sizes)
        await connection.close()
        return made["records"], await measure_reads(stores, issuer, "large", sheets, tokens)


async def measure_reads(stores: Ground, issuer: str, name: str, sheets: list[UUID], tokens: int) -> Measured:
    """The cost of a read of these sheets, on a server of its own."""
    requests = write_requests(stores.folder / f"{name}.requests", issuer, sheets, tokens)
    with servers(stores, issuer, 1, ["ours"]) as started:
        server = started["ours"]
        await wait_ready(server.port)
        told = await run_load(server.port, CONNECTIONS, WARM_SECONDS, f"@{requests}", "")
        seen = told["statuses"]["200"]
        while seen < 1.2 * tokens:
            # Until each token was seen. The first seconds are slow, so they do not say how long it takes.
            told = await run_load(server.port, CONNECTIONS, SEEN_SECONDS, f"@{requests}", "")
            seen += told["statuses"]["200"]
        measured = [await measure_load(stores, server, CONNECTIONS, f"@{requests}", "") for _ in range(ROUNDS)]
    return median_of(measured)


def shipped_rows() -> int:
    """How many rows the shipped policy has."""
    lines = (ROOT / "policies" / "policy.csv").read_text(encoding="utf-8").splitlines()
    return sum(line.startswith(("p,", "g,")) for line in lines)


def write_policies(folder: Path, rows: int) -> Path:
    """The shipped policy, filled with rows about reading a sheet, each on a role that no caller has."""
    shutil.copytree(ROOT / "policies", folder)
    more = (
        f"p, allow, role:bench-{number}, read, any, timesheet, read:timesheets, always, bench-{number}\n"
        for number in range(rows - shipped_rows())
    )
    with (folder / "policy.csv").open("a", encoding="utf-8") as file:
        file.writelines(more)
    return folder


async def link_owners(connection: asyncpg.Connection[asyncpg.Record], issuer: str, sizes: Sizes) -> list[UUID]:
    """Give owners from the whole crowd subjects of their own, by their place; a sheet of each."""
    owners = min(sizes.tokens, sizes.people)
    # The tokens' subjects are `owner N`.
    await connection.execute(
        "INSERT INTO person_link (issuer, subject, person_id)"
        " SELECT $1, 'owner ' || n, md5('person' || n * $3::int)::uuid FROM generate_series(0, $2::int - 1) AS n",
        issuer,
        owners,
        sizes.people // owners,
    )
    # For each owner another of the weeks.
    rows = await connection.fetch(
        "SELECT (SELECT s.id FROM timesheet AS s WHERE s.owner_id = md5('person' || n * $2::int)::uuid"
        " ORDER BY s.period_start OFFSET n % $3::int LIMIT 1) FROM generate_series(0, $1::int - 1) AS n ORDER BY n",
        owners,
        sizes.people // owners,
        sizes.sheets // sizes.people,
    )
    return [row[0] for row in rows]


def write_requests(file: Path, issuer: str, sheets: list[UUID], tokens: int) -> Path:
    """A file for the load generator: a line for each token."""
    now = int(time.time())
    claims = {"iss": issuer, "aud": AUDIENCE, "client_id": "hours-app", "iat": now - 1, "exp": now + 3600,
              "scope": "read:timesheets"}  # fmt: skip
    head = header(alg="ES256", kid="ec-1")
    lines = []
    for number in range(tokens):
        owner = number % len(sheets)
        token = sign(head, {**claims, "sub": f"owner {owner}", "jti": f"token-{number}"}, ec_key()).decode()
        lines.append(f"/v1/timesheets/{sheets[owner]} {token}\n")
    file.write_text("".join(lines), encoding="utf-8")
    return file


if __name__ == "__main__":
    asyncio.run(main())
