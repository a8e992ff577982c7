"""The auditors' page: every command on it works against the running service."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx2
import pytest
from click.testing import CliRunner

from service.__main__ import timewarden
from service.commands.api_client import ApiClient
from service.development.people import PEOPLE
from service.log.key_files import read_key
from tests.acceptance.caller import SHEETS, fresh_week

if TYPE_CHECKING:
    from click.testing import Result

    from tests.acceptance.caller import Callers
    from tests.acceptance.running_service import RunningService

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "auditor.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
QUESTIONS = [
    line for block in BLOCKS for line in block.splitlines() if re.match(r"timewarden audit (search|history)", line)
]


async def command(callers: Callers, who: str, *words: str) -> Result:
    """Run `timewarden` with a person's token without blocking the event loop."""
    caller = await callers(who)
    environment = {"TIMEWARDEN_API": callers.addresses.api, "TIMEWARDEN_TOKEN": caller.token}
    return await asyncio.to_thread(CliRunner().invoke, timewarden, words, env=environment)


def ids(result: Result) -> list[str]:
    """The ids of the printed records, one a line."""
    return [json.loads(line)["id"] for line in result.output.splitlines()]


async def story(callers: Callers) -> tuple[str, str]:
    """A sheet of ana with an entry, and her id."""
    ana = await callers("ana")
    sheet = (await ana.post(SHEETS, {"period_start": fresh_week().isoformat()})).json()["id"]
    return sheet, await ana.me()


@pytest.mark.parametrize("line", QUESTIONS)
async def test_every_command_on_the_page_works(callers: Callers, line: str) -> None:
    sheet, person = await story(callers)
    adam, job = await callers("adam"), await callers("payroll-import")
    await job.get("/v1/me")
    email = f"{uuid4().hex}@audited.example"
    assert (await adam.post("/v1/people", {"display_name": "Ida", "email": email})).status_code == 201
    names = {"$SHEET": sheet, "$PERSON": person, "$OWNER": person, "$REQUEST": sheet, "$EMAIL": email, "$VERSION": "1"}
    names |= {"$ISSUER": callers.addresses.issuer, "$SUBJECT": PEOPLE["ana"].subject, "$NAME": PEOPLE["ana"].name}
    names["$DAY"] = (await (await callers("ana")).get(f"{SHEETS}/{sheet}")).json()["period_start"]
    assert (await adam.get(f"/v1/people/{person}")).json()["display_name"] == PEOPLE["ana"].name
    words = [names.get(word, word) for word in line.split()[1:] if word not in {"--all", "--json"}]
    result = await command(callers, "audrey", *words, "--json")
    assert result.exit_code == 0, result.output
    if "history" in line or "--owner" in line:
        assert person in result.output


async def test_a_history_is_printed_as_a_table_and_as_lines(callers: Callers) -> None:
    sheet, _ = await story(callers)
    lines = (await command(callers, "audrey", "audit", "history", sheet, "--json")).output.splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["decision", "change"]
    table = await command(callers, "audrey", "audit", "history", sheet)
    assert "create" in table.output


async def test_a_history_shows_what_each_change_changed(callers: Callers) -> None:
    sheet, _ = await story(callers)
    ana = await callers("ana")
    week = (await ana.get(f"{SHEETS}/{sheet}")).json()["period_start"]
    hours = {"day": week, "project": "ATLAS", "minutes": 90}
    added = await ana.post(f"{SHEETS}/{sheet}/entries", hours, if_match='"1"')
    assert added.status_code == 201, added.text
    output = (await command(callers, "audrey", "audit", "history", sheet)).output
    assert "minutes: 0 → 90" in output
    assert f"+ {week} ATLAS 90 min" in output


