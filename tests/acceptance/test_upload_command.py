"""`timewarden upload` against the running service, as a job or a person types it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

from tests.acceptance.caller import SHEETS, fresh_week
from tests.acceptance.running_service import run_command

if TYPE_CHECKING:
    import subprocess
    from datetime import date
    from pathlib import Path

    from tests.acceptance.caller import Caller, Callers
    from tests.acceptance.running_service import RunningService

HEAD = "owner,day,project,minutes,external_ref"


def upload(service: RunningService, caller: Caller, *words: str) -> subprocess.CompletedProcess[str]:
    """The output of `timewarden upload` with these arguments."""
    return run_command("upload", *words, TIMEWARDEN_API=service.addresses.api, TIMEWARDEN_TOKEN=str(caller.token))


def table(path: Path, owner: str, week: date, *minutes: object) -> str:
    """A file with a row a day."""
    rows = [f"{owner},{week + timedelta(days=n)},ATLAS,{m},job/{n}" for n, m in enumerate(minutes)]
    path.write_text("\n".join([HEAD, *rows]) + "\n", encoding="utf-8")
    return str(path)


async def test_a_file_is_tried_then_uploaded_then_unchanged(
    service: RunningService, callers: Callers, tmp_path: Path
) -> None:
    job, carl = await callers("payroll-import"), await callers("carl")
    week = fresh_week()
    file = table(tmp_path / "hours.csv", await carl.me(), week, 480, 470, 460)

    tried = upload(service, job, file, "--dry-run")
    assert (tried.returncode, tried.stdout) == (0, "A dry run: 3 rows: 3 created\n"), tried.stderr
    assert (await carl.get(SHEETS, since=week.isoformat(), until=week.isoformat())).json()["items"] == []
    assert upload(service, job, file).stdout == "3 rows: 3 created\n"
    told = upload(service, job, file, "--json")
    assert json.loads(told.stdout)["counts"] == {"created": 0, "updated": 0, "unchanged": 3, "refused": 0}


async def test_a_wrong_row_is_told_with_its_line_and_the_exit_code_says_so(
    service: RunningService, callers: Callers, tmp_path: Path
) -> None:
    job, owner = await callers("payroll-import"), await (await callers("carl")).me()
    file = table(tmp_path / "hours.csv", owner, fresh_week(), 480, 7.5, 460)

    refused = upload(service, job, file)
    assert refused.returncode == 1
    assert "nothing was imported" in refused.stdout
    assert "line 3: minutes: must be a whole number" in refused.stdout
    partly = upload(service, job, file, "--per-row")
    assert partly.returncode == 1
    assert partly.stdout.startswith("3 rows: 2 created, 1 refused\n  line 3: minutes:")


async def test_what_is_no_file_of_hours_is_not_sent(service: RunningService, callers: Callers, tmp_path: Path) -> None:
    job = await callers("payroll-import")
    for name in ("hours.xlsx", "empty.csv"):
        (tmp_path / name).write_text("" if name == "empty.csv" else "x", encoding="utf-8")
        refused = upload(service, job, str(tmp_path / name))
        assert refused.returncode == 2
        assert name in refused.stderr


async def test_a_person_who_uploads_is_told_what_the_token_lacks(
    service: RunningService, callers: Callers, tmp_path: Path
) -> None:
    carl = await callers("carl")
    refused = upload(service, carl, table(tmp_path / "hours.csv", await carl.me(), fresh_week(), 60))
    assert refused.returncode == 1
    assert "batch:upload" in refused.stdout
