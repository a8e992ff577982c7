"""The tree that the sealer grows and the checkpoints that are signed over it, with what was tampered with or lost."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import sys
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import rfc8785
from click.testing import CliRunner

from service.__main__ import timewarden
from service.audit import checkpoint as notes
from service.audit import merkle, tiles
from service.audit.anchor import Anchor
from service.audit.checkpoint import Checkpoint, Signer
from service.audit.columns import columns
from service.audit.feed import Feed
from service.audit.heartbeat import Heartbeat
from service.audit.keeper_status import PartStatus, read_status
from service.audit.log import Log
from service.audit.new_epoch import begin
from service.audit.record import read_body
from service.audit.sealing import Sealer
from service.audit.signing import Signing
from service.audit.stored_hashes import consistency_path, inclusion_path, root_at
from service.database import Database
from service.errors import DatabaseUnavailable, LogDamaged, LogUnavailable, Misconfigured
from tests.conformance.rfc9162_verifier import consistency_holds, inclusion_holds
from tests.integration.log_database import LogDatabase, decision
from tests.until import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

pytest_plugins = ["tests.integration.log_fixtures"]

ORIGIN = "timesheets.example.com/audit/test"
SIGNER = Signer(ORIGIN, b"1" * 32)
BODIES = "SELECT r.body FROM audit_record r JOIN audit_position p ON p.record_id = r.id ORDER BY p.position"
FORGET_TREE = "DELETE FROM tile; UPDATE log_head SET tree_size = 0, edge = '{}', root = NULL"

KEEPER_PROCESS = """
import asyncio, sys
from pathlib import Path
from service.audit.anchor import Anchor
from service.audit.checkpoint import Signer
from service.audit.sealing import Sealer
from service.audit.signing import Signing
from service.database import Database

async def main():
    database = Database(sys.argv[1], size=3, name="killed")
    await database.open()
    print("ready", flush=True)
    signing = Signing(database, [Signer(sys.argv[3], b"1" * 32)], Anchor(Path(sys.argv[2])))
    await asyncio.gather(Sealer(database, batch=7).run(asyncio.Event(), 0.001), signing.run(asyncio.Event(), 0.001))

asyncio.run(main())
"""


async def seal_all(keeper: Database, batch: int = 5_000) -> None:
    while await Sealer(keeper, batch=batch).seal():
        pass


async def leaves(log_database: LogDatabase) -> list[bytes]:
    """The leaves of the sealed records, from their bytes."""
    auditor = await log_database.connect("auditor")
    return [merkle.leaf(row["body"]) for row in await auditor.fetch(BODIES)]


async def checkpoints(log_database: LogDatabase) -> list[Checkpoint]:
    """Every checkpoint that was signed, verified."""
    auditor = await log_database.connect("auditor")
    stored = await auditor.fetch("SELECT note FROM checkpoint WHERE note IS NOT NULL ORDER BY size")
    return [Checkpoint.parse(notes.verify(row["note"], [SIGNER.verifier]).text) for row in stored]


async def assert_consistent(log_database: LogDatabase, keeper: Database) -> int:
    """Every checkpoint has the root of its prefix, and extends the one before; returns how many there are."""
    held, signed = await leaves(log_database), await checkpoints(log_database)
    async with keeper.connection() as connection:
        for one in signed:
            assert one.root == merkle.root(held[: one.size])
        for old, new in pairwise(signed):
            path = await consistency_path(connection, old.size, new.size)
            assert consistency_holds(old.size, old.root, new.size, new.root, path)
    return len(signed)


async def as_superuser(log_database: LogDatabase, *statements: str) -> None:
    """What somebody with every right does behind the service's back."""
    connection = await asyncpg.connect(log_database.postgres.superuser_database_url(log_database.name))
    try:
        await connection.execute("SET session_replication_role = replica")
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_a_tree_grown_in_random_steps_is_the_tree_of_the_records(
    log_database: LogDatabase, tmp_path: Path
) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    chance, signing = random.Random(5), Signing(keeper, [SIGNER], Anchor(tmp_path / "anchor"))  # noqa: S311 - the same steps every time
    for _ in range(12):
        await Log(app).append([decision() for _ in range(chance.randint(1, 90))])
        await seal_all(keeper, batch=chance.randint(1, 120))
        signed = await signing.sign()
        assert signed is not None
        assert await signing.sign() is None
    held = await leaves(log_database)
    assert await assert_consistent(log_database, keeper) == 12
    async with keeper.connection() as connection:
        for index in chance.sample(range(len(held)), 20):
            path = await inclusion_path(connection, index, len(held))
            assert inclusion_holds(held[index], index, len(held), path, merkle.root(held))
        for size in chance.sample(range(1, len(held) + 1), 20):
            assert await root_at(connection, size) == merkle.root(held[:size])
        stored = await connection.fetch("SELECT level, index, width FROM tile ORDER BY level, index")
    assert [tuple(row) for row in stored] == [
        (level, index, width)
        for level in (0, 1)
        for index in range(10)
        if (width := tiles.width_at(level, index, len(held)))
    ]


