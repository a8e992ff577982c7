"""Commands as processes that were given the wrong role, or began twice at once: each is told in one sentence."""

from __future__ import annotations

import asyncio
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import asyncpg
import pytest

from service.errors import TryLater
from service.log.key_files import make_key
from service.migrations import migrate, run
from service.migrations.run import TURN, newest
from tests.held_sockets import HeldSockets
from tests.integration.log_trees import ORIGIN
from tests.integration.test_serve_start import ROOT, environment_of
from tests.until import lock_is_waited_for, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.log_database import LogDatabase

pytest_plugins = ["tests.integration.log_fixtures"]


async def start(folder: Path, url: str, *words: str) -> asyncio.subprocess.Process:
    """A command that was given a database."""
    variables = {
        "DATABASE_URL": url,
        "LOG_ORIGIN": ORIGIN,
        "LOG_KEY_FILE": str(folder / "key"),
        "LOG_ANCHOR_FILE": str(folder / "anchor"),
    }
    with HeldSockets() as held:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service", *words, *(held.options if words == ("serve",) else ())),
            cwd=ROOT,
            env=environment_of(variables),
            pass_fds=held.numbers,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )


async def wait_for_exit(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    """Exit code, and what was said on standard error."""
    async with asyncio.timeout(60):
        _, told = await process.communicate()
    return process.returncode, told.decode()


MIXED_UP = [
    (
        "keeper",
        ("serve",),
        "The role timewarden_keeper of TIMEWARDEN_DATABASE_URL is the keeper's, so it cannot `serve`",
    ),
    ("auditor", ("serve",), "The role timewarden_auditor of TIMEWARDEN_DATABASE_URL only reads, so it cannot `serve`"),
    ("owner", ("serve",), "The role of TIMEWARDEN_DATABASE_URL could rewrite the log"),
    ("app", ("keep",), "The role timewarden_app of TIMEWARDEN_DATABASE_URL is the API's, so it cannot `keep`"),
    ("auditor", ("keep",), "The role timewarden_auditor of TIMEWARDEN_DATABASE_URL only reads, so it cannot `keep`"),
    ("owner", ("keep",), "The role of TIMEWARDEN_DATABASE_URL could rewrite the log"),
    ("app", ("migrate",), "The role timewarden_app of TIMEWARDEN_DATABASE_URL does not own the database's tables"),
    ("keeper", ("policy", "bootstrap"), "so it cannot `policy bootstrap`: connect as timewarden_owner"),
    ("app", ("audit", "partition"), "connect as timewarden_owner"),
]


@pytest.mark.long
@pytest.mark.parametrize(("role", "words", "sentence"), MIXED_UP)
async def test_another_processs_role_is_told_in_one_sentence(
    log_database: LogDatabase, tmp_path: Path, role: str, words: tuple[str, ...], sentence: str
) -> None:
    make_key(tmp_path / "key", ORIGIN)
    code, told = await wait_for_exit(await start(tmp_path, log_database.url(role), *words))
    assert code == 2
    assert told.startswith("timewarden: ")
    assert sentence in told
    wanted = {"serve": "timewarden_app", "keep": "timewarden_keeper"}.get(words[0], "timewarden_owner")
    assert told.endswith(f"connect as {wanted}\n")
    assert told.count("\n") == 1


@pytest.mark.parametrize("command", ["serve", "keep"])
async def test_a_database_that_was_never_migrated_is_told_in_one_sentence(
    unmigrated: str, tmp_path: Path, command: str
) -> None:
    make_key(tmp_path / "key", ORIGIN)
    code, told = await wait_for_exit(await start(tmp_path, unmigrated, command))
    assert (code, told.count("\n")) == (2, 1)
    assert "has no Timewarden tables: run `timewarden migrate` as the owner" in told


@pytest.mark.parametrize("words", [("migrate",), ("policy", "bootstrap"), ("audit", "partition")])
async def test_a_postgres_that_is_away_is_told_with_its_place(tmp_path: Path, words: tuple[str, ...]) -> None:
    make_key(tmp_path / "key", ORIGIN)
    away = "postgresql://timewarden_owner:secret-word@127.0.0.1:1/timewarden"
    code, told = await wait_for_exit(await start(tmp_path, away, *words))
    assert (code, told.count("\n")) == (2, 1)
    assert "Postgres does not answer at 127.0.0.1, port 1: check that it runs and can be reached from here" in told
    assert "secret-word" not in told
    assert "repeat" not in told


async def test_two_migrations_at_once_take_turns_and_the_second_says_that_it_waits(
    unmigrated: str, tmp_path: Path
) -> None:
    # In their place, until both processes have come to wait.
    first = await asyncpg.connect(unmigrated)
    turn = first.transaction()
    await turn.start()
    assert await first.fetchval(TURN)
    processes = [await start(tmp_path, unmigrated, "migrate") for _ in range(2)]
    for process in processes:
        assert process.stderr is not None
        async with asyncio.timeout(60):
            told = await process.stderr.readline()
        assert told == b"Another `timewarden migrate` is at work on this database; waiting for it, up to 600 s\n"
    await turn.rollback()
    assert [await wait_for_exit(process) for process in processes] == [(0, ""), (0, "")]
    assert await first.fetchval("SELECT version_num FROM alembic_version") == newest()
    assert await first.fetchval("SELECT count(*) FROM audit_record") == 1
    await first.close()


# Sessions of the owner in this database, without the one that asks.
OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user AND pid <> $1"


@pytest.mark.parametrize("waits_for", ["its turn", "a table"])
async def test_a_migration_whose_connection_is_lost_ends_with_one_sentence(
    unmigrated: str, tmp_path: Path, waits_for: str
) -> None:
    await migrate(unmigrated, "0028")
    other, watcher = await asyncpg.connect(unmigrated), await asyncpg.connect(unmigrated)
    async with other.transaction():
        # SQLAlchemy sends the statement that takes the turn, and asyncpg alone the one that locks tables.
        await other.execute(TURN if waits_for == "its turn" else "LOCK TABLE team IN ACCESS SHARE MODE")
        process = await start(tmp_path, unmigrated, "migrate")
        if waits_for == "its turn":
            assert process.stderr is not None
            async with asyncio.timeout(60):
                assert b"waiting for it" in await process.stderr.readline()
        else:
            await lock_is_waited_for(watcher)
        assert await watcher.fetch(
            f"SELECT pg_terminate_backend(pid) {OTHERS} AND pid <> $2",
            watcher.get_server_pid(),
            other.get_server_pid(),
        )
        code, told = await wait_for_exit(process)
    # Before that, it may have said that the table is in use.
    assert (code, "Traceback" in told) == (2, False), told
    assert told.splitlines()[-1].startswith("timewarden: Postgres does not answer at ")
    assert await other.fetchval("SELECT version_num FROM alembic_version") == "0028"
    await other.close()
    await watcher.close()


@pytest.mark.parametrize("step", [None, "0028"])
async def test_a_migration_of_a_database_that_takes_no_writes_says_so(
    unmigrated: str, tmp_path: Path, step: str | None
) -> None:
    if step is not None:
        await migrate(unmigrated, step)
    code, told = await wait_for_exit(await start(tmp_path, f"{unmigrated}?default_transaction_read_only=on", "migrate"))
    assert (code, told.count("\n")) == (2, 1), told
    assert told.startswith("timewarden: The database takes no writes: connect to the primary, or turn")


async def test_a_database_that_a_newer_release_migrated_is_left_as_it_is(unmigrated: str, tmp_path: Path) -> None:
    await migrate(unmigrated, "0001")
    owner = await asyncpg.connect(unmigrated)
    await owner.execute("UPDATE alembic_version SET version_num = '9999'")
    code, told = await wait_for_exit(await start(tmp_path, unmigrated, "migrate"))
    assert (code, told.count("\n")) == (2, 1), told
    assert "The database is at step 9999, newer than this release: start the newer one" in told
    assert await owner.fetchval("SELECT version_num FROM alembic_version") == "9999"
    await owner.close()


async def test_a_migration_does_not_wait_for_ever(unmigrated: str) -> None:
    other = await asyncpg.connect(unmigrated)
    async with other.transaction():
        assert await other.fetchval(TURN)
        with pytest.raises(TryLater, match="has been at work on this database for 0 s"):
            await migrate(unmigrated, max_wait=0)
    await other.close()


async def test_a_migration_gives_way_to_a_transaction_that_holds_a_table(unmigrated: str) -> None:
    await migrate(unmigrated, "0028")
    other = await asyncpg.connect(unmigrated)
    turn = other.transaction()
    await turn.start()
    # A request that reads, and then goes on to what the migration holds already, would be a deadlock.
    await other.execute("LOCK TABLE team IN ACCESS SHARE MODE")
    said: list[str] = []
    running = asyncio.create_task(migrate(unmigrated, say=said.append))

    async def gave_way() -> bool:
        return bool(said)

    await until(gave_way)
    await other.execute("LOCK TABLE person IN ACCESS SHARE MODE")
    await turn.rollback()
    assert await running
    assert said[0] == "A table is in use; trying again in 0.2 s"
    assert await other.fetchval("SELECT version_num FROM alembic_version") == newest()
    await other.close()


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        ("kept_answer", "timesheet"),
        ("timesheet", "person"),
        ("directory_revision", "membership"),
        ("log_head", "audit_record"),
    ],
)
async def test_a_migration_holds_nothing_while_it_waits_for_a_transaction(
    unmigrated: str, held: str, wanted: str
) -> None:
    await migrate(unmigrated, "0028")
    other, watcher = await asyncpg.connect(unmigrated), await asyncpg.connect(unmigrated)
    turn = other.transaction()
    await turn.start()
    # The first lock of a change.
    await other.execute(f"LOCK TABLE {held} IN ROW EXCLUSIVE MODE")
    running = asyncio.create_task(migrate(unmigrated))
    await lock_is_waited_for(watcher)
    # What it locks later: it would fail at once if the migration held it.
    await other.execute(f"LOCK TABLE {wanted} IN ROW EXCLUSIVE MODE NOWAIT")
    await turn.commit()
    assert await running
    await other.close()
    await watcher.close()


