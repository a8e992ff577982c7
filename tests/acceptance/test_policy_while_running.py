"""The policy changes while the service runs: at once, without a failed request, and never into a broken one."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.caller import SHEETS, draft, fresh_week, problem
from tests.acceptance.policy_author import VERSIONS, activate, active, add_note, proposal, propose
from tests.policy_forge import read_shipped

if TYPE_CHECKING:
    import httpx2

    from service.policy.policy_file import PolicyText
    from tests.acceptance.caller import Caller, Callers

pytestmark = pytest.mark.usefixtures("same_version")
CASE = """- case: the scope alone does not open the log
  who: "role:policy-author"
  scopes: read:audit
  action: read
  kind: log
  verdict: deny
  reason: no-rule
"""
AUTHOR_READS = "p, allow, role:policy-author, read, any, log, read:audit, always, author-reads-log"


def with_row(row: str) -> PolicyText:
    """The shipped policy with one more row."""
    text = read_shipped()
    return replace(text, rules=f"{text.rules}\n{row}\n")


def author_may_read() -> PolicyText:
    """The shipped policy, but authors read the log, and the case that said otherwise says so too."""
    text = with_row(AUTHOR_READS)
    cases = text.cases["administration.yaml"]
    assert CASE in cases
    allowed = CASE.replace("verdict: deny\n  reason: no-rule", "verdict: allow\n  rule: author-reads-log")
    return replace(text, cases={**text.cases, "administration.yaml": cases.replace(CASE, allowed)})


async def test_one_request_flips_at_once_and_back(callers: Callers) -> None:
    paula, ben = await callers("paula"), await callers("ben")
    sheet = (await draft(ben)).json()["id"]
    first = await active(paula)
    row = f"p, deny, person:{await ben.me()}, read, any, timesheet, any, always, not-ben"

    number = await propose(paula, with_row(row))
    assert (await ben.get(f"{SHEETS}/{sheet}")).status_code == 200
    answer = await activate(paula, number, first)
    assert (answer.status_code, answer.json()["active"]) == (200, True)
    problem(await ben.get(f"{SHEETS}/{sheet}"), 404, "not-found")
    assert (await ben.get(SHEETS)).json()["items"] == []
    assert await active(ben) == number
    assert (await activate(paula, first, number)).status_code == 200
    assert (await ben.get(f"{SHEETS}/{sheet}")).status_code == 200
    assert sheet in {item["id"] for item in (await ben.get(SHEETS)).json()["items"]}


async def test_a_new_right_holds_at_once_and_is_lost_by_going_back(callers: Callers) -> None:
    paula = await callers("paula")
    first = await active(paula)
    problem(await paula.get("/v1/decisions"), 403, "forbidden")

    number = await propose(paula, author_may_read())
    problem(await paula.get("/v1/decisions"), 403, "forbidden")
    await activate(paula, number, first)
    allowed = await paula.get("/v1/decisions")
    assert allowed.status_code == 200
    logged = await (await callers("audrey")).decision(allowed)
    assert logged["record"]["policy"]["version"] == number
    assert logged["record"]["rules"] == ["author-reads-log"]
    await activate(paula, first, number)
    problem(await paula.get("/v1/decisions"), 403, "forbidden")


async def test_a_version_is_read_as_it_was_proposed(callers: Callers) -> None:
    paula, audrey = await callers("paula"), await callers("audrey")
    text = author_may_read()
    number = await propose(paula, text)

    for reader in (paula, audrey):
        found = await reader.get(f"{VERSIONS}/{number}")
        assert (found.json()["rules"], found.json()["cases"]) == (text.rules, dict(text.cases))
        assert found.json()["digest"] == text.digest()
        assert found.json()["author"] == await paula.me()
    listed = (await paula.get(VERSIONS, limit=1)).json()["items"]
    assert listed[0]["number"] == number
    assert listed[0]["active"] is False
    problem(await paula.get(f"{VERSIONS}/{number + 1000}"), 404, "not-found")


async def test_an_activation_that_expects_another_version_changes_nothing(callers: Callers) -> None:
    paula = await callers("paula")
    first = await active(paula)
    number = await propose(paula, author_may_read())

    problem(await activate(paula, number, number), 409, "stale-expectation")
    problem(await activate(paula, first, first), 409, "conflict")
    problem(await activate(paula, number + 1000, first), 404, "not-found")
    assert await active(paula) == first


async def test_of_racing_activations_one_wins(callers: Callers) -> None:
    paula = await callers("paula")
    first = await active(paula)
    numbers = [await propose(paula, add_note(author_may_read(), value)) for value in range(3)]

    answers = await asyncio.gather(*(activate(paula, number, first) for number in numbers))
    assert sorted(response.status_code for response in answers) == [200, 409, 409]
    won = next(response.json()["number"] for response in answers if response.status_code == 200)
    assert await active(paula) == won


# The check itself is tried in `make test`, by test_policy_tools: here is one of each file.
MALFORMED: list[tuple[dict[str, object], str, str]] = [
    ({"rules": "p, alow, owner, read, any, timesheet, any, always, read-own\n"}, "policy.csv", "alow"),
    ({"vocabulary": "[kinds"}, "vocabulary.toml", ""),
    ({"model": "[matchers]\nm = True"}, "model.conf", ""),
    ({"cases": {"a.yaml": "- case: x\n  who: [owner"}}, "cases/a.yaml", ""),
]
MALFORMED_TOO: list[tuple[dict[str, object], str, str]] = [
    ({"rules": "q, allow, owner, read, any, timesheet, any, always, read-own\n"}, "policy.csv", "q"),
    ({"rules": "p, allow, owner, read, any, timesheet, any, always\n"}, "policy.csv", ""),
    ({"rules": "p, allow, owner, read, any, timesheet, read:timesheet, always, read-own\n"}, "policy.csv", ""),
    ({"rules": ""}, "policy.csv", ""),
    ({"vocabulary": ""}, "vocabulary.toml", ""),
    ({"cases": {"../a.yaml": "- case: x"}}, "", ""),
]


@pytest.mark.parametrize(
    ("change", "file", "says"),
    [*MALFORMED, *(pytest.param(*values, marks=pytest.mark.long) for values in MALFORMED_TOO)],
)
async def test_a_malformed_policy_is_refused_with_its_place(
    callers: Callers, change: dict[str, object], file: str, says: str
) -> None:
    paula = await callers("paula")
    before = (await paula.get(VERSIONS, limit=1)).json()["items"][0]["number"]

    refused = problem(await paula.post(VERSIONS, {**proposal(read_shipped()), **change}), 422, "policy-rejected")
    first = refused["complaints"][0]
    assert file in first["file"]
    assert says in first["message"]
    assert first.keys() >= {"line", "column"}
    assert (await paula.get(VERSIONS, limit=1)).json()["items"][0]["number"] == before


async def test_a_typing_error_is_told_with_line_and_column(callers: Callers) -> None:
    text = read_shipped()
    line = 1 + next(n for n, row in enumerate(text.rules.splitlines()) if row.endswith(" read-own"))
    wrong = replace(
        text, rules=text.rules.replace("p, allow,  owner,              read,", "p, allow,  ownre,              read,")
    )
    assert wrong != text

    refused = problem(await (await callers("paula")).post(VERSIONS, proposal(wrong)), 422, "policy-rejected")
    complaint = refused["complaints"][0]
    assert (complaint["file"], complaint["line"]) == ("policy.csv", line)
    assert complaint["column"] == 1 + text.rules.splitlines()[line - 1].index("owner")
    assert "owner" in complaint["suggestion"]


@pytest.mark.parametrize(
    "rule", ["never-own-hours", "never-for-owner", "policy-propose", "policy-activate", "audit-read"]
)
async def test_a_policy_that_breaks_a_safety_law_is_refused(callers: Callers, rule: str) -> None:
    text = read_shipped()
    kept = "\n".join(line for line in text.rules.splitlines() if not line.endswith(f" {rule}"))
    body = proposal(replace(text, rules=kept, cases={}))
    if rule == "never-own-hours":
        body["rules"] += "\np, allow, owner, approve, any, timesheet, any, always, approve-own\n"

    problem(await (await callers("paula")).post(VERSIONS, body), 422, "policy-rejected")


async def test_a_rule_that_contradicts_a_case_is_refused_until_the_case_changes(callers: Callers) -> None:
    paula = await callers("paula")

    refused = problem(await paula.post(VERSIONS, proposal(with_row(AUTHOR_READS))), 422, "policy-rejected")
    assert "the scope alone does not open the log" in refused["complaints"][0]["message"]
    assert await propose(paula, author_may_read()) > 1


async def test_a_policy_that_fails_a_case_is_refused_with_the_case(callers: Callers) -> None:
    text = read_shipped()
    changed = replace(text, rules=text.rules.replace(" read-own\n", " read-mine\n"))

    refused = problem(await (await callers("paula")).post(VERSIONS, proposal(changed)), 422, "policy-rejected")
    assert "cases/own_hours.yaml" in {complaint["file"] for complaint in refused["complaints"]}
    assert all(complaint["line"] > 0 for complaint in refused["complaints"])


@pytest.mark.parametrize("who", ["ana", "mia", "audrey", "adam", "payroll-import"])
async def test_nobody_else_changes_the_policy(callers: Callers, who: str) -> None:
    caller, audrey = await callers(who), await callers("audrey")
    first = await active(caller)

    for answer in (await caller.post(VERSIONS, proposal(read_shipped())), await activate(caller, first, first)):
        assert answer.status_code == 403
        assert (await audrey.decision(answer))["record"]["outcome"] == "deny"


@pytest.mark.parametrize("field", ["message", "model", "rules", "vocabulary", "cases"])
async def test_a_proposal_without_a_part_is_refused(callers: Callers, field: str) -> None:
    body = proposal(read_shipped())
    del body[field]

    told = problem(await (await callers("paula")).post(VERSIONS, body), 422, "invalid-field")
    assert [item["field"] for item in told["fields"]] == [field]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, and when it was sent and answered."""

    sent: float
    answer: httpx2.Response


