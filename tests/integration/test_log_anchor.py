"""The anchor file: append-only, flushed before anything is signed, and never ignored when it is lost."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from service.errors import LogDamaged, Misconfigured
from service.log import merkle
from service.log.anchor import Anchor
from service.log.checkpoint import Checkpoint
from service.log.log import Log
from service.log.signing import CheckpointSigner
from tests.integration.log_database import LogDatabase, decision
from tests.integration.log_trees import ORIGIN, SIGNER, checkpoints, seal_all

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ["tests.integration.log_fixtures"]


async def test_a_lost_or_foreign_anchor_is_not_signed_over(log_database: LogDatabase, tmp_path: Path) -> None:
    app, keeper = await log_database.open("app"), await log_database.open("keeper")
    file = tmp_path / "anchor"
    await seal_all(keeper)
    await CheckpointSigner(keeper, [SIGNER], Anchor(file)).sign()
    held = file.read_text()
    await Log(app).append([decision()])
    await seal_all(keeper)
    for damage, message in (
        ("", "empty or missing"),
        ("not a line\n", "cannot be read"),
        (held.replace(ORIGIN, "another.example/log"), "belongs to the log another"),
    ):
        file.write_text(damage)
        with pytest.raises(LogDamaged, match=message):
            await CheckpointSigner(keeper, [SIGNER], Anchor(file)).sign()
    # A line that a crash cut off was never signed.
    file.write_text(held + "2026-11-24T02:00:00Z " + ORIGIN + " 99")
    assert await CheckpointSigner(keeper, [SIGNER], Anchor(file)).sign() is not None
    assert [line.split()[2] for line in file.read_text().splitlines()] == ["1", "99!", "2"]
    assert file.read_text().startswith(held)


async def test_nothing_is_signed_if_the_anchor_cannot_be_written(log_database: LogDatabase, tmp_path: Path) -> None:
    keeper = await log_database.open("keeper")
    await seal_all(keeper)
    for path in (tmp_path / "nowhere" / "anchor", tmp_path):
        with pytest.raises(Misconfigured, match="anchor file"):
            await CheckpointSigner(keeper, [SIGNER], Anchor(path)).sign()
    assert await checkpoints(log_database) == []


async def test_an_anchor_line_that_was_never_flushed_does_not_count(
    log_database: LogDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = await log_database.open("keeper")
    await seal_all(keeper)
    signing = CheckpointSigner(keeper, [SIGNER], Anchor(tmp_path / "anchor"))

    def broken(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", broken)
        # The second time the line is in the page cache: it counts only once it is flushed to disk.
        for _ in range(2):
            with pytest.raises(Misconfigured, match="Input/output error"):
                await signing.sign()
    assert await checkpoints(log_database) == []
    assert await signing.sign() is not None
    assert len((tmp_path / "anchor").read_text().splitlines()) == 1


def test_a_full_anchor_file_is_rotated(tmp_path: Path) -> None:
    anchor = Anchor(tmp_path / "anchor", max_bytes=1000)
    for size in range(1, 40):
        checkpoint = Checkpoint(ORIGIN, size, merkle.EMPTY)
        anchor.append(checkpoint)
        assert anchor.last() == checkpoint
    # No line is lost: each file begins with the last line of the one before.
    files = sorted((path for path in tmp_path.glob("anchor.*[0-9]")), key=lambda path: int(path.suffix[1:]))
    kept = [line.split()[2] for path in [*files, tmp_path / "anchor"] for line in path.read_text().splitlines()]
    assert (tmp_path / "anchor").stat().st_size < 1200
    assert list(dict.fromkeys(kept)) == [str(size) for size in range(1, 40)]
    assert len(files) > 2


def test_an_anchor_file_is_only_appended_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags, real = list[int](), os.open

    def open_and_record(path: str | Path, how: int, *rest: int) -> int:
        if str(path).endswith("anchor"):
            flags.append(how)
        return real(path, how, *rest)

    def forbidden(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "open", open_and_record)
    # As with `chattr +a`: no file is renamed, linked or truncated.
    for name in ("link", "truncate", "ftruncate", "replace", "rename"):
        monkeypatch.setattr(os, name, forbidden)
    anchor = Anchor(tmp_path / "anchor", max_bytes=1000)
    for size in range(1, 40):
        with (tmp_path / "anchor").open("ab") as file:
            file.write(b"2026-11-24T02:00:00Z torn" if size % 3 == 0 else b"")
        checkpoint = Checkpoint(ORIGIN, size, merkle.EMPTY)
        for _ in range(2):
            anchor.append(checkpoint)
        assert anchor.last() == checkpoint
    lines = (tmp_path / "anchor").read_text().splitlines()
    assert [line.split()[2] for line in lines if not line.endswith("!")] == [str(size) for size in range(1, 40)]
    assert sum(line.endswith("torn!") for line in lines) == 13
    assert all(how & os.O_APPEND and not how & os.O_TRUNC for how in flags)


def test_void_lines_do_not_hide_an_anchored_checkpoint(tmp_path: Path) -> None:
    """A full disk may cut off many lines before one fits."""
    anchor, checkpoint = Anchor(tmp_path / "anchor"), Checkpoint(ORIGIN, 7, merkle.EMPTY)
    anchor.append(checkpoint)
    with (tmp_path / "anchor").open("ab") as file:
        file.write(b"2026-11-24T02:00:00Z tim!\n" * 20_000)
    assert anchor.last() == checkpoint