async def test_a_log_that_was_sealed_without_a_tree_is_caught_up_before_it_goes_on(log_database: LogDatabase) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    await Log(app).append([decision() for _ in range(700)])
    await seal_all(keeper)
    # As the release before left it.
    await as_superuser(log_database, "DELETE FROM tile", "UPDATE log_head SET tree_size = 0, edge = '{}', root = NULL")
    await Log(app).append([decision()])
    sealer = Sealer(keeper, batch=300)
    assert [await sealer.seal() for _ in range(5)] == [300, 300, 101, 1, 0]
    async with keeper.connection() as connection:
        assert await connection.fetchval("SELECT root FROM log_head") == merkle.root(await leaves(log_database))


async def test_steps_that_the_database_has_no_time_for_become_smaller(log_database: LogDatabase) -> None:
    app = await log_database.open("app")
    await Log(app).append([decision() for _ in range(600)])
    # A disk on which each place takes two milliseconds.
    await as_superuser(
        log_database,
        "CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_sleep(0.002); RETURN new; END $$",
        "CREATE TRIGGER slowly BEFORE INSERT ON audit_position FOR EACH ROW EXECUTE FUNCTION slowly()",
    )
    impatient, stop = Database(log_database.url("keeper"), size=2, timeout=0.5, name="impatient"), asyncio.Event()
    await impatient.open()
    log_database.stack.push_async_callback(impatient.close)
    with pytest.raises(DatabaseUnavailable):
        await Sealer(impatient).seal()
    running = asyncio.create_task(Sealer(impatient, longest_pause=0.01).run(stop, 0.01))
    auditor = await log_database.connect("auditor")
    for _ in range(300):
        if await auditor.fetchval("SELECT size FROM log_head") == 601:
            break
        await asyncio.sleep(0.1)
    stop.set()
    await running
    assert await auditor.fetchval("SELECT root FROM log_head") == merkle.root(await leaves(log_database))
    assert len(await leaves(log_database)) == 601


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("UPDATE log_head SET root = sha256('x')", "does not give its root"),
        ("UPDATE log_head SET edge[1] = sha256('x')", "does not give its root"),
        ("UPDATE log_head SET edge = edge[2:]", "has 5 hashes, not 4"),
        ("UPDATE tile SET hashes = sha256('x') || substr(hashes, 33) WHERE index = 1", "tile 0/1 is not of this tree"),
        ("UPDATE tile SET hashes = substr(hashes, 1, 32), width = 1 WHERE index = 1", "holds 1 hashes, not 45"),
        ("DELETE FROM tile WHERE level = 1", "holds 0 hashes, not 1"),
        ("UPDATE tile SET level = 5 WHERE level = 1", "holds 0 hashes, not 1"),
        ("INSERT INTO audit_position VALUES (301, 9999)", "Postgres refuses the next step"),
    ],
)
async def test_a_tree_that_was_tampered_with_is_not_grown(log_database: LogDatabase, damage: str, told: str) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    await Log(app).append([decision() for _ in range(300)])
    await seal_all(keeper)
    await as_superuser(log_database, damage)
    await Log(app).append([decision()])
    with pytest.raises(LogDamaged, match=told):
        await Sealer(keeper).seal()
    stop = asyncio.Event()
    running = asyncio.create_task(Sealer(keeper).run(stop, 0.01))

    async def said() -> list[PartStatus]:
        async with keeper.connection() as connection:
            return await read_status(connection)

    (status,) = await until(said)
    stop.set()
    await running
    async with keeper.connection() as connection:
        assert await connection.fetchval("SELECT size FROM log_head") == 301
    assert (status.ready, told in status.detail) == (False, True)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("DELETE FROM audit_record WHERE id = 2", "between the positions 0 and 3 are missing"),
        ("UPDATE audit_record SET body = 'other bytes' WHERE id = 2", "position 1 does not have its leaf hash"),
    ],
)
async def test_a_record_that_is_not_what_its_leaf_says_gets_into_no_tree(
    log_database: LogDatabase, damage: str, told: str
) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    await Log(app).append([decision() for _ in range(3)])
    await seal_all(keeper)
    await as_superuser(
        log_database,
        FORGET_TREE,
        # Postgres computes the leaf; bits that rot on the disk do not ask it.
        "ALTER TABLE audit_record ALTER COLUMN leaf DROP EXPRESSION",
        damage,
    )
    with pytest.raises(LogDamaged, match=told):
        await Sealer(keeper).seal()


