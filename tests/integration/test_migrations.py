"""Migrations: from empty to the newest schema, twice without effect, and every privilege as the schema file says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg

from service.commands.database import migrate_database
from service.migrations import large, migrate
from tests.golden.schema import schema_of
from tests.golden.stored import read_stored
from tests.integration.log_database import PASSWORDS

if TYPE_CHECKING:
    import pytest

    from service.development.local_servers import LocalPostgres
    from tests.integration.log_database import LogDatabase

pytest_plugins = ["tests.integration.log_fixtures"]
ANA, MIA = UUID(int=1), UUID(int=2)


async def test_migrating_again_changes_nothing(log_database: LogDatabase) -> None:
    before = await schema_of(log_database.url("owner"))
    await migrate(log_database.url("owner"))
    assert await schema_of(log_database.url("owner")) == before


async def test_after_migrating_every_table_has_statistics(postgres: LocalPostgres, empty_database: str) -> None:
    url, owner = await at_step(postgres, empty_database, "0001")
    await migrate_database(url)
    # -1 is the number of rows of a table that was never analyzed.
    assert not await owner.fetch(
        "SELECT relname FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND reltuples < 0"
    )
    await owner.close()


async def test_the_schema_is_the_one_that_was_reviewed(log_database: LogDatabase) -> None:
    """`make golden` rewrites the file; the difference is read like code."""
    assert await schema_of(log_database.url("owner")) == read_stored("schema.txt")


async def at_step(postgres: LocalPostgres, empty_database: str, step: str) -> tuple[str, asyncpg.Connection[Any]]:
    """The address of a database that has seen every step up to this one, and its owner in it."""
    name = empty_database.rpartition("/")[2]
    superuser = await asyncpg.connect(empty_database)
    await superuser.execute(f"ALTER DATABASE {name} OWNER TO timewarden_owner")
    await superuser.close()
    url = postgres.url("timewarden_owner", PASSWORDS["owner"], name)
    await migrate(url, step)
    return url, await asyncpg.connect(url)


async def test_a_database_of_the_first_release_comes_to_the_same_schema_and_keeps_its_rows(
    log_database: LogDatabase, postgres: LocalPostgres, empty_database: str
) -> None:
    url, owner = await at_step(postgres, empty_database, "0001")
    await owner.execute("INSERT INTO person (id, display_name) VALUES (gen_random_uuid(), 'Ana Lima')")
    await migrate(url)

    assert await schema_of(url) == await schema_of(log_database.url("owner"))
    assert await owner.fetchval("SELECT display_name FROM person") == "Ana Lima"
    await owner.close()


async def test_a_step_takes_over_the_indexes_that_were_built_while_the_log_was_in_use(
    postgres: LocalPostgres, empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, owner = await at_step(postgres, empty_database, "0044")
    await owner.execute("INSERT INTO audit_record (uid, kind, body) VALUES (gen_random_uuid(), 'system', '{}')")
    monkeypatch.setattr(large, "LARGE_BYTES", 0)
    # An attempt that failed left an index that cannot be used.
    built = "audit_record_0_step0045_1"
    await owner.execute(f"CREATE INDEX {built} ON audit_record_0 (request_id)")
    superuser = await asyncpg.connect(empty_database)
    await superuser.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = $1::regclass", built)
    await superuser.close()
    said: list[str] = []
    await migrate(url, say=said.append)

    assert [sentence for sentence in said if "audit_record_0 (request_id)" in sentence]
    parents = (
        "SELECT inhparent::regclass::text FROM pg_inherits"
        " WHERE starts_with(inhrelid::regclass::text, 'audit_record_0_step') ORDER BY inhrelid::regclass::text"
    )
    taken = ["audit_record_request", "audit_record_person", "audit_record_resource"]
    assert [row[0] for row in await owner.fetch(parents)] == taken
    unusable = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
    assert await owner.fetch(unusable) == []
    await owner.close()


async def test_what_was_called_off_before_loses_the_microsecond_that_it_was_left(
    postgres: LocalPostgres, empty_database: str
) -> None:
    url, owner = await at_step(postgres, empty_database, "0012")
    later, past = datetime.now(UTC) + timedelta(days=1), datetime.now(UTC) - timedelta(days=1)
    moment = timedelta(microseconds=1)
    await owner.execute("INSERT INTO person (id) VALUES ($1), ($2)", ANA, MIA)
    await owner.execute("INSERT INTO team (id, name) VALUES ($1, 'east')", ANA)
    for start, end in ((later, later + moment), (past, past + moment), (later, None)):
        ends = "coalesce($3::timestamptz, 'infinity')"
        await owner.execute(
            f"INSERT INTO membership VALUES (gen_random_uuid(), $1, $1, 'member', $2, {ends})", ANA, start, end
        )
        await owner.execute(
            f"INSERT INTO deputy_grant VALUES (gen_random_uuid(), $1, $4, $2, {ends})", ANA, start, end, MIA
        )
    await migrate(url)
    for table in ("membership", "delegation"):
        found = await owner.fetch(f"SELECT valid_from, nullif(valid_to, 'infinity') FROM {table}")
        assert {tuple(row) for row in found} == {(later, later), (past, past + moment), (later, None)}
    await owner.close()


async def test_deputies_become_delegates_with_their_rows_and_rights(
    log_database: LogDatabase, postgres: LocalPostgres, empty_database: str
) -> None:
    url, owner = await at_step(postgres, empty_database, "0024")
    await owner.execute("INSERT INTO person (id) VALUES ($1), ($2)", ANA, MIA)
    granted = await owner.fetchrow(
        "INSERT INTO deputy_grant (id, manager_id, deputy_id, valid_from) VALUES ($1, $2, $1, now()) RETURNING *",
        ANA,
        MIA,
    )
    log = await owner.fetchval("SELECT count(*) FROM audit_record")
    await migrate(url)

    found = await owner.fetchrow("SELECT * FROM delegation")
    assert found is not None
    assert granted is not None
    assert (found["delegator_id"], found["delegate_id"]) == (MIA, ANA)
    assert list(found.values()) == list(granted.values())
    assert await owner.fetchval("SELECT count(*) FROM audit_record") == log
    assert await schema_of(url) == await schema_of(log_database.url("owner"))
    # Constraints and indexes have names of their own, which the schema does not tell: errors are told apart by them.
    names = (
        "SELECT relname::text FROM pg_class WHERE relname LIKE '%deputy%'"
        " UNION SELECT conname FROM pg_constraint WHERE conname LIKE '%deputy%' AND contype <> 'n'"
    )
    assert await owner.fetch(names) == []
    await owner.close()


async def test_who_was_erased_before_is_still_known_from_the_log_and_from_keyed_hashes(
    postgres: LocalPostgres, empty_database: str
) -> None:
    url, owner = await at_step(postgres, empty_database, "0044")
    by_log, by_hash, other = ANA, MIA, UUID(int=3)
    await owner.executemany("INSERT INTO person (id) VALUES ($1)", [(by_log,), (by_hash,), (other,)])
    await owner.executemany(
        "INSERT INTO audit_record (uid, kind, action, resource_id, body) VALUES (gen_random_uuid(), $1, $2, $3, '{}')",
        # The record of a preview is a decision.
        [("directory", "erase", str(by_log)), ("decision", "erase", str(other)), ("directory", "manage", str(other))],
    )
    await owner.execute(
        "INSERT INTO erased_subject VALUES (decode(repeat('00', 32), 'hex'), $1, now(), now() + interval '1 day')",
        by_hash,
    )
    await migrate(url)
    rows = await owner.fetch("SELECT person_id FROM erased_person ORDER BY 1")
    assert [row["person_id"] for row in rows] == [by_log, by_hash]
    await owner.close()
