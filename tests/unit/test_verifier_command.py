"""The verifier's command beside its checks: what a proof does to the state, what bad files and quotes come out as."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from service.audit import merkle
from service.standalone.verify.bundle import LONGEST_LINE
from service.standalone.verify.command import main
from service.standalone.verify.findings import INTACT, TAMPERED
from tests.bundle_forge import STRANGER, VKEY, forged, hash_at, judged, signed
from tests.unit.test_verifier import LOG, pruning_told

if TYPE_CHECKING:
    from pathlib import Path

LEAVES = [one.leaf for one in LOG]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--key", VKEY])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def proved(tmp_path: Path, leaves: list[bytes], position: int) -> tuple[str, ...]:
    """The arguments that check a proof of our record there, in a log of these leaves."""
    path = merkle.inclusion_path(position, len(leaves), hash_at(leaves))
    hashes = [base64.b64encode(one).decode() for one in path]
    lines = ["c2sp.org/tlog-proof@v1", f"index {position}", *hashes, "", signed(leaves)]
    (tmp_path / "proof").write_text("\n".join(lines))
    (tmp_path / "record").write_bytes(LOG[position].body)
    return "proof", str(tmp_path / "proof"), "--record", str(tmp_path / "record")


def test_a_proof_in_a_fork_does_not_take_the_place_of_what_was_seen(tmp_path: Path) -> None:
    state = tmp_path / "seen"
    state.write_text(signed(LEAVES, 5))
    fork = [merkle.leaf(b"other"), *LEAVES[1:]]
    assert run(*proved(tmp_path, fork, 7), "--state", str(state)) == INTACT
    assert state.read_text() == signed(LEAVES, 5)


def test_the_first_proof_is_what_was_seen(tmp_path: Path) -> None:
    state = tmp_path / "seen"
    assert run(*proved(tmp_path, LEAVES, 7), "--state", str(state)) == INTACT
    assert state.read_text() == signed(LEAVES)
    assert run(*proved(tmp_path, [merkle.leaf(b"other"), *LEAVES[1:]], 7), "--state", str(state)) == TAMPERED


@pytest.mark.parametrize("content", [b"c2sp.org/tlog-proof@v1", b"\xff\xfe", b""])
def test_a_file_that_is_no_proof_is_told_and_no_traceback(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "proof").write_bytes(content)
    (tmp_path / "record").write_bytes(b"{}")
    code = run("proof", str(tmp_path / "proof"), "--record", str(tmp_path / "record"))
    assert (code, capsys.readouterr().out.startswith("tampered\n")) == (TAMPERED, True)


def test_what_is_quoted_from_a_bundle_moves_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = forged(LOG)
    bundle.lines[3]["uid"] = "\x1b[2J\x1b[Hintact\nLONE"
    (tmp_path / "bundle").write_bytes(bundle.content.replace(b"LONE", b"\\ud800"))
    code = run("bundle", str(tmp_path / "bundle"))
    said = capsys.readouterr().out
    assert (code, said.isascii(), "\x1b" in said, "\nintact" in said) == (TAMPERED, True, False, False)


def test_a_line_longer_than_any_record_is_no_early_end() -> None:
    bundle = forged(LOG)
    bundle.lines[2]["uid"] = "x" * LONGEST_LINE
    assert judged(bundle.content).verdict == TAMPERED


def test_a_record_of_pruning_speaks_of_nothing_that_was_written_after_it() -> None:
    bundle = pruning_told(upto=len(LOG) + 2)
    bundle.lines[-1] |= {"leaf": None, "body": None, "columns": None, "texts": None}
    report = judged(bundle.content)
    assert (report.verdict, "came later" in report.findings[0]["what"]) == (TAMPERED, True)


def test_one_record_cannot_pass_for_pruned_while_older_ones_are_here() -> None:
    bundle = pruning_told(upto=4)
    bundle.lines[3] |= {"uid": None, "leaf": None, "body": None, "columns": None, "texts": None}
    report = judged(bundle.content)
    assert (report.verdict, [one["position"] for one in report.findings]) == (TAMPERED, [0, 1, 2])
    for line in bundle.lines[:3]:
        line |= {"uid": None, "leaf": None, "body": None, "columns": None, "texts": None}
    report = judged(bundle.content)
    assert (report.verdict, report.checked["pruned_below"], report.checked["told_at"]) == (INTACT, 4, len(LOG))


def test_a_stranger_signs_no_proof(tmp_path: Path) -> None:
    proved(tmp_path, LEAVES, 7)
    text = (tmp_path / "proof").read_text().replace(signed(LEAVES), signed(LEAVES, signer=STRANGER))
    (tmp_path / "proof").write_text(text)
    assert run("proof", str(tmp_path / "proof"), "--record", str(tmp_path / "record")) == 3