async def test_a_tile_that_stands_where_the_tree_has_not_grown_to_is_noticed(log_database: LogDatabase) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    await seal_all(keeper)
    await Log(app).append([decision() for _ in range(300)])
    await as_superuser(log_database, "INSERT INTO tile VALUES (0, 1, 2, sha256('x') || sha256('y'))")
    with pytest.raises(LogDamaged, match="a tile only grows"):
        await Sealer(keeper).seal()
    async with keeper.connection() as connection:
        assert await connection.fetchval("SELECT size FROM log_head") == 1


async def test_the_keeper_itself_cannot_rewrite_tiles_checkpoints_or_records(log_database: LogDatabase) -> None:
    keeper = await log_database.connect("keeper")
    await seal_all(await log_database.open("keeper"))
    for statement in (
        "UPDATE tile SET hashes = sha256('x')",
        "DELETE FROM tile",
        "DELETE FROM checkpoint",
        "UPDATE checkpoint SET root = sha256('x')",
        "INSERT INTO audit_record (uid, kind, body) VALUES (gen_random_uuid(), 'system', '{}')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await keeper.execute(statement)


async def test_a_crash_between_commit_and_signature_or_anchor_and_signature_is_made_good(
    log_database: LogDatabase, tmp_path: Path
) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    anchor = Anchor(tmp_path / "anchor")
    await Log(app).append([decision()])
    await seal_all(keeper)
    # Sealed, then killed: the next keeper signs. Anchored, then killed: it signs the same.
    async with keeper.connection() as connection:
        root = await connection.fetchval("SELECT root FROM log_head")
    anchor.append(Checkpoint(ORIGIN, 2, root))
    assert await Signing(keeper, [SIGNER], anchor).sign() == Checkpoint(ORIGIN, 2, root)
    (first,) = await checkpoints(log_database)
    # A note that was lost is made again, byte for byte.
    await as_superuser(log_database, "DELETE FROM checkpoint")
    await Signing(keeper, [SIGNER], anchor).sign()
    assert await checkpoints(log_database) == [first]


async def test_keepers_killed_at_any_moment_sign_only_what_extends_what_they_signed(
    log_database: LogDatabase, tmp_path: Path
) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    stop = asyncio.Event()

    async def write() -> None:
        while not stop.is_set():
            # A busy machine may refuse some: here it matters what is signed of those that were taken.
            with suppress(LogUnavailable):
                await Log(app).append([decision() for _ in range(5)])
            await asyncio.sleep(0.002)

    writer = asyncio.create_task(write())
    arguments = (log_database.url("keeper"), str(tmp_path / "anchor"), ORIGIN)
    for pause in (0.3, 0.05, 0.6, 0.2):
        pair = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", KEEPER_PROCESS, *arguments, stdout=asyncio.subprocess.PIPE
            )
            for _ in range(2)
        ]
        for process in pair:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"ready\n"
        await asyncio.sleep(pause)
        for process in pair:
            process.kill()
            await process.wait()
    stop.set()
    await writer
    await seal_all(keeper)
    await Signing(keeper, [SIGNER], Anchor(tmp_path / "anchor")).sign()
    assert await assert_consistent(log_database, keeper) > 2
    anchored = [line.split()[2] for line in (tmp_path / "anchor").read_text().splitlines()]
    signed = {str(one.size) for one in await checkpoints(log_database)}
    assert signed <= set(anchored)
    assert anchored == sorted(anchored, key=int)


async def put_back(log_database: LogDatabase, size: int) -> None:
    """As a backup of an earlier moment would: everything beyond `size` is gone."""
    held = (await leaves(log_database))[:size]
    edge = merkle.Edge()
    for one in held:
        edge.append(one)
    hashes = ", ".join(f"'\\x{one.hex()}'" for one in edge.hashes)
    await as_superuser(
        log_database,
        f"DELETE FROM audit_record WHERE id IN (SELECT record_id FROM audit_position WHERE position >= {size})",
        f"DELETE FROM audit_position WHERE position >= {size}",
        f"DELETE FROM checkpoint WHERE size > {size}",
        f"UPDATE tile SET width = {size}, hashes = substr(hashes, 1, {size * 32})",
        f"UPDATE log_head SET size = {size}, tree_size = {size}, root = '\\x{edge.root().hex()}',"
        f" edge = ARRAY[{hashes}]::bytea[]",
    )


