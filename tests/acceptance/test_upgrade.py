"""An upgrade without downtime: the release before and this one run side by side on one database, under load.

The release before is taken from the history of this checkout. Its dependencies must be among those that are installed.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from service.commands.database import migrate_database
from tests.acceptance.running_service import ROOT
from tests.held_sockets import HeldSockets
from tests.soak.estate import estate, supervised
from tests.soak.traffic import Traffic
from tests.soak.verdict import check_log, settle
from tests.until import until

if TYPE_CHECKING:
    from pathlib import Path

# The last commit of the release before this one.
PREVIOUS = "b972b4b"


@pytest.fixture
def older_tree(tmp_path: Path) -> Path:
    """The files of the release before."""
    git = shutil.which("git")
    archive = git and subprocess.run([git, "archive", PREVIOUS], cwd=ROOT, capture_output=True, check=False)
    if not archive or archive.returncode:
        pytest.skip(
            f"the history of this checkout does not reach {PREVIOUS}, the release before: git fetch --unshallow"
        )
    tree = tmp_path / "previous"
    tree.mkdir()
    subprocess.run(["tar", "-x"], cwd=tree, input=archive.stdout, check=True)
    return tree


async def answered(*traffics: Traffic, count: int = 60) -> None:
    """Wait until each had so many more answers with a decision."""
    wanted = [traffic.answers.acknowledged + count for traffic in traffics]

    async def have() -> bool:
        return all(traffic.answers.acknowledged >= number for traffic, number in zip(traffics, wanted, strict=True))

    await until(have)


@pytest.mark.long
async def test_two_releases_serve_side_by_side_while_the_database_is_migrated(older_tree: Path, tmp_path: Path) -> None:
    async with estate(tmp_path / "state", workers=1, keepers=1, tree=older_tree) as older:
        before = Traffic(older)
        await before.prepare()
        async with before.running(callers=4, lingerers=0):
            await answered(before)
            await migrate_database(older.urls["owner"])
            await answered(before)
            with HeldSockets() as held:
                newer = replace(older, held=held, tree=ROOT, children={}, damage={})
                after = Traffic(newer, answers=before.answers, sheets=before.sheets, weeks=700, _days=before._days)
                async with supervised(newer), after.running(callers=4, lingerers=0):
                    await answered(before, after)
                    before.stop.set()
                    await older.end()
                    await answered(after)
                    await after.end()
                    await settle(newer)
                    found = await check_log(newer, after.answers)
    assert found.good, str(found)
    assert set(before.answers.statuses) <= {200, 201, 403, 404, 409, 412}
