"""Tools of policy authors over HTTP: the complaints about a proposal by file and line, and what a version changes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from service.administration.checks import check_worker
from service.administration.versions import comparison
from tests.integration.api import InProcess, unshared_api
from tests.policy_forge import read_shipped

if TYPE_CHECKING:
    import httpx2

    from service.administration.checks.diff import PolicyDiff
    from service.policy.policy_file import PolicyText
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
VERSIONS = "/v1/policies/versions"
LINES = len(read_shipped().rules.splitlines())
CHECK = "/v1/policies/check"
EXTRA = "p, allow, importer, read, approved, timesheet, read:timesheets, always, read-imported\n"
CASE = (
    "- case: {}\n  who: owner\n  scopes: read:timesheets\n  action: read\n  kind: timesheet\n"
    "  state: draft\n  verdict: {}\n"
)


def author(running: InProcess, scope: str = "read:policies write:policies") -> str:
    return running.token(sub="auth0|paula", roles=["policy-author"], scope=scope)


async def propose(
    running: InProcess,
    text: PolicyText,
    message: str = "why",
    *,
    path: str = VERSIONS,
    scope: str = "read:policies write:policies",
) -> httpx2.Response:
    body = {
        "message": message,
        "model": text.model,
        "rules": text.rules,
        "vocabulary": text.vocabulary,
        "cases": dict(text.cases),
    }
    return await running.send("POST", path, author(running, scope), body=body)


async def activate(running: InProcess, number: int, expected: int) -> None:
    path, body = f"{VERSIONS}/{number}/activate", {"expected_active": expected}
    answer = await running.send("POST", path, author(running), body=body)
    assert answer.status_code == 200, answer.text


def with_rows(*rows: str, cases: dict[str, str] | None = None) -> PolicyText:
    text = read_shipped()
    return replace(text, rules=text.rules + "\n".join(rows) + "\n", cases=cases or {})


WRONG: dict[str, tuple[PolicyText, str, int, str]] = {
    "a malformed row": (with_rows("p, allow, owner"), "policy.csv", LINES + 1, "A p row has 9 fields"),
    "an unknown word": (
        with_rows("p, allow, ownr, read, any, timesheet, any, always, x"), "policy.csv", LINES + 1, "'ownr'",
    ),
    "the same row under another name": (
        with_rows("p, allow, owner, read, any, timesheet, read:timesheets, always, again"),
        "policy.csv", LINES + 1, "repeats line 6",
    ),
    "a conflict": (
        with_rows("p, deny, manager, reject, submitted, timesheet, approve:timesheets, always, no-reject"),
        "policy.csv", LINES + 1, "conflicts with 'reject-team' in line 16",
    ),
    "an unsatisfiable row": (
        with_rows("p, allow, owner, create, approved, timesheet, any, always, late"), "policy.csv", LINES + 1, "never",
    ),
    "what a law forbids": (
        with_rows("p, allow, owner, approve, any, timesheet, any, always, own"), "policy.csv", LINES + 1, "safety law",
    ),
    "a fact and its negation": (
        with_rows("p, allow, owner, read, any, timesheet, any, mfa and not mfa, x"), "policy.csv", LINES + 1, "repeat",
    ),
    "a failing case": (
        with_rows(cases={"a.yaml": CASE.format("owners read", "deny")}), "cases/a.yaml", 1, "expected deny, got allow",
    ),
    "a malformed case": (
        with_rows(cases={"a.yaml": CASE.format("owners read", "maybe")}), "cases/a.yaml", 7, "'maybe'",
    ),
    "an unknown word of the vocabulary": (
        replace(read_shipped(), vocabulary=read_shipped().vocabulary.replace('edit = "add', 'edti = "add')),
        "vocabulary.toml", 13, "edti",
    ),
    "another model": (replace(read_shipped(), model="[matchers]\nm = true\n"), "model.conf", 1, "The model is fixed"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "file", "line", "says"), WRONG.values(), ids=WRONG)
async def test_a_bad_proposal_gets_file_line_and_cause_and_changes_nothing(
    common_house: House, common: InProcess, text: PolicyText, file: str, line: int, says: str
) -> None:
    answer = await propose(common, text)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    problem = answer.json()
    assert problem["type"] == "urn:timewarden:problem:policy-rejected"
    assert any(
        (complaint["file"], complaint["line"]) == (file, line) and says in complaint["message"]
        for complaint in problem["complaints"]
    ), problem["complaints"]
    assert await common_house.count("policy_version") == 1
    assert await common_house.owner.fetchval("SELECT active FROM policy_head") == 1


@pytest.mark.parametrize(("text", "file", "line", "says"), WRONG.values(), ids=WRONG)
async def test_a_check_finds_what_a_proposal_would_and_stores_nothing(
    common_house: House, common: InProcess, text: PolicyText, file: str, line: int, says: str
) -> None:
    answer = await propose(common, text, path=CHECK)
    assert answer.status_code == 200, answer.text
    assert any(
        (complaint["file"], complaint["line"]) == (file, line) and says in complaint["message"]
        for complaint in answer.json()["complaints"]
    ), answer.json()
    assert await common_house.count("policy_version") == 1


async def test_a_check_says_what_would_be_decided_otherwise(common: InProcess) -> None:
    shipped = read_shipped()
    unchanged = (await propose(common, replace(shipped, rules=f"{shipped.rules}# a remark\n"), path=CHECK)).json()
    assert (unchanged["complaints"], unchanged["changes"]) == ([], [])
    changed = (await propose(common, replace(shipped, rules=shipped.rules + EXTRA), path=CHECK)).json()
    assert (changed["complaints"], changed["changes"]) == (
        [],
        ["an importer with read:timesheets may now read an approved timesheet"],
    )
    wrong = (await propose(common, replace(shipped, rules=shipped.rules + "p, allow\n"), path=CHECK)).json()
    assert (bool(wrong["complaints"]), wrong["changes"]) == (True, [])


async def test_a_check_is_recorded_as_a_dry_run_and_takes_the_right_to_propose(
    common_house: House, common: InProcess
) -> None:
    answer = await propose(common, with_rows(EXTRA), path=CHECK)
    assert answer.json()["complaints"] == []
    record = await common.send(
        "GET", f"/v1/decisions/{answer.headers['decision-id']}", common.token(roles=["auditor"], scope="read:audit")
    )
    members = record.json()["record"]
    assert (members["action"], members["applied"], members["not_applied_because"]) == ("propose", False, "dry-run")
    denied = await propose(common, with_rows(EXTRA), path=CHECK, scope="read:policies")
    assert denied.status_code == 403
    assert await common_house.count("policy_version") == 1


SHADOWED = "p, allow, owner, read, draft, timesheet, read:timesheets, always, shadowed"


@pytest.mark.parametrize(("path", "status"), [(VERSIONS, 422), (CHECK, 200)])
async def test_warnings_stand_beside_failing_cases(common: InProcess, path: str, status: int) -> None:
    failing = with_rows(SHADOWED, cases={"a.yaml": CASE.format("owners read", "deny")})
    answer = await propose(common, failing, path=path)
    found = answer.json()
    assert answer.status_code == status
    assert [complaint["file"] for complaint in found["complaints"]] == ["cases/a.yaml"]
    messages = [warning["message"] for warning in found["warnings"]]
    assert any("This row is shadowed" in message and "'shadowed'" in message for message in messages)
    assert any("are missing, such as" in message for message in messages)


@pytest.mark.parametrize("message", ["", " \t", "\x1b[31mred", "two\nlines", "nul\x00", "x" * 501])
async def test_a_message_is_a_single_line_with_text(common_house: House, common: InProcess, message: str) -> None:
    answer = await propose(common, with_rows(EXTRA), message)
    assert answer.status_code in {400, 422}, answer.text
    assert "message" in answer.json()["detail"]
    assert await common_house.count("policy_version") == 1


async def test_a_shadowed_row_is_accepted_with_a_warning(running: InProcess) -> None:
    narrow = "p, allow, owner, read, draft, timesheet, read:timesheets, mfa, narrow"
    answer = await propose(running, with_rows(narrow, cases=dict(read_shipped().cases)))
    assert answer.status_code == 201, answer.text
    (warning,) = answer.json()["warnings"]
    assert (warning["file"], warning["line"]) == ("policy.csv", LINES + 1)
    assert "'read-own' in line 6 already allows" in warning["message"]
    assert (await propose(running, read_shipped())).json()["warnings"] == []


async def test_a_proposal_reports_lost_cases_and_what_no_case_exercises(running: InProcess) -> None:
    row = "p, allow, client:job, read, any, log, any, always, job-reads"
    told = (await propose(running, with_rows(row, cases=dict(read_shipped().cases)))).json()
    assert [(complaint["file"], complaint["line"]) for complaint in told["untried"]] == [("policy.csv", LINES + 1)]
    assert told["warnings"] == []
    fewer = (await propose(running, with_rows())).json()
    assert any("are missing, such as '" in warning["message"] for warning in fewer["warnings"])


async def test_the_last_proposal_is_not_stored_twice(house: House, running: InProcess) -> None:
    first, again = await propose(running, with_rows(EXTRA)), await propose(running, with_rows(EXTRA))
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["number"] == first.json()["number"] == 2
    assert again.headers["location"] == first.headers["location"]
    assert await house.count("policy_version") == 2
    assert await house.count_records_with("policy.proposed") == 1


async def test_a_proposal_from_before_an_activation_is_stored_again(running: InProcess) -> None:
    """It has another parent, and four eyes look at what was proposed since."""
    for text in (with_rows(), with_rows(EXTRA)):
        assert (await propose(running, text)).status_code == 201
    await activate(running, 2, 1)
    await activate(running, 1, 2)
    again = await propose(running, with_rows(EXTRA))
    assert (again.status_code, again.json()["number"]) == (201, 4)


async def diff(running: InProcess, path: str, **token: Any) -> httpx2.Response:
    return await running.send("GET", f"{VERSIONS}/{path}", author(running, **token))


async def test_a_version_is_compared_with_the_active_version_or_another(running: InProcess) -> None:
    for text in (with_rows(EXTRA), with_rows()):
        assert (await propose(running, text)).status_code == 201
    found = await diff(running, "2/diff")
    body = found.json()
    assert (found.status_code, body["number"], body["against"], body["same"]) == (200, 2, 1, False)
    assert [(row["change"], row["name"], row["line"]) for row in body["rows"]] == [
        ("added", "read-imported", LINES + 1)
    ]
    assert [verdict["sentence"] for verdict in body["verdicts"]] == [
        "an importer with read:timesheets may now read an approved timesheet"
    ]
    assert "decision-id" in found.headers
    back = (await diff(running, "3/diff?against=2")).json()
    assert [verdict["allowed"] for verdict in back["verdicts"]] == [False]
    assert (await diff(running, "1/diff")).json()["same"] is True


async def test_a_comparison_needs_the_right_to_read_both_versions(house: House, running: InProcess) -> None:
    assert (await diff(running, "1/diff", scope="write:policies")).status_code == 403
    stranger = running.token(scope="read:policies")
    assert (await running.send("GET", f"{VERSIONS}/1/diff", stranger)).status_code in {403, 404}
    for path, status in (("7/diff", 404), ("1/diff?against=7", 404), ("0/diff", 422), ("1/diff?against=0", 422)):
        assert (await diff(running, path)).status_code == status, path
    before = await house.count("audit_record")
    await diff(running, "1/diff?against=1")
    assert await house.count("audit_record") == before + 2


async def test_a_comparison_that_waits_too_long_for_others_ends_in_try_later(
    house: House, issuer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, release, whole = asyncio.Event(), asyncio.Event(), check_worker.compare

    async def slow(before: PolicyText, after: PolicyText) -> PolicyDiff:
        entered.set()
        await release.wait()
        return await whole(before, after)

    monkeypatch.setattr(check_worker, "compare", slow)
    monkeypatch.setattr(comparison, "LONGEST_WAIT", 0.2)
    async with unshared_api(house, issuer) as hasty:
        first = asyncio.create_task(hasty.send("GET", f"{VERSIONS}/1/diff", author(hasty)))
        await entered.wait()
        late = await hasty.send("GET", f"{VERSIONS}/1/diff", author(hasty))
        release.set()
        assert late.status_code == 503, late.text
        assert late.json()["detail"] == "Other policy versions are being compared; ask again in a moment"
        assert late.json()["decision_id"]
        assert (await first).json()["same"] is True
