"""`timewarden policy test` as a process, without any service: tables, coverage, places and exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.command_line import Ended, run_command

ROOT = Path(__file__).resolve().parents[2]


def run_policy_test(directory: Path, *options: str) -> Ended:
    return run_command("policy", "test", "--directory", str(directory), *options)


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "policies", tmp_path / "policies"))


def test_the_shipped_policy_passes_with_a_line_for_every_rule(policies: Path) -> None:
    run = run_policy_test(policies)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "approve-team" in run.stdout
    assert "0 fail" in run.stdout
    assert "The policy is valid" in run.stdout
    assert "untried" not in run.stdout


def test_a_failing_case_ends_with_exit_code_1_and_its_file_and_line(policies: Path) -> None:
    file = policies / "cases" / "import.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("verdict: allow", "verdict: deny", 1).replace("  rule: upload-contractors\n", "", 1))
    line = 1 + next(n for n, row in enumerate(text.splitlines()) if row.startswith("- case:"))
    run = run_policy_test(policies)
    assert run.returncode == 1
    assert f"error: {file}:{line}:1: Case" in run.stdout
    told = json.loads(run_policy_test(policies, "--json").stdout)
    assert (told["good"], told["failed"]) == (False, 1)
    assert [(complaint["file"], complaint["line"]) for complaint in told["complaints"]] == [("cases/import.yaml", line)]
    assert {rule["rule"]: rule["failed"] for rule in told["rules"]}["upload-contractors"] == 1


def test_rows_that_no_case_exercises_are_named_and_refuse_nothing(policies: Path) -> None:
    rules = policies / "policy.csv"
    rows = rules.read_text(encoding="utf-8")
    rules.write_text(rows + "p, allow, client:job, read, any, log, any, always, job-reads\n", encoding="utf-8")
    run = run_policy_test(policies)
    assert run.returncode == 0
    assert f"untried: {rules}:{len(rows.splitlines()) + 1}:1: No case is decided by the rule 'job-reads'" in run.stdout
    told = json.loads(run_policy_test(policies, "--json").stdout)
    assert [rule["rule"] for rule in told["rules"] if rule["line"] and not rule["passed"]] == ["job-reads"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("p, allow, owner", "A p row has 9 fields"),
        ("p, deny, role:auditor, read, any, log, read:audit, always, no", "conflicts with 'audit-read'"),
    ],
)
def test_a_policy_that_would_be_refused_ends_with_exit_code_1_and_its_line(policies: Path, row: str, says: str) -> None:
    rules = policies / "policy.csv"
    line = len(rules.read_text(encoding="utf-8").splitlines()) + 1
    with rules.open("a", encoding="utf-8") as file:
        file.write(row + "\n")
    run = run_policy_test(policies)
    assert run.returncode == 1
    assert any(row.startswith(f"error: {rules}:{line}:1: ") and says in row for row in run.stdout.splitlines())


def test_a_directory_without_a_policy_is_reported(tmp_path: Path) -> None:
    run = run_policy_test(tmp_path)
    assert run.returncode == 1
    assert "The file cannot be read" in run.stdout