async def test_a_database_that_was_put_back_is_not_signed_even_when_it_has_grown_again(
    log_database: LogDatabase, tmp_path: Path
) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    signing = Signing(keeper, [SIGNER], Anchor(tmp_path / "anchor"))
    for _ in range(3):
        await Log(app).append([decision() for _ in range(10)])
        await seal_all(keeper)
        await signing.sign()
    await put_back(log_database, 11)
    with pytest.raises(LogDamaged, match="has 11 records, but a checkpoint of 31 was signed"):
        await signing.sign()
    # Other records take the lost ones' places: the sizes agree, the roots cannot.
    await Log(app).append([decision() for _ in range(40)])
    await seal_all(keeper)
    with pytest.raises(LogDamaged, match="first 31 records of the log are not those"):
        await signing.sign()
    stop = asyncio.Event()
    stop.set()
    await signing.run(stop, 0.01)
    async with keeper.connection() as connection:
        (status,) = await read_status(connection)
        assert await connection.fetchval("SELECT max(size) FROM checkpoint") == 11
    assert (status.part, status.ready) == ("signer", False)
    assert "docs/runbook-restored-log.md" in status.detail


async def test_a_new_epoch_goes_on_behind_a_record_that_names_what_was_lost(
    log_database: LogDatabase, tmp_path: Path
) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    await Log(app).append([decision() for _ in range(30)])
    await seal_all(keeper)
    lost = await Signing(keeper, [SIGNER], Anchor(tmp_path / "anchor")).sign()
    assert lost is not None
    await put_back(log_database, 11)
    owner = await log_database.connect("owner")
    with pytest.raises(Misconfigured, match="an origin of its own"):
        await begin(owner, lost, ORIGIN)
    new = Signer("timesheets.example.com/audit/after", b"2" * 32)
    answer = await asyncio.to_thread(
        CliRunner(env={"TIMEWARDEN_DATABASE_URL": log_database.url("owner")}).invoke,
        timewarden,
        ["audit", "new-epoch", "--yes", "--origin", new.name, "--anchor", str(tmp_path / "anchor")],
        catch_exceptions=False,
    )
    head = await Feed(keeper).head()
    assert str(head.epoch) in answer.output
    assert head.epoch != log_database.epoch
    await Log(app).append([decision()])
    await seal_all(keeper)
    with pytest.raises(LogDamaged):
        await Signing(keeper, [SIGNER], Anchor(tmp_path / "anchor")).sign()
    signed = await Signing(keeper, [new], Anchor(tmp_path / "anchor.after")).sign()
    assert signed == Checkpoint(new.name, 13, merkle.root(await leaves(log_database)))
    body = read_body((await owner.fetch(BODIES))[11]["body"])
    assert (body["event"], body["origin"], body["epoch"], body["kept"]) == ("log.epoch", new.name, str(head.epoch), 11)
    assert body["previous"] == {
        "epoch": str(log_database.epoch),
        "origin": ORIGIN,
        "size": 31,
        "root": lost.root.hex(),
    }


async def test_a_lost_or_foreign_anchor_is_not_signed_over(log_database: LogDatabase, tmp_path: Path) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    file = tmp_path / "anchor"
    await seal_all(keeper)
    await Signing(keeper, [SIGNER], Anchor(file)).sign()
    held = file.read_text()
    await Log(app).append([decision()])
    await seal_all(keeper)
    for damage, told in (
        ("", "empty or missing"),
        ("not a line\n", "cannot be read"),
        (held.replace(ORIGIN, "another.example/log"), "of the log another"),
    ):
        file.write_text(damage)
        with pytest.raises(LogDamaged, match=told):
            await Signing(keeper, [SIGNER], Anchor(file)).sign()
    # A line that a crash cut off was never signed.
    file.write_text(held + "2026-11-24T02:00:00Z " + ORIGIN + " 99")
    assert await Signing(keeper, [SIGNER], Anchor(file)).sign() is not None
    assert [line.split()[2] for line in file.read_text().splitlines()] == ["1", "2"]


async def test_an_anchor_that_cannot_be_written_means_that_nothing_is_signed(
    log_database: LogDatabase, tmp_path: Path
) -> None:
    keeper = await log_database.open("keeper")
    await seal_all(keeper)
    for path in (tmp_path / "nowhere" / "anchor", tmp_path):
        with pytest.raises(Misconfigured, match="anchor file"):
            await Signing(keeper, [SIGNER], Anchor(path)).sign()
    assert await checkpoints(log_database) == []


