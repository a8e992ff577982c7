"""Searching the log: what each filter finds, paging, and counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from service.audit.published_log import inclusion_proof
from service.audit.search import load_decision, load_record, search_records
from service.audit.summary import summarize_decisions
from service.log.anchor import Anchor
from service.log.log import Log
from service.log.record import Kind, Record
from service.log.record_query import DECISIONS, RecordFilters
from service.log.sealing import Sealer
from service.log.signing import CheckpointSigner
from tests.integration.log_database import SHEET, LogDatabase, change, copy_database, decision, open_new_log
from tests.integration.log_trees import SIGNER, as_superuser, seal_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from uuid import UUID

    import asyncpg

    from service.database import Database
    from service.development.local_servers import LocalPostgres

pytest_plugins = ["tests.integration.log_fixtures"]

ANA, BEN = uuid4(), uuid4()
MARCH = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


def full(**members: object) -> Record:
    return decision(
        decided_at=members.pop("decided_at", MARCH),
        outcome="deny",
        reason="no-rule",
        rules=["never-for-owner", "never-own-hours"],
        applied=False,
        action="approve",
        resource={"kind": "timesheet", "id": str(SHEET), "owner": ANA, "state": "submitted", "version": 7},
        principal={"kind": "user", "person": ANA, "client": "approvals", "scopes": {"approve:timesheets"}},
        policy={"version": 3, "digest": "ab" * 32},
        request={"id": "request-1", "method": "POST", "route": "/v1/timesheets/{id}/approve"},
        **members,
    )


@pytest.fixture(scope="module")
async def three(
    postgres: LocalPostgres, superuser: asyncpg.Connection[asyncpg.Record], log_template: str
) -> AsyncIterator[tuple[Database, UUID]]:
    """A log of three decisions, and the one that is looked for."""
    async with copy_database(postgres, superuser, log_template) as found:
        await open_new_log(found)
        app = await found.open("app")
        wanted = full()
        other = decision(principal={"person": BEN, "client": "web"}, reason="rule", request={"id": "request-2"})
        await Log(app).append([other, wanted, decision()])
        yield app, wanted.uid


@pytest.mark.parametrize(
    "filters",
    [
        RecordFilters(persons=(ANA,)),
        RecordFilters(persons=(ANA, uuid4())),
        RecordFilters(client="approvals"),
        RecordFilters(owners=(ANA,)),
        RecordFilters(owners=(uuid4(), ANA)),
        RecordFilters(history=str(SHEET)),
        RecordFilters(applied=False),
        RecordFilters(action="approve"),
        RecordFilters(resource_kind="timesheet"),
        RecordFilters(resource=str(SHEET)),
        RecordFilters(resource=str(SHEET).upper()),
        RecordFilters(outcome="deny"),
        RecordFilters(reason="no-rule"),
        RecordFilters(rule="never-own-hours"),
        RecordFilters(rule="never-for-owner"),
        RecordFilters(rule="never-own-hours", action="approve", outcome="deny"),
        RecordFilters(rule="never-own-hours", resource=str(SHEET), owners=(ANA,)),
        RecordFilters(policy_version=3),
        RecordFilters(request_id="request-1"),
        RecordFilters(until=MARCH + timedelta(seconds=1)),
        RecordFilters(
            persons=(ANA,), outcome="deny", since=MARCH, until=MARCH + timedelta(seconds=1), resource=str(SHEET)
        ),
    ],
)
async def test_each_filter_finds_only_its_decision(three: tuple[Database, UUID], filters: RecordFilters) -> None:
    app, wanted = three
    async with app.connection() as connection:
        assert [record.uid for record in await search_records(connection, filters, kinds=DECISIONS)] == [wanted]


async def test_a_list_is_found_by_what_it_returned(log_database: LogDatabase) -> None:
    app = await log_database.open("app")
    listing = decision(resource={"kind": "timesheet"}, returned=[uuid4(), SHEET])
    direct, changed = full(), change()
    await Log(app).append([listing, direct, changed, decision(returned=[uuid4()])])
    about = RecordFilters(resource=str(SHEET))
    async with app.connection() as connection:
        assert [record.uid for record in await search_records(connection, about)] == [
            changed.uid,
            listing.uid,
            direct.uid,
        ]
        assert [record.uid for record in await search_records(connection, about, kinds=DECISIONS)] == [
            listing.uid,
            direct.uid,
        ]
        assert await search_records(connection, RecordFilters(resource="not-a-uuid"), kinds=DECISIONS) == []


@pytest.mark.parametrize("oldest_first", [False, True])
async def test_pages_walk_all_records_once_while_new_ones_arrive(
    log_database: LogDatabase, *, oldest_first: bool
) -> None:
    app = await log_database.open("app")
    log = Log(app)
    auditor = await log_database.connect("auditor")
    # Some have the same time; then the id decides.
    made = [decision(decided_at=MARCH + timedelta(seconds=n // 3)) for n in range(23)]
    await log.append(made)
    seen: list[UUID] = []
    after = None
    until = RecordFilters(until=MARCH + timedelta(hours=1))
    while found := await search_records(
        auditor, until, kinds=DECISIONS, after=after, limit=5, oldest_first=oldest_first
    ):
        seen += [record.uid for record in found]
        after = found[-1].place
        await log.append([decision()])
    assert seen == [record.uid for record in (made if oldest_first else reversed(made))]


@pytest.mark.parametrize(
    "filters", [RecordFilters(client="web"), RecordFilters(rule="read-own"), RecordFilters(policy_version=3)]
)
@pytest.mark.parametrize("oldest_first", [False, True])
async def test_records_of_one_moment_are_paged_in_the_order_of_their_ids(
    log_database: LogDatabase, filters: RecordFilters, *, oldest_first: bool
) -> None:
    """The indexes of these filters hold the moment, not the id."""
    made = [
        decision(
            decided_at=MARCH + timedelta(seconds=number // 20),
            principal={"client": "web"},
            rules=["read-own"],
            policy={"version": 3},
        )
        for number in range(60)
    ]
    await Log(await log_database.open("app")).append(made)
    auditor = await log_database.connect("auditor")
    found: list[UUID] = []
    after = None
    while page := await search_records(auditor, filters, after=after, limit=7, oldest_first=oldest_first):
        found += [record.uid for record in page]
        after = page[-1].place
    uids = [record.uid for record in made]
    assert found == (uids if oldest_first else uids[::-1])


async def test_an_empty_set_of_persons_finds_nothing(log_database: LogDatabase) -> None:
    app = await log_database.open("app")
    await Log(app).append([full(), decision()])
    async with app.connection() as connection:
        assert await search_records(connection, RecordFilters(persons=()), kinds=DECISIONS) == []


async def test_changes_after_an_approval_are_found(log_database: LogDatabase) -> None:
    app = await log_database.open("app")
    other = uuid4()
    made = [
        change(version=1),
        change(version=2, event="timesheet.approved", action="approve"),
        change(other, version=1),
        change(version=3, event="timesheet.reopened", action="reopen"),
        change(version=4),
    ]
    await Log(app).append(made)
    async with app.connection() as connection:
        found = await search_records(connection, RecordFilters(after_approval=True))
    assert [record.uid for record in found] == [made[4].uid, made[3].uid]


async def test_counts_by_facet_agree_with_the_pages(log_database: LogDatabase) -> None:
    app = await log_database.open("app")
    week = [MARCH + timedelta(days=n) for n in range(4)]
    for day in week:
        await Log(app).append([full(decided_at=day), decision(decided_at=day, reason="allowed"), change()])
    async with app.connection() as connection:
        counted = await summarize_decisions(connection, RecordFilters(since=week[0], until=week[3]))
        found = await search_records(connection, RecordFilters(since=week[0], until=week[3]), kinds=DECISIONS)
        denied = await summarize_decisions(connection, RecordFilters(rule="never-own-hours", persons=(ANA,)))
        newest = await summarize_decisions(connection, RecordFilters(since=week[0], until=week[3]), most=3)
    assert counted.total == len(found) == 6
    assert counted.facets == {
        "day": {"2026-03-02": 2, "2026-03-03": 2, "2026-03-04": 2},
        "denied": {"2026-03-02": 1, "2026-03-03": 1, "2026-03-04": 1},
        "action": {"approve": 3, "read": 3},
        "outcome": {"allow": 3, "deny": 3},
        "applied": {"false": 3},
        "reason": {"allowed": 3, "no-rule": 3},
    }
    assert (denied.total, denied.facets["outcome"]) == (4, {"deny": 4})
    assert counted.since is None
    # Beyond a bound, the newest are counted, and the summary says from when on.
    assert (newest.total, newest.since) == (3, week[1])
    assert newest.facets["day"] == {"2026-03-03": 1, "2026-03-04": 2}


async def test_a_decision_has_its_body_texts_leaf_and_position(log_database: LogDatabase) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    record = Record.make(Kind.DECISION, {"decided_at": MARCH, "reason": "rule"}, {"reason": "hours are missing"})
    other = change()
    await Log(app).append([record, other])
    auditor = await log_database.connect("auditor")
    unsealed = await load_decision(auditor, record.uid)
    assert unsealed is not None
    assert unsealed.position is None
    await Sealer(keeper).seal()
    found = await load_decision(auditor, record.uid)
    assert found is not None
    assert (found.position, found.leaf, found.kind) == (1, record.leaf.hex(), "decision")
    assert found.json == record.body
    assert found.texts == {"reason": "hours are missing"}
    assert await load_decision(auditor, other.uid) is None
    assert await load_record(auditor, other.uid) is not None
    assert await load_decision(auditor, uuid4()) is None


async def test_a_forged_record_with_the_uid_of_another_is_never_returned(
    log_database: LogDatabase, tmp_path: Path
) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    genuine = decision(reason="no-rule")
    forged = Record.make(Kind.DECISION, {"decided_at": MARCH, "outcome": "allow"}, uid=genuine.uid)
    await Log(app).append([genuine])
    await seal_all(keeper)
    # With an id before the first record, which no writer of the service can draw.
    await as_superuser(
        log_database,
        "INSERT INTO audit_record (id, uid, kind, body, decided_at) OVERRIDING SYSTEM VALUE"
        f" VALUES (0, '{forged.uid}', 'decision', '\\x{forged.body.hex()}', '{MARCH.isoformat()}')",
    )
    for sealed in (False, True):
        if sealed:
            await seal_all(keeper)
        await CheckpointSigner(keeper, [SIGNER], Anchor(tmp_path / "anchor")).sign()
        async with app.connection() as connection:
            found = await load_record(connection, genuine.uid)
            proof = await inclusion_proof(connection, genuine.uid)
        assert found is not None
        assert (found.leaf, found.position) == (genuine.leaf.hex(), 1)
        assert proof.splitlines()[1] == "index 1"
    async with keeper.connection() as connection:
        assert await connection.fetchval("SELECT size FROM log_head") == 3


async def test_reads_of_the_log_are_decisions_too(log_database: LogDatabase) -> None:
    app = await log_database.open("app")
    access = Record.make(Kind.ACCESS, {"decided_at": MARCH, "outcome": "allow"})
    await Log(app).append([access])
    auditor = await log_database.connect("auditor")
    assert [record.uid for record in await search_records(auditor, RecordFilters(), kinds=DECISIONS)] == [access.uid]