async def test_a_history_is_found_by_owner_and_week_and_has_names(callers: Callers) -> None:
    sheet, _ = await story(callers)
    ana, name = await callers("ana"), PEOPLE["ana"].name
    read = (await ana.get(f"{SHEETS}/{sheet}", names="true")).json()
    by_week = ("audit", "history", "--owner", name, "--week", read["period_start"])
    printed = (await command(callers, "audrey", *by_week)).output
    assert printed == (await command(callers, "audrey", "audit", "history", sheet)).output
    assert name in printed
    missing = await command(callers, "audrey", "audit", "history", "--owner", name, "--week", "1999-01-04")
    assert (missing.exit_code, "query.week" in missing.output) == (2, True)
    for words in ((), (sheet, "--owner", name), ("--owner", name)):
        assert (await command(callers, "audrey", "audit", "history", *words)).exit_code == 2
    denied = await (await callers("ben")).get(f"{SHEETS}/{sheet}")
    found = (await command(callers, "audrey", "audit", "search", "--owner", name, "--outcome", "deny")).output
    assert f"timesheet of {name} " in found
    assert sheet in found
    assert PEOPLE["ben"].name in found
    explained = (await command(callers, "audrey", "audit", "explain", denied.headers["Decision-Id"])).output
    assert explained.startswith(f"{PEOPLE['ben'].name} (")
    assert f"read timesheet {sheet} of {name} (" in explained


async def test_a_record_is_shown_and_a_decision_explained(callers: Callers) -> None:
    sheet, ana = await story(callers)
    denied = await (await callers("ben")).get(f"{SHEETS}/{sheet}")
    decision = denied.headers["Decision-Id"]
    shown = (await command(callers, "audrey", "audit", "show", decision)).output
    assert f"resource id  {sheet}" in shown
    assert "outcome  deny" in shown
    assert f"({ana})" in shown
    assert json.loads((await command(callers, "audrey", "audit", "show", decision, "--json")).output)["id"]
    explained = (await command(callers, "audrey", "audit", "explain", decision)).output
    assert "\ndeny: " in explained
    assert "nearest: read-own" in explained
    found = json.loads((await command(callers, "audrey", "audit", "explain", decision, "--json")).output)
    assert found["near_misses"]
    refused = await command(callers, "ana", "audit", "show", decision)
    assert (refused.exit_code, "403" in refused.output) == (2, True)
    missing = await command(callers, "audrey", "audit", "explain", str(uuid4()))
    assert (missing.exit_code, "No such decision" in missing.output) == (2, True)


async def test_a_hold_is_set_listed_and_lifted_by_another_auditor(callers: Callers) -> None:
    _, ana = await story(callers)
    made = await command(callers, "audrey", "audit", "hold", "set", "person", ana, "--reason", "Case [12/26]", "--json")
    hold = json.loads(made.output)["id"]
    listed = (await command(callers, "audrey", "audit", "hold", "list")).output
    assert "[12/26]" in listed
    assert PEOPLE["ana"].name.split()[0] in listed
    own = await command(callers, "audrey", "audit", "hold", "lift", hold)
    assert (own.exit_code, "403" in own.output) == (2, True)
    wrong = await command(callers, "audrey", "audit", "hold", "set", "all", ana, "--reason", "x")
    assert wrong.exit_code == 2


async def test_all_pages_hold_every_record_once(callers: Callers) -> None:
    for _ in range(4):
        await story(callers)
    asked = ("audit", "search", "--kind", "change", "--json")
    paged = await command(callers, "audrey", *asked, "--limit", "3", "--all")
    whole = await command(callers, "audrey", *asked, "--limit", "200", "--all")
    assert ids(paged) == ids(whole)
    assert len(set(ids(paged))) == len(ids(paged)) > 3