async def test_requests_wait_half_a_second_for_all_tables_that_a_migration_locks(unmigrated: str) -> None:
    await migrate(unmigrated, "0028")
    watcher, caller = await asyncpg.connect(unmigrated), await asyncpg.connect(unmigrated)
    tables = ("delegation", "entry", "membership", "person", "project", "reminder", "revocation", "team")
    others = [await asyncpg.connect(unmigrated) for _ in tables]
    for other, table in zip(others, tables, strict=True):
        await other.execute("BEGIN")
        await other.execute(f"LOCK TABLE {table} IN ACCESS SHARE MODE")
    running = asyncio.create_task(migrate(unmigrated))
    await lock_is_waited_for(watcher)
    # The migration holds sheets and waits for the first of the tables.
    request = asyncio.create_task(caller.fetchval("SELECT count(*) FROM timesheet"))
    ended = 0
    for other in others:
        # Shorter than the migration may wait: each of these transactions ends in time for its own table.
        await asyncio.wait([request], timeout=0.4)
        if request.done():
            break
        await other.execute("ROLLBACK")
        ended += 1
    assert await request == 0
    assert ended < len(others) / 2
    for other in others[ended:]:
        await other.execute("ROLLBACK")
    assert await running
    for connection in (watcher, caller, *others):
        await connection.close()


