"""The auditor's part of the story: every answer so far is in the decision log, with person, client and reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2

from service.development.demo.cast import must
from service.development.people import PEOPLE

if TYPE_CHECKING:
    from datetime import datetime

    from service.development.demo.cast import Stage
    from service.standalone.client import Decision

CLI = "timesheets-cli"


async def audrey_looks(stage: Stage, since: datetime) -> None:
    """List the decisions of the story so far, and compare them with the answers."""
    stage.transcript.step("Audrey, an auditor, lists the decisions just made")
    audrey = await stage.person("audrey", CLI)
    names = {person: PEOPLE[login].name for login, person in stage.people.items()}
    expected = dict(stage.decided)
    listed = await audrey.lists(audrey.api.decisions(since=since), tell=lambda found: f"{len(found)} decisions")
    found = {decision.id: decision.record for decision in listed}
    for decision, answer in expected.items():
        logged = _outcome(found[decision]) if decision in found else None
        must(logged == _expected_outcome(answer.status), f"The log must have {decision} of {answer.who}", logged)
    mine = [record for record in reversed(found.values()) if record["uid"] in expected]
    writes = [record for record in mine if record["request"]["method"] != "GET"]
    heads = ("person", "client app", "action", "outcome", "rule or reason")
    stage.transcript.table(heads, [_row(write, names) for write in writes])
    reads = len(mine) - len(writes)
    stage.transcript.say(f"And {reads} reads. Every answer of this story so far is in the log: {len(mine)}.")
    refusal = next(record["uid"] for record in writes if record["rules"] == ["never-own-hours"])
    await audrey.does(audrey.api.decision(refusal), tell=_describe)


def _expected_outcome(status: int) -> str:
    """The outcome that the log must have for an answer with this status."""
    if status == httpx2.codes.PRECONDITION_FAILED:
        return "not applied"
    return "deny" if status >= httpx2.codes.BAD_REQUEST else "allow"


def _outcome(record: dict[str, Any]) -> str:
    return "not applied" if record["outcome"] == "allow" and record["applied"] is False else str(record["outcome"])


def _row(record: dict[str, Any], names: dict[str, str]) -> tuple[str, ...]:
    principal = record["principal"]
    who = names.get(principal["person"], principal["person"]) if principal["person"] else "none"
    reason = ", ".join(record["rules"]) or record["reason"]
    return who, principal["client"], record["action"], _outcome(record), reason


def _describe(decision: Decision) -> str:
    record = decision.record
    relations = ", ".join(name for name, holds in record["relations"].items() if holds)
    position = "not sealed yet" if decision.position is None else f"log position {decision.position}"
    return f"relations: {relations}; policy version {record['policy']['version']}; {position}"
