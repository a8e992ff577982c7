"""A log that continues under another key or name, compared with the state of an earlier check."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from service.log import merkle
from service.log.checkpoint import Signer
from service.log.record import Kind, Record
from service.standalone.verify.findings import INCOMPLETE, INTACT, TAMPERED, UNTRUSTED
from tests.bundle_forge import ORIGIN, STRANGER, VKEY, b64, forge_bundle, hash_at, sign_checkpoint, verify_bundle
from tests.unit.test_verifier import LOG

if TYPE_CHECKING:
    from tests.bundle_forge import ForgedBundle

# The log was signed at size 23 under its first name; ten records were kept, and it continues under another name.
AFTER = Signer("timesheets.example/audit/after", b"a" * 32)
LEAVES = [record.leaf for record in LOG]
KEPT = 10
BOTH = (VKEY, AFTER.verifier.vkey)


def epoch(**changed: Any) -> Record:
    previous = {
        "origin": ORIGIN,
        "size": len(LOG),
        "root": merkle.root_hash(LEAVES).hex(),
        "note": sign_checkpoint(LEAVES),
    }
    previous |= {name: changed.pop(name) for name in list(changed) if name in previous}
    said = {"decided_at": datetime(2026, 3, 2, 10, tzinfo=UTC), "event": "log.epoch", "origin": AFTER.name}
    return Record.make(Kind.SYSTEM, said | {"previous": previous, "kept": KEPT} | changed)


def went_on(turn: Record | None = None, start: int = 0, seen: int = 0, log: list[Record] | None = None) -> ForgedBundle:
    """A bundle of the log that continues with the record `turn`; it proves how it relates to size `seen`."""
    log = [*(log or LOG)[:KEPT], turn or epoch(), *LOG[:5]]
    bundle = forge_bundle(log, start, old=seen)
    bundle.header["checkpoint"] = sign_checkpoint(bundle.leaves, signer=AFTER)
    return bundle


@pytest.mark.parametrize("seen", [1, KEPT])
def test_a_new_epoch_continues_the_records_that_were_kept(seen: int) -> None:
    report = verify_bundle(went_on().content, seen=sign_checkpoint(LEAVES, seen), key=BOTH)
    assert (report.verdict, report.findings) == (INTACT, [])
    # Kept records may be proved by their hashes only.
    report = verify_bundle(went_on(start=KEPT, seen=seen).content, seen=sign_checkpoint(LEAVES, seen), key=BOTH)
    assert (report.verdict, report.findings) == (INTACT, [])
    (note,) = report.notes
    assert f"the log continues as {AFTER.name}; of {ORIGIN}, whose last checkpoint has the size 23, 10 records" in note
    assert "13 are lost (signed by the old key)" in note


def test_without_the_old_key_a_note_says_that_it_was_not_checked() -> None:
    report = verify_bundle(went_on(start=KEPT, seen=5).content, key=AFTER.verifier.vkey)
    assert report.verdict == INTACT
    assert any("also give the older key" in note for note in report.notes)
    assert any("also give the old key" in note for note in report.notes)
    assert verify_bundle(went_on().content, key=VKEY).verdict == UNTRUSTED


def test_lost_records_that_were_seen_are_reported() -> None:
    report = verify_bundle(went_on().content, seen=sign_checkpoint(LEAVES, KEPT + 1), key=BOTH)
    (finding,) = report.findings
    assert (report.verdict, finding["position"]) == (INCOMPLETE, KEPT)
    assert "of the first 11 records, seen before, 10 are kept, the others lost" in finding["what"]


@pytest.mark.parametrize("start", [0, KEPT])
def test_different_kept_records_are_a_fork(start: int) -> None:
    bundle = went_on(start=start, seen=5, log=[LOG[1], *LOG[1:]])
    report = verify_bundle(bundle.content, seen=sign_checkpoint(LEAVES, 5), key=BOTH)
    assert (report.verdict, "fork: the first 5 records" in report.findings[0]["what"]) == (TAMPERED, True)


LIES: list[tuple[dict[str, Any], int, str]] = [
    ({"kept": KEPT + 1}, TAMPERED, "cannot have kept so many"),
    ({"size": 12}, TAMPERED, "the old key has signed another checkpoint"),
    ({"root": bytes(32).hex(), "note": None}, TAMPERED, "with another root, or beyond its last size"),
    ({"size": 12, "root": bytes(32).hex(), "note": None}, TAMPERED, "with another root, or beyond its last size"),
    ({"origin": ORIGIN}, TAMPERED, "has the same name"),
    ({"origin": "timesheets.example/audit/third"}, INCOMPLETE, "continues as timesheets.example/audit/third, but this"),
]


@pytest.mark.parametrize(("changed", "verdict", "what"), LIES)
def test_the_record_of_a_new_epoch_is_compared_with_the_state(changed: dict[str, Any], verdict: int, what: str) -> None:
    turn = epoch(**changed)
    if changed.get("origin"):
        said = {"decided_at": datetime(2026, 3, 2, 10, tzinfo=UTC), "event": "log.epoch", **changed}
        previous = {"origin": ORIGIN, "size": len(LOG), "root": merkle.root_hash(LEAVES).hex()}
        turn = Record.make(Kind.SYSTEM, said | {"previous": previous, "kept": KEPT})
    seen = KEPT if verdict == INCOMPLETE else len(LOG)
    report = verify_bundle(went_on(turn).content, seen=sign_checkpoint(LEAVES, seen), key=BOTH)
    assert report.verdict == verdict
    assert any(what in finding["what"] for finding in report.findings), report.findings


def test_a_later_epoch_may_lose_records_that_an_earlier_one_kept() -> None:
    third = "timesheets.example/audit/third"
    root = merkle.root_hash(LEAVES).hex()
    said = {"decided_at": datetime(2026, 3, 2, 11, tzinfo=UTC), "event": "log.epoch"}

    def turn(old: str, new: str, kept: int) -> Record:
        previous = {"origin": old, "size": len(LOG), "root": root}
        return Record.make(Kind.SYSTEM, said | {"origin": new, "previous": previous, "kept": kept})

    bundle = forge_bundle([*LOG[:6], turn(ORIGIN, third, 6), turn(third, AFTER.name, 4)])
    bundle.header["checkpoint"] = sign_checkpoint(bundle.leaves, signer=AFTER)
    assert verify_bundle(bundle.content, seen=sign_checkpoint(LEAVES, 4), key=BOTH).verdict == INTACT
    report = verify_bundle(bundle.content, seen=sign_checkpoint(LEAVES, 6), key=BOTH)
    assert (report.verdict, [finding["position"] for finding in report.findings]) == (INCOMPLETE, [7])


def test_without_the_record_of_the_epoch_the_logs_cannot_be_compared() -> None:
    bundle = went_on(start=KEPT + 1, seen=5)
    report = verify_bundle(bundle.content, seen=sign_checkpoint(LEAVES, 5), key=BOTH)
    assert (report.verdict, "no log.epoch in this bundle" in report.findings[0]["what"]) == (INCOMPLETE, True)


def test_a_bundle_after_a_key_change_verifies_with_the_new_key() -> None:
    bundle = forge_bundle(LOG, 5, old=5)
    bundle.header["start"]["checkpoint"] = sign_checkpoint(LEAVES, 5, STRANGER)
    report = verify_bundle(bundle.content)
    assert (report.verdict, report.findings) == (INTACT, [])
    assert any("signed the older checkpoint" in note for note in report.notes)
    # A checkpoint in the state needs no trusted signature, and the log is shown to extend it.
    assert verify_bundle(bundle.content, seen=sign_checkpoint(LEAVES, 5)).verdict == INTACT
    fork = [merkle.leaf_hash(b"other"), *LEAVES[1:]]
    assert verify_bundle(bundle.content, seen=sign_checkpoint(fork, 5)).verdict == TAMPERED


def test_every_bundle_extends_the_empty_log() -> None:
    empty = sign_checkpoint([])
    for start in (0, 5):
        bundle = forge_bundle(LOG, start)
        assert verify_bundle(bundle.content, seen=empty).verdict == INTACT
        bundle.header["start"] = {"checkpoint": empty, "consistency": []}
        for seen in (None, empty):
            assert verify_bundle(bundle.content, seen=seen).verdict == INTACT


def test_the_start_proof_is_checked_against_both_checkpoints() -> None:
    bundle = forge_bundle(LOG, 5, old=5)
    bundle.header["start"]["consistency"] = [b64(bytes(32))]
    assert "does not extend its checkpoint of size 5" in verify_bundle(bundle.content).findings[0]["what"]
    path = merkle.consistency_path(6, len(LOG), hash_at(LEAVES))
    bundle.header["start"]["consistency"] = [b64(value) for value in path]
    assert verify_bundle(bundle.content, seen=sign_checkpoint(LEAVES, 5)).verdict == TAMPERED