async def hold_all_tables(url: str) -> asyncpg.Connection[asyncpg.Record]:
    """A transaction as `pg_dump` has it: it reads every table, and holds them until it ends."""
    dump = await asyncpg.connect(url, server_settings={"application_name": "nightly dump"})
    await dump.execute("BEGIN")
    for (table,) in await dump.fetch(
        "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
    ):
        await dump.execute(f"LOCK TABLE {table} IN ACCESS SHARE MODE")
    return dump


async def test_a_migration_names_a_dump_and_holds_up_requests_no_more_until_it_ends(unmigrated: str) -> None:
    # A step that only replaces a function.
    await migrate(unmigrated, "0042")
    dump, caller = await hold_all_tables(unmigrated), await asyncpg.connect(unmigrated)
    said: list[str] = []
    running = asyncio.create_task(migrate(unmigrated, "0043", say=said.append))

    async def has_named_it() -> bool:
        return len(said) > 1

    await until(has_named_it)
    assert said[1].startswith(f"nightly dump (process {dump.get_server_pid()}, role timewarden_owner) holds ")
    assert " tables in a transaction of " in said[1]
    assert said[1].endswith(" s; trying again when it ends")
    # It would fail at once if the migration held the table or waited for it.
    for _ in range(40):
        async with caller.transaction():
            await caller.execute("LOCK TABLE kept_answer IN ROW EXCLUSIVE MODE NOWAIT")
        await asyncio.sleep(0.05)
    await dump.execute("ROLLBACK")
    assert await running
    assert sum("nightly dump" in sentence for sentence in said) == 1
    assert await caller.fetchval("SELECT version_num FROM alembic_version") == "0043"
    await dump.close()
    await caller.close()


async def test_a_migration_that_gives_up_names_the_dump(unmigrated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await migrate(unmigrated, "0042")
    dump = await hold_all_tables(unmigrated)
    said: list[str] = []
    # The time to give up comes with the first failed attempt.
    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=lambda: 1000.0 * len(said)))
    sentence = (
        rf"^nightly dump \(process {dump.get_server_pid()}, role timewarden_owner\) holds .*, then run this again$"
    )
    with pytest.raises(TryLater, match=sentence):
        await migrate(unmigrated, say=said.append)
    await dump.close()
