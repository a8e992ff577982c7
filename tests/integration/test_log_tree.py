"""The stored tree grows with the positions, is completed where it was missing, and never grows once damaged."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import asyncpg
import pytest

from service.errors import DatabaseUnavailable, LogDamaged
from service.log import merkle, tiles
from service.log.anchor import Anchor
from service.log.keeper_status import PartStatus, read_status
from service.log.log import Log
from service.log.packing import DICTIONARIES, NEWEST
from service.log.sealing import Sealer
from service.log.signing import CheckpointSigner
from service.log.tree import inclusion_path, root_at
from tests.conformance.rfc9162_verifier import inclusion_holds
from tests.integration.log_database import LogDatabase, decision
from tests.until import until

if TYPE_CHECKING:
    from pathlib import Path
from tests.integration.log_trees import FORGET_TREE, SIGNER, as_superuser, assert_consistent, leaves, seal_all

pytest_plugins = ["tests.integration.log_fixtures"]


async def test_a_tree_grown_in_random_steps_is_the_tree_of_the_records(
    log_database: LogDatabase, tmp_path: Path
) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    chance, signing = random.Random(5), CheckpointSigner(keeper, [SIGNER], Anchor(tmp_path / "anchor"))  # noqa: S311 - the same steps every time
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
            assert inclusion_holds(held[index], index, len(held), path, merkle.root_hash(held))
        for size in chance.sample(range(1, len(held) + 1), 20):
            assert await root_at(connection, size) == merkle.root_hash(held[:size])
        stored = await connection.fetch("SELECT level, index, width FROM tile ORDER BY level, index")
    assert [tuple(row) for row in stored] == [
        (level, index, width)
        for level in (0, 1)
        for index in range(10)
        if (width := tiles.width_at(level, index, len(held)))
    ]


async def test_a_log_sealed_without_a_tree_gets_its_tree_first(log_database: LogDatabase) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    await Log(app).append([decision() for _ in range(700)])
    await seal_all(keeper)
    # As an older release left it.
    await as_superuser(log_database, "DELETE FROM tile", "UPDATE log_head SET tree_size = 0, edge = '{}', root = NULL")
    await Log(app).append([decision()])
    sealer = Sealer(keeper, batch=300)
    assert [await sealer.seal() for _ in range(5)] == [300, 300, 101, 1, 0]
    async with keeper.connection() as connection:
        assert await connection.fetchval("SELECT root FROM log_head") == merkle.root_hash(await leaves(log_database))


async def test_records_of_each_dictionary_have_the_leaves_of_their_bytes(log_database: LogDatabase) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    made = {packing: [decision(outcome=outcome) for outcome in ("allow", "deny")] for packing in DICTIONARIES}
    for packing, records in made.items():
        await as_superuser(log_database, f"UPDATE log_head SET packing = {packing}")
        log = Log(app)
        await log.append(records)
        async with app.transaction() as connection:
            await log.append([decision()], connection)
    await seal_all(keeper)
    auditor = await log_database.connect("auditor")
    stored = await auditor.fetch(
        "SELECT get_byte(body, 0) AS first, stored_hash FROM audit_record WHERE id > 1 ORDER BY id"
    )
    assert [row["first"] for row in stored] == [packing for packing in DICTIONARIES for _ in range(3)]
    sealed = await leaves(log_database)
    assert await auditor.fetchval("SELECT root FROM log_head") == merkle.root_hash(sealed)
    assert {record.leaf for records in made.values() for record in records} <= set(sealed)
    assert not {row["stored_hash"] for row in stored} & set(sealed)


async def test_a_new_log_packs_with_the_newest_dictionary(log_database: LogDatabase) -> None:
    owner = await log_database.connect("owner")
    assert await owner.fetchval("SELECT packing FROM log_head") == NEWEST


async def test_a_keeper_that_cannot_read_the_newest_records_seals_none(log_database: LogDatabase) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    await as_superuser(log_database, f"UPDATE log_head SET packing = {NEWEST + 1}")
    made = decision()
    await Log(app).append([made])
    with pytest.raises(LogDamaged, match="start a newer one"):
        await Sealer(keeper).seal()
    await as_superuser(log_database, f"UPDATE log_head SET packing = {NEWEST}")
    await seal_all(keeper)
    assert (await leaves(log_database))[-1] == made.leaf


async def test_a_keeper_of_a_release_before_the_second_dictionary_seals_none_of_its_records(
    log_database: LogDatabase,
) -> None:
    keeper = await log_database.open("keeper")
    # As such a keeper grows the tree.
    grow = "UPDATE log_head SET size = 1, tree_size = 1, edge = ARRAY[$1::bytea], root = $1"
    async with keeper.connection() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="start a newer one"):
            await connection.execute(grow, merkle.EMPTY)
        await as_superuser(log_database, "UPDATE log_head SET packing = 1")
        await connection.execute(grow, merkle.EMPTY)


async def test_steps_become_smaller_after_a_timeout(log_database: LogDatabase) -> None:
    app, keeper, stop = await log_database.open("app"), await log_database.open("keeper"), asyncio.Event()
    await Log(app).append([decision() for _ in range(600)])
    # A slow disk, on which 100 positions are written in time. By their number, not by a clock: a busy machine would be
    # too slow for any step. The error is that of Postgres's statement timeout.
    await as_superuser(
        log_database,
        "CREATE FUNCTION too_slowly() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN IF (SELECT count(*) FROM placed) > 100 THEN"
        " RAISE 'canceling statement due to statement timeout' USING ERRCODE = 'query_canceled'; END IF;"
        " RETURN NULL; END $$",
        "CREATE TRIGGER too_slowly AFTER INSERT ON audit_position REFERENCING NEW TABLE AS placed"
        " FOR EACH STATEMENT EXECUTE FUNCTION too_slowly()",
    )
    with pytest.raises(DatabaseUnavailable, check=lambda error: "QueryCanceledError" in str(error.cause)):
        await Sealer(keeper).seal()
    running = asyncio.create_task(Sealer(keeper, longest_pause=0.01).run(stop, 0.01))
    auditor = await log_database.connect("auditor")

    async def has_grown() -> bool:
        return bool(await auditor.fetchval("SELECT size FROM log_head") == 601)

    await until(has_grown)
    stop.set()
    await running
    assert await auditor.fetchval("SELECT root FROM log_head") == merkle.root_hash(await leaves(log_database))
    assert len(await leaves(log_database)) == 601


@pytest.mark.parametrize(
    ("damage", "message"),
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
async def test_a_damaged_tree_is_not_grown(log_database: LogDatabase, damage: str, message: str) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    await Log(app).append([decision() for _ in range(300)])
    await seal_all(keeper)
    await as_superuser(log_database, damage)
    await Log(app).append([decision()])
    with pytest.raises(LogDamaged, match=message):
        await Sealer(keeper).seal()
    stop = asyncio.Event()
    running = asyncio.create_task(Sealer(keeper).run(stop, 0.01))

    async def load_status() -> list[PartStatus]:
        async with keeper.connection() as connection:
            return await read_status(connection)

    (status,) = await until(load_status)
    stop.set()
    await running
    async with keeper.connection() as connection:
        assert await connection.fetchval("SELECT size FROM log_head") == 301
    assert (status.ready, message in status.detail) == (False, True)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("DELETE FROM audit_record WHERE id = 2", "between the positions 0 and 3 are missing"),
        ("UPDATE audit_record SET body = 'other bytes' WHERE id = 2", "position 1 does not have its leaf hash"),
    ],
)
async def test_a_record_with_a_wrong_leaf_is_not_added_to_the_tree(
    log_database: LogDatabase, damage: str, message: str
) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    await Log(app).append([decision() for _ in range(3)])
    await seal_all(keeper)
    await as_superuser(
        log_database,
        FORGET_TREE,
        # Postgres computes the leaf, but corruption on disk bypasses it.
        "ALTER TABLE audit_record ALTER COLUMN stored_hash DROP EXPRESSION",
        damage,
    )
    with pytest.raises(LogDamaged, match=message):
        await Sealer(keeper).seal()


async def test_a_tile_beyond_the_end_of_the_tree_is_noticed(log_database: LogDatabase) -> None:
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
