"""Times replays of recorded decisions: `python -m tests.benchmarks.replay [RECORDS]`. Figures only, no verdicts.

`read`, `decide again` and `tally` are one process without a database, under the shipped policy; `evaluate` is a tally
under a draft that asks for 20 facts with other expressions than the version that decided. `whole` is a job over a real
log, from claim to done, with its processes' start. The records are of random askers, all different.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast
from uuid import UUID

from uuid_utils.compat import uuid7

from service.administration.checks import examination
from service.administration.replay.batches import Versions, tally
from service.administration.replay.recorded_request import parse_request
from service.administration.replay.reevaluation import reevaluate
from service.administration.replay.worker import ReplayWorker
from service.administration.versions.bootstrap import bootstrap
from service.authorization.enforcement.changes import Caller
from service.authorization.enforcement.decision_point import Resource, decide
from service.authorization.enforcement.decision_record import of_decision
from service.authorization.enforcement.fact_lookup import About, FactLookup
from service.database import Database
from service.development.local_servers import start_postgres
from service.development.stores import prepare
from service.identity.principal import Principal, PrincipalKind
from service.log.epochs import open_log
from service.log.log import Log
from service.migrations.run import migrate
from service.timesheets.relations import TIMESHEET_FACTS
from service.values import replace
from tests import policy_forge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import asyncpg

    from service.authorization.engine.engine import Snapshot
    from service.log.record import Record
    from service.policy.policy_file import PolicyText

SCOPES = ["read:timesheets", "create:timesheets", "approve:timesheets", "delete:timesheets", "openid", "profile"]
ACTIONS = ["read", "read", "read", "edit", "submit", "approve", "reject", "delete"]
STATES = ["draft", "submitted", "approved", "rejected"]
DISTINCT = 10_000
FACTS = 20


def main() -> None:
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    version = examination.build(policy_forge.read_shipped(), 1)
    made = records(version, random.Random(1))  # noqa: S311 — no secret comes of it
    bodies = [record.body for record in made]
    print(
        f"{len(bodies):,} different records of {sum(map(len, bodies)) // len(bodies)} bytes in the mean; one process:"
    )
    requests = [parse_request(body) for body in bodies]
    rate("read", bodies, lambda: [parse_request(body) for body in bodies])
    rate("decide again", bodies, lambda: [reevaluate(version, request, version) for request in requests])
    with tempfile.TemporaryDirectory() as folder:
        versions = Versions(Path(folder))
        versions.put(1, policy_forge.read_shipped())
        versions.get(1)
        rate("tally", bodies, lambda: tally(versions, 1, bodies))
        versions.put(2, with_facts(FACTS))
        versions.get(2)
        rate("evaluate", bodies, lambda: tally(versions, 2, bodies))
    asyncio.run(whole(made, wanted))


def with_facts(count: int) -> PolicyText:
    """The shipped policy with a deny on each of as many facts, for every action."""
    shipped = policy_forge.read_shipped()
    facts = [
        f'[kinds.timesheet.facts.fact_{number}]\nis = "resource.minutes > {6000 + number} && resource.days < 9"\n'
        'yes = "a"\nno = "b"\n'
        for number in range(count)
    ]
    rows = [
        f"p, deny, anyone, {action}, any, timesheet, any, fact_{number}, {action}-{number}\n"
        for number in range(count)
        for action in dict.fromkeys(ACTIONS)
    ]
    text = replace(shipped, rules=shipped.rules + "".join(rows), cases={})
    return replace(text, vocabulary=shipped.vocabulary + "\n" + "".join(facts))


def rate(name: str, bodies: Sequence[bytes], work: Callable[[], object]) -> None:
    best = float("inf")
    for _ in range(3):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    print(f"  {name:>14}: {best / len(bodies) * 1e6:.1f} us of CPU each, {len(bodies) / best:,.0f} a second")


def records(version: Snapshot, draw: random.Random) -> list[Record]:
    """Decisions of random people about random sheets."""
    return [_record(version, draw) for _ in range(DISTINCT)]


def _record(version: Snapshot, draw: random.Random) -> Record:
    person, sheet, owner = (UUID(int=draw.getrandbits(128), version=4) for _ in range(3))
    scopes, action = frozenset(draw.sample(SCOPES, 4)), draw.choice(ACTIONS)
    principal = Principal(
        PrincipalKind.USER,
        "",
        "",
        draw.choice(["web", "phone"]),
        scopes,
        frozenset({"role:employee", "role:lead"}),
        str(uuid7()),
        0,
        1,
        authenticated_at=draw.randrange(1_000_000),
        methods=frozenset({"pwd", "mfa"}),
        person=person,
    )
    may_look = version.could_allow("timesheet", action, scopes)
    lookup = FactLookup(1, 1, datetime.now(UTC), frozenset({"planner"}))
    state = draw.choice(STATES)
    if may_look:
        row = {"id": sheet, "owner_id": owner, "state": state, "version": 3}
        held = frozenset(name for name in TIMESHEET_FACTS.relations if draw.random() < 0.4)
        evaluated = frozenset(TIMESHEET_FACTS.relations)
        lookup = replace(
            lookup,
            row=cast("asyncpg.Record", row),
            relations=held,
            facts={"acted_for_owner": False},
            evaluated=evaluated,
            attributes={
                "resource.minutes": draw.randrange(3000),
                "resource.entry_count": 5,
                "resource.days": 5,
                "resource.projects": ("ATLAS", "BOREALIS"),
                "resource.owner.teams": (str(UUID(int=1)),),
            },
        )
    lookup = lookup.complete(TIMESHEET_FACTS, About.ROW, looked=may_look)
    resource = Resource("timesheet", str(sheet), *((owner, state, 3) if may_look else ()))
    caller = Caller(principal, str(uuid7()), "GET", "/v1/timesheets/{timesheet_id}")
    return of_decision(
        caller, decide(version, principal, action, resource, lookup), applied=None, returned=[str(sheet)]
    )


async def whole(made: Sequence[Record], wanted: int) -> None:
    """A job over a real log, with one process and with two."""
    with (
        tempfile.TemporaryDirectory() as folder,
        start_postgres(Path(folder), preferred_port=0, durable=False) as server,
    ):
        owner_url, _, keeper_url, _ = prepare(Path(folder), server.superuser_url)
        await migrate(owner_url)
        owner = Database(owner_url, size=2, timeout=600)
        keeper = Database(keeper_url, size=2)
        await owner.open()
        await keeper.open()
        async with owner.connection() as connection:
            await open_log(connection)
        async with owner.transaction() as connection:
            await bootstrap(connection, Log(owner), policy_forge.read_shipped(), examination.load, datetime.now(UTC))
        await fill(owner, made, wanted)
        print(f"a job over {wanted:,} records in Postgres:")
        for processes in (1, 2):
            async with owner.transaction() as connection:
                await connection.execute(
                    "INSERT INTO policy_replay (id, version, by_client) VALUES ($1, 1, 'benchmark')", uuid7()
                )
            started = time.perf_counter()
            assert await ReplayWorker(keeper, processes=processes).once(asyncio.Event())
            took = time.perf_counter() - started
            async with keeper.connection() as connection:
                found = await connection.fetchval("SELECT totals FROM policy_replay ORDER BY asked_at DESC LIMIT 1")
            print(f"  {processes} process(es): {wanted / took:>10,.0f} a second, {took:.1f} s; {found[:60]}")
        await keeper.close()
        await owner.close()


async def fill(owner: Database, made: Sequence[Record], wanted: int) -> None:
    """The records over and over."""
    await Log(owner).append(made)
    columns = "decided_at, action, resource_kind, policy_version, returned, body"
    async with owner.connection() as connection:
        await connection.execute(
            f"INSERT INTO audit_record (uid, kind, {columns}) SELECT uid, kind, {columns} FROM audit_record,"
            " generate_series(1, $1::integer) WHERE kind = 'decision'",
            max(1, wanted // len(made) - 1),
        )
        await connection.execute("ANALYZE audit_record")


if __name__ == "__main__":
    main()
