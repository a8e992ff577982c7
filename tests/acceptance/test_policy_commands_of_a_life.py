"""`timewarden policy status` and `policy rollback` against the running service, as a person types them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.acceptance.policy_author import activate, active, propose
from tests.acceptance.running_service import run_command
from tests.policy_forge import read_shipped

if TYPE_CHECKING:
    import subprocess

    from tests.acceptance.caller import Caller, Callers
    from tests.acceptance.running_service import RunningService


def policy(service: RunningService, caller: Caller, *words: str) -> subprocess.CompletedProcess[str]:
    """The output of `timewarden policy` with these arguments."""
    return run_command("policy", *words, TIMEWARDEN_API=service.addresses.api, TIMEWARDEN_TOKEN=str(caller.token))


async def test_status_and_rollback_tell_what_decides(service: RunningService, callers: Callers) -> None:
    paula = await callers("paula")
    before = await active(paula)
    text = read_shipped()
    number = await propose(paula, replace(text, rules=text.rules + "\n# another\n"))
    assert (await activate(paula, number, before)).status_code == 200

    told = policy(service, paula, "status")
    assert told.returncode == 0, told.stderr
    assert f"Version {number} decides, since" in told.stdout
    assert "policies/ differs from it" in told.stdout
    machine = json.loads(policy(service, paula, "status", "--json").stdout)
    assert (machine["active"]["number"], machine["files"]) == (number, "different")
    assert [replica["alive"] for replica in machine["replicas"]].count(True) >= 1

    stale = policy(service, paula, "rollback", "--expected", str(before))
    assert stale.returncode == 2
    assert stale.stderr.startswith("Error: 409") or "409" in stale.stderr
    back = policy(service, paula, "rollback")
    assert back.stdout.strip() == f"Version {before} decides again; before it was {number}."
    listed = policy(service, paula, "list", "--json")
    states = {item["number"]: item["state"] for item in json.loads(listed.stdout)}
    assert (states[before], states[number]) == ("active", "retired")
