"""Key files: readable by their owner alone, whole or absent, never overwritten and never quoted; and their commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from service.__main__ import timewarden
from service.errors import Misconfigured
from service.log import checkpoint as notes
from service.log.checkpoint import Verifier
from service.log.key_files import make_key, read_key, read_keys
from service.settings import Settings

ORIGIN = "timesheets.example.com/audit/2026a"


def test_a_key_is_made_for_its_owner_alone_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "log.key"
    signer = make_key(path, ORIGIN)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["log.key"]
    assert read_keys([path], ORIGIN)[0].verifier.vkey == signer.verifier.vkey
    note = notes.sign("text\n", [read_key(path)])
    assert str(notes.verify(note, [Verifier.parse(signer.verifier.vkey)])) == note


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "log.key"
    make_key(path, ORIGIN)
    held = path.read_bytes()
    with pytest.raises(Misconfigured, match="never overwritten"):
        make_key(path, ORIGIN)
    assert (path.read_bytes(), [file.name for file in tmp_path.iterdir()]) == (held, ["log.key"])


@pytest.mark.parametrize("mode", [0o604, 0o620, 0o666])
def test_a_key_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "log.key"
    make_key(path, ORIGIN)
    path.chmod(mode)
    with pytest.raises(Misconfigured, match="can be read or written by others"):
        read_key(path)


@pytest.mark.parametrize("content", [b"", b"PRIVATE+KEY+x+1+secret", b"\xff\xfesecret", b"secret" * 1000])
def test_what_is_no_key_is_refused_without_a_word_of_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log.key"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(Misconfigured, match="holds no key") as caught:
        read_key(path)
    assert "secret" not in str(caught.value)


def test_keys_of_another_log_a_missing_file_and_no_file_are_refused(tmp_path: Path) -> None:
    make_key(tmp_path / "log.key", "another.example/log")
    for paths, message in (
        ([tmp_path / "log.key"], "named another.*: correct TIMEWARDEN_LOG_ORIGIN, or name the log's own key"),
        ([tmp_path / "no"], f"no key file {tmp_path}/no: restore the log's key; for a new log, `timewarden"),
        ([tmp_path], "cannot be read"),
        ([], "no key"),
    ):
        with pytest.raises(Misconfigured, match=message):
            read_keys(paths, ORIGIN)


def test_the_commands_make_a_key_and_show_only_its_public_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "log.key")
    monkeypatch.setenv("TIMEWARDEN_LOG_ORIGIN", ORIGIN)
    monkeypatch.setenv("TIMEWARDEN_LOG_KEY_FILE", path)
    made = CliRunner().invoke(timewarden, ["audit", "key", "new", path], catch_exceptions=False)
    shown = CliRunner().invoke(timewarden, ["audit", "key", "show"], catch_exceptions=False)
    again = CliRunner().invoke(timewarden, ["audit", "key", "new", "--unless-there", path], catch_exceptions=False)
    assert made.output == shown.output == again.output
    assert Verifier.parse(shown.output.strip()).name == ORIGIN
    # PRIVATE+KEY+name+id+secret, and a secret may hold a plus.
    assert Path(path).read_text().strip().split("+", 4)[4] not in shown.output


def test_a_keeper_without_a_key_may_not_start() -> None:
    with pytest.raises(Misconfigured, match="TIMEWARDEN_LOG_KEY_FILE"):
        Settings(database_url="postgresql://x").need("database_url", "log_origin", "log_key_file", "log_anchor_file")
