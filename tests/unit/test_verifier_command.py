"""The verifier's command line: proofs and the state file, malformed files, and quoting."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import struct
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.log import checkpoint as notes
from service.log import merkle, tiles
from service.standalone.verify.bundle import MAX_LINE_BYTES
from service.standalone.verify.command import main
from service.standalone.verify.findings import INCOMPLETE, INTACT, TAMPERED, UNTRUSTED, USAGE, WORDS
from service.standalone.verify.times import format_time
from tests.bundle_forge import (
    ORIGIN,
    SIGNER,
    STRANGER,
    VKEY,
    b64,
    forge_bundle,
    hash_at,
    sign_checkpoint,
    uid_at,
    verify_bundle,
)
from tests.unit.test_verifier import LOG, record

if TYPE_CHECKING:
    from pathlib import Path

LEAVES = [record.leaf for record in LOG]
FORK = [merkle.leaf_hash(b"other"), *LEAVES[1:]]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--key", VKEY])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def write_proof(tmp_path: Path, leaves: list[bytes], position: int) -> tuple[str, ...]:
    """Write a proof of a record at this position, in a log of these leaves; returns the arguments that check it."""
    path = merkle.inclusion_path(position, len(leaves), hash_at(leaves))
    hashes = [b64(value) for value in path]
    lines = ["c2sp.org/tlog-proof@v1", f"index {position}", *hashes, "", sign_checkpoint(leaves)]
    (tmp_path / "proof").write_text("\n".join(lines))
    (tmp_path / "record").write_bytes(LOG[position].body)
    return "proof", str(tmp_path / "proof"), "--record", str(tmp_path / "record")


def write_consistency(tmp_path: Path, leaves: list[bytes], old: int, size: int | None = None) -> str:
    """A file with a response of /v1/audit/consistency."""
    size = len(leaves) if size is None else size
    hashes = [b64(value) for value in merkle.consistency_path(old, size, hash_at(leaves[:size]))]
    said = {"from": old, "to": size, "hashes": hashes, "checkpoint": sign_checkpoint(leaves)}
    (tmp_path / "grown").write_text(json.dumps(said))
    return str(tmp_path / "grown")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state file of an earlier release, with the log of size 5."""
    (tmp_path / "seen").write_text(sign_checkpoint(LEAVES, 5))
    return tmp_path / "seen"


def read_state_note(state: Path) -> str:
    """The checkpoint in a state file."""
    note: str = json.loads(state.read_text())["checkpoint"]
    return note


