"""Appending: when records are durable, and that none is lost silently."""

from __future__ import annotations

from uuid import UUID

import asyncpg
import pytest

from service.database import Database
from service.errors import LogUnavailable, Misconfigured
from service.log import merkle
from service.log.epochs import open_log
from service.log.log import Log
from service.log.packing import unpack
from service.log.record import Kind, Record, read_body
from service.log.roles import check_rights
from tests.integration.log_database import LogDatabase, change, decision

pytest_plugins = ["tests.integration.log_fixtures"]


async def test_the_first_record_opens_the_log_and_names_its_epoch(log_database: LogDatabase) -> None:
    owner = await log_database.connect("owner")
    row = await owner.fetchrow("SELECT kind, convert_from(body, 'UTF8')::jsonb ->> 'epoch' AS epoch FROM audit_record")
    assert row is not None
    assert (row["kind"], UUID(row["epoch"])) == ("system", log_database.epoch)


async def test_opening_an_open_log_changes_nothing(log_database: LogDatabase) -> None:
    owner = await log_database.connect("owner")
    assert await open_log(owner) == log_database.epoch
    assert await owner.fetchval("SELECT count(*) FROM audit_record") == 1


async def test_a_log_with_records_but_no_head_is_refused(log_database: LogDatabase) -> None:
    owner = await log_database.connect("owner")
    await owner.execute("DELETE FROM log_head")
    with pytest.raises(Misconfigured, match="never opened"):
        await open_log(owner)


async def test_a_single_record_is_durable_when_append_returns(log_database: LogDatabase) -> None:
    log = Log(await log_database.open("app"))
    record = decision(reason="rule")
    receipts = await log.append([record])
    auditor = await log_database.connect("auditor")
    row = await auditor.fetchrow("SELECT stored_hash, body, reason FROM audit_record WHERE uid = $1", record.uid)
    assert row is not None
    assert unpack(row["body"]) == record.body
    assert row["stored_hash"] == merkle.leaf_hash(row["body"])
    assert record.leaf == merkle.leaf_hash(record.body)
    assert (receipts[0].uid, receipts[0].leaf) == (record.uid, record.leaf.hex())


async def test_records_of_a_transaction_vanish_when_it_rolls_back(log_database: LogDatabase) -> None:
    app = await log_database.open("app")
    log = Log(app)
    async with app.connection() as connection:
        attempt = connection.transaction()
        await attempt.start()
        await log.append([decision(), change()], connection)
        await attempt.rollback()
        assert await connection.fetchval("SELECT count(*) FROM audit_record") == 1


async def test_a_connection_outside_a_transaction_is_refused(log_database: LogDatabase) -> None:
    app = await log_database.open("app")
    async with app.connection() as connection:
        with pytest.raises(LogUnavailable):
            await Log(app).append([decision()], connection)


async def test_texts_are_stored_beside_records_and_match_their_commitments(log_database: LogDatabase) -> None:
    log = Log(await log_database.open("app"))
    record = Record.make(Kind.DECISION, {"decided_at": "2026-03-02T09:30:00.000000Z"}, {"reason": "Überstunden? nein"})
    await log.append([record])
    auditor = await log_database.connect("auditor")
    held = await auditor.fetchval(
        "SELECT encode(sha256('\\x02'::bytea || salt || convert_to(value, 'UTF8')), 'hex') FROM audit_text"
    )
    assert read_body(record.body)["commitments"] == {"reason": held}
    assert "Überstunden".encode() not in record.body


async def test_without_a_database_the_log_is_unavailable(log_database: LogDatabase) -> None:
    with pytest.raises(LogUnavailable):
        await Log(Database(log_database.url("app"), size=1)).append([decision()])


async def test_a_refused_row_raises_and_nothing_of_the_append_is_stored(
    log_database: LogDatabase,
) -> None:
    """The auditor may not insert; the error is raised."""
    log = Log(await log_database.open("auditor"))
    with pytest.raises(LogUnavailable) as refused:
        await log.append([decision(), decision()])
    assert refused.value.cause == "append: InsufficientPrivilegeError"


@pytest.mark.parametrize("role", ["app", "keeper", "auditor"])
async def test_the_roles_of_api_and_keeper_pass_the_check_of_rights(log_database: LogDatabase, role: str) -> None:
    await check_rights(await log_database.connect(role))


async def test_an_owner_or_superuser_does_not_pass_the_check_of_rights(log_database: LogDatabase) -> None:
    with pytest.raises(Misconfigured, match="owns audit_record"):
        await check_rights(await log_database.connect("owner"))
    superuser = await asyncpg.connect(log_database.postgres.superuser_database_url(log_database.name))
    with pytest.raises(Misconfigured, match="is a superuser"):
        await check_rights(superuser)
    await superuser.close()


@pytest.mark.parametrize(
    ("grant", "sentence"),
    [
        ("UPDATE (reason) ON audit_record", "has UPDATE on audit_record"),
        ("DELETE ON audit_record_rest", "has DELETE on audit_record_rest"),
        ("TRUNCATE ON audit_position", "has TRUNCATE on audit_position"),
        ("INSERT (at) ON audit_record", "may set at of audit_record"),
        ("INSERT ON audit_record", "may set id of audit_record"),
        ("TRIGGER ON audit_record_0", "has TRIGGER on audit_record_0"),
    ],
)
async def test_each_excessive_right_is_found(log_database: LogDatabase, grant: str, sentence: str) -> None:
    owner = await log_database.connect("owner")
    await owner.execute(f"GRANT {grant} TO timewarden_app")
    with pytest.raises(Misconfigured, match=sentence):
        await check_rights(await log_database.connect("app"))
