"""The policy author's part of the story: one rule changes while the service runs, and with it one answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.development.demo.cast import DemoFailed, must

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from service.development.demo.cast import Actor, Stage
    from service.standalone.client import PolicyTexts, PolicyVersion

CLI = "timesheets-cli"
MESSAGE = "Demo: auditors read timesheets"
ROW = "\np, allow, role:auditor, read, any, timesheet, read:timesheets, always, demo-read-auditor\n"
CASE = "an auditor reads no timesheets"


async def undo_killed_demo(stage: Stage) -> None:
    """Activate the parent version if a demo that was killed left its own version active."""
    paula = await stage.person("paula", CLI)
    version = await _read_active(paula)
    if version.message == MESSAGE and version.parent is not None:
        stage.transcript.say(f"An earlier demo was killed; version {version.parent} is active again.")
        await _activate(paula, version.parent, version.number, quietly=True)


async def paula_changes_a_rule(stage: Stage, sheet: str) -> None:
    """Audrey requests Ana's week before, during and after a version that lets auditors read timesheets."""
    stage.transcript.step("Audrey may not read timesheets and does not see Ana's week")
    audrey = await stage.person("audrey", CLI)
    await audrey.is_refused(404, audrey.api.timesheet(sheet))
    stage.transcript.step("Paula proposes a version in which auditors read timesheets, and activates it")
    paula = await stage.person("paula", CLI)
    before = await _read_active(paula)
    proposed = await paula.does(_propose(paula, before), tell=_describe)
    await _activate(paula, proposed.number, before.number)
    try:
        stage.transcript.step("Without a restart Audrey's same request is answered")
        read = await audrey.does(audrey.api.timesheet(sheet), tell=lambda week: f"{week.state}, {week.minutes} minutes")
        must(read.id == sheet, "Audrey must read Ana's week", read)
    except BaseException:
        await _activate(paula, before.number, proposed.number, quietly=True)
        raise
    stage.transcript.step("Paula rolls back, and the request is refused as before")
    await _activate(paula, before.number, proposed.number)
    await audrey.is_refused(404, audrey.api.timesheet(sheet))


async def _read_active(paula: Actor) -> PolicyTexts:
    return await paula.does(paula.api.policy_version(), quietly=True)


async def _activate(paula: Actor, number: int, expected: int, *, quietly: bool = False) -> None:
    activated = paula.api.activate_policy(number, instead_of=expected)
    done = await paula.does(activated, tell=_describe, quietly=quietly)
    must(done.active, f"Version {number} must be active", done)


def _propose(paula: Actor, now: PolicyTexts) -> Awaitable[PolicyVersion]:
    """Propose the active texts with one more rule, and with the case that contradicts it inverted."""
    cases = {name: _invert_case(text) for name, text in now.cases.items()}
    if cases == now.cases:
        raise DemoFailed(f"The active policy has no case {CASE!r}, so the demo has no rule to change")
    return paula.api.propose_policy(
        MESSAGE, model=now.model, rules=now.rules + ROW, vocabulary=now.vocabulary, cases=cases
    )


def _invert_case(cases: str) -> str:
    start = cases.find(f"- case: {CASE}\n")
    if start < 0:
        return cases
    end = cases.find("\n- case:", start)
    end = len(cases) if end < 0 else end
    case = cases[start:end].replace(CASE, "an auditor reads timesheets").replace("verdict: deny", "verdict: allow")
    case = case.replace("reason: no-rule", "rule: demo-read-auditor").replace("listed: false", "listed: true")
    return cases[:start] + case + cases[end:]


def _describe(version: PolicyVersion) -> str:
    return f"version {version.number}, {'active' if version.active else 'not active'}: {version.message}"
