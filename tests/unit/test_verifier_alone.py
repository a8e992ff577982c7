"""The verifier runs standalone, copied as a folder or as a single file, without the service."""

from __future__ import annotations

import ast
import gzip
import os
import shutil
import subprocess
import sys
import zipapp
from pathlib import Path

import pytest

from service.standalone import verify
from tests.bundle_forge import VKEY, forge_bundle
from tests.unit.test_verifier import LOG

PACKAGE = Path(verify.__file__).parent
STANDARD = frozenset(sys.stdlib_module_names) | {"__future__"}


def test_the_verifier_imports_only_the_standard_library_and_cryptography() -> None:
    strangers = []
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            elif isinstance(node, ast.ImportFrom) and node.level > 1:
                names = ["." * node.level]
            strangers += [
                f"{path.name}: {name}" for name in names if name.split(".")[0] not in STANDARD | {"cryptography"}
            ]
    assert strangers == []


def test_only_commands_import_the_verifier() -> None:
    for path in PACKAGE.parents[1].rglob("*.py"):
        if PACKAGE not in path.parents and "standalone.verify" in path.read_text(encoding="utf-8"):
            assert path.parts[-3:-1] == ("service", "commands"), path


@pytest.fixture(params=["folder", "file"])
def alone(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The command that runs the copy."""
    if request.param == "folder":
        shutil.copytree(PACKAGE, tmp_path / "verify", ignore=shutil.ignore_patterns("__pycache__"))
        return [sys.executable, "-m", "verify"]
    zipapp.create_archive(
        PACKAGE.parent,
        tmp_path / "timewarden-verify.pyz",
        main="verify.command:main",
        filter=lambda path: path.parts[0] == "verify" and path.suffix != ".pyc",
    )
    return [sys.executable, "-P", "timewarden-verify.pyz"]


def run(
    alone: list[str], tmp_path: Path, *arguments: str, stdin: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run([*alone, *arguments], cwd=tmp_path, env=clean, input=stdin, capture_output=True, check=False)


def test_a_copy_of_the_verifier_works(alone: list[str], tmp_path: Path) -> None:
    bundle = forge_bundle(LOG).content
    (tmp_path / "march.jsonl").write_bytes(bundle)
    good = run(alone, tmp_path, "bundle", "march.jsonl", "--key", VKEY, "--state", "seen")
    assert (good.returncode, good.stderr, good.stdout.split()[0]) == (0, b"", b"intact")
    bad = run(alone, tmp_path, "bundle", "-", "--key", VKEY, stdin=bundle.replace(b"approve-team", b"approve-tean"))
    assert (bad.returncode, bad.stdout.split()[0]) == (1, b"tampered"), bad.stderr
    assert run(alone, tmp_path, "bundle", "nowhere", "--key", VKEY).returncode == 4
    assert run(alone, tmp_path, "bundle", "march.jsonl").returncode == 4
    assert run(alone, tmp_path, "bundle", "march.jsonl", "--key", "k").returncode == 4


def test_a_closed_pipe_keeps_the_exit_code_without_a_traceback(alone: list[str], tmp_path: Path) -> None:
    bundle = forge_bundle(LOG)
    bundle.lines[3]["uid"] = "\u00fcber \u2014"
    (tmp_path / "bundle").write_bytes(bundle.content)
    command = [*alone, "bundle", "bundle", "--key", VKEY]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    reader, writer = os.pipe()
    os.close(reader)
    closed = subprocess.run(command, cwd=tmp_path, env=clean, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (closed.returncode, closed.stderr) == (1, b"")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, cwd=tmp_path, env=clean, stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (1, b"")
    ascii_only = {**clean, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    done = subprocess.run(command, cwd=tmp_path, env=ascii_only, capture_output=True, check=False)
    assert (done.returncode, done.stderr, b"\\xfcber" in done.stdout) == (1, b"", True)


def test_a_gzipped_bundle_is_read_and_a_truncated_one_is_incomplete(alone: list[str], tmp_path: Path) -> None:
    packed = gzip.compress(forge_bundle(LOG).content)
    (tmp_path / "march.jsonl.gz").write_bytes(packed)
    assert run(alone, tmp_path, "bundle", "march.jsonl.gz", "--key", VKEY).returncode == 0
    assert run(alone, tmp_path, "bundle", "-", "--key", VKEY, stdin=packed[: len(packed) // 2]).returncode == 2
