"""The signatures of a checkpoint: old and new keys, concurrent keepers, witnesses, and invalid ones."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.audit import published_log
from service.errors import LogDamaged, Misconfigured
from service.log import checkpoint as notes
from service.log import witness as witness_module
from service.log.anchor import Anchor
from service.log.checkpoint import Checkpoint, Note, Signature, Signer
from service.log.keeper_status import read_status
from service.log.log import Log
from service.log.signing import CheckpointSigner
from service.log.witness import Cosigner, OtherHistory, SizeConflict
from tests.conformance.rfc9162_verifier import consistency_holds
from tests.integration.log_database import LogDatabase, decision
from tests.integration.log_trees import ORIGIN, SIGNER, as_superuser, checkpoints, seal_all

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytest_plugins = ["tests.integration.log_fixtures"]

NEW = Signer(ORIGIN, b"2" * 32)
NEWEST = "SELECT note FROM checkpoint WHERE size < 1000 ORDER BY size DESC LIMIT 1"


async def newest(log_database: LogDatabase) -> Note:
    return Note.parse(await (await log_database.connect("auditor")).fetchval(NEWEST))


async def test_a_new_key_signs_beside_the_old_one_and_then_alone(log_database: LogDatabase, tmp_path: Path) -> None:
    keeper, anchor, new = await log_database.open("keeper"), Anchor(tmp_path / "anchor"), Signer(ORIGIN, b"2" * 32)
    app = await log_database.open("app")
    await seal_all(keeper)
    await CheckpointSigner(keeper, [SIGNER], anchor).sign()
    # The new key signs even without new records.
    assert await CheckpointSigner(keeper, [SIGNER, new], anchor).sign() is not None
    auditor = await log_database.connect("auditor")
    newest = "SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1"
    both = await auditor.fetchval(newest)
    assert len(notes.verify(both, [SIGNER.verifier, new.verifier]).signatures) == 2
    await Log(app).append([decision()])
    await seal_all(keeper)
    await CheckpointSigner(keeper, [new], anchor).sign()
    alone = await auditor.fetchval(newest)
    assert str(notes.verify(alone, [new.verifier])) == alone
    with pytest.raises(notes.BadNote, match="No known key"):
        notes.verify(alone, [SIGNER.verifier])
    with pytest.raises(Misconfigured):
        CheckpointSigner(keeper, [SIGNER, Signer("another.example", b"3" * 32)], anchor)


async def test_keepers_with_different_keys_sign_beside_one_another(log_database: LogDatabase, tmp_path: Path) -> None:
    keeper, anchor = await log_database.open("keeper"), Anchor(tmp_path / "anchor")
    await seal_all(keeper)
    old, new = CheckpointSigner(keeper, [SIGNER], anchor), CheckpointSigner(keeper, [NEW], anchor)
    assert await old.sign() is not None
    assert await new.sign() is not None
    # Neither removes the other's signature, so they do not sign over and over.
    assert await old.sign() is None
    assert await new.sign() is None
    note = str(await newest(log_database))
    assert len(notes.verify(note, [SIGNER.verifier, NEW.verifier]).signatures) == 2


async def test_a_keeper_with_another_anchor_file_signs_nothing(log_database: LogDatabase, tmp_path: Path) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    first, second = Anchor(tmp_path / "anchor"), Anchor(tmp_path / "another")
    await seal_all(keeper)
    signed = await CheckpointSigner(keeper, [SIGNER], first).sign()
    assert signed is not None
    second.append(signed)
    await Log(app).append([decision()])
    await seal_all(keeper)
    await CheckpointSigner(keeper, [SIGNER], first).sign()
    with pytest.raises(LogDamaged, match="ends at 1: another keeper signs with another anchor file"):
        await CheckpointSigner(keeper, [NEW], second).sign()


async def test_a_forged_signature_is_replaced(log_database: LogDatabase, tmp_path: Path) -> None:
    keeper, anchor = await log_database.open("keeper"), Anchor(tmp_path / "anchor")
    await seal_all(keeper)
    await CheckpointSigner(keeper, [SIGNER], anchor).sign()
    good = await newest(log_database)
    wrong = Note(good.text, (Signature(ORIGIN, SIGNER.verifier.key_id, bytes(64)),))
    await as_superuser(log_database, f"UPDATE checkpoint SET note = '{wrong}'")
    assert await CheckpointSigner(keeper, [SIGNER], anchor).sign() is not None
    assert await newest(log_database) == good


async def test_a_checkpoint_beyond_the_end_of_the_log_is_ignored(log_database: LogDatabase, tmp_path: Path) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    anchor = Anchor(tmp_path / "anchor")
    await seal_all(keeper)
    await CheckpointSigner(keeper, [SIGNER], anchor).sign()
    forged = notes.sign(Checkpoint(ORIGIN, 10**15, bytes(32)).text, [NEW])
    row = f"VALUES ({10**15}, decode(repeat('00', 32), 'hex'), '{forged}')"
    await as_superuser(log_database, f"INSERT INTO checkpoint (size, root, note) {row}")
    async with app.connection() as connection:
        assert (await published_log.newest_checkpoint(connection)).size == 1
    await Log(app).append([decision()])
    await seal_all(keeper)
    assert await CheckpointSigner(keeper, [SIGNER], anchor).sign() is not None
    async with app.connection() as connection:
        assert (await published_log.newest_checkpoint(connection)).size == 2


class Witnessed:
    """An in-memory witness by C2SP tlog-witness; `cosigner` is its public key."""

    def __init__(self, fails: Exception | None = None, says: str | None = None, name: bytes = b"w") -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(name * 32)
        self._fails = fails
        self._says = says
        self.cosigner = Cosigner("witness.example", self._key.public_key().public_bytes_raw())
        self.seen: Checkpoint | None = None
        self.asked: list[int] = []
        self.forge = False

    async def add_checkpoint(self, old: int, proof: Sequence[bytes], note: str) -> Sequence[str]:
        self.asked.append(old)
        if self._fails:
            raise self._fails
        if self._says is not None:
            return [self._says]
        new = Checkpoint.parse(notes.verify(note, [SIGNER.verifier]).text)
        known = self.seen.size if self.seen else 0
        if old != known:
            raise SizeConflict(known)
        if self.seen and not consistency_holds(known, self.seen.root, new.size, new.root, proof):
            raise OSError("422")
        self.seen = new
        text = b"another" if self.forge else new.text.encode()
        value = struct.pack(">Q", 1_800_000_000) + self._key.sign(b"cosignature/v1\ntime 1800000000\n" + text)
        return [Signature(self.cosigner.name, self.cosigner.key_id, value).line]


async def test_witnesses_get_consistency_proofs_and_a_failing_one_blocks_nothing(
    log_database: LogDatabase, tmp_path: Path
) -> None:
    app, keeper, good = await log_database.open("app"), await log_database.open("keeper"), Witnessed()
    anchor = Anchor(tmp_path / "anchor")
    others = [Witnessed(TimeoutError(), name=b"1"), Witnessed(says="no line", name=b"2")]
    signing = CheckpointSigner(keeper, [SIGNER], anchor, witnesses=[*others, good])
    for _ in range(3):
        await Log(app).append([decision() for _ in range(7)])
        await seal_all(keeper)
        await signing.sign()
    assert good.asked == [0, 8, 15]
    # A restarted keeper does not know the witness's size; the witness replies with it.
    await Log(app).append([decision()])
    await seal_all(keeper)
    await CheckpointSigner(keeper, [SIGNER], anchor, witnesses=[good]).sign()
    assert good.asked == [0, 8, 15, 0, 22]
    assert len(await checkpoints(log_database)) == 4
    note = await newest(log_database)
    assert [signature.name for signature in note.signatures] == [ORIGIN, "witness.example"]
    assert good.cosigner.verifies(note.text, note.signatures[1])


async def test_only_valid_cosignatures_are_kept(log_database: LogDatabase, tmp_path: Path) -> None:
    keeper, witness, anchor = await log_database.open("keeper"), Witnessed(), Anchor(tmp_path / "anchor")
    witness.forge = True
    await seal_all(keeper)
    await CheckpointSigner(keeper, [SIGNER], anchor, witnesses=[witness]).sign()
    assert [signature.name for signature in (await newest(log_database)).signatures] == [ORIGIN]
    witness.forge, witness.seen = False, None
    # A note that is signed again keeps a valid cosignature, even if the witness is unavailable then.
    await CheckpointSigner(keeper, [SIGNER, NEW], anchor, witnesses=[witness]).sign()
    third = Signer(ORIGIN, b"3" * 32)
    away = Witnessed(TimeoutError())
    await CheckpointSigner(keeper, [third], anchor, witnesses=[away]).sign()
    names = [signature.name for signature in (await newest(log_database)).signatures]
    assert names == [ORIGIN, ORIGIN, ORIGIN, "witness.example"]


@pytest.mark.parametrize(
    ("says", "sentence"),
    [
        (OtherHistory("The witness W knows another history of this log"), "W knows another history of this log; docs/"),
        (SizeConflict(10**6), "witness.example has cosigned 1000000 records of this log, which has 1; docs/"),
    ],
    ids=["422", "409 with a larger log"],
)
async def test_a_witness_that_knows_another_history_stops_the_signer(
    log_database: LogDatabase, tmp_path: Path, says: Exception, sentence: str
) -> None:
    keeper, good = await log_database.open("keeper"), Witnessed(name=b"g")
    await seal_all(keeper)
    signing = CheckpointSigner(keeper, [SIGNER], Anchor(tmp_path / "anchor"), witnesses=[Witnessed(says), good])
    stop = asyncio.Event()
    stop.set()
    await signing.run(stop)
    async with keeper.connection() as connection:
        (status,) = [part for part in await read_status(connection) if part.part == "signer"]
    assert not status.ready
    assert sentence in status.detail
    assert await checkpoints(log_database) == []


async def test_a_witness_that_was_away_cosigns_the_same_checkpoint_later(
    log_database: LogDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witness_module, "PAUSE_SECONDS", 0.2)
    keeper, witness = await log_database.open("keeper"), Witnessed(OSError("status 503"))
    await seal_all(keeper)
    signing = CheckpointSigner(keeper, [SIGNER], Anchor(tmp_path / "anchor"), witnesses=[witness])
    assert await signing.sign() is not None
    assert signing._witnesses.describe_failures() == "no cosignature of witness.example: status 503"
    # Not before the pause is over.
    assert await signing.sign() is None
    witness._fails = None
    await asyncio.sleep(0.25)
    assert await signing.sign() is not None
    assert [signature.name for signature in (await newest(log_database)).signatures] == [ORIGIN, "witness.example"]
    assert signing._witnesses.describe_failures() == ""
    assert await signing.sign() is None
