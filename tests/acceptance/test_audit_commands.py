"""The auditors' page: every question on it is a command that works, against the running service."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from click.testing import CliRunner

from service.__main__ import timewarden
from service.development.people import PEOPLE
from tests.acceptance.caller import SHEETS, fresh_week

if TYPE_CHECKING:
    from click.testing import Result

    from tests.acceptance.caller import Callers

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "auditor.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
QUESTIONS = [
    line for block in BLOCKS for line in block.splitlines() if re.match(r"timewarden audit (search|history)", line)
]


async def command(callers: Callers, who: str, *words: str) -> Result:
    """Run `timewarden` with somebody's token; the event loop goes on meanwhile."""
    caller = await callers(who)
    environment = {"TIMEWARDEN_API": callers.addresses.api, "TIMEWARDEN_TOKEN": caller.token}
    return await asyncio.to_thread(CliRunner().invoke, timewarden, words, env=environment)


def ids(result: Result) -> list[str]:
    """The records that were printed, each on a line."""
    return [json.loads(line)["id"] for line in result.output.splitlines()]


async def story(callers: Callers) -> tuple[str, str]:
    """A sheet of ana's with an entry, and her id."""
    ana = await callers("ana")
    sheet = (await ana.post(SHEETS, {"period_start": fresh_week().isoformat()})).json()["id"]
    return sheet, await ana.me()


@pytest.mark.parametrize("line", QUESTIONS)
async def test_every_question_on_the_page_is_answered(callers: Callers, line: str) -> None:
    sheet, person = await story(callers)
    adam, job = await callers("adam"), await callers("payroll-import")
    await job.get("/v1/me")
    email = f"{uuid4().hex}@audited.example"
    assert (await adam.post("/v1/people", {"display_name": "Ida", "email": email})).status_code == 201
    names = {"$SHEET": sheet, "$PERSON": person, "$OWNER": person, "$REQUEST": sheet, "$EMAIL": email, "$VERSION": "1"}
    names |= {"$ISSUER": callers.addresses.issuer, "$SUBJECT": PEOPLE["ana"].subject}
    words = [names.get(word, word) for word in line.split()[1:] if word not in {"--all", "--json"}]
    result = await command(callers, "audrey", *words, "--json")
    assert result.exit_code == 0, result.output
    if "history" in line or "--owner" in line:
        assert person in result.output


async def test_a_story_is_told_in_order_as_a_table_and_as_lines(callers: Callers) -> None:
    sheet, _ = await story(callers)
    lines = (await command(callers, "audrey", "audit", "history", sheet, "--json")).output.splitlines()
    assert [json.loads(one)["kind"] for one in lines] == ["decision", "change"]
    table = await command(callers, "audrey", "audit", "history", sheet)
    assert "create" in table.output


async def test_all_pages_are_every_record_once(callers: Callers) -> None:
    await story(callers)
    asked = ("audit", "search", "--kind", "change", "--json")
    paged = await command(callers, "audrey", *asked, "--limit", "3", "--all")
    whole = await command(callers, "audrey", *asked, "--limit", "200", "--all")
    assert ids(paged) == ids(whole)
    assert len(set(ids(paged))) == len(ids(paged)) > 3


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--rule", "aprove-team", "query.rule: is no rule of any version; did you mean 'approve-team'?"),
        ("--client", "timesheets-cl", "query.client: is no client of any record; did you mean"),
        ("--email", "nobody@audited.example", "query.email: is nobody's address"),
        ("--person", "018f0000-0000-7000-8000-00000000000a", "query.person: is nobody's id"),
        ("--policy-version", "999", "query.policy_version: is no version; the newest is"),
    ],
)
async def test_a_misspelt_filter_is_an_error_and_no_empty_page(
    callers: Callers, option: str, value: str, told: str
) -> None:
    await story(callers)
    result = await command(callers, "audrey", "audit", "search", option, value)
    assert result.exit_code == 2
    assert told in " ".join(result.output.split())


async def test_a_wrong_filter_is_told_in_the_words_of_the_api(callers: Callers) -> None:
    result = await command(callers, "audrey", "audit", "search", "--person", "ana")
    assert result.exit_code == 2
    assert "query.person: must be a UUID" in result.output


async def test_an_erasure_is_tried_first_and_then_done(callers: Callers) -> None:
    adam = await callers("adam")
    person = (await adam.post("/v1/people", {"display_name": "Eve", "email": "eve@audited.example"})).json()["id"]
    tried = await command(callers, "adam", "audit", "erase", person, "--dry-run")
    assert "0 links, 2 texts beside the log, 0 notes and 0 open timesheets" in tried.output
    done = await command(callers, "adam", "audit", "erase", person, "--yes")
    assert (done.exit_code, "Erased: 0 links, 2 texts" in done.output) == (0, True)
    refused = await command(callers, "audrey", "audit", "erase", person, "--yes")
    assert (refused.exit_code, "403" in refused.output) == (2, True)