async def asking(caller: Caller, until: asyncio.Event) -> list[Asked]:
    """Reads, lists and changes without a pause."""
    asked: list[Asked] = []
    while not until.is_set():
        week = {"period_start": str(fresh_week())}
        for method, path, body in (("GET", "/v1/me", None), ("GET", SHEETS, None), ("POST", SHEETS, week)):
            sent = time.monotonic()
            asked.append(Asked(sent, await caller.send(method, path, body=body)))
    return asked


@pytest.mark.long  # with several replicas, test_policy_everywhere shows the same
async def test_under_load_no_request_fails_and_none_is_decided_by_an_older_version(callers: Callers) -> None:
    paula, audrey = await callers("paula"), await callers("audrey")
    numbers = [await propose(paula, add_note(author_may_read(), value)) for value in range(5)]
    stop = asyncio.Event()
    load = [asyncio.create_task(asking(await callers(who), stop)) for who in ("ana", "ben", "carl", "mia")]
    acknowledged: list[tuple[float, int]] = []
    current = await active(paula)
    for number in numbers:
        await asyncio.sleep(0.4)
        answer = await activate(paula, number, current)
        assert answer.status_code == 200, answer.text
        acknowledged.append((time.monotonic(), number))
        current = number
    await asyncio.sleep(0.4)
    stop.set()
    asked = [value for task in load for value in await task]

    assert len(asked) > 100
    assert {item.answer.status_code for item in asked} <= {200, 201}
    seen = set()
    for item in asked[:: max(1, len(asked) // 150)]:
        version = (await audrey.decision(item.answer))["record"]["policy"]["version"]
        seen.add(version)
        assert version >= max((number for at, number in acknowledged if at < item.sent), default=0)
    for at, number in acknowledged:
        after = min((item for item in asked if item.sent > at), key=lambda item: item.sent)
        assert (await audrey.decision(after.answer))["record"]["policy"]["version"] >= number
    assert seen >= set(numbers)
