"""The story from beginning to end, over HTTP with real tokens. Owns nothing; what it leaves, the service keeps.

It may be told again and again: weeks are chosen that do not exist yet, and the policy is rolled back at the end.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import httpx

from service.development.demo import auditing, hours, imports, policy_change, published
from service.development.demo.cast import NotAsTold, Stage
from service.errors import TimewardenError

if TYPE_CHECKING:
    from pathlib import Path

    from service.commands.running import Running
    from service.development.demo.transcript import Transcript


async def play(house: Running, state: Path, transcript: Transcript) -> None:
    """Tell it against the running service. Raises NotAsTold, naming the step that did not do what it says."""
    started = time.monotonic()
    people = json.loads((state / "demo.json").read_text(encoding="utf-8"))["people"]
    async with httpx.AsyncClient(base_url=house.api, timeout=10, trust_env=False) as http:
        try:
            await _steps(Stage(house, transcript, http, people))
        except Exception as error:
            step = transcript.steps[-1]
            sentence = f"Step {step.number}, “{step.title}”, did not go as told: {_why(error)}"
            transcript.end(time.monotonic() - started, sentence)
            raise NotAsTold(sentence) from error
    transcript.end(time.monotonic() - started)


async def _steps(stage: Stage) -> None:
    stage.transcript.step("The service runs")
    stage.transcript.say(f"API {stage.house.api}, sign-in {stage.house.issuer}")
    since, position = datetime.now(UTC), await published.last_position(stage)
    await policy_change.undo_what_a_killed_demo_left(stage)
    await hours.ana_grants_little(stage)
    ana, sheet = await hours.ana_hands_in_a_week(stage)
    await hours.the_wrong_people_do_not_approve(stage, ana, sheet)
    await hours.mia_approves(stage, sheet)
    await imports.payroll_uploads(stage)
    await auditing.audrey_looks(stage, since)
    await policy_change.paula_changes_a_rule(stage, sheet.id)
    await published.the_events_came_out(stage, sheet.id, position)


def _why(error: Exception) -> str:
    """One sentence for whatever went wrong: an answer, a refused sign-in, or a service that does not answer."""
    if isinstance(error, TimewardenError):
        return error.public
    return f"{type(error).__name__}: {error}".rstrip(": ")
