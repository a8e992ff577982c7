"""The page on adding a word: its blocks work one after the other, and the places that it names exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from service.policy import policy_file
from service.policy.policy_file import PolicyText
from tests.until import PATIENCE_SECONDS

if TYPE_CHECKING:
    from service.policy.policy_file import Policy

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "adding-a-word.md").read_text(encoding="utf-8")
VALID = "The policy is valid: it can be read, keeps the laws and passes its cases."


def test_every_block_can_be_pasted_after_the_one_before(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "policies", tmp_path / "policies")
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == PAGE.count("```") // 2 == 4
    for block in blocks:
        run = subprocess.run(
            ["bash", "-e", "-c", block],
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
        assert run.returncode == 0, f"{block}\n{run.stdout}{run.stderr}"
        assert ("policy test" in block) is (VALID in run.stdout)
        assert not re.search("untried|warning|error", run.stdout), run.stdout
    added = policy_file.parse(PolicyText.read(tmp_path / "policies"))
    shipped = policy_file.parse(PolicyText.read(ROOT / "policies"))
    assert words(added) - words(shipped) == {"country", "same_country", "project_lead", "group:works-council"}


def words(policy: Policy) -> set[str]:
    vocabulary = policy.vocabulary
    groups = {rule.who for rule in policy.rules if rule.who.startswith("group:")}
    return {*vocabulary.people, *vocabulary.facts["timesheet"], *vocabulary.relations["timesheet"], *groups}


def test_the_places_for_code_exist_and_hold_what_the_page_says() -> None:
    table = PAGE.split("## When code is needed")[1]
    places = re.findall(r"`((?:service|tests)/[a-z_/]+\.py)`", table)
    assert all((ROOT / place).is_file() for place in places)
    text = "".join((ROOT / place).read_text(encoding="utf-8") for place in places)
    for name in ("RESOURCE", "ATTRIBUTES", "EDGES", "STARTS", "KindFacts"):
        assert f"`{name}`" in table
        assert re.search(rf"^(from .* import .*\b{name}\b|{name}\b.* = |class {name}\b)", text, re.MULTILINE), name