async def test_a_line_of_the_anchor_that_was_never_flushed_counts_for_nothing(
    log_database: LogDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = await log_database.open("keeper")
    await seal_all(keeper)
    signing = Signing(keeper, [SIGNER], Anchor(tmp_path / "anchor"))

    def broken(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", broken)
        # The second time the line stands there, in memory: only a disk that took it makes it an anchor.
        for _ in range(2):
            with pytest.raises(Misconfigured, match="Input/output error"):
                await signing.sign()
    assert await checkpoints(log_database) == []
    assert await signing.sign() is not None
    assert len((tmp_path / "anchor").read_text().splitlines()) == 1


def test_a_full_anchor_starts_anew_with_its_last_line(tmp_path: Path) -> None:
    anchor = Anchor(tmp_path / "anchor", largest=1000)
    for size in range(1, 40):
        one = Checkpoint(ORIGIN, size, merkle.EMPTY)
        anchor.append(one)
        assert anchor.last() == one
    kept = (tmp_path / "anchor.1").read_text() + (tmp_path / "anchor").read_text()
    assert (tmp_path / "anchor").stat().st_size < 1200
    assert " 39 " in kept


async def test_a_new_key_signs_beside_the_old_one_at_once_and_then_alone(
    log_database: LogDatabase, tmp_path: Path
) -> None:
    keeper, anchor, new = await log_database.open("keeper"), Anchor(tmp_path / "anchor"), Signer(ORIGIN, b"2" * 32)
    app = await log_database.open("app")
    await seal_all(keeper)
    await Signing(keeper, [SIGNER], anchor).sign()
    # Nothing was logged meanwhile: still the new key's signature is put beside.
    assert await Signing(keeper, [SIGNER, new], anchor).sign() is not None
    auditor = await log_database.connect("auditor")
    newest = "SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1"
    both = await auditor.fetchval(newest)
    assert len(notes.verify(both, [SIGNER.verifier, new.verifier]).signatures) == 2
    await Log(app).append([decision()])
    await seal_all(keeper)
    await Signing(keeper, [new], anchor).sign()
    alone = await auditor.fetchval(newest)
    assert str(notes.verify(alone, [new.verifier])) == alone
    with pytest.raises(notes.BadNote, match="No known key"):
        notes.verify(alone, [SIGNER.verifier])
    with pytest.raises(Misconfigured):
        Signing(keeper, [SIGNER, Signer("another.example", b"3" * 32)], anchor)


async def test_witnesses_add_their_lines_and_one_that_fails_holds_nothing_up(
    log_database: LogDatabase, tmp_path: Path
) -> None:
    keeper, seen = await log_database.open("keeper"), list[str]()

    async def good(note: str) -> Sequence[str]:
        seen.append(note)
        return [notes.Signature("witness.example", b"wits", b"x" * 72).line]

    async def nonsense(note: str) -> Sequence[str]:
        return ["no signature line"]

    async def away(note: str) -> Sequence[str]:
        raise TimeoutError

    witnesses: list[Callable[[str], Awaitable[Sequence[str]]]] = [away, nonsense, good]
    await seal_all(keeper)
    await Signing(keeper, [SIGNER], Anchor(tmp_path / "anchor"), witnesses=witnesses).sign()
    auditor = await log_database.connect("auditor")
    note = notes.verify(await auditor.fetchval("SELECT note FROM checkpoint"), [SIGNER.verifier])
    assert [one.name for one in note.signatures] == [ORIGIN, "witness.example"]
    assert len(seen) == 1


async def test_a_silent_log_gets_one_heartbeat_whoever_asks(log_database: LogDatabase) -> None:
    keeper = await log_database.open("keeper", size=4)
    assert not await Heartbeat(keeper, 3600).beat()
    await asyncio.sleep(1.05)
    assert sorted(await asyncio.gather(*(Heartbeat(keeper, 1).beat() for _ in range(4)))) == [False] * 3 + [True]
    await seal_all(keeper)
    auditor = await log_database.connect("auditor")
    body = [row["body"] for row in await auditor.fetch(BODIES)][-1]
    held: dict[str, Any] = read_body(body)
    assert rfc8785.dumps(held) == body
    assert (held["event"], held["kind"], held["v"]) == ("log.heartbeat", "system", 1)
    assert len(str(held["nonce"])) == 32
    row = await auditor.fetchrow("SELECT * FROM audit_record ORDER BY id DESC LIMIT 1")
    assert row is not None
    assert (str(row["uid"]), row["kind"]) == (held["uid"], held["kind"])
    # What people search by says what the bytes say, though Postgres wrote both.
    copies = columns(held)
    assert {name: row[name] for name in copies} == dict(copies)
