"""The whole story, over HTTP with real tokens. Owns no state; its timesheets remain in the service.

It can be played again and again: it uses weeks without timesheets, and rolls the policy back at the end.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import httpx2

from service.development.demo import auditing, hours, imports, policy_change, published
from service.development.demo.cast import DemoFailed, Stage
from service.errors import TimewardenError

if TYPE_CHECKING:
    from pathlib import Path

    from service.commands.running import Running
    from service.development.demo.transcript import Transcript


async def play(house: Running, state: Path, transcript: Transcript) -> None:
    """Play the story against the running service. Raises DemoFailed that names the failed step."""
    started = time.monotonic()
    people = json.loads((state / "demo.json").read_text(encoding="utf-8"))["people"]
    async with httpx2.AsyncClient(base_url=house.api, timeout=10, trust_env=False) as http:
        try:
            await _steps(Stage(house, transcript, http, people))
        except Exception as error:
            step = transcript.steps[-1]
            sentence = f"Step {step.number}, “{step.title}”, failed: {_describe(error)}"
            transcript.end(time.monotonic() - started, sentence)
            raise DemoFailed(sentence) from error
    transcript.end(time.monotonic() - started)


async def _steps(stage: Stage) -> None:
    stage.transcript.step("The service runs")
    stage.transcript.say(f"API {stage.house.api}, sign-in {stage.house.issuer}")
    since, position = datetime.now(UTC), await published.last_position(stage)
    await policy_change.undo_killed_demo(stage)
    await hours.ana_grants_little(stage)
    ana, sheet = await hours.ana_submits_a_week(stage)
    await hours.the_wrong_people_do_not_approve(stage, ana, sheet)
    await hours.mia_approves(stage, sheet)
    await imports.payroll_uploads(stage)
    await auditing.audrey_looks(stage, since)
    await policy_change.paula_changes_a_rule(stage, sheet.id)
    await published.read_the_events(stage, sheet.id, position)


def _describe(error: Exception) -> str:
    """The error in one sentence."""
    if isinstance(error, TimewardenError):
        return error.public
    return f"{type(error).__name__}: {error}".rstrip(": ")
