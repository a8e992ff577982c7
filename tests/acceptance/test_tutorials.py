"""Every command of the tutorials is executed, page by page in one shell, and prints what the page shows."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.running_service import ROOT
from tests.until import PATIENCE_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.running_service import RunningService

PAGES = sorted(path.name for path in (ROOT / "docs").glob("tutorial-*.md"))
BLOCKS = re.compile(r"^```sh\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", re.MULTILINE | re.DOTALL)


def test_there_is_a_tutorial_for_each_reader_and_every_block_of_it_is_executed() -> None:
    assert PAGES == ["tutorial-app.md", "tutorial-auditor.md", "tutorial-manager.md"]
    for page in PAGES:
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        fences = re.findall(r"^```(\w+)$", text, re.MULTILINE)
        blocks = BLOCKS.findall(text)
        assert len(fences) == len(blocks) + sum(bool(shown) for _, shown in blocks), page


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.usefixtures("nothing_unexpected")
def test_every_command_of_a_tutorial_prints_what_the_page_shows(
    service: RunningService, tmp_path: Path, page: str
) -> None:
    blocks = BLOCKS.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TIMEWARDEN_")}
    commands = "\n".join(f"{block}\necho '@@'" for block, _ in blocks)
    run = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", commands.replace("http://127.0.0.1:8080", service.addresses.api)],
        cwd=tmp_path,
        env={**environment, "TIMEWARDEN_STATE": str(service.state), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    for (block, shown), printed in zip(blocks, run.stdout.split("@@\n"), strict=False):
        pattern = ".*".join(re.escape(part) for part in shown.strip().split("..."))
        assert re.search(pattern, printed, re.DOTALL), f"{block}\nshould print\n{shown}\nbut:\n{printed}"
