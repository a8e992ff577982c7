"""Partitions and retention: new partitions lose nothing; pruning deletes old bodies, keeps hashes and obeys holds."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from contextlib import closing
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg
import pytest

from service.audit import published_log
from service.audit.search import pruned_position, search_records
from service.commands import audit_retention
from service.commands.audit_retention import days_of
from service.commands.database import owner_database
from service.errors import DatabaseUnavailable, LogDamaged
from service.log import retention
from service.log.anchor import Anchor
from service.log.checkpoint import Signer
from service.log.feed import ChangeFeed
from service.log.log import Log
from service.log.partitions import add_partition, list_partitions
from service.log.record import Kind, Record, read_body
from service.log.record_query import DECISIONS, RecordFilters
from service.log.retention import prune
from service.log.sealing import Sealer
from service.log.signing import CheckpointSigner
from tests.command_line import run_command
from tests.conformance.rfc9162_verifier import inclusion_holds
from tests.integration.log_database import SHEET, LogDatabase, change, decision
from tests.integration.log_trees import as_superuser

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from service.database import Database

pytest_plugins = ["tests.integration.log_fixtures"]
NOVEMBER, DECEMBER = date(2026, 11, 1), date(2026, 12, 1)
SOON = timedelta(hours=1)


async def two_months(log_database: LogDatabase, app: Database) -> list[Record]:
    """Three sealed records in each of two months; the first has a text."""
    owner = await log_database.connect("owner")
    text = Record.make(Kind.DECISION, {"decided_at": datetime.now(UTC), "outcome": "allow"}, {"reason": "a text"})
    made = [text, decision(), change()]
    await Log(app).append(made)
    await add_partition(owner, NOVEMBER)
    later = [decision(), change(version=2), decision()]
    await Log(app).append(later)
    await Sealer(await log_database.open("keeper")).seal()
    return [*made, *later]


async def test_a_new_partition_takes_new_records_and_moves_none(log_database: LogDatabase) -> None:
    app = await log_database.open("app")
    made = await two_months(log_database, app)
    owner = await log_database.connect("owner")
    assert await add_partition(owner, NOVEMBER) is None
    assert [partition.name for partition in await list_partitions(owner)] == ["audit_record_0", "audit_record_y2026m11"]
    assert await add_partition(owner, DECEMBER) == "audit_record_y2026m12"
    assert await add_partition(owner, date(2027, 1, 1)) is None
    assert await owner.fetchval("SELECT count(*) FROM audit_record_y2026m11") == 3
    await Log(app).append([decision()])
    assert await owner.fetchval("SELECT count(*) FROM audit_record_y2026m12") == 1
    async with app.connection() as connection:
        found = await search_records(connection, RecordFilters(), limit=50)
    assert {record.uid for record in found} >= {record.uid for record in made}
    assert len(found) == len(made) + 2


async def test_the_newest_partition_has_no_end_even_after_an_older_release(
    log_database: LogDatabase,
) -> None:
    app, owner = await log_database.open("app"), await log_database.connect("owner")
    assert [(partition.lower, partition.upper) for partition in await list_partitions(owner)] == [(0, 2**63 - 1)]
    await owner.execute("ALTER TABLE audit_record DETACH PARTITION audit_record_0")
    await owner.execute("ALTER TABLE audit_record ATTACH PARTITION audit_record_0 FOR VALUES FROM (MINVALUE) TO ('4')")
    made = await two_months(log_database, app)
    assert await owner.fetchval("SELECT count(*) FROM audit_record_rest") == 0
    found = await list_partitions(owner)
    assert [partition.name for partition in found] == ["audit_record_0", "audit_record_from4", "audit_record_y2026m11"]
    assert [partition.upper for partition in found[:-1]] == [partition.lower for partition in found[1:]]
    assert found[-1].upper == 2**63 - 1
    async with app.connection() as connection:
        shown = await search_records(connection, RecordFilters(until=datetime.now(UTC) + SOON), limit=50)
    assert {record.uid for record in shown} >= {record.uid for record in made}
    for table in ("audit_record_from4", "audit_record_rest"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await owner.execute(f"TRUNCATE {table}")
    assert (await prune(owner, datetime.now(UTC) + SOON, "0d")).partitions == 2


async def test_records_in_a_closed_partition_cannot_be_changed(log_database: LogDatabase) -> None:
    await two_months(log_database, await log_database.open("app"))
    for role in ("app", "keeper", "owner"):
        connection = await log_database.connect(role)
        for table in ("audit_record", "audit_record_0", "audit_record_y2026m11"):
            for statement in (f"UPDATE {table} SET reason = 'x'", f"DELETE FROM {table}", f"TRUNCATE {table}"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)


async def test_pruning_deletes_bodies_and_keeps_hashes(log_database: LogDatabase) -> None:
    app = await log_database.open("app")
    made = await two_months(log_database, app)
    owner = await log_database.connect("owner")
    tiles = await owner.fetch("SELECT * FROM tile")
    dry = await prune(owner, datetime.now(UTC) + SOON, "1d", dry_run=True)
    assert (dry.records, dry.upto, dry.partitions) == (4, 4, 1)
    assert await owner.fetchval("SELECT count(*) FROM audit_pruned") == 0
    assert await prune(owner, datetime.now(UTC) + SOON, "1d") == dry
    kept = await owner.fetch("SELECT position, uid, leaf FROM audit_pruned ORDER BY position")
    assert [(row["position"], row["uid"], row["leaf"]) for row in kept][1:] == [
        (place + 1, record.uid, record.leaf) for place, record in enumerate(made[:3])
    ]
    assert await owner.fetch("SELECT * FROM tile") == tiles
    assert await owner.fetchval("SELECT count(*) FROM audit_text") == 0
    async with app.connection() as connection:
        assert await pruned_position(connection, made[0].uid) == 1
        assert await pruned_position(connection, made[3].uid) is None
        left = await search_records(connection, RecordFilters(), kinds=DECISIONS)
        whole = await search_records(connection, RecordFilters(resource=str(SHEET)))
    assert [record.uid for record in left] == [made[5].uid, made[3].uid]
    assert [record.uid for record in whole] == [made[4].uid]


async def test_a_pruned_record_can_still_be_proved(log_database: LogDatabase, tmp_path: Path) -> None:
    made = await two_months(log_database, await log_database.open("app"))
    keeper, owner = await log_database.open("keeper"), await log_database.connect("owner")
    signer = Signer("timesheets.example/audit/kept", b"4" * 32)
    signed = await CheckpointSigner(keeper, [signer], Anchor(tmp_path / "anchor")).sign()
    assert signed is not None
    await prune(owner, datetime.now(UTC) + SOON, "1d")
    _, index, *lines = (await published_log.inclusion_proof(owner, made[0].uid)).partition("\n\n")[0].split("\n")
    assert index == "index 1"
    path = [base64.b64decode(line) for line in lines]
    assert inclusion_holds(made[0].leaf, 1, signed.size, path, signed.root)


@pytest.mark.parametrize(
    "change_of",
    ["DELETE FROM audit_record WHERE uid = $1", "UPDATE audit_record SET body = body || ' ' WHERE uid = $1"],
)
async def test_an_altered_record_is_not_pruned(log_database: LogDatabase, change_of: str) -> None:
    made = await two_months(log_database, await log_database.open("app"))
    superuser = await asyncpg.connect(log_database.postgres.superuser_database_url(log_database.name))
    await superuser.execute("SET session_replication_role = replica")
    await superuser.execute(change_of, made[1].uid)
    await superuser.close()
    owner = await log_database.connect("owner")
    for dry_run in (True, False):
        with pytest.raises(LogDamaged, match="position 2"):
            await prune(owner, datetime.now(UTC) + SOON, "1d", dry_run=dry_run)
    assert await owner.fetchval("SELECT count(*) FROM audit_pruned") == 0


async def test_events_continue_after_a_pruned_record(log_database: LogDatabase) -> None:
    app = await log_database.open("app")
    made = await two_months(log_database, app)
    keeper, owner = await log_database.open("keeper"), await log_database.connect("owner")
    before = await ChangeFeed(keeper).read_change(3)
    assert before is not None
    await prune(owner, datetime.now(UTC) + SOON, "1d")
    after = await ChangeFeed(keeper).read_change(3)
    assert after is not None
    assert after.same_record == before.same_record == (3, made[2].uid, made[2].leaf.hex())
    assert [(change.position, change.previous) for change in await ChangeFeed(keeper).read_changes(3, 10)] == [(5, 3)]


@pytest.mark.parametrize("after", [-1, 1, 3, 4])
async def test_the_first_event_after_pruned_records_names_the_last_of_them(
    log_database: LogDatabase, after: int
) -> None:
    await two_months(log_database, await log_database.open("app"))
    owner, feed = await log_database.connect("owner"), ChangeFeed(await log_database.open("keeper"))
    await prune(owner, datetime.now(UTC) + SOON, "1d")
    assert [(change.position, change.previous) for change in await feed.read_changes(after, 10)] == [(5, 3)]


async def test_pruning_is_recorded_with_positions_and_policy(log_database: LogDatabase) -> None:
    await two_months(log_database, await log_database.open("app"))
    owner = await log_database.connect("owner")
    before = datetime.now(UTC) + SOON
    await prune(owner, before, "36mo")
    body = read_body(
        await owner.fetchval("SELECT body FROM audit_record WHERE kind = 'system' ORDER BY id DESC LIMIT 1")
    )
    assert (body["event"], body["pruned_to"], body["records"], body["retention"]) == ("log.pruned", 4, 4, "36mo")
    assert await Sealer(await log_database.open("keeper")).seal() == 1


async def test_the_newest_partition_and_young_or_unsealed_records_stay(log_database: LogDatabase) -> None:
    app = await log_database.open("app")
    owner = await log_database.connect("owner")
    await Log(app).append([decision()])
    assert (await prune(owner, datetime.now(UTC) + SOON, "1d")).partitions == 0
    await add_partition(owner, NOVEMBER)
    assert (await prune(owner, datetime.now(UTC) + SOON, "1d")).partitions == 0
    await Sealer(await log_database.open("keeper")).seal()
    # Moving one of its times back does not make a record old.
    for altered in ("at = '2000-01-01'", "at = now(), decided_at = '-infinity'"):
        await as_superuser(log_database, f"UPDATE audit_record SET {altered}")
        assert (await prune(owner, datetime.now(UTC) - SOON, "1d")).partitions == 0
    assert (await prune(owner, datetime.now(UTC) + SOON, "1d")).partitions == 1


@pytest.mark.parametrize(("what", "about"), [("all", None), ("resource", SHEET), ("person", SHEET)])
async def test_a_legal_hold_stops_pruning(log_database: LogDatabase, what: str, about: object) -> None:
    await two_months(log_database, await log_database.open("app"))
    owner = await log_database.connect("owner")
    hold = uuid4()
    await owner.execute(
        "INSERT INTO legal_hold (id, what, about, reason, by_client) VALUES ($1, $2, $3, 'case', 'web')",
        hold,
        what,
        about,
    )
    pruned = await prune(owner, datetime.now(UTC) + SOON, "1d")
    assert (pruned.records, pruned.held) == (0, hold)
    assert await owner.fetchval("SELECT count(*) FROM audit_record_0") == 4
    await owner.execute("UPDATE legal_hold SET until = now()")
    assert (await prune(owner, datetime.now(UTC) + SOON, "1d")).records == 4


MEMBER = uuid4()
NAMING: dict[str, Record] = {
    "decided in their name": decision(principal={"person": uuid4(), "client": "web"}, on_behalf_of=MEMBER),
    "a membership of theirs": Record.make(
        Kind.DIRECTORY,
        {
            "decided_at": datetime.now(UTC),
            "resource": {"kind": "directory", "id": str(uuid4())},
            "change": {"type": "directory.changed", "from": {}, "to": {"what": "member.added", "person": MEMBER}},
        },
    ),
}


@pytest.mark.parametrize("naming", NAMING)
async def test_a_hold_on_a_person_keeps_records_that_name_them_in_their_bytes_alone(
    log_database: LogDatabase, naming: str
) -> None:
    app, owner = await log_database.open("app"), await log_database.connect("owner")
    await Log(app).append([NAMING[naming]])
    await two_months(log_database, app)
    hold = "INSERT INTO legal_hold (id, what, about, reason, by_client) VALUES ($1, 'person', $2, 'case', 'web')"
    await owner.execute(hold, uuid4(), uuid4())
    other, held = uuid4(), uuid4()
    await owner.execute("INSERT INTO person (id) VALUES ($1), ($2)", other, MEMBER)
    await owner.execute("INSERT INTO merged_person (person_id, into_id) VALUES ($1, $2)", MEMBER, other)
    await owner.execute(hold, held, other)
    assert (await prune(owner, datetime.now(UTC) + SOON, "1d")).held == held
    await owner.execute("UPDATE legal_hold SET until = now() WHERE id = $1", held)
    assert (await prune(owner, datetime.now(UTC) + SOON, "1d")).records == 5


@pytest.mark.parametrize(("holds", "scans"), [(0, 0), (3, 1)])
async def test_a_partition_is_read_once_for_all_holds(log_database: LogDatabase, holds: int, scans: int) -> None:
    await two_months(log_database, await log_database.open("app"))
    owner = await log_database.connect("owner")
    await owner.executemany(
        "INSERT INTO legal_hold (id, what, about, reason, by_client) VALUES ($1, 'person', $2, 'case', 'web')",
        [(uuid4(), uuid4()) for _ in range(holds)],
    )
    statement = retention.HELD.format(name="audit_record_0")
    plan = json.loads(await owner.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"))[0]["Plan"]
    assert sum(scan["Actual Loops"] for scan in scans_of("audit_record_0", plan)) == scans


def scans_of(table: str, node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if node.get("Relation Name") == table:
        yield node
    for below in node.get("Plans", ()):
        yield from scans_of(table, below)


class FarAhead:
    """In place of `datetime`, the clock of a machine that is ten years ahead."""

    @staticmethod
    def now(zone: tzinfo) -> datetime:
        return datetime.now(zone) + timedelta(days=3_650)


async def test_a_machine_whose_clock_is_ahead_prunes_nothing_young_and_begins_no_later_month(
    log_database: LogDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await log_database.connect("owner")
    await two_months(log_database, await log_database.open("app"))
    for module in (audit_retention, retention):
        monkeypatch.setattr(module, "datetime", FarAhead, raising=False)
    pruned = await audit_retention._prune(log_database.url("owner"), "1y", dry_run=False)
    assert (pruned.records, pruned.partitions) == (0, 0)
    await audit_retention._add_partition(log_database.url("owner"))
    newest = (await list_partitions(owner))[-1].name
    assert newest in {f"audit_record_y{month.year}m{month.month:02}" for month in (NOVEMBER, datetime.now(UTC).date())}


async def test_a_command_that_meets_a_lock_says_so(log_database: LogDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = await log_database.connect("owner")
    monkeypatch.setenv("TIMEWARDEN_DATABASE_URL", log_database.url("owner"))
    async with reader.transaction():
        await reader.execute("LOCK TABLE audit_record IN ACCESS SHARE MODE")
        ended = await asyncio.to_thread(run_command, "audit", "partition")
    assert (ended.returncode, ended.stderr) == (
        2,
        "timewarden: A table is locked; try again (audit partition: LockNotAvailableError)\n",
    )


async def test_a_command_with_long_statements_does_not_wait_long_for_its_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.connectivity.MAX_CONNECT_SECONDS", 0.2)
    # The system accepts the connection, and nobody ever answers on it.
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = f"postgresql://timewarden_owner:secret-word@127.0.0.1:{silent.getsockname()[1]}/timewarden"
        with pytest.raises(DatabaseUnavailable, match="Postgres does not answer at 127"):
            async with asyncio.timeout(30), owner_database(url, "audit partition", longest=3_600):
                pass


async def test_a_command_with_long_statements_asks_the_next_host_in_time(
    monkeypatch: pytest.MonkeyPatch, log_database: LogDatabase
) -> None:
    monkeypatch.setattr("service.connectivity.MAX_CONNECT_SECONDS", 10.0)
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        login, _, host = log_database.url("owner").rpartition("@")
        url = f"{login}@127.0.0.1:{silent.getsockname()[1]},{host}"
        async with (
            asyncio.timeout(30),
            owner_database(url, "audit partition", longest=3_600) as database,
            database.connection() as connection,
        ):
            assert await connection.fetchval("SELECT 1") == 1


@pytest.mark.parametrize(("age", "days"), [("90d", 90), ("36mo", 1116), ("10y", 3660)])
def test_an_age_in_months_is_rounded_up(age: str, days: int) -> None:
    assert days_of(age) == days
