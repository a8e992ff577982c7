"""A log that goes on under another key or another name, held against what was seen before."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from service.log import merkle
from service.log.checkpoint import Signer
from service.log.record import Kind, Record
from service.standalone.verify.findings import INCOMPLETE, INTACT, TAMPERED, UNTRUSTED
from tests.bundle_forge import ORIGIN, STRANGER, VKEY, b64, forged, hash_at, judged, signed
from tests.unit.test_verifier import LOG

if TYPE_CHECKING:
    from tests.bundle_forge import Forged

# The log was signed at 23 under its first name; ten records were kept, and it goes on under another.
AFTER = Signer("timesheets.example/audit/after", b"a" * 32)
LEAVES = [record.leaf for record in LOG]
KEPT = 10
BOTH = (VKEY, AFTER.verifier.vkey)


def epoch(**changed: Any) -> Record:
    previous = {"origin": ORIGIN, "size": len(LOG), "root": merkle.root_hash(LEAVES).hex(), "note": signed(LEAVES)}
    previous |= {name: changed.pop(name) for name in list(changed) if name in previous}
    said = {"decided_at": datetime(2026, 3, 2, 10, tzinfo=UTC), "event": "log.epoch", "origin": AFTER.name}
    return Record.make(Kind.SYSTEM, said | {"previous": previous, "kept": KEPT} | changed)


def went_on(turn: Record | None = None, start: int = 0, seen: int = 0, log: list[Record] | None = None) -> Forged:
    """The bundle of the log that goes on behind `turn`; it shows how it relates to size `seen`."""
    log = [*(log or LOG)[:KEPT], turn or epoch(), *LOG[:5]]
    bundle = forged(log, start, old=seen)
    bundle.header["checkpoint"] = signed(bundle.leaves, signer=AFTER)
    return bundle


@pytest.mark.parametrize("seen", [1, KEPT])
def test_a_log_in_a_new_epoch_goes_on_from_what_was_seen_and_kept(seen: int) -> None:
    report = judged(went_on().content, seen=signed(LEAVES, seen), key=BOTH)
    assert (report.verdict, report.findings) == (INTACT, [])
    # The records that were kept may be proved by their hashes alone.
    report = judged(went_on(start=KEPT, seen=seen).content, seen=signed(LEAVES, seen), key=BOTH)
    assert (report.verdict, report.findings) == (INTACT, [])
    (note,) = report.notes
    assert f"the log continues as {AFTER.name}; of {ORIGIN}, whose last checkpoint has the size 23, 10 records" in note
    assert "13 are lost (signed by the old key)" in note


def test_who_trusts_the_new_key_alone_is_told_that_the_old_one_was_not_checked() -> None:
    report = judged(went_on(start=KEPT, seen=5).content, key=AFTER.verifier.vkey)
    assert report.verdict == INTACT
    assert any("also give the older key" in note for note in report.notes)
    assert any("also give the old key" in note for note in report.notes)
    assert judged(went_on().content, key=VKEY).verdict == UNTRUSTED


def test_records_that_were_seen_and_are_lost_are_told() -> None:
    report = judged(went_on().content, seen=signed(LEAVES, KEPT + 1), key=BOTH)
    (finding,) = report.findings
    assert (report.verdict, finding["position"]) == (INCOMPLETE, KEPT)
    assert "of the first 11 records, seen before, 10 are kept, the others lost" in finding["what"]


@pytest.mark.parametrize("start", [0, KEPT])
def test_kept_records_that_are_others_are_a_fork(start: int) -> None:
    bundle = went_on(start=start, seen=5, log=[LOG[1], *LOG[1:]])
    report = judged(bundle.content, seen=signed(LEAVES, 5), key=BOTH)
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
def test_a_record_of_a_new_epoch_is_held_against_what_was_seen(
    changed: dict[str, Any], verdict: int, what: str
) -> None:
    turn = epoch(**changed)
    if changed.get("origin"):
        said = {"decided_at": datetime(2026, 3, 2, 10, tzinfo=UTC), "event": "log.epoch", **changed}
        previous = {"origin": ORIGIN, "size": len(LOG), "root": merkle.root_hash(LEAVES).hex()}
        turn = Record.make(Kind.SYSTEM, said | {"previous": previous, "kept": KEPT})
    seen = KEPT if verdict == INCOMPLETE else len(LOG)
    report = judged(went_on(turn).content, seen=signed(LEAVES, seen), key=BOTH)
    assert report.verdict == verdict
    assert any(what in finding["what"] for finding in report.findings), report.findings


def test_a_later_epoch_may_have_lost_what_the_first_one_kept() -> None:
    third = "timesheets.example/audit/third"
    root = merkle.root_hash(LEAVES).hex()
    said = {"decided_at": datetime(2026, 3, 2, 11, tzinfo=UTC), "event": "log.epoch"}

    def turn(old: str, new: str, kept: int) -> Record:
        previous = {"origin": old, "size": len(LOG), "root": root}
        return Record.make(Kind.SYSTEM, said | {"origin": new, "previous": previous, "kept": kept})

    bundle = forged([*LOG[:6], turn(ORIGIN, third, 6), turn(third, AFTER.name, 4)])
    bundle.header["checkpoint"] = signed(bundle.leaves, signer=AFTER)
    assert judged(bundle.content, seen=signed(LEAVES, 4), key=BOTH).verdict == INTACT
    report = judged(bundle.content, seen=signed(LEAVES, 6), key=BOTH)
    assert (report.verdict, [finding["position"] for finding in report.findings]) == (INCOMPLETE, [7])


def test_without_its_record_nobody_knows_whether_it_is_the_same_log() -> None:
    bundle = went_on(start=KEPT + 1, seen=5)
    report = judged(bundle.content, seen=signed(LEAVES, 5), key=BOTH)
    assert (report.verdict, "no log.epoch in this bundle" in report.findings[0]["what"]) == (INCOMPLETE, True)


def test_a_bundle_behind_a_change_of_keys_is_trusted_by_the_new_key() -> None:
    bundle = forged(LOG, 5, old=5)
    bundle.header["start"]["checkpoint"] = signed(LEAVES, 5, STRANGER)
    report = judged(bundle.content)
    assert (report.verdict, report.findings) == (INTACT, [])
    assert any("signed the older checkpoint" in note for note in report.notes)
    # Who saw it needs nobody's signature any more, and is shown that the log extends it.
    assert judged(bundle.content, seen=signed(LEAVES, 5)).verdict == INTACT
    fork = [merkle.leaf_hash(b"other"), *LEAVES[1:]]
    assert judged(bundle.content, seen=signed(fork, 5)).verdict == TAMPERED


def test_the_proof_of_the_start_is_held_against_both_checkpoints() -> None:
    bundle = forged(LOG, 5, old=5)
    bundle.header["start"]["consistency"] = [b64(bytes(32))]
    assert "does not extend its checkpoint of size 5" in judged(bundle.content).findings[0]["what"]
    path = merkle.consistency_path(6, len(LOG), hash_at(LEAVES))
    bundle.header["start"]["consistency"] = [b64(value) for value in path]
    assert judged(bundle.content, seen=signed(LEAVES, 5)).verdict == TAMPERED
