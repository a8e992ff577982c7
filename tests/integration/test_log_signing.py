"""Checkpoints are signed after commit and anchor, and never contradict earlier ones; new epochs and heartbeats."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import rfc8785
from click.testing import CliRunner

from service.__main__ import timewarden
from service.errors import LogDamaged, LogUnavailable, Misconfigured
from service.log import merkle
from service.log.anchor import Anchor
from service.log.checkpoint import Checkpoint, Signer
from service.log.columns import search_columns
from service.log.epochs import begin_epoch
from service.log.feed import ChangeFeed
from service.log.heartbeat import Heartbeat
from service.log.keeper_status import read_status
from service.log.log import Log
from service.log.record import read_body
from service.log.signing import CheckpointSigner
from tests.integration.log_database import LogDatabase, decision

if TYPE_CHECKING:
    from pathlib import Path

    from service.database import Database
    from service.log.keeper_status import PartStatus
from tests.integration.log_trees import (
    BODIES,
    KEEPER_PROCESS,
    ORIGIN,
    SIGNER,
    as_superuser,
    assert_consistent,
    checkpoints,
    leaves,
    seal_all,
)

pytest_plugins = ["tests.integration.log_fixtures"]


async def test_a_crash_before_the_signature_is_recovered(log_database: LogDatabase, tmp_path: Path) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    anchor = Anchor(tmp_path / "anchor")
    await Log(app).append([decision()])
    await seal_all(keeper)
    # Killed after sealing: the next keeper signs. Killed after the anchor: it signs the same checkpoint.
    async with keeper.connection() as connection:
        root = await connection.fetchval("SELECT root FROM log_head")
    anchor.append(Checkpoint(ORIGIN, 2, root))
    assert await CheckpointSigner(keeper, [SIGNER], anchor).sign() == Checkpoint(ORIGIN, 2, root)
    (first,) = await checkpoints(log_database)
    # A lost note is signed again, byte for byte the same.
    await as_superuser(log_database, "DELETE FROM checkpoint")
    await CheckpointSigner(keeper, [SIGNER], anchor).sign()
    assert await checkpoints(log_database) == [first]


async def test_killed_keepers_sign_only_extensions(log_database: LogDatabase, tmp_path: Path) -> None:
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
    await CheckpointSigner(keeper, [SIGNER], Anchor(tmp_path / "anchor")).sign()
    assert await assert_consistent(log_database, keeper) > 2
    anchored = [line.split()[2] for line in (tmp_path / "anchor").read_text().splitlines()]
    signed = {str(checkpoint.size) for checkpoint in await checkpoints(log_database)}
    assert signed <= set(anchored)
    assert anchored == sorted(anchored, key=int)


async def restore(log_database: LogDatabase, size: int) -> None:
    """Restore an earlier state: delete everything beyond `size`."""
    held = (await leaves(log_database))[:size]
    edge = merkle.Edge()
    for leaf in held:
        edge.append(leaf)
    hashes = ", ".join(f"'\\x{value.hex()}'" for value in edge.hashes)
    await as_superuser(
        log_database,
        f"DELETE FROM audit_record WHERE id IN (SELECT record_id FROM audit_position WHERE position >= {size})",
        f"DELETE FROM audit_position WHERE position >= {size}",
        f"DELETE FROM checkpoint WHERE size > {size}",
        f"UPDATE tile SET width = {size}, hashes = substr(hashes, 1, {size * 32})",
        f"UPDATE log_head SET size = {size}, tree_size = {size}, root = '\\x{edge.root().hex()}',"
        f" edge = ARRAY[{hashes}]::bytea[]",
    )


async def test_a_restored_database_is_not_signed_even_after_it_grew(log_database: LogDatabase, tmp_path: Path) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    signing = CheckpointSigner(keeper, [SIGNER], Anchor(tmp_path / "anchor"))
    for _ in range(3):
        await Log(app).append([decision() for _ in range(10)])
        await seal_all(keeper)
        await signing.sign()
    await restore(log_database, 11)
    with pytest.raises(LogDamaged, match="has 11 records, but a checkpoint of 31 was signed"):
        await signing.sign()
    # Other records get the lost positions: sizes agree, roots differ.
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


async def test_a_new_epoch_begins_with_a_record_of_the_loss(log_database: LogDatabase, tmp_path: Path) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    await Log(app).append([decision() for _ in range(30)])
    await seal_all(keeper)
    lost = await CheckpointSigner(keeper, [SIGNER], Anchor(tmp_path / "anchor")).sign()
    assert lost is not None
    await restore(log_database, 11)
    owner = await log_database.connect("owner")
    for origin, message in (
        (ORIGIN, "a new epoch needs a new origin"),
        ("timesheets example", "cannot be"),
        ("", "cannot be"),
        ("a+b", "cannot be"),
    ):
        with pytest.raises(Misconfigured, match=message):
            await begin_epoch(owner, lost, origin)
    new = Signer("timesheets.example.com/audit/after", b"2" * 32)
    answer = await asyncio.to_thread(
        CliRunner(env={"TIMEWARDEN_DATABASE_URL": log_database.url("owner")}).invoke,
        timewarden,
        ["audit", "new-epoch", "--yes", "--origin", new.name, "--anchor", str(tmp_path / "anchor")],
        catch_exceptions=False,
    )
    head = await ChangeFeed(keeper).head()
    assert str(head.epoch) in answer.output
    assert head.epoch != log_database.epoch
    await Log(app).append([decision()])
    await seal_all(keeper)
    with pytest.raises(LogDamaged):
        await CheckpointSigner(keeper, [SIGNER], Anchor(tmp_path / "anchor")).sign()
    signed = await CheckpointSigner(keeper, [new], Anchor(tmp_path / "anchor.after")).sign()
    assert signed == Checkpoint(new.name, 13, merkle.root_hash(await leaves(log_database)))
    # A third epoch may not reuse the first origin either.
    with pytest.raises(Misconfigured, match="a new epoch needs a new origin"):
        await begin_epoch(owner, Checkpoint("timesheets.example.com/audit/other", 1, bytes(32)), new.name)
    body = read_body((await owner.fetch(BODIES))[11]["body"])
    assert (body["event"], body["origin"], body["epoch"], body["kept"]) == ("log.epoch", new.name, str(head.epoch), 11)
    assert body["previous"] == {
        "epoch": str(log_database.epoch),
        "origin": ORIGIN,
        "size": 31,
        "root": lost.root.hex(),
    }


async def test_a_log_is_signed_under_another_name_only_after_a_new_epoch_gave_it_that_name(
    log_database: LogDatabase, tmp_path: Path
) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    old = CheckpointSigner(keeper, [SIGNER], Anchor(tmp_path / "anchor"))
    after, third = (Signer(f"timesheets.example.com/audit/{name}", b"2" * 32) for name in ("after", "third"))
    new = CheckpointSigner(keeper, [after], Anchor(tmp_path / "anchor.after"))
    lost = None
    for _ in range(2):
        await Log(app).append([decision() for _ in range(10)])
        await seal_all(keeper)
        lost = await old.sign()
    assert lost is not None
    # A restored log, an empty anchor file and another name: nothing contradicts an earlier checkpoint.
    await restore(log_database, 11)
    with pytest.raises(LogDamaged, match=f"origin is {ORIGIN}, not {after.name}.*runbook-restored-log"):
        await new.sign()
    assert not (tmp_path / "anchor.after").exists()

    owner = await log_database.connect("owner")
    await begin_epoch(owner, lost, after.name)
    # The record of the epoch has no position yet, so no checkpoint of the new name may leave it out.
    assert await new.sign() is None
    await seal_all(keeper)
    signed = await new.sign()
    assert signed is not None
    with pytest.raises(LogDamaged, match=f"origin is {after.name}, not {ORIGIN}"):
        await old.sign()

    # A keeper that runs on while the log gets a third name.
    assert (await report_of(new, keeper)).ready
    await begin_epoch(owner, signed, third.name)
    found = await report_of(new, keeper)
    assert not found.ready
    assert f"The log's origin is {third.name}, not {after.name}" in found.detail
    await seal_all(keeper)
    with pytest.raises(LogDamaged, match=f"origin is {third.name}, not {after.name}"):
        await new.sign()
    assert await CheckpointSigner(keeper, [third], Anchor(tmp_path / "anchor.third")).sign() is not None


async def report_of(signing: CheckpointSigner, keeper: Database) -> PartStatus:
    """Let it try once; return its report."""
    stop = asyncio.Event()
    stop.set()
    await signing.run(stop, 0.01)
    async with keeper.connection() as connection:
        (status,) = await read_status(connection)
    return status


async def test_records_sealed_after_a_restore_do_not_count_as_kept(log_database: LogDatabase, tmp_path: Path) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    signing = CheckpointSigner(keeper, [SIGNER], Anchor(tmp_path / "anchor"))
    await Log(app).append([decision() for _ in range(10)])
    await seal_all(keeper)
    await signing.sign()
    await Log(app).append([decision() for _ in range(20)])
    await seal_all(keeper)
    lost = await signing.sign()
    assert lost is not None
    await restore(log_database, 11)
    # Service and sealer went on meanwhile; only signing had stopped.
    await Log(app).append([decision() for _ in range(7)])
    await seal_all(keeper)
    owner = await log_database.connect("owner")
    await begin_epoch(owner, lost, "timesheets.example.com/audit/after")
    await seal_all(keeper)
    body = read_body((await owner.fetch(BODIES))[18]["body"])
    assert (body["event"], body["kept"]) == ("log.epoch", 11)


async def test_a_silent_log_gets_one_heartbeat(log_database: LogDatabase) -> None:
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
    # The search columns match the bytes, although Postgres wrote both.
    copies = search_columns(held)
    assert {name: row[name] for name in copies} == dict(copies)