def test_a_proof_of_another_size_than_the_state_is_incomplete(
    tmp_path: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for leaves in (LEAVES, FORK):
        assert run(*write_proof(tmp_path, leaves, 7), "--state", str(state)) == INCOMPLETE
        assert (
            "use --consistency with the output of `timewarden audit consistency --from 5 --to 23`"
            in capsys.readouterr().out
        )
        assert state.read_text() == sign_checkpoint(LEAVES, 5)


def test_a_proof_with_a_consistency_proof_is_compared_with_the_state(tmp_path: Path, state: Path) -> None:
    proof = (*write_proof(tmp_path, LEAVES, 7), "--state", str(state), "--consistency")
    assert run(*proof, write_consistency(tmp_path, LEAVES, 5)) == INTACT
    assert run(*proof, write_consistency(tmp_path, FORK, 5)) == TAMPERED
    assert run(*proof, write_consistency(tmp_path, LEAVES, 6)) == INCOMPLETE
    fork = (*write_proof(tmp_path, FORK, 7), "--state", str(state), "--consistency")
    assert run(*fork, write_consistency(tmp_path, FORK, 5)) == TAMPERED
    # A proof never replaces the state; an older proof verifies too.
    assert read_state_note(state) == sign_checkpoint(LEAVES, 5)
    state.write_text(sign_checkpoint(LEAVES))
    assert (
        run(
            *write_proof(tmp_path, LEAVES[:9], 7),
            "--state",
            str(state),
            "--consistency",
            write_consistency(tmp_path, LEAVES, 9),
        )
        == 0
    )


def test_the_first_proof_becomes_the_state(tmp_path: Path) -> None:
    state = tmp_path / "first"
    assert run(*write_proof(tmp_path, LEAVES, 7), "--state", str(state)) == INTACT
    assert read_state_note(state) == sign_checkpoint(LEAVES)
    assert run(*write_proof(tmp_path, FORK, 7), "--state", str(state)) == TAMPERED


def test_a_consistency_proof_shows_that_a_checkpoint_extends_an_older_one(tmp_path: Path, state: Path) -> None:
    held = ("--state", str(state))
    assert run("consistency", write_consistency(tmp_path, FORK, 5), *held) == TAMPERED
    assert run("consistency", write_consistency(tmp_path, LEAVES, 6), *held) == INCOMPLETE
    # The checkpoint in it is newer than the size that it proves.
    assert run("consistency", write_consistency(tmp_path, LEAVES, 5, 20), *held) == INCOMPLETE
    assert state.read_text() == sign_checkpoint(LEAVES, 5)
    assert run("consistency", write_consistency(tmp_path, LEAVES, 5), *held) == INTACT
    assert read_state_note(state) == sign_checkpoint(LEAVES)
    (tmp_path / "old").write_text(sign_checkpoint(LEAVES, 6))
    old = ("--old", str(tmp_path / "old"))
    assert run("consistency", write_consistency(tmp_path, LEAVES, 6), *old) == INTACT
    assert run("consistency", write_consistency(tmp_path, LEAVES, 6), *old, *held) == USAGE
    assert run("consistency", write_consistency(tmp_path, LEAVES, 6)) == USAGE
    # The same checkpoint with another signature counts as the same.
    both = notes.sign(notes.Checkpoint(ORIGIN, 23, merkle.root_hash(LEAVES)).text, [SIGNER, STRANGER])
    (tmp_path / "old").write_text(both)
    more = [*LEAVES, merkle.leaf_hash(b"more")]
    assert run("consistency", write_consistency(tmp_path, more, 23), *old, *held) == INTACT


def test_a_consistency_proof_from_an_empty_log_is_intact(tmp_path: Path) -> None:
    (tmp_path / "seen").write_text(sign_checkpoint([]))
    (tmp_path / "grown").write_text(
        json.dumps({"from": 0, "to": len(LEAVES), "hashes": [], "checkpoint": sign_checkpoint(LEAVES)})
    )
    assert run("consistency", str(tmp_path / "grown"), "--state", str(tmp_path / "seen")) == INTACT
    assert read_state_note(tmp_path / "seen") == sign_checkpoint(LEAVES)


def test_a_proof_needs_no_consistency_proof_from_an_empty_log(tmp_path: Path) -> None:
    (tmp_path / "seen").write_text(sign_checkpoint([]))
    assert run(*write_proof(tmp_path, LEAVES, 7), "--state", str(tmp_path / "seen")) == INTACT


def test_an_intact_bundle_states_its_period_and_its_limits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spring, autumn = (datetime(2026, month, 1, tzinfo=UTC) for month in (3, 10))
    late = [record(1, at=spring), record(2, at=autumn), record(3, at=autumn + timedelta(hours=1))]
    (tmp_path / "bundle").write_bytes(forge_bundle(late).content)
    assert run("bundle", str(tmp_path / "bundle"), "--json") == INTACT
    said = json.loads(capsys.readouterr().out)
    assert said["checked"]["first_decided"] == "2026-03-01T00:00:00.000000Z"
    assert said["checked"]["last_decided"] == "2026-10-01T01:00:00.000000Z"
    # Records with a false time may shift a period; the silence before them reveals that.
    assert said["notes"] == ["position 1: nothing was recorded for 214.0 days before it, not even a heartbeat"]
    assert any("can add records" in sentence for sentence in said["not_shown"])


@pytest.mark.parametrize(
    ("content", "verdict"),
    [(b"c2sp.org/tlog-proof@v1", INCOMPLETE), (b"\xff\xfe", USAGE), (b"", USAGE), (b"{}", USAGE)],
)
def test_a_file_of_another_kind_is_not_a_forgery(
    tmp_path: Path, content: bytes, verdict: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "proof").write_bytes(content)
    (tmp_path / "record").write_bytes(b"{}")
    code = run("proof", str(tmp_path / "proof"), "--record", str(tmp_path / "record"))
    assert (code, capsys.readouterr().out.split()[0]) == (verdict, WORDS[verdict])
    assert run("consistency", str(tmp_path / "proof"), "--old", str(tmp_path / "proof")) == USAGE


def saved_otherwise(body: bytes) -> dict[str, bytes]:
    """The forms in which programs save a record, by the verifier's words for them."""
    said = json.loads(body)
    return {
        "without its trailing newline": body + b"\n",
        "without its trailing newline ": body + b"\r\n",
        "without its byte order mark, as UTF-8": b"\xef\xbb\xbf" + body,
        "without its byte order mark, as UTF-8 ": ("\ufeff" + body.decode()).encode("utf-16-le"),
        "without the white space around it": b"  " + body + b"\n\n",
        "once its JSON is written in the canonical form (RFC 8785)": json.dumps(said, indent=2).encode(),
        "when it is extracted from the response in the file": json.dumps({"id": "x", "record": said}).encode(),
    }


@pytest.mark.parametrize("how", saved_otherwise(b'{"uid":"x"}'))
def test_a_record_saved_differently_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    proof = write_proof(tmp_path, LEAVES, 7)
    assert run(*proof) == INTACT
    for body, verdict in ((LOG[7].body, USAGE), (LOG[7].body.replace(b'"outcome":"', b'"outcome":"x'), TAMPERED)):
        (tmp_path / "record").write_bytes(saved_otherwise(body)[how])
        capsys.readouterr()
        # An altered record in the same form is still tampered.
        assert run(*proof) == verdict
        output = capsys.readouterr().out
        assert (f"the record verifies {how.strip()};" in output) is (verdict == USAGE), output
        assert ("`timewarden audit proof ID`" in output) is (verdict == USAGE)
        assert "shown:" not in output.replace("not shown:", "")


def test_a_file_without_a_record_or_with_another_record_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_proof(tmp_path, LEAVES, 7)
    named = tmp_path / f"{json.loads(LOG[7].body)['uid']}.tlog-proof"
    named.write_bytes((tmp_path / "proof").read_bytes())
    uid = json.loads(LOG[8].body)["uid"]
    for body, verdict, words in (
        (b"", USAGE, "is empty"),
        (b"%PDF-1.7", USAGE, "is not a record"),
        (b"{}", USAGE, "is not a record"),
        (LOG[7].body[:-9], TAMPERED, "altered or truncated"),
        (LOG[8].body, USAGE, f"is the record {uid}, and"),
        (LOG[7].body.replace(b":", b": ", 1).replace(b"allow", b"deny"), TAMPERED, "was altered or is another record"),
    ):
        (tmp_path / "record").write_bytes(body)
        capsys.readouterr()
        assert run("proof", str(named), "--record", str(tmp_path / "record")) == verdict, words
        output = capsys.readouterr().out
        assert words in output, output


def test_a_proof_saved_differently_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    proof = write_proof(tmp_path, LEAVES, 7)
    text = (tmp_path / "proof").read_bytes()
    for other in (text.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + text):
        (tmp_path / "proof").write_bytes(other)
        assert run(*proof) == USAGE
        assert "was saved with different line ends or a byte order mark" in capsys.readouterr().out


def test_a_truncated_or_damaged_proof_is_not_a_forgery(tmp_path: Path) -> None:
    proof = write_proof(tmp_path, LEAVES, 7)
    text = (tmp_path / "proof").read_text()
    for other in (text[:-20], text.partition("\n\n")[0], text.replace("index 7", "index 07"), text.replace("=", "", 1)):
        (tmp_path / "proof").write_text(other)
        assert run(*proof) == INCOMPLETE


def test_files_of_another_kind_are_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "some").write_text("position,uid\n1,2\n")
    assert run("bundle", str(tmp_path / "some")) == USAGE
    assert "not a proof bundle" in capsys.readouterr().out
    (tmp_path / "bundle").write_bytes(forge_bundle(LOG).content)
    for content in ("", "{}", "position", sign_checkpoint(LEAVES)[:40]):
        (tmp_path / "some").write_text(content)
        assert run("bundle", str(tmp_path / "bundle"), "--state", str(tmp_path / "some")) == USAGE
        assert (tmp_path / "some").read_text() == content
    assert run("bundle", str(tmp_path)) == USAGE


