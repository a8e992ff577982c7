"""The log of checkpoints: whatever is appended in whatever steps, the verifier finds it whole, and any change of it."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.commands.tenants import read_tenant_file
from service.errors import LogDamaged, Misconfigured, TryLater
from service.log.checkpoint import Note, Signer
from service.log.checkpoint_log import CheckpointLog
from service.log.key_files import make_key
from service.log.merkle import leaf_hash, root_hash
from service.standalone.verify.findings import INTACT, Report
from service.standalone.verify.live import LiveLog
from service.standalone.verify.notes import read_keys
from tests.example_count import example_count

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE = (Path(__file__).parents[2] / "docs" / "sizing.md").read_text(encoding="utf-8")
SIGNER = Signer("group.example/checkpoints/1", b"7" * 32)
TENANTS = ("acme.example/audit/1", "globex.example/audit/1")


def checkpoint_of(origin: str, size: int) -> str:
    text = f"{origin}\n{size}\n{'A' * 43}=\n"
    return str(Note(text, (Signer(origin, b"8" * 32).sign(text),)))


def recorded(path: Path) -> list[str]:
    """The entries, as the verifier reads them; it must find the log intact."""
    report = Report(quiet=True)
    log = LiveLog(str(path), read_keys([SIGNER.verifier.vkey]), report)
    log.check_extends()
    found = [entry.decode() for _, entry in log.read_records()]
    assert report.verdict == INTACT, report.findings
    return found


@given(st.lists(st.integers(1, 300), min_size=1, max_size=4))
@settings(max_examples=example_count(15), deadline=None)
def test_the_verifier_reads_what_was_appended_in_any_steps(steps: Sequence[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, appended = Path(folder), list[str]()
        for step in steps:
            fresh = [checkpoint_of(TENANTS[number % 2], len(appended) + number + 1) for number in range(step)]
            signed = CheckpointLog(path, SIGNER).append(fresh)
            appended += fresh
            assert (signed.size, signed.root) == (
                len(appended),
                root_hash([leaf_hash(note.encode()) for note in appended]),
            )
            assert recorded(path) == appended
        newest = CheckpointLog(path, SIGNER).find_newest(set(TENANTS))
        for origin in TENANTS:
            notes = [note for note in appended if note.startswith(origin)]
            assert newest.get(origin) == (notes[-1] if notes else None)


def test_files_that_were_changed_are_not_continued(tmp_path: Path) -> None:
    log = CheckpointLog(tmp_path, SIGNER)
    log.append([checkpoint_of(TENANTS[0], size) for size in range(1, 300)])
    edge, checkpoint = tmp_path / "tile/0/001.p/43", tmp_path / "checkpoint"
    for file in (edge, tmp_path / "tile/1/000.p/1"):
        good = file.read_bytes()
        for spoiled in (bytes([good[0] ^ 1]) + good[1:], good[:-32]):
            file.write_bytes(spoiled)
            with pytest.raises(LogDamaged):
                log.append([checkpoint_of(TENANTS[0], 400)])
        file.unlink()
        with pytest.raises(LogDamaged, match="There is no"):
            log.append([checkpoint_of(TENANTS[0], 400)])
        file.write_bytes(good)
    text = f"{SIGNER.name}\n299\n{'A' * 43}=\n"
    checkpoint.write_text(str(Note(text, (Signer(SIGNER.name, b"9" * 32).sign(text),))))
    with pytest.raises(LogDamaged, match="was not signed by"):
        log.append([checkpoint_of(TENANTS[0], 400)])


def test_what_a_crash_left_without_a_checkpoint_is_written_again(tmp_path: Path) -> None:
    log = CheckpointLog(tmp_path, SIGNER)
    first = [checkpoint_of(TENANTS[0], size) for size in range(1, 6)]
    log.append(first)
    before = (tmp_path / "checkpoint").read_bytes()
    log.append([checkpoint_of(TENANTS[0], 9)])
    (tmp_path / "checkpoint").write_bytes(before)
    assert recorded(tmp_path) == first
    second = checkpoint_of(TENANTS[1], 3)
    log.append([second])
    assert recorded(tmp_path) == [*first, second]


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    first, second = CheckpointLog(tmp_path, SIGNER), CheckpointLog(tmp_path, SIGNER)
    with first.lock(), pytest.raises(TryLater, match="Another process"), second.lock():
        pytest.fail("two hold the lock")
    with second.lock():
        pass


def page_file(folder: Path) -> Path:
    """The file of docs/sizing.md, with keys that exist."""
    make_key(folder / "checkpoints.key", SIGNER.name)
    text = PAGE.split("<<'END'\n")[1].split("\nEND\n")[0]
    for name in ("acme", "globex"):
        vkey = Signer(f"{name}.hours.example/audit/2026a", b"8" * 32).verifier.vkey
        text = re.sub(rf'"{name}\.hours\.example/audit/2026a\+[^"]*"', f'"{vkey}"', text)
    (folder / "tenants.toml").write_text(text)
    return folder / "tenants.toml"


def test_the_file_of_the_page_is_read(tmp_path: Path) -> None:
    found = read_tenant_file(page_file(tmp_path))
    assert [(tenant.name, tenant.log) for tenant in found.tenants] == [
        (name, f"https://{name}.hours.example/v1/log") for name in ("acme", "globex")
    ]
    assert found.directory == tmp_path / "checkpoints"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[[tenant]]", "[tenant"), "cannot be read"),
        (('directory = "checkpoints"', ""), "`directory` is missing"),
        (('name = "acme"', 'nome = "acme"'), "tenant 1: `name` is missing"),
        (('name = "acme"', 'name = "acme"\nurl = "x"'), "`url` is not known here"),
        (('name = "globex"', 'name = "acme"'), "two tenants have the name or the log acme"),
        (('key = "', 'key = "x'), "the vkey's id does not match"),
        (('key_file = "checkpoints.key"', 'key_file = "absent"'), "key file"),
    ],
)
def test_a_wrong_file_is_explained(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    file = page_file(tmp_path)
    file.write_text(file.read_text().replace(*change))
    with pytest.raises(Misconfigured, match=message):
        read_tenant_file(file)
