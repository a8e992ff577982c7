"""The policy author's part of the story: one rule changes while all runs, the same request flips, and flips back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.development.demo.cast import NotAsTold

if TYPE_CHECKING:
    from service.development.demo.cast import Actor, Stage

VERSIONS = "/v1/policies/versions"
CLI = "timesheets-cli"
MESSAGE = "Demo: auditors read timesheets"
ROW = "\np, allow, role:auditor, read, any, timesheet, read:timesheets, always, demo-read-auditor\n"
CASE = "an auditor reads no timesheets"


async def undo_what_a_killed_demo_left(stage: Stage) -> None:
    """If the active version is one of ours, its parent decides again."""
    paula = await stage.person("paula", CLI)
    number = await _active(paula)
    version = (await paula.ask("GET", f"{VERSIONS}/{number}", 200, quietly=True)).body
    if version["message"] == MESSAGE:
        stage.transcript.say(f"An earlier demo was killed; version {version['parent']} decides again.")
        await _activate(paula, version["parent"], number, quietly=True)


async def paula_changes_a_rule(stage: Stage, sheet: str) -> None:
    """Audrey asks for Ana's week before, during and after a version that lets auditors read timesheets."""
    stage.transcript.step("Audrey may not read timesheets: for her there is no such week")
    audrey = await stage.person("audrey", CLI)
    path = f"/v1/timesheets/{sheet}"
    await audrey.ask("GET", path, 404)
    stage.transcript.step("Paula proposes a version in which auditors read timesheets, and activates it")
    paula = await stage.person("paula", CLI)
    before = await _active(paula)
    text = (await paula.ask("GET", f"{VERSIONS}/{before}", 200, quietly=True)).body
    proposed = await paula.ask("POST", VERSIONS, 201, body=_changed(text), tell=_version)
    number = proposed.body["number"]
    await _activate(paula, number, before)
    try:
        stage.transcript.step("Nothing was restarted, and the same request of Audrey's is answered")
        read = await audrey.ask("GET", path, 200, tell=lambda body: f"{body['state']}, {body['minutes']} minutes")
        read.must(read.body["id"] == sheet, "Audrey was to read Ana's week")
    except BaseException:
        await _activate(paula, before, number, quietly=True)
        raise
    stage.transcript.step("Paula rolls back, and the request is refused as before")
    await _activate(paula, before, number)
    await audrey.ask("GET", path, 404)


async def _active(paula: Actor) -> int:
    return int((await paula.ask("GET", "/v1/me", 200, quietly=True)).body["policy_version"])


async def _activate(paula: Actor, number: int, expected: int, *, quietly: bool = False) -> None:
    body = {"expected_active": expected}
    path = f"{VERSIONS}/{number}/activate"
    done = await paula.ask("POST", path, 200, body=body, tell=_version, quietly=quietly)
    done.must(done.body["active"], f"Version {number} was to be active")


def _changed(text: dict[str, Any]) -> dict[str, object]:
    """The active texts with one row more, and the case that says the opposite turned round."""
    cases = {name: _turned(one) for name, one in text["cases"].items()}
    if cases == text["cases"]:
        raise NotAsTold(f"The active policy has no case {CASE!r}, so this story has no rule to change")
    return {
        "message": MESSAGE,
        "model": text["model"],
        "rules": text["rules"] + ROW,
        "vocabulary": text["vocabulary"],
        "cases": cases,
    }


def _turned(cases: str) -> str:
    start = cases.find(f"- case: {CASE}\n")
    if start < 0:
        return cases
    end = cases.find("\n- case:", start)
    end = len(cases) if end < 0 else end
    case = cases[start:end].replace(CASE, "an auditor reads timesheets").replace("verdict: deny", "verdict: allow")
    case = case.replace("reason: no-rule", "rule: demo-read-auditor").replace("listed: false", "listed: true")
    return cases[:start] + case + cases[end:]


def _version(body: Any) -> str:
    return f"version {body['number']}, {'decides now' if body['active'] else 'decides nothing yet'}: {body['message']}"
