"""Changed bundles: every kind of change is caught and named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.standalone.verify.findings import INCOMPLETE, INTACT, TAMPERED, UNTRUSTED, USAGE
from tests.bundle_forge import STRANGER, b64, forge_bundle, sign_checkpoint, verify_bundle
from tests.example_count import example_count
from tests.unit.test_verifier import LOG

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bundle_forge import ForgedBundle

BUNDLE = forge_bundle(LOG, 3, 20, 22, 2).content
LEAVES = [record.leaf for record in LOG]


@settings(max_examples=example_count(400))
@given(st.integers(0, len(BUNDLE) - 1), st.integers(1, 255))
def test_any_changed_byte_of_a_bundle_is_found(place: int, change: int) -> None:
    other = BUNDLE[:place] + bytes([BUNDLE[place] ^ change]) + BUNDLE[place + 1 :]
    report = verify_bundle(other)
    # An older checkpoint without a known signature is noted and proves nothing.
    unknown = any("signed the older checkpoint" in note for note in report.notes)
    assert report.verdict != INTACT or unknown, other[place - 20 : place + 20]


@settings(max_examples=example_count(100))
@given(st.integers(0, len(BUNDLE) - 1))
def test_a_truncated_bundle_is_never_intact(length: int) -> None:
    assert verify_bundle(BUNDLE[:length]).verdict in {INCOMPLETE, TAMPERED, UNTRUSTED}


def swap_lines(bundle: ForgedBundle) -> None:
    bundle.lines[4], bundle.lines[5] = bundle.lines[5], bundle.lines[4]


def swap_and_renumber(bundle: ForgedBundle) -> None:
    swap_lines(bundle)
    bundle.lines[4]["position"], bundle.lines[5]["position"] = 4, 5


def swap_records(bundle: ForgedBundle) -> None:
    swap_and_renumber(bundle)
    for position in (4, 5):
        bundle.lines[position]["sealed"] = LEAVES[position].hex()


def drop_line(bundle: ForgedBundle) -> None:
    del bundle.lines[4]


def drop_and_renumber(bundle: ForgedBundle) -> None:
    del bundle.lines[4]
    for place, line in enumerate(bundle.lines):
        line["position"] = place
    bundle.header["to"] = len(bundle.lines)


def duplicate_line(bundle: ForgedBundle) -> None:
    bundle.lines.insert(4, bundle.lines[4])


def insert_line(bundle: ForgedBundle) -> None:
    bundle.lines.insert(4, {**bundle.lines[9], "position": 4})
    for place, line in enumerate(bundle.lines):
        line["position"] = place
    bundle.header["to"] = len(bundle.lines)


def append_line(bundle: ForgedBundle) -> None:
    bundle.lines.append({**bundle.lines[-1], "position": len(bundle.lines)})


def remove_body(bundle: ForgedBundle) -> None:
    for member in ("uid", "leaf", "body", "columns", "texts"):
        bundle.lines[4][member] = None


def keep_members_without_body(bundle: ForgedBundle) -> None:
    bundle.lines[4]["body"] = None


def float_position(bundle: ForgedBundle) -> None:
    bundle.lines[0]["position"] = False


def remove_sealed_hash(bundle: ForgedBundle) -> None:
    bundle.lines[4]["sealed"] = None


def change_body(bundle: ForgedBundle) -> None:
    body = LOG[4].body.replace(b'"allow"', b'"deny!"')
    bundle.lines[4]["body"] = b64(body)


def change_sealed_hash(bundle: ForgedBundle) -> None:
    bundle.lines[4]["sealed"] = bytes(32).hex()


def change_leaf(bundle: ForgedBundle) -> None:
    bundle.lines[4]["leaf"] = bytes(32).hex()


def change_text(bundle: ForgedBundle) -> None:
    bundle.lines[3]["texts"]["note"]["value"] = "another"


def change_salt(bundle: ForgedBundle) -> None:
    bundle.lines[3]["texts"]["note"]["salt"] = bytes(16).hex()


def add_text(bundle: ForgedBundle) -> None:
    bundle.lines[4]["texts"]["note"] = {"salt": bytes(16).hex(), "value": "never said"}


def remove_text(bundle: ForgedBundle) -> None:
    bundle.lines[3]["texts"] = {}


MUTATIONS: list[tuple[Callable[[ForgedBundle], None], str, int | None]] = [
    (swap_lines, "position 5 instead of 4", 4),
    (swap_and_renumber, "root: ", None),
    (swap_records, "the record of this position is at 5", 4),
    (drop_line, "position 5 instead of 4", 4),
    (drop_and_renumber, "header: ", None),
    (duplicate_line, "position 4 instead of 5", 5),
    (insert_line, "header: ", None),
    (append_line, "there is data after the last record", None),
    (remove_body, "the record was removed", 4),
    (keep_members_without_body, "a record without a body has other members", 4),
    (float_position, "its position is not an integer", 0),
    (remove_sealed_hash, "the log lost the hash that was sealed here", 4),
    (change_body, "body: the bytes do not have the hash that was sealed here", 4),
    (change_sealed_hash, "the records are those that were signed; the log's stored hashes were altered", None),
    (change_leaf, "leaf: the leaf column is not the hash of the bytes", 4),
    (change_text, "text note: not the text that the bytes commit to", 3),
    (change_salt, "text note: not the text that the bytes commit to", 3),
    (add_text, "text note: the bytes commit to no such text", 4),
    (remove_text, "text note: missing", 3),
]


@pytest.mark.parametrize(("change", "what", "position"), MUTATIONS)
def test_every_change_is_named(change: Callable[[ForgedBundle], None], what: str, position: int | None) -> None:
    bundle = forge_bundle(LOG)
    change(bundle)
    report = verify_bundle(bundle.content)
    assert report.verdict == TAMPERED
    assert [
        finding for finding in report.findings if what in finding["what"] and finding.get("position") == position
    ], report.findings


@pytest.mark.parametrize("column", sorted(forge_bundle(LOG).lines[4]["columns"]))
def test_every_column_is_compared_with_the_bytes(column: str) -> None:
    bundle = forge_bundle(LOG)
    columns = bundle.lines[4]["columns"]
    kind = type(columns[column])
    columns[column] = {bool: False, int: 99, list: []}.get(kind, "another")
    (finding,) = verify_bundle(bundle.content).findings
    assert (finding["position"], finding["what"].split(":")[0]) == (4, f"column {column}")
    del columns[column]
    (finding,) = verify_bundle(bundle.content).findings
    assert finding["what"] == f"column {column}: missing"


def test_an_actor_that_only_the_column_has_is_found() -> None:
    bundle = forge_bundle(LOG)
    assert "actors" not in bundle.lines[5]["columns"]
    bundle.lines[5]["columns"]["actors"] = ["assistant"]
    (finding,) = verify_bundle(bundle.content).findings
    assert (finding["position"], finding["what"]) == (5, "column actors: not known to this verifier")


def test_the_uid_is_compared_with_the_bytes() -> None:
    bundle = forge_bundle(LOG)
    bundle.lines[4]["uid"] = bundle.lines[5]["uid"]
    (finding,) = verify_bundle(bundle.content).findings
    assert finding["what"].startswith("uid: ")


def test_a_fork_signed_with_the_real_key_contradicts_the_state() -> None:
    fork = forge_bundle([LOG[1], *LOG[1:]])
    assert verify_bundle(fork.content).verdict == INTACT
    for size in (1, 7, len(LOG)):
        report = verify_bundle(fork.content, seen=sign_checkpoint(LEAVES, size))
        assert (report.verdict, "fork" in report.findings[0]["what"]) == (TAMPERED, True)


def test_a_rolled_back_log_does_not_extend_the_state() -> None:
    report = verify_bundle(forge_bundle(LOG[:10]).content, seen=sign_checkpoint(LEAVES))
    assert (report.verdict, "rolled back" in report.findings[0]["what"]) == (INCOMPLETE, True)


def test_a_checkpoint_of_another_log_is_not_trusted() -> None:
    bundle = forge_bundle(LOG)
    bundle.header["checkpoint"] = sign_checkpoint(LEAVES, signer=STRANGER)
    assert verify_bundle(bundle.content).verdict == UNTRUSTED


@pytest.mark.parametrize("member", ["left", "right"])
def test_wrong_and_missing_hashes_in_the_header_are_found(member: str) -> None:
    bundle = forge_bundle(LOG, 3, 20)
    kept = bundle.header[member]
    bundle.header[member] = [b64(bytes(32)), *kept[1:]]
    assert "root: " in verify_bundle(bundle.content).findings[-1]["what"]
    bundle.header[member] = [None, *kept[1:]]
    assert "lost the hash of its subtree" in verify_bundle(bundle.content).findings[0]["what"]
    bundle.header[member] = kept[1:]
    assert "takes" in verify_bundle(bundle.content).findings[0]["what"]


def test_a_hundred_findings_are_listed_and_all_are_counted() -> None:
    many = [LOG[0]] * 150
    bundle = forge_bundle(many)
    for line in bundle.lines:
        line["leaf"] = None
    report = verify_bundle(bundle.content)
    assert (len(report.findings), report.omitted) == (100, 50)


def test_an_endless_line_is_not_read_into_memory() -> None:
    assert verify_bundle(b'{"format":"' + b"x" * (5 << 20)).verdict == USAGE
    assert verify_bundle(b'{"format":"timewarden-bundle/1' + b"x" * (5 << 20)).verdict == TAMPERED
