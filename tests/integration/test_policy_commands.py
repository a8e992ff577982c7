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


@pytest.mark.parametrize("line", [100, 1234])
def test_a_line_is_printed_as_a_number_and_not_as_an_emoji(policies: Path, line: int) -> None:
    rules = policies / "policy.csv"
    rows = [*rules.read_text(encoding="utf-8").splitlines(), *["#"] * line]
    rules.write_text("\n".join([*rows[: line - 1], "p, allow, owner"]), encoding="utf-8")
    assert f"error: {rules}:{line}:1: A p row has 9 fields" in run_policy_test(policies).stdout


@pytest.mark.parametrize("name", ["x.yml", "sub/x.yaml", "x.yaml.orig", "README"])
def test_a_case_file_that_would_not_be_read_is_an_error(policies: Path, name: str) -> None:
    file = policies / "cases" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("- case: this fails\n", encoding="utf-8")
    run = run_policy_test(policies)
    expected = (
        f"error: {policies}/cases/{name.partition('/')[0]}: This is not read as a case file (case files are named"
    )
    assert (run.returncode, run.stdout.count(expected)) == (1, 1), run.stdout
    assert "*.yaml and stand directly in cases/)" in run.stdout


@pytest.mark.parametrize("name", [".approval.yaml.swp", ".#approval.yaml", ".git", "approval.yaml~"])
def test_what_an_editor_leaves_beside_case_files_is_ignored(policies: Path, name: str) -> None:
    (policies / "cases" / name).write_text("no case", encoding="utf-8")
    run = run_policy_test(policies)
    assert (run.returncode, "error" in run.stdout) == (0, False), run.stdout


@pytest.mark.parametrize("missing", [True, False])
def test_a_policy_without_cases_is_valid_and_says_that_it_has_none(policies: Path, *, missing: bool) -> None:
    shutil.rmtree(policies / "cases")
    if not missing:
        (policies / "cases").mkdir()
    run = run_policy_test(policies)
    assert run.returncode == 0, run.stdout
    assert f"untried: {policies}/cases: There are no cases (case files are named *.yaml" in run.stdout
    assert "The policy is valid: it can be read, keeps the laws and has no cases." in run.stdout


def test_a_file_in_the_place_of_the_cases_is_an_error(policies: Path) -> None:
    shutil.rmtree(policies / "cases")
    (policies / "cases").write_text("- case: this fails\n", encoding="utf-8")
    run = run_policy_test(policies)
    assert (run.returncode, "cases: The case files cannot be listed: Not a directory" in run.stdout) == (1, True)


def test_a_directory_without_a_policy_is_reported(tmp_path: Path) -> None:
    run = run_policy_test(tmp_path)
    assert run.returncode == 2
    assert "There are no policy files" in run.stderr
    (tmp_path / "model.conf").touch()
    run = run_policy_test(tmp_path)
    assert run.returncode == 1
    assert f"{tmp_path}/policy.csv: The file cannot be read" in run.stdout
