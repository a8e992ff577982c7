"""Searching the log: what each filter finds, paging, and that no frequent question reads the whole table."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from service.audit.log import Log
from service.audit.record import Kind, Record
from service.audit.sealing import Sealer
from service.audit.search import Filters, _page, decisions, records
from service.audit.search import decision as one_decision
from service.audit.search import record as one_record
from tests.integration.log_database import SHEET, LogDatabase, change, decision

if TYPE_CHECKING:
    import asyncpg

pytest_plugins = ["tests.integration.log_fixtures"]

ANA, BEN = uuid4(), uuid4()
MARCH = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)

# Fifty thousand decisions by five hundred people about five thousand sheets, every tenth one a list.
MANY = """
    INSERT INTO audit_record (uid, kind, decided_at, person_id, client_id, action, resource_kind, resource_id,
                              outcome, reason, request_id, returned, body)
    SELECT gen_random_uuid(), 'decision', now(), md5('person' || n % 500)::uuid, 'web', 'read', 'timesheet',
           CASE WHEN n % 10 <> 0 THEN (md5('sheet' || n % 5000)::uuid)::text END, 'allow', 'rule', 'request-' || n,
           CASE WHEN n % 10 = 0 THEN ARRAY[md5('sheet' || n % 4999)::uuid, md5('sheet' || n % 4998)::uuid]
                ELSE '{}' END,
           convert_to('{"n":' || n || '}', 'UTF8')
    FROM generate_series(1, 50000) n
"""


def full(**members: object) -> Record:
    return decision(
        decided_at=members.pop("decided_at", MARCH),
        outcome="deny",
        reason="no-rule",
        rules=["never-own-hours"],
        action="approve",
        resource={"kind": "timesheet", "id": str(SHEET), "owner": ANA, "state": "submitted", "version": 7},
        principal={"kind": "user", "person": ANA, "client": "approvals", "scopes": {"approve:timesheets"}},
        policy={"version": 3, "digest": "ab" * 32},
        request={"id": "request-1", "method": "POST", "route": "/v1/timesheets/{id}/approve"},
        **members,
    )


@pytest.mark.parametrize(
    "filters",
    [
        Filters(person=ANA),
        Filters(client="approvals"),
        Filters(action="approve"),
        Filters(resource_kind="timesheet"),
        Filters(resource=str(SHEET)),
        Filters(outcome="deny"),
        Filters(reason="no-rule"),
        Filters(rule="never-own-hours"),
        Filters(policy_version=3),
        Filters(request_id="request-1"),
        Filters(until=MARCH + timedelta(seconds=1)),
        Filters(person=ANA, outcome="deny", since=MARCH, until=MARCH + timedelta(seconds=1), resource=str(SHEET)),
    ],
)
async def test_each_filter_finds_its_decision_and_not_the_others(log_database: LogDatabase, filters: Filters) -> None:
    app = await log_database.open("app")
    wanted = full()
    other = decision(principal={"person": BEN, "client": "web"}, reason="rule", request={"id": "request-2"})
    await Log(app).append([other, wanted, decision()])
    async with app.connection() as connection:
        assert [one.uid for one in await decisions(connection, filters)] == [wanted.uid]


async def test_a_list_is_found_by_what_it_returned(log_database: LogDatabase) -> None:
    app = await log_database.open("app")
    listing = decision(resource={"kind": "timesheet"}, returned=[uuid4(), SHEET])
    direct, changed = full(), change()
    await Log(app).append([listing, direct, changed, decision(returned=[uuid4()])])
    about = Filters(resource=str(SHEET))
    async with app.connection() as connection:
        assert [one.uid for one in await records(connection, about)] == [changed.uid, direct.uid, listing.uid]
        assert [one.uid for one in await decisions(connection, about)] == [direct.uid, listing.uid]
        assert await decisions(connection, Filters(resource="not-a-uuid")) == []


async def test_pages_walk_all_decisions_once_newest_first_while_new_ones_arrive(log_database: LogDatabase) -> None:
    app = await log_database.open("app")
    log = Log(app)
    auditor = await log_database.connect("auditor")
    made = [decision() for _ in range(23)]
    await log.append(made)
    seen: list[UUID] = []
    before = None
    while page := await decisions(auditor, Filters(), before=before, limit=5):
        seen += [one.uid for one in page]
        before = page[-1].id
        await log.append([decision()])
    assert seen == [one.uid for one in reversed(made)]


async def test_one_decision_shows_its_body_texts_leaf_and_place(log_database: LogDatabase) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    record = Record.make(Kind.DECISION, {"decided_at": MARCH, "reason": "rule"}, {"reason": "hours are missing"})
    other = change()
    await Log(app).append([record, other])
    auditor = await log_database.connect("auditor")
    unsealed = await one_decision(auditor, record.uid)
    assert unsealed is not None
    assert unsealed.position is None
    await Sealer(keeper).seal()
    found = await one_decision(auditor, record.uid)
    assert found is not None
    assert (found.position, found.leaf, found.kind) == (1, record.leaf.hex(), "decision")
    assert found.body == json.loads(record.body)
    assert found.texts == {"reason": "hours are missing"}
    assert await one_decision(auditor, other.uid) is None
    assert await one_record(auditor, other.uid) is not None
    assert await one_decision(auditor, uuid4()) is None


async def test_reads_of_the_log_are_decisions_too(log_database: LogDatabase) -> None:
    app = await log_database.open("app")
    access = Record.make(Kind.ACCESS, {"decided_at": MARCH, "outcome": "allow"})
    await Log(app).append([access])
    auditor = await log_database.connect("auditor")
    assert [one.uid for one in await decisions(auditor, Filters())] == [access.uid]


async def test_questions_over_a_large_log_use_its_indexes(log_database: LogDatabase) -> None:
    owner = await log_database.connect("owner")
    await owner.execute(MANY)
    await owner.execute("VACUUM (ANALYZE) audit_record")
    resource = await owner.fetchval("SELECT md5('sheet7')::uuid::text")
    person = await owner.fetchval("SELECT md5('person7')::uuid")
    for filters, before, index in (
        (Filters(person=person), None, "person_id_id_idx"),
        (Filters(person=person, outcome="deny"), 40_000, "person_id_id_idx"),
        (Filters(resource=resource), None, "returned_idx"),
        (Filters(resource=resource, person=person), 40_000, "resource_id_id_idx"),
        (Filters(), None, "pkey"),
        (Filters(), 25_000, "pkey"),
    ):
        statement, values = _page(filters, [Kind.DECISION], before, 50)
        plan = await explained(owner, statement, values)
        assert index in plan, plan
        assert "Seq Scan on audit_record_0" not in plan, plan
    plan = await explained(owner, "SELECT * FROM audit_record r WHERE r.uid = $1 ORDER BY r.id LIMIT 1", [uuid4()])
    assert "uid_idx" in plan
    assert len(await decisions(owner, Filters(resource=resource), limit=100)) > 10


async def explained(connection: asyncpg.Connection[asyncpg.Record], statement: str, values: list[object]) -> str:
    return "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement}", *values))
