"""The demo tells its story again and again, starts what it needs, and fails by name of the step that goes otherwise."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from service.development.demo.cast import DemoFailed
from service.development.demo.story import play
from service.development.demo.transcript import Transcript
from tests.acceptance.running_service import RunningService, run_command

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from tests.acceptance.caller import Callers

STEPS = 15


class Disturbed(Transcript):
    """A transcript that does something as soon as the step with this title begins."""

    def __init__(self, title: str, do: Callable[[], object]) -> None:
        super().__init__(as_json=True)
        self._title = title
        self._do = do

    def step(self, title: str) -> None:
        super().step(title)
        if title.startswith(self._title):
            self._do()


def demo(state: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `timewarden demo` with the service of this state directory."""
    return run_command("demo", *arguments, TIMEWARDEN_STATE=str(state))


def active_version(service: RunningService) -> int:
    """The policy version that decides now."""
    return int(httpx2.get(f"{service.addresses.api}/health/ready", trust_env=False).json()["policy_version"])


def requests(transcript: Transcript) -> list[str]:
    """The request lines of a transcript so far."""
    entries: list[Any] = [entry for step in transcript.steps for entry in step.entries]
    return [entry["request"][0] for entry in entries if "request" in entry]


@pytest.mark.long
def test_the_demo_can_be_played_twice(service: RunningService) -> None:
    for _ in range(2):
        run = demo(service.state)
        assert run.returncode == 0, run.stdout[-3000:] + run.stderr
        assert f"All {STEPS} steps succeeded" in run.stdout
        assert max(len(line.rstrip()) for line in run.stdout.splitlines()) <= 80


def test_the_demo_can_report_as_json(service: RunningService) -> None:
    report = json.loads(demo(service.state, "--json").stdout)
    assert report["ok"] is True
    assert report["failed"] is None
    assert len(report["steps"]) == STEPS
    assert report["seconds"] > 0


@pytest.mark.long
def test_the_earlier_policy_is_active_after_the_demo(service: RunningService) -> None:
    before = active_version(service)
    assert demo(service.state).returncode == 0
    assert active_version(service) == before


async def test_the_demo_fails_at_the_step_that_another_caller_spoils(service: RunningService, callers: Callers) -> None:
    mia = await callers("mia")

    def reject() -> None:
        submit = next(request for request in requests(transcript) if request.endswith("/submit"))
        path = submit.removeprefix("POST ").replace("/submit", "/reject")
        headers = {"Authorization": f"Bearer {mia.token}", "If-Match": '"4"'}
        body = {"reason": "A word with you first"}
        answer = httpx2.post(service.addresses.api + path, headers=headers, json=body, trust_env=False)
        assert answer.status_code == 200, answer.text

    transcript = Disturbed("Mia leads Ana's team", reject)
    with pytest.raises(DemoFailed, match=r"Step 7, “Mia leads Ana's team.*answered 4(09|12), not success"):
        await play(service.addresses, service.state, transcript)


@pytest.mark.long
async def test_a_policy_left_behind_by_a_killed_demo_is_rolled_back_by_the_next(service: RunningService) -> None:
    def die() -> None:
        raise InterruptedError

    before = active_version(service)
    with pytest.raises(DemoFailed, match=r"Step 14, “Paula rolls back.*InterruptedError"):
        await play(service.addresses, service.state, Disturbed("Paula rolls back", die))
    assert active_version(service) > before
    run = demo(service.state)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr
    assert active_version(service) == before


@pytest.mark.long
async def test_the_demo_starts_what_it_needs_stops_it_and_fails_when_the_service_dies(tmp_path: Path) -> None:
    state = tmp_path / "state"
    run = demo(state)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr
    assert not (state / "running.json").exists()

    service = RunningService(state)
    service.start()
    try:
        transcript = Disturbed("Mia is a manager", service.kill)
        with pytest.raises(DemoFailed, match=r"Step 6, “Mia is a manager.*ConnectError"):
            await play(service.addresses, state, transcript)
    finally:
        # It must not outlive this test, even if the test failed.
        if service.started:
            service.kill()

    failed = demo_of_a_dead_service(state)
    assert failed.returncode == 1
    assert "Step 1" in failed.stderr


def demo_of_a_dead_service(state: Path) -> subprocess.CompletedProcess[str]:
    """The demo beside a file that names a living process, us, but addresses where nothing answers."""
    file = state / "running.json"
    named = {**json.loads(file.read_text(encoding="utf-8")), "pid": os.getpid()}
    file.write_text(json.dumps(named), encoding="utf-8")
    return demo(state)
