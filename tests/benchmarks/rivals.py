"""What the service is measured against, as Litestar applications on Granian: `python -m tests.benchmarks.rivals NAME`.

`bare` answers a fixed sheet. `stock` reads a sheet by its key, unprotected, on a pool as asyncpg makes it; `kept` does
so on a pool that does not reset its connections. `kept` also lists 50 sheets of an owner or of everybody, and 50
records of the log. `naive` verifies the token with PyJWT, asks a stock casbin Enforcer with the shipped rows, and
inserts a record in a commit of its own; it reads no sheet. `NAME on asyncio` runs without uvloop. Environment:
BENCH_PORT, BENCH_WORKERS, BENCH_DATABASE, BENCH_KEY (PEM).
"""

from __future__ import annotations

import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import jwt
from granian import Granian
from granian.constants import Interfaces, Loops
from granian.log import LogLevels
from litestar import Litestar, Request, get

from service.administration.checks import examination
from service.authorization.engine.engine import CasbinResource
from service.log.insert import insert_records
from service.timesheets.sheet_columns import ROW
from service.timesheets.store import sheet_of
from service.web.timesheets.timesheet_shapes import SheetBody, sheet_body
from tests.benchmarks.engine_peers import stock as stock_enforcer
from tests.integration.api import AUDIENCE
from tests.integration.log_database import decision
from tests.policy_forge import read_shipped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATH = "/v1/timesheets/{sheet:str}"
pool: asyncpg.Pool[asyncpg.Record]


@asynccontextmanager
async def stock_pool(_: object) -> AsyncIterator[None]:
    global pool  # noqa: PLW0603 - one pool a process, as small services have it
    pool = await asyncpg.create_pool(os.environ["BENCH_DATABASE"], min_size=1, max_size=8)
    yield
    # Not `close`, which waits for ever for a connection that a caller who left did not give back.
    pool.terminate()


@asynccontextmanager
async def kept_pool(_: object) -> AsyncIterator[None]:
    global pool  # noqa: PLW0603 - as above

    async def keep(_: object) -> None:
        """Nothing is reset."""

    pool = await asyncpg.create_pool(os.environ["BENCH_DATABASE"], min_size=1, max_size=8, reset=keep)
    yield
    pool.terminate()


async def sheet_by_key(sheet: str) -> SheetBody:
    # One sheet with its entries, by its key.
    row = await pool.fetchrow(f"SELECT {ROW} FROM timesheet AS r WHERE r.id = $1", UUID(sheet))
    assert row is not None
    return sheet_body(sheet_of(row))


def bare() -> Litestar:
    held: list[SheetBody] = []

    @get(PATH)
    async def answer(sheet: str) -> SheetBody:
        if not held:
            held.append(await sheet_by_key(sheet))
        return held[0]

    return Litestar([answer], lifespan=[stock_pool], openapi_config=None, logging_config=None)


def stock() -> Litestar:
    @get(PATH)
    async def answer(sheet: str) -> SheetBody:
        return await sheet_by_key(sheet)

    return Litestar([answer], lifespan=[stock_pool], openapi_config=None, logging_config=None)


def kept() -> Litestar:
    @get(PATH)
    async def answer(sheet: str) -> SheetBody:
        return await sheet_by_key(sheet)

    @get("/list/{owner:str}")
    async def list_own(owner: str) -> list[SheetBody]:
        # The newest 50 sheets of an owner, by their index.
        rows = await pool.fetch(
            f"SELECT {ROW} FROM (SELECT r.* FROM timesheet AS r WHERE r.owner_id = $1 ORDER BY r.period_start DESC,"
            " r.id DESC LIMIT 50) AS r ORDER BY r.period_start DESC, r.id DESC",
            UUID(owner),
        )
        return [sheet_body(sheet_of(row)) for row in rows]

    @get("/list")
    async def list_all() -> list[SheetBody]:
        # The newest 50 sheets of everybody, by their index.
        rows = await pool.fetch(
            f"SELECT {ROW} FROM (SELECT r.* FROM timesheet AS r ORDER BY r.period_start DESC, r.id DESC LIMIT 50) AS r"
            " ORDER BY r.period_start DESC, r.id DESC"
        )
        return [sheet_body(sheet_of(row)) for row in rows]

    @get("/log")
    async def list_log() -> list[dict[str, Any]]:
        # The newest 50 decisions, by their index.
        rows = await pool.fetch(
            "SELECT uid, kind, decided_at, person_id, client_id, action, resource_kind, resource_id, owner_id, outcome,"
            " applied, reason, rules, policy_version, request_id FROM audit_record ORDER BY decided_at DESC, id DESC"
            " LIMIT 50"
        )
        return [dict(row) for row in rows]

    routes = [answer, list_own, list_all, list_log]
    return Litestar(routes, lifespan=[kept_pool], openapi_config=None, logging_config=None)


def naive() -> Litestar:
    enforcer = stock_enforcer(examination.build(read_shipped(), 1).policy.rules)
    key = os.environ["BENCH_KEY"]

    @get(PATH)
    async def answer(sheet: str, request: Request[Any, Any, Any]) -> dict[str, bool]:
        token = request.headers["Authorization"].removeprefix("Bearer ")
        claims = jwt.decode(token, key, algorithms=["RS256"], audience=AUDIENCE)
        who = frozenset({"anyone", "owner", f"via:{claims['client_id']}"})
        scopes = frozenset(claims["scope"].split())
        allowed = enforcer.enforce(who, "read", CasbinResource("timesheet", "draft"), scopes, {})
        async with pool.acquire() as connection:
            await insert_records(connection, [decision(resource={"kind": "timesheet", "id": sheet}, returned=[sheet])])
        return {"allowed": allowed}

    return Litestar([answer], lifespan=[stock_pool], openapi_config=None, logging_config=None)


if __name__ == "__main__":
    name, _, other_loop = sys.argv[1].partition(" on ")
    Granian(
        f"tests.benchmarks.rivals:{name}",
        factory=True,
        interface=Interfaces.ASGI,
        # Like the service, on uvloop.
        loop=Loops.asyncio if other_loop else Loops.uvloop,
        port=int(os.environ["BENCH_PORT"]),
        workers=int(os.environ["BENCH_WORKERS"]),
        log_level=LogLevels.warning,
        websockets=False,
        backlog=1024,
    ).serve()
