"""The check worker gives the same results as a check in this process, ends with its caller, and delays no request."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from service.administration.checks import check_worker, examination
from service.administration.checks.diff import compare_policies
from service.administration.versions import administration
from service.errors import PolicyRejected, TryLater
from service.policy.policy_file import parse
from tests.integration.api import unshared_api
from tests.integration.test_policy_tools import EXTRA, author, propose, with_rows
from tests.policy_forge import read_shipped
from tests.until import until

if TYPE_CHECKING:
    from pathlib import Path

    import httpx2

    from service.policy.policy_file import PolicyText
    from tests.integration.api import InProcess
    from tests.integration.house import House

pytest_plugins = ["tests.integration.log_fixtures", "tests.integration.house_fixtures"]
ENDLESS = "import os, pathlib, time; pathlib.Path({path!r}).write_text(str(os.getpid())); time.sleep(600)"


def replace_worker(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Run another program in place of the worker."""
    monkeypatch.setattr(check_worker, "COMMAND", (sys.executable, "-I", "-c", program))


async def activate(running: InProcess, number: int, *, expected: int) -> httpx2.Response:
    path = f"/v1/policies/versions/{number}/activate"
    return await running.send("POST", path, author(running), body={"expected_active": expected})


async def wait_for_pid(path: Path) -> int:
    """The process id that the program writes to the file."""

    async def read_pid() -> str:
        return await asyncio.to_thread(lambda: path.read_text() if path.exists() else "")

    return int(await until(read_pid))


async def wait_for_end(process: int) -> None:
    async def has_ended() -> bool:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        return False

    await until(has_ended)


@pytest.mark.parametrize(
    "text", [read_shipped(), with_rows(EXTRA), with_rows("p, allow, owner"), replace(read_shipped(), model="no model")]
)
async def test_it_reports_what_a_check_in_this_process_reports(text: PolicyText) -> None:
    found = await check_worker.check(text, examination.PROPOSAL, read_shipped())
    assert found == examination.report(text, examination.PROPOSAL, read_shipped())


async def test_it_compares_as_this_process_does_and_reports_texts_that_cannot_be_read() -> None:
    before, after = read_shipped(), with_rows(EXTRA)
    assert await check_worker.compare(before, after) == compare_policies(parse(before), parse(after))
    with pytest.raises(PolicyRejected, match="A p row has 9 fields"):
        await check_worker.compare(before, with_rows("p, allow, owner"))


async def test_it_ends_with_its_caller(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = tmp_path / "process"
    replace_worker(monkeypatch, ENDLESS.format(path=str(place)))
    asked = asyncio.create_task(check_worker.check(read_shipped(), 1))
    process = await wait_for_pid(place)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await wait_for_end(process)


async def test_it_ends_after_its_time_and_the_check_can_be_repeated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = tmp_path / "process"
    replace_worker(monkeypatch, ENDLESS.format(path=str(place)))
    monkeypatch.setattr(check_worker, "MAX_SECONDS", 1)
    with pytest.raises(TryLater, match="did not finish within 1 s"):
        await check_worker.check(read_shipped(), 1)


async def test_a_policy_that_makes_it_fail_is_refused_and_a_killed_check_can_be_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replace_worker(monkeypatch, "import sys; sys.stdin.read(); raise MemoryError")
    found = await check_worker.check(read_shipped(), 1)
    assert found.complaints == (check_worker.UNFINISHED,)
    replace_worker(monkeypatch, "import os, sys; sys.stdin.read(); os.kill(os.getpid(), 9)")
    with pytest.raises(TryLater):
        await check_worker.check(read_shipped(), 1)


async def test_it_gets_no_secret_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMEWARDEN_CURSOR_KEY", "a secret")
    program = "import os, sys; sys.stdin.read(); os.kill(os.getpid(), 9 * any('TIMEWARDEN' in x for x in os.environ))"
    replace_worker(monkeypatch, f'{program}; print(\'{{"complaints": [], "warnings": [], "untried": []}}\')')
    assert await check_worker.check(read_shipped(), 1) == examination.PolicyReport()


async def test_while_a_proposal_is_checked_only_a_second_proposal_waits(
    house: House, issuer: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place, real = tmp_path / "process", check_worker.COMMAND
    monkeypatch.setattr(administration, "LONGEST_WAIT", 0.2)
    async with unshared_api(house, issuer) as running:
        assert (await propose(running, with_rows())).status_code == 201
        replace_worker(monkeypatch, ENDLESS.format(path=str(place)))
        first = asyncio.create_task(propose(running, with_rows(EXTRA)))
        process = await wait_for_pid(place)
        assert (await running.send("GET", "/v1/me", running.token())).status_code == 200
        late = await propose(running, with_rows())
        assert (late.status_code, late.json()["detail"]) == (503, administration.BUSY)
        monkeypatch.setattr(check_worker, "COMMAND", real)
        assert (await activate(running, 2, expected=1)).status_code == 200
        os.kill(process, 9)
        assert (await first).status_code == 503
    assert await house.count("policy_version") == 2


async def test_an_activation_that_cannot_succeed_is_not_checked(
    house: House, issuer: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = tmp_path / "process"
    async with unshared_api(house, issuer) as running:
        assert (await propose(running, with_rows())).status_code == 201
        replace_worker(monkeypatch, ENDLESS.format(path=str(place)))
        for number, expected, detail in (
            (2, 7, "Version 1 is active, not 7"),
            (1, 1, "Version 1 is active already"),
            (1, 2, "Version 1 is active, not 2"),
        ):
            answer = await activate(running, number, expected=expected)
            assert (answer.status_code, answer.json()["detail"]) == (409, detail)
    assert not place.exists()
