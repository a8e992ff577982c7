"""The page for policy authors and the example pipeline are executed, command by command, beside the running service."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.acceptance.caller import SHEETS, fresh_week
from tests.acceptance.policy_author import VERSIONS, activate, active, add_note, propose
from tests.acceptance.running_service import ROOT
from tests.policy_forge import policy, read_shipped
from tests.until import PATIENCE_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.caller import Callers
    from tests.acceptance.running_service import RunningService

PAGE = (ROOT / "docs" / "policy-author.md").read_text(encoding="utf-8")
PIPELINE = yaml.safe_load((ROOT / "docs" / "examples" / "policy-ci.yml").read_text(encoding="utf-8"))
STEPS = {step["name"]: step for step in PIPELINE["jobs"]["policy"]["steps"] if "run" in step}
READERS = ("audrey", "max", "mia")
pytestmark = pytest.mark.usefixtures("same_version")
NOT_OURS = ("Install", "Get a token for this client")


@pytest.fixture
def author(tmp_path: Path, service: RunningService) -> dict[str, str]:
    """A checkout with the files, and an environment in which commands find the service."""
    shutil.copytree(ROOT / "policies", tmp_path / "policies")
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TIMEWARDEN_")}
    environment["PATH"] = f"{ROOT / '.venv' / 'bin'}:{environment['PATH']}"
    return {**environment, "TIMEWARDEN_STATE": str(service.state)}


def paste(commands: str, directory: Path, environment: dict[str, str]) -> str:
    """Run the commands and return their output; each must succeed."""
    run = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", commands],
        cwd=directory,
        env={**environment, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert run.returncode == 0, f"{commands}\n{run.stdout}{run.stderr}"
    return run.stdout


async def test_the_whole_story_of_a_change_can_be_pasted(
    tmp_path: Path, author: dict[str, str], callers: Callers
) -> None:
    paula = await callers("paula")
    # As after `make demo`: a version that was active once.
    first = await active(paula)
    of_the_demo = await propose(paula, add_note(read_shipped(), "as the demo does"))
    assert (await activate(paula, of_the_demo, first)).status_code == 200
    assert (await activate(paula, first, of_the_demo)).status_code == 200
    blocks = re.findall(r"^```sh\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 8
    number, declared, sheet = 0, 0, ""
    deciding: list[int] = []
    printed: list[str] = []
    for commands, shown in blocks:
        printed.append(paste(commands, tmp_path, author))
        if found := re.search(r"Proposed as version (\d+)", printed[-1]):
            number = int(found[1])
        assert [line for line in shown.splitlines() if line not in printed[-1]] == [], printed[-1]
        deciding.append(await active(paula))
        if len(deciding) == 1:
            declared, sheet = number, await request_before_the_rules(callers)
        if deciding[-1] not in {first, declared}:
            await expect_after_the_rules(callers, sheet)
    assert number > declared > of_the_demo
    assert deciding == [declared] * 6 + [number, declared]
    assert "denied, would be allowed" in printed[5]
    assert all(rule in printed[5] for rule in ("managers-own-country", "read-country", "read-project"))


async def request_before_the_rules(callers: Callers) -> str:
    """Store countries and a lead of a project, and send the requests on which the replay tries the rules. Returns a
    submitted sheet of 43 hours."""
    adam, ana = await callers("adam"), await callers("ana")
    for name, country in {"ana": "PT", "audrey": "PT", "max": "PT", "mia": "DE"}.items():
        path = f"/v1/people/{await (await callers(name)).me()}"
        etag = (await adam.get(path)).headers["ETag"]
        merge = {"Content-Type": "application/merge-patch+json"}
        body = json.dumps({"attributes": {"country": country}}).encode()
        changed = await adam.send("PATCH", path, content=body, if_match=etag, headers=merge)
        assert changed.status_code == 200, changed.text
    lead = await adam.post("/v1/projects/ATLAS/leads", {"person": await (await callers("max")).me()})
    assert lead.status_code == 201, lead.text
    monday = fresh_week()
    sheet = (await ana.post(SHEETS, {"period_start": monday.isoformat()})).json()["id"]
    for day in range(5):
        hours = {"day": (monday + timedelta(days=day)).isoformat(), "project": "ATLAS", "minutes": 516}
        added = await ana.post(f"{SHEETS}/{sheet}/entries", hours, if_match=f'"{day + 1}"')
        assert added.status_code == 201, added.text
    assert (await ana.post(f"{SHEETS}/{sheet}/submit", if_match='"6"')).status_code == 200
    answers = {name: (await (await callers(name)).get(f"{SHEETS}/{sheet}")).status_code for name in READERS}
    assert answers == {"audrey": 404, "max": 404, "mia": 200}
    return str(sheet)


async def expect_after_the_rules(callers: Callers, sheet: str) -> None:
    """The rules of the page decide single reads, lists and approvals."""
    expected = {"audrey": True, "max": True, "mia": False}
    for name, visible in expected.items():
        reader = await callers(name)
        assert (await reader.get(f"{SHEETS}/{sheet}")).status_code == (200 if visible else 404)
        listed = (await reader.get(SHEETS, limit=200)).json()["items"]
        assert (sheet in {item["id"] for item in listed}) is visible
    max_, mia = await callers("max"), await callers("mia")
    approved = await max_.post(f"{SHEETS}/{sheet}/approve", if_match='"7"')
    assert (approved.json()["state"], approved.json()["approvals_needed"]) == ("submitted", 2)
    assert (await max_.post(f"{SHEETS}/{sheet}/approve", if_match='"8"')).status_code == 409
    approved = await mia.post(f"{SHEETS}/{sheet}/approve", if_match='"8"')
    assert (approved.status_code, approved.json()["state"]) == (200, "approved")


async def test_a_colleagues_proposal_in_between_is_not_activated_in_place_of_ones_own(
    tmp_path: Path, author: dict[str, str], callers: Callers
) -> None:
    paula, first = await callers("paula"), await active(await callers("paula"))
    adam = await callers("adam")
    text = read_shipped()
    rows = f"p, allow, person:{await adam.me()}, propose, any, policy, any, always, adam-proposes\n"
    number = await propose(paula, replace(text, rules=text.rules + rows))
    assert (await activate(paula, number, first)).status_code == 200
    theirs = await propose(adam, add_note(text, "adam's own"))
    with pytest.raises(AssertionError, match="It is not your own proposal") as refused:
        paste("timewarden policy activate latest --as paula < /dev/null", tmp_path, author)
    assert f"Version {theirs}, proposed by person {await adam.me()}" in str(refused.value)
    assert await active(paula) == number


@pytest.mark.long
async def test_the_example_pipeline_proposes_what_was_merged_and_only_that(
    tmp_path: Path, author: dict[str, str], callers: Callers, service: RunningService
) -> None:
    paula = await callers("paula")
    with (tmp_path / "policies" / "policy.csv").open("a", encoding="utf-8") as rules:
        rules.write("p, allow, client:other-job, read, any, log, read:audit, always, job-reads\n")
    result = tmp_path / "environment"
    environment = {
        **author,
        "TIMEWARDEN_API": service.addresses.api,
        "TIMEWARDEN_TOKEN": paula.token or "",
        "GITHUB_ENV": str(result),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        "MESSAGE": "A job reads the log\n\nIt was asked for.",
    }
    for name in (step for step in STEPS if step not in NOT_OURS):
        if result.exists():
            environment["VERSION"] = result.read_text(encoding="utf-8").strip().removeprefix("VERSION=")
        paste(STEPS[name]["run"], tmp_path, environment)
    summary = (tmp_path / "summary").read_text(encoding="utf-8")
    assert "the client other-job for itself with read:audit may now read the decision log" in summary
    proposed = (await paula.get(f"{VERSIONS}/{environment['VERSION']}")).json()
    assert (proposed["message"], proposed["state"]) == ("A job reads the log", "proposed")
    assert environment["TIMEWARDEN_TOKEN"] not in summary

    current = await active(paula)
    assert (await activate(paula, proposed["number"], current)).status_code == 200
    assert "Nothing to propose." in paste(STEPS["Propose what was merged"]["run"], tmp_path, environment)
    # An API that does not answer is no difference.
    with pytest.raises(AssertionError, match="does not answer"):
        paste(
            STEPS["Propose what was merged"]["run"], tmp_path, {**environment, "TIMEWARDEN_API": "http://127.0.0.1:1"}
        )


def test_the_pipeline_never_prints_a_secret_and_does_the_steps_of_the_page() -> None:
    page = (ROOT / "docs" / "gitops.md").read_text(encoding="utf-8")
    commands = "\n".join(step["run"] for step in STEPS.values())
    for name in ("test", "diff", "propose", "replay"):
        assert f"timewarden policy {name}" in commands
        assert f"timewarden policy {name}" in page
    rows = re.findall(r"^p, .*", page, re.MULTILINE)
    assert {rule.action for rule in policy(*rows).rules} == {"read", "propose", "replay"}
    assert "add-mask" in STEPS["Get a token for this client"]["run"]
    assert not re.search(r"secrets\.", commands)
