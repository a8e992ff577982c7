"""Every command of the README is executed, in its order, beside one service, and shows what the README says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from service.commands.running import FILE
from tests.acceptance.running_service import ROOT
from tests.until import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

README = (ROOT / "README.md").read_text(encoding="utf-8")
START_SECONDS = PATIENCE_SECONDS
# `make run` is started by the fixture; `make test` would run this test.
ELSEWHERE = {"make run", "make test"}
# The environment is made and is in use: its target is left out, and so is what the make above us was told.
MAKE = 'make() { command make -o environment "$@"; }\n'
NOT_OURS = ("TIMEWARDEN_", "MAKE", "MFLAGS", "ARGS")


@dataclass(frozen=True, slots=True)
class Example:
    """Commands to paste, and the lines shown below them, broken where it reads best (`...` stands for anything)."""

    commands: str
    shown: tuple[str, ...]


def examples() -> list[Example]:
    """The sh blocks of the README; a text block of the same section is the output of the commands above it."""
    found = []
    for section in re.split(r"^## ", README, flags=re.MULTILINE):
        blocks = re.findall(r"^```(\w+)\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
        for number, (language, text) in enumerate(blocks):
            if language == "sh":
                following = blocks[number + 1] if number + 1 < len(blocks) else ("", "")
                shown = following[1].splitlines() if following[0] == "text" else []
                found.append(Example(text.strip(), tuple(line.strip() for line in shown)))
    return found


@dataclass(frozen=True, slots=True)
class Reader:
    """A shell in which the blocks of the README are pasted."""

    state: Path
    shell: subprocess.Popen[str]
    api: str

    def paste(self, commands: str) -> str:
        """Run commands and return their output; each must succeed. Variables stay for the next block."""
        assert self.shell.stdin is not None
        assert self.shell.stdout is not None
        here = commands.replace("http://127.0.0.1:8080", self.api)
        self.shell.stdin.write(f"{here}\necho; echo '@@ done'\n")
        self.shell.stdin.flush()
        printed: list[str] = []
        for line in self.shell.stdout:
            if line == "@@ done\n":
                return "".join(printed)
            printed.append(line)
        raise AssertionError(f"a command failed: {commands}\n{''.join(printed)[-3000:]}")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """`make run` in one terminal, and a shell in another."""
    home = tmp_path_factory.mktemp("readme")
    state, log = home / "state", home / "make-run.log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(NOT_OURS)}
    environment["TIMEWARDEN_STATE"] = str(state)
    with log.open("w", encoding="utf-8") as output:
        run = subprocess.Popen(
            ["make", "-o", "environment", "run"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        api = _api_in_panel(run, state, log)
        with subprocess.Popen(
            ["bash", "-e", "-o", "pipefail"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as shell:
            assert shell.stdin is not None
            shell.stdin.write(MAKE)
            yield Reader(state, shell, api)
            shell.stdin.close()
    finally:
        # Ctrl-C reaches make and what it called.
        os.killpg(run.pid, signal.SIGINT)
        run.wait(60)
    assert "stopped; the data remain in" in log.read_text(encoding="utf-8")
    assert not (state / FILE).exists()


def test_the_readme_shows_its_commands_in_blocks_that_are_executed() -> None:
    assert {language for language in re.findall(r"^```(\w*)", README, re.MULTILINE) if language} == {"sh", "text"}
    commands = [line for example in examples() for line in example.commands.splitlines()]
    assert {"make run", "make demo", "make test"} <= set(commands)
    assert len(examples()) >= 6


@pytest.mark.long
def test_every_command_of_the_readme_does_what_it_shows(reader: Reader) -> None:
    for example in examples():
        if example.commands in ELSEWHERE:
            continue
        printed = reader.paste(example.commands)
        pattern = ".*".join(_pattern(line) for line in example.shown if line)
        assert re.search(pattern, printed, re.DOTALL), (
            f"{example.commands}\nshould show\n{example.shown}\nbut:\n{printed}"
        )


@pytest.mark.long
def test_the_panel_prints_the_lines_of_the_readme(reader: Reader) -> None:
    panel = (reader.state.parent / "make-run.log").read_text(encoding="utf-8")
    first = next(example.commands for example in examples() if "curl" in example.commands)
    for line in first.splitlines():
        assert line.replace("http://127.0.0.1:8080", reader.api) in panel


def _pattern(line: str) -> str:
    """A line's regular expression: `...` stands for anything, any run of spaces for another."""
    parts = [r"\s+".join(re.escape(word) for word in part.split(" ")) for part in line.split("...")]
    return ".*?".join(parts)


def _api_in_panel(run: subprocess.Popen[bytes], state: Path, log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and run.poll() is None:
        if (state / FILE).exists() and (found := re.search(r"(http://\S+)/v1/decisions", log.read_text("utf-8"))):
            return found[1]
        time.sleep(0.1)
    raise AssertionError(f"make run did not come up: {log.read_text('utf-8')[-3000:]}")