def test_a_truncated_header_is_incomplete(tmp_path: Path) -> None:
    content = forge_bundle(LOG).content
    for length in (0, 5, 60, content.index(b"\n")):
        (tmp_path / "bundle").write_bytes(content[:length])
        assert run("bundle", str(tmp_path / "bundle")) == INCOMPLETE


def test_a_state_file_signed_with_another_key_is_untrusted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "seen").write_text(sign_checkpoint(LEAVES, 5, STRANGER))
    (tmp_path / "bundle").write_bytes(forge_bundle(LOG).content)
    assert run("bundle", str(tmp_path / "bundle"), "--state", str(tmp_path / "seen")) == UNTRUSTED
    assert "also give the key that you trusted then" in capsys.readouterr().out


def test_an_intact_verdict_lists_what_it_shows_and_does_not_show(
    tmp_path: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bundle").write_bytes(forge_bundle(LOG, 2, 20).content)
    assert run("bundle", str(tmp_path / "bundle")) == INTACT
    said = capsys.readouterr().out
    assert "shown: positions 2 to 19 of timesheets.example/audit/2026 hold what was sealed and signed" in said
    assert "not shown: the records outside these positions: the log has 23" in said
    assert "not shown: whether this is the log that others see" in said
    assert run("bundle", str(tmp_path / "bundle"), "--state", str(state), "--json") == INTACT
    report = json.loads(capsys.readouterr().out)
    assert "the log extends the 5 records that you saw before" in report["shown"]
    assert not any("others see" in sentence for sentence in report["not_shown"])
    bundle = forge_bundle(LOG, 2, 20)
    bundle.lines[3]["leaf"] = None
    (tmp_path / "bundle").write_bytes(bundle.content)
    assert run("bundle", str(tmp_path / "bundle"), "--json") == TAMPERED
    assert json.loads(capsys.readouterr().out)["shown"] == []


@pytest.mark.parametrize(
    ("minutes", "start", "verdict", "what"),
    [
        (10, 0, TAMPERED, "was left out of the log"),
        (11, 0, INCOMPLETE, "only one record was decided more than ten minutes after the answer"),
        (-600, 0, TAMPERED, "was left out of the log"),
        (-600, 3, INCOMPLETE, "it belongs before or after it"),
        (21, 0, INCOMPLETE, "fetch a bundle that ends after the answer"),
        (600, 3, INCOMPLETE, "fetch a bundle that ends after the answer"),
    ],
)
def test_a_missing_answer_was_left_out_only_if_it_belongs_in_the_bundle(
    tmp_path: Path, minutes: int, start: int, verdict: int, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bundle").write_bytes(forge_bundle(LOG, start).content)
    uid = uid_at(datetime(2026, 3, 2, 9, tzinfo=UTC) + timedelta(minutes=minutes))
    code = run("answer", "--decision-id", uid, "--leaf", "00" * 32, "--bundle", str(tmp_path / "bundle"))
    assert (code, what in capsys.readouterr().out) == (verdict, True)


@pytest.mark.parametrize(("minutes", "verdict"), [(10, TAMPERED), (21, INCOMPLETE)])
def test_a_backdated_last_record_does_not_hide_that_an_answer_was_left_out(
    tmp_path: Path, minutes: int, verdict: int
) -> None:
    start = datetime(2026, 3, 2, 9, tzinfo=UTC)
    bundle = forge_bundle([*LOG, record(1, at=start - timedelta(hours=1))])
    (tmp_path / "bundle").write_bytes(bundle.content)
    uid = uid_at(start + timedelta(minutes=minutes))
    assert run("answer", "--decision-id", uid, "--leaf", "00" * 32, "--bundle", str(tmp_path / "bundle")) == verdict


# The minutes before now at which records were decided, in the order of the log. The answer was given 15 minutes ago.
@pytest.mark.parametrize(
    ("minutes", "verdict", "what"),
    [
        # A replica whose clock was a day ahead wrote one record or two. The bundle was fetched before the answer.
        ((40, -1440, 31, 30), INCOMPLETE, "the times are not in order"),
        ((40, -1440, 31, -1440, 30), INCOMPLETE, "the times are not in order"),
        ((40, -1440), INCOMPLETE, "only one record was decided more than ten minutes after the answer"),
        # The answer was left out. One record has a false time: before the answer, or after it.
        ((40, 4, 3, 30), TAMPERED, "was left out of the log"),
        ((40, -1440, 4, 3), TAMPERED, "was left out of the log"),
    ],
)
def test_one_record_with_a_false_time_neither_shows_nor_hides_that_an_answer_was_left_out(
    tmp_path: Path, minutes: tuple[int, ...], verdict: int, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    now = datetime.now(UTC)
    records = [record(number, at=now - timedelta(minutes=ago)) for number, ago in enumerate(minutes)]
    (tmp_path / "bundle").write_bytes(forge_bundle([*LOG, *records]).content)
    answer = ("answer", "--decision-id", uid_at(now - timedelta(minutes=15)), "--leaf", "00" * 32)
    code = run(*answer, "--bundle", str(tmp_path / "bundle"))
    assert (code, what in capsys.readouterr().out) == (verdict, True)


def test_one_record_with_a_false_time_does_not_show_that_a_bundle_begins_before_an_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = datetime(2026, 3, 2, 9, tzinfo=UTC)
    bundle = forge_bundle([*LOG[:5], record(1, at=start - timedelta(days=1)), *LOG[5:]], 5)
    (tmp_path / "bundle").write_bytes(bundle.content)
    answer = ("answer", "--decision-id", uid_at(start - timedelta(hours=3)), "--leaf", "00" * 32)
    assert run(*answer, "--bundle", str(tmp_path / "bundle")) == INCOMPLETE
    assert "it belongs before or after it" in capsys.readouterr().out


def test_an_answer_with_the_leaf_of_another_record_is_tampered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bundle").write_bytes(forge_bundle(LOG).content)
    where = ("--bundle", str(tmp_path / "bundle"), "--leaf", LOG[4].leaf.hex())
    invented = uid_at(datetime(2026, 3, 2, 9, 2, tzinfo=UTC))
    assert run("answer", "--decision-id", invented, *where) == TAMPERED
    output = capsys.readouterr().out
    assert f"is not the record of the answer {invented}" in output
    assert "\n  shown:" not in output
    assert "that this record has the Decision-Id" not in output
    assert run("answer", "--decision-id", str(LOG[4].uid), *where) == INTACT
    output = capsys.readouterr().out
    assert "shown: the record of the answer was sealed at position 4" in output
    assert "that this record has the Decision-Id" not in output


def test_a_record_dated_in_the_future_is_not_evidence_of_omission(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A record of the year 2999 does not prove that later answers are sealed."""
    (tmp_path / "bundle").write_bytes(forge_bundle([*LOG, record(1, at=datetime(2999, 1, 1, tzinfo=UTC))]).content)
    answer = ("answer", "--decision-id", uid_at(datetime.now(UTC)), "--leaf", "00" * 32)
    state = ("--state", str(tmp_path / "seen"))
    assert run(*answer, "--bundle", str(tmp_path / "bundle"), *state) == INCOMPLETE
    assert run("bundle", str(tmp_path / "bundle"), *state) == INTACT
    ((_, mark),) = json.loads((tmp_path / "seen").read_text())["beyond"]
    assert datetime.fromisoformat(mark) < datetime.now(UTC)


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"timewarden-verify {version('timewarden')}\n")


def test_quotes_from_a_bundle_have_no_control_characters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = forge_bundle(LOG)
    bundle.lines[3]["uid"] = "\x1b[2J\x1b[Hintact\nLONE"
    (tmp_path / "bundle").write_bytes(bundle.content.replace(b"LONE", b"\\ud800"))
    code = run("bundle", str(tmp_path / "bundle"))
    said = capsys.readouterr().out
    assert (code, said.isascii(), "\x1b" in said, "\nintact" in said) == (TAMPERED, True, False, False)


def test_a_line_that_is_too_long_is_tampered() -> None:
    bundle = forge_bundle(LOG)
    bundle.lines[2]["uid"] = "x" * MAX_LINE_BYTES
    assert verify_bundle(bundle.content).verdict == TAMPERED


def test_a_proof_signed_by_an_unknown_key_is_untrusted(tmp_path: Path) -> None:
    write_proof(tmp_path, LEAVES, 7)
    text = (tmp_path / "proof").read_text().replace(sign_checkpoint(LEAVES), sign_checkpoint(LEAVES, signer=STRANGER))
    (tmp_path / "proof").write_text(text)
    assert run("proof", str(tmp_path / "proof"), "--record", str(tmp_path / "record")) == UNTRUSTED


def cosign(note: str, name: str, seed: bytes = b"w" * 32, moment: int = 1_800_000_000) -> tuple[str, str]:
    """The vkey of a witness, and the note with its cosignature, made at `moment` in seconds since 1970."""
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public = b"\x04" + key.public_key().public_bytes_raw()
    key_id = hashlib.sha256(name.encode() + b"\n" + public).digest()[:4]
    text = note.rpartition("\n\n")[0] + "\n"
    signed = key.sign(f"cosignature/v1\ntime {moment}\n{text}".encode())
    line = f"\u2014 {name} {b64(key_id + struct.pack('>Q', moment) + signed)}\n"
    return f"{name}+{key_id.hex()}+{b64(public)}", note + line


def test_witnesses_must_have_cosigned_the_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = write_proof(tmp_path, LEAVES, 3)
    proof = tmp_path / "proof"
    head, blank, note = proof.read_text().partition("\n\n")
    first, note = cosign(note, "one.example")
    second, note = cosign(note, "two.example")
    third, _ = cosign(note, "three.example")
    proof.write_text(head + blank + note)

    assert run(*command, "--witness", first, "--witness", second) == INTACT
    told = capsys.readouterr().out
    moment = format_time(datetime(2027, 1, 15, 8, tzinfo=UTC))
    assert f"one.example at {moment}, two.example at {moment}" in told
    assert run(*command, "--witness", first, "--witness", third) == UNTRUSTED
    assert "not three.example" in capsys.readouterr().out
    assert run(*command, "--witness", first, "--witness", third, "--quorum", "1") == INTACT
    for quorum in ("0", "3"):
        assert run(*command, "--witness", first, "--witness", third, "--quorum", quorum) == USAGE
    assert run(*command, "--quorum", "1") == USAGE
    # A key of the log is no witness, and a witness is no key of the log.
    assert run(*command, "--witness", VKEY) == USAGE
    # Of another text, or with another time.
    proof.write_text(head + blank + note.replace("two.example ", "two.example A").replace("=\n", "\n", 1))
    assert run(*command, "--witness", first, "--witness", second) == TAMPERED
    forged, _ = cosign(note, "two.example", b"x" * 32)
    proof.write_text(head + blank + note)
    assert run(*command, "--witness", forged) == UNTRUSTED
    _, other = cosign(sign_checkpoint(FORK), "one.example")
    line = other.splitlines()[-1]
    proof.write_text(head + blank + sign_checkpoint(LEAVES) + line + "\n")
    assert run(*command, "--witness", first) == TAMPERED


def test_a_witness_with_two_keys_counts_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = write_proof(tmp_path, LEAVES, 3)
    proof = tmp_path / "proof"
    head, blank, note = proof.read_text().partition("\n\n")
    former, _ = cosign(note, "one.example", b"f" * 32)
    present, cosigned = cosign(note, "one.example")
    other, _ = cosign(note, "two.example")
    both = ("--witness", former, "--witness", present)
    assert run(*command, *both) == UNTRUSTED
    assert "0 of the 1 witnesses that you ask for have cosigned the checkpoint; not one.example" in (
        capsys.readouterr().out
    )
    proof.write_text(head + blank + cosigned)
    assert run(*command, *both) == INTACT
    assert run(*command, *both, "--quorum", "2") == USAGE
    capsys.readouterr()
    assert run(*command, *both, "--witness", other) == UNTRUSTED
    assert "1 of the 2 witnesses that you ask for have cosigned the checkpoint; not two.example" in (
        capsys.readouterr().out
    )


def test_a_cosignature_from_the_future_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = write_proof(tmp_path, LEAVES, 3)
    proof = tmp_path / "proof"
    head, blank, note = proof.read_text().partition("\n\n")
    for moment, wanted in (
        (datetime(2026, 3, 2, tzinfo=UTC), []),
        (datetime.now(UTC) + timedelta(hours=1), []),
        (
            datetime(5138, 11, 16, tzinfo=UTC),
            ["one.example cosigned at 5138-11-16T00:00:00.000000Z, in the future: its clock or yours is wrong"],
        ),
    ):
        witness, cosigned = cosign(note, "one.example", moment=int(moment.timestamp()))
        proof.write_text(head + blank + cosigned)
        assert run(*command, "--witness", witness, "--json") == INTACT
        assert json.loads(capsys.readouterr().out)["notes"] == wanted


def write_archive(place: Path, entries: list[bytes]) -> str:
    """An archived log of these entries, fewer than fill a tile."""
    leaves, count = [merkle.leaf_hash(entry) for entry in entries], len(entries)
    files = {
        "checkpoint": sign_checkpoint(leaves).encode(),
        f"tile/{tiles.Tile(0, 0, count).path}": b"".join(leaves),
        f"tile/{tiles.Tile(-1, 0, count).path}": tiles.encode_bundle(entries),
    }
    for path, content in files.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_bytes(content)
    return str(place)


def test_an_entry_of_an_archive_cannot_add_lines_to_the_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = [
        LOG[1].body + b'}\n{"position":0,"record":{"forged":true}}\n{"x":{"y":1}',
        LOG[1].body + b',"position":0',
        b'{"a":1,\n"b":2}',
        b'{"a":1}\r',
        b"{",
        b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b"[1]",
        b"",
        sign_checkpoint(LEAVES).encode(),
    ]
    place, output = write_archive(tmp_path / "log", [LOG[0].body, *others, LOG[2].body]), tmp_path / "records.jsonl"
    assert run("archive", place, "--output", str(output), "--json") == INTACT
    report = json.loads(capsys.readouterr().out)
    assert report["notes"] == [
        f"{len(others)} entries are not records: {output} has their bytes as base64, and record is null"
    ]
    first, *lines, last = output.read_bytes().splitlines(keepends=True)
    assert first == b'{"position":0,"record":' + LOG[0].body + b"}\n"
    assert last == b'{"position":%d,"record":' % (len(others) + 1) + LOG[2].body + b"}\n"
    found = [json.loads(line) for line in lines]
    assert [(row["position"], row["record"]) for row in found] == [(at, None) for at in range(1, len(others) + 1)]
    assert [base64.b64decode(row["bytes"]) for row in found] == others


@pytest.mark.parametrize("path", ["checkpoint", f"tile/0/000.p/{len(LOG)}", f"tile/entries/000.p/{len(LOG)}"])
def test_a_pipe_in_an_archive_is_refused_and_not_waited_for(tmp_path: Path, path: str) -> None:
    place = write_archive(tmp_path / "log", [record.body for record in LOG])
    (tmp_path / "log" / path).unlink()
    os.mkfifo(tmp_path / "log" / path)
    command = [sys.executable, "-m", "service.standalone.verify", "archive", place, "--key", VKEY]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (ended.returncode, f"{path} is not a regular file" in ended.stdout) == (USAGE, True)


def test_a_url_with_a_password_is_refused_and_not_quoted(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("live", "https://ana:secret@log.example/audit") == USAGE
    told = capsys.readouterr()
    assert "must have no user and no password" in told.out + told.err
    assert "secret" not in told.out + told.err


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize(
    ("words", "code"),
    [("--help", 0), ("--version", 0), ("bundle --help", 0), ("", USAGE), ("bundle nothing --key x --json", USAGE)],
)
def test_a_reader_that_ended_changes_no_exit_code(words: str, code: int, *, buffered: bool) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "service.standalone.verify", *words.split()]
    environment = {**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"}
    ended = subprocess.run(command, env=environment, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert ended.returncode == code
    assert "Broken" not in ended.stderr