@pytest.mark.parametrize(
    ("option", "value", "output"),
    [
        ("--rule", "aprove-team", "query.rule: is not a rule of any version; did you mean 'approve-team'?"),
        ("--client", "timesheets-cl", "query.client: is not a client of any record; did you mean"),
        ("--email", "nobody@audited.example", "query.email: is not a person's address"),
        ("--person", "018f0000-0000-7000-8000-00000000000a", "query.person: is not a person's id"),
        ("--policy-version", "999", "query.policy_version: is not a version; the newest is"),
    ],
)
async def test_a_misspelt_filter_is_an_error(callers: Callers, option: str, value: str, output: str) -> None:
    await story(callers)
    result = await command(callers, "audrey", "audit", "search", option, value)
    assert result.exit_code == 2
    assert output in " ".join(result.output.split())


async def test_the_page_leads_from_an_answer_to_the_proof_of_its_record(
    service: RunningService, callers: Callers, tmp_path: Path
) -> None:
    lines = next(block for block in BLOCKS if "audit proof" in block)
    ana, audrey = await callers("ana"), await callers("audrey")
    answer = await ana.get("/v1/me")
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TIMEWARDEN_API": callers.addresses.api,
        "TIMEWARDEN_TOKEN": audrey.token or "",
        "VKEY": read_key(service.state / "log" / "key").verifier.vkey,
        "RECORD": answer.headers["Decision-Id"],
    }

    async def run(script: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_shell(
            script, cwd=tmp_path, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        out, _ = await process.communicate()
        return process.returncode, out.decode()

    code, output = await run(f"set -e\n{lines}")
    assert (code, "intact" in output.splitlines()) == (0, True), output
    body = (tmp_path / f"{environment['RECORD']}.record").read_bytes()
    assert hashlib.sha256(b"\0" + body).hexdigest() == answer.headers["Decision-Leaf"]
    # An editor that appends a newline, and a changed word.
    (tmp_path / f"{environment['RECORD']}.record").write_bytes(body + b"\n")
    code, output = await run(lines.splitlines()[1])
    assert (code, output.split()[0], "without its trailing newline" in output) == (4, "usage", True), output
    (tmp_path / f"{environment['RECORD']}.record").write_bytes(body.replace(b'"allow"', b'"deny"'))
    assert (await run(lines.splitlines()[1]))[0] == 1
    code, output = await run(lines.splitlines()[0])
    assert (code, "exists" in output) == (2, True), output
    environment["RECORD"] = "018f0000-0000-7000-8000-00000000000a"
    code, output = await run(lines.splitlines()[0])
    assert (code, "No such record" in output) == (2, True), output


async def test_waiting_for_a_record_to_be_sealed_is_bounded(
    callers: Callers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = {"type": "urn:timewarden:problem:not-sealed", "detail": "Not sealed yet"}
    monkeypatch.setattr(ApiClient, "response", lambda *_: httpx2.Response(503, json=problem))
    record = "018f0000-0000-7000-8000-00000000000a"
    result = await command(callers, "audrey", "audit", "proof", record, "--directory", str(tmp_path), "--wait", "1")
    assert result.exit_code == 2
    assert "waiting up to 1 seconds" in result.output
    assert "A keeper seals within seconds; check that one runs" in result.output


async def test_an_invalid_filter_shows_the_words_of_the_api(callers: Callers) -> None:
    result = await command(callers, "audrey", "audit", "search", "--person", "anabel")
    assert result.exit_code == 2
    assert "query.person: is not the name of a person" in " ".join(result.output.split())


async def test_an_erasure_is_previewed_and_then_done(callers: Callers) -> None:
    adam = await callers("adam")
    person = (await adam.post("/v1/people", {"display_name": "Eve", "email": "eve@audited.example"})).json()["id"]
    tried = await command(callers, "adam", "audit", "erase", person, "--dry-run")
    assert "0 links, 2 texts beside the log, 0 notes and 0 open timesheets" in tried.output
    done = await command(callers, "adam", "audit", "erase", person, "--yes")
    assert (done.exit_code, "Erased: 0 links, 2 texts" in done.output) == (0, True), done.output
    refused = await command(callers, "audrey", "audit", "erase", person, "--yes")
    assert (refused.exit_code, "403" in refused.output) == (2, True)
