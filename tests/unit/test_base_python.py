"""Which Python `.ci/python` takes for the environment of the project."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / ".ci" / "python"
# It answers the three questions of the program as a Python would.
PYTHON = """#!/bin/sh
case "$2" in
    *CONFIG_ARGS*) exit {slow} ;;
    *ensurepip*) exit {lacks_venv} ;;
    *) exit {unfit} ;;
esac
"""


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    made = [tmp_path / name for name in ("first", "second")]
    for folder in made:
        folder.mkdir()
    return made


def put(path: Path, *, slow: bool = False, lacks_venv: bool = False, unfit: bool = False) -> Path:
    path.write_text(PYTHON.format(slow=int(slow), lacks_venv=int(lacks_venv), unfit=int(unfit)))
    path.chmod(0o755)
    return path


def run(folders: list[Path], base_python: str = "") -> subprocess.CompletedProcess[str]:
    variables = {"PATH": os.pathsep.join(map(str, folders)), "BASE_PYTHON": base_python}
    return subprocess.run(["/bin/sh", PROGRAM], env=variables, capture_output=True, text=True, check=False)


def test_the_first_fitting_python_is_taken(folders: list[Path]) -> None:
    put(folders[0] / "python3", unfit=True)
    fitting = put(folders[0] / "python3.12")
    put(folders[1] / "python3.13")
    assert run(folders).stdout == f"{fitting}\n"


def test_an_optimized_python_is_taken_before_a_slow_one(folders: list[Path]) -> None:
    put(folders[0] / "python3", slow=True)
    optimized = put(folders[1] / "python3")
    assert run(folders).stdout == f"{optimized}\n"


def test_a_slow_python_is_taken_where_there_is_no_other(folders: list[Path]) -> None:
    slow = put(folders[0] / "python3", slow=True)
    put(folders[1] / "python3", lacks_venv=True)
    assert run(folders).stdout == f"{slow}\n"


def test_a_named_python_is_taken_before_all_others(folders: list[Path]) -> None:
    put(folders[0] / "python3")
    named = put(folders[1] / "another", slow=True)
    assert run(folders, str(named)).stdout == f"{named}\n"


@pytest.mark.parametrize("named", ["unfit", "missing"])
def test_a_named_python_that_does_not_fit_is_an_error(folders: list[Path], named: str) -> None:
    put(folders[0] / "python3")
    put(folders[1] / "unfit", unfit=True)
    answer = run(folders, str(folders[1] / named))
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "BASE_PYTHON" in answer.stderr


def test_without_venv_the_line_that_installs_it_is_said(folders: list[Path]) -> None:
    put(folders[0] / "python3.12", lacks_venv=True)
    assert "apt-get install python3.12-venv" in run(folders).stderr
