"""timewarden-verify: trees against the recursive definitions, notes against the published vector, and bundles."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.log import checkpoint as notes
from service.log import merkle
from service.log.insert import COLUMNS
from service.log.record import Kind, Record
from service.standalone.verify import records as verified
from service.standalone.verify.bundle import SoughtAnswer
from service.standalone.verify.findings import INCOMPLETE, INTACT, TAMPERED, UNTRUSTED, USAGE, Fault
from service.standalone.verify.notes import read_checkpoint, read_keys
from service.standalone.verify.tree import Fold, subtrees, verify_consistency, verify_inclusion
from tests.bundle_forge import ORIGIN, SIGNER, STRANGER, VKEY, forge_bundle, hash_at, sign_checkpoint, verify_bundle
from tests.example_count import example_count

if TYPE_CHECKING:
    from collections.abc import Mapping

LEAVES = [merkle.leaf_hash(str(number).encode()) for number in range(130)]
SHEET = UUID("018f0000-0000-7000-8000-000000000001")


def record(number: int = 0, texts: Mapping[str, str] | None = None, *, at: datetime | None = None) -> Record:
    body = {
        "decided_at": at or datetime(2026, 3, 2, 9, number % 60, tzinfo=UTC),
        "decision": uuid4(),
        "action": "approve",
        "principal": {"person": SHEET, "client": "web", **({} if number % 2 else {"actors": ["assistant"]})},
        "resource": {"kind": "timesheet", "id": str(SHEET), "owner": SHEET, "state": "é\U0001f600\ufb01"},
        "applied": True,
        "outcome": "allow",
        "rules": ["approve-team"],
        "policy": {"version": number + 1},
        "request": {"id": f"request-{number}"},
        "returned": [SHEET],
    }
    return Record.make(Kind.DECISION, body, texts or {})


LOG = [record(number, {"note": f"text {number}"} if number % 3 == 0 else None) for number in range(23)]


@settings(max_examples=example_count(60))
@given(st.data())
def test_exactly_the_generated_proofs_verify(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, len(LEAVES)))
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size))
    at, root = hash_at(LEAVES[:size]), merkle.root_hash(LEAVES[:size])
    path = merkle.inclusion_path(index, size, at)
    assert verify_inclusion(LEAVES[index], index, size, path, root)
    proof = merkle.consistency_path(old, size, at)
    assert verify_consistency(old, merkle.root_hash(LEAVES[:old]), size, root, proof)
    for wrong in (path[:-1], [*path, root], [bytes(32), *path[1:]]):
        assert wrong == path or not verify_inclusion(LEAVES[index], index, size, wrong, root)
    for wrong in (proof[:-1], [*proof, root], [bytes(32), *proof[1:]]):
        assert wrong == proof or not verify_consistency(old, merkle.root_hash(LEAVES[:old]), size, root, wrong)
    other = (index + 1) % size
    assert other == index or not verify_inclusion(LEAVES[index], other, size, path, root)
    assert not verify_inclusion(LEAVES[index], size, size, path, root)
    assert not verify_consistency(old, bytes(32), size, root, proof)


@pytest.mark.parametrize("size", [0, 1, 2, 23])
def test_the_empty_tree_is_a_prefix_of_every_tree_without_a_proof(size: int) -> None:
    empty, root = merkle.root_hash([]), merkle.root_hash(LEAVES[:size])
    assert verify_consistency(0, empty, size, root, [])
    assert not verify_consistency(0, empty, size, root, [root])
    assert not verify_consistency(0, bytes(32), size, root, [])
    assert not verify_consistency(0, empty, 0, bytes(32), [])
    assert not verify_consistency(0, bytes(32), 0, bytes(32), [])


@settings(max_examples=example_count(60))
@given(st.integers(0, 129), st.integers(0, 130))
def test_ranges_of_subtrees_fold_to_the_root(start: int, size: int) -> None:
    start, tree, at = min(start, size), Fold(), hash_at(LEAVES)
    for level, index in [*subtrees(0, start), *subtrees(start, size)]:
        tree.push(level, at(level, index))
    assert tree.root() == merkle.root_hash(LEAVES[:size])


def test_the_published_note_verifies_and_changed_ones_do_not() -> None:
    # From C2SP signed-note.md. The text is not a checkpoint, so only the verdict on its signature counts.
    vkey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
    assert list(read_keys([vkey])) == [("example.com/foo", bytes.fromhex("530d903a"))]
    for wrong in (
        vkey.replace("530d", "530e"),
        vkey.replace("foo", "fop"),
        vkey[:-1],
        "",
        "a+b",
        vkey.replace("Aek", "Bek"),
    ):
        with pytest.raises(Fault) as caught:
            read_keys([wrong])
        assert caught.value.verdict == USAGE


def test_a_checkpoint_needs_a_signature_by_the_key_of_its_log() -> None:
    keys, note = read_keys([VKEY]), sign_checkpoint(LEAVES)
    assert read_checkpoint(note, keys).size == len(LEAVES)
    both = notes.sign(notes.Checkpoint(ORIGIN, 1, LEAVES[0]).text, [STRANGER, SIGNER])
    assert read_checkpoint(both, keys).size == 1
    other = notes.Signer("other.example/log", bytes(32))
    foreign = notes.sign(notes.Checkpoint(ORIGIN, 1, LEAVES[0]).text, [other])
    for stranger in (sign_checkpoint(LEAVES, signer=STRANGER), foreign):
        with pytest.raises(Fault) as caught:
            read_checkpoint(stranger, {**keys, **read_keys([other.verifier.vkey])})
        assert caught.value.verdict == UNTRUSTED


@settings(max_examples=example_count(300))
@given(st.data())
def test_a_checkpoint_with_any_other_byte_is_refused(data: st.DataObject) -> None:
    note = sign_checkpoint(LEAVES)
    place = data.draw(st.integers(0, len(note) - 1))
    letter = data.draw(st.sampled_from([item for item in "\n\x00 +09AZaz=\u2014\u00e9" if item != note[place]]))
    with pytest.raises(Fault):
        read_checkpoint(note[:place] + letter + note[place + 1 :], read_keys([VKEY]))


@settings(max_examples=example_count(60))
@given(st.data())
def test_every_range_of_a_log_is_intact_and_counts_its_texts(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, len(LOG)))
    start = data.draw(st.integers(0, size - 1))
    end = data.draw(st.integers(start + 1, size))
    old = data.draw(st.integers(0, size))
    seen = data.draw(st.sampled_from(sorted({size, *range(max(1, start), end + 1), *([old] if old else [])})))
    report = verify_bundle(
        forge_bundle(LOG, start, end, size, old).content, seen=sign_checkpoint([record.leaf for record in LOG], seen)
    )
    assert (report.verdict, report.findings) == (INTACT, [])
    assert report.checked["records"] == end - start
    assert report.checked.get("texts", 0) == sum(len(record.texts) for record in LOG[start:end])


def test_the_verifier_knows_every_column_of_the_log() -> None:
    assert verified.COLUMNS.keys() | verified.OPTIONAL_COLUMNS.keys() == {"kind", *COLUMNS}


def test_canonical_json_is_what_the_log_writes() -> None:
    for record in LOG:
        assert verified.canonical(verified.read_object(record.body)).encode() == record.body


@pytest.mark.parametrize("body", [b'{"a":1,"a":1}', b"[1]", b'{"a":1.5}', b'{"a":NaN}', b"\xff", b"[" * 60_000, b""])
def test_bytes_that_are_not_plain_json_are_refused(body: bytes) -> None:
    with pytest.raises(Fault):
        verified.read_object(body)


def test_a_bundle_is_compared_with_the_checkpoint_seen_before() -> None:
    leaves = [record.leaf for record in LOG]
    ours = forge_bundle(LOG, 5, 10, 20, 3).content
    for size in (3, 5, 7, 10, 20):
        assert verify_bundle(ours, seen=sign_checkpoint(leaves, size)).verdict == INTACT
        fork = [merkle.leaf_hash(b"other"), *leaves[1:]]
        report = verify_bundle(ours, seen=sign_checkpoint(fork, size))
        assert (report.verdict, "fork" in report.findings[0]["what"]) == (TAMPERED, True)
    for size in (4, 12, 22):
        assert verify_bundle(ours, seen=sign_checkpoint(leaves, size)).verdict == INCOMPLETE
    other = notes.Signer("other.example/log", bytes(32))
    report = verify_bundle(ours, key=other.verifier.vkey)
    assert report.verdict == UNTRUSTED


def test_the_record_of_an_answer_is_found_by_leaf_or_reported_missing() -> None:
    bundle = forge_bundle(LOG).content
    there, gone = SoughtAnswer(LOG[4].uid, LOG[4].leaf), SoughtAnswer(uuid4(), merkle.leaf_hash(b"answered"))
    assert verify_bundle(bundle, sought=there).verdict == INTACT
    assert there.position == 4
    verify_bundle(bundle, sought=gone)
    assert gone.position is None
    other = SoughtAnswer(LOG[4].uid, merkle.leaf_hash(b"answered"))
    assert (verify_bundle(bundle, sought=other).verdict, other.contradicted) == (TAMPERED, True)


def test_the_leaf_of_another_record_does_not_show_the_record_of_an_answer() -> None:
    bundle, invented = forge_bundle(LOG).content, uuid4()
    for uid in (invented, LOG[5].uid):
        report = verify_bundle(bundle, sought=SoughtAnswer(uid, LOG[4].leaf))
        assert report.verdict == TAMPERED
        (finding,) = (item for item in report.findings if item["position"] == 4)
        assert f"is not the record of the answer {uid}" in finding["what"]
        assert finding["uid"] == str(LOG[4].uid)
