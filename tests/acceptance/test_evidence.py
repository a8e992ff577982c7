"""An auditor without the operator's help: fetch, verify, keep a checkpoint, and search for the record of an answer."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.acceptance.caller import submit_week
from tests.bundle_forge import uid_at

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.acceptance.caller import Callers
    from tests.acceptance.running_service import RunningService

BESIDE = Path(sys.executable).parent


async def program(service: RunningService, name: str, *arguments: str, token: str = "", code: int = 0) -> str:
    """Run a program of the project as a user would, without blocking the loop."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TIMEWARDEN_")}
    environment = {**clean, "TIMEWARDEN_API": service.addresses.api, "TIMEWARDEN_TOKEN": token}
    done = await asyncio.to_thread(_run, [str(BESIDE / name), *arguments], environment)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


async def run_verifier(service: RunningService, *arguments: str, code: int = 0) -> dict[str, Any]:
    """The verifier's report."""
    said = await program(service, "timewarden-verify", *arguments, "--json", code=code)
    report: dict[str, Any] = json.loads(said)
    return report


async def public_key(service: RunningService) -> str:
    """The public key that operators give to auditors."""
    (key,) = (path for path in service.state.rglob("*") if path.is_file() and _is_key(path))
    return (await program(service, "timewarden", "audit", "key", "show", str(key))).strip()


async def test_an_auditor_verifies_the_log_without_the_operator(
    service: RunningService, callers: Callers, tmp_path: Path
) -> None:
    ana, audrey = await callers("ana"), await callers("audrey")
    answer = await submit_week(ana)
    vkey, log = await public_key(service), f"{service.addresses.api}/v1/log"
    uid, leaf = answer.headers["Decision-Id"], answer.headers["Decision-Leaf"]
    trusting = ("--key", vkey, "--state", str(tmp_path / "seen"))

    async def is_sealed() -> bool:
        return "position" in (await _verify_answer(service, uid, leaf, "--live", log, "--key", vkey))["checked"]

    await _until(is_sealed)
    report = await _verify_answer(service, uid, leaf, "--live", log, "--key", vkey)
    position = report["checked"]["position"]
    first = await run_verifier(service, "live", log, *trusting)
    assert first["verdict"] == "intact"

    token = str(audrey.token)
    bundle = tmp_path / "all.jsonl"
    fetch = ("audit", "export", "--bundle", "--output", str(bundle))
    await program(service, "timewarden", *fetch, token=token)
    seen = ("--key", vkey)
    whole = await run_verifier(service, "bundle", str(bundle), *seen)
    assert (whole["verdict"], whole["checked"]["records"] > position) == ("intact", True)
    found = await _verify_answer(service, uid, leaf, "--bundle", str(bundle), "--key", vkey)
    assert found["checked"]["position"] == position

    # The download broke off in the middle of a line and is resumed.
    content = bundle.read_bytes()
    bundle.write_bytes(content[: len(content) // 2])
    assert (await run_verifier(service, "bundle", str(bundle), *seen, code=2))["verdict"] == "incomplete"
    await program(service, "timewarden", *fetch, "--resume", token=token)
    assert bundle.read_bytes() == content
    assert (await program(service, "timewarden", *fetch, "--resume", token=token)).endswith("is complete.\n")

    # All these accesses are recorded: the log has grown and extends the state.
    async def has_grown() -> bool:
        return bool(
            (await run_verifier(service, "live", log, *seen))["checkpoint"]["size"] > first["checkpoint"]["size"]
        )

    await _until(has_grown)
    # The same from a file: the fetched proof extends the state and replaces it.
    size, seen_too = first["checkpoint"]["size"], tmp_path / "seen too"
    seen_too.write_bytes((tmp_path / "seen").read_bytes())
    file = tmp_path / "grown.json"
    await program(
        service, "timewarden", "audit", "consistency", "--from", str(size), "--output", str(file), token=token
    )
    shown = await run_verifier(service, "consistency", str(file), "--key", vkey, "--state", str(seen_too))
    assert (shown["checked"]["extends"], shown["checkpoint"]["size"] > size) == (size, True)
    again = await run_verifier(service, "live", log, *trusting)
    assert again["checked"]["extends"] >= first["checkpoint"]["size"]

    invented = await _verify_answer(service, uid, "00" * 32, "--bundle", str(bundle), "--key", vkey, code=1)
    assert "its hash is not the one in the answer" in invented["findings"][0]["what"]
    old = "0198c0de-0000-7000-8000-000000000000"
    (tmp_path / "token").write_text(token)
    with_token = ("--live", log, "--token-file", str(tmp_path / "token"), "--key", vkey)
    gone = await _verify_answer(service, uid_at(datetime.now(UTC) - timedelta(hours=2)), "00" * 32, *with_token, code=1)
    assert "left out of the log, whose newest" in gone["findings"][0]["what"]
    gone = await _verify_answer(service, old, "00" * 32, "--live", log, "--key", vkey, code=1)
    assert "left out" in gone["findings"][0]["what"]


async def test_a_proof_shows_where_a_record_is(service: RunningService, callers: Callers, tmp_path: Path) -> None:
    ana, audrey = await callers("ana"), await callers("audrey")
    uid = (await submit_week(ana)).headers["Decision-Id"]
    path = f"/v1/audit/records/{uid}/proof"

    async def is_sealed() -> bool:
        return (await audrey.get(path)).status_code == 200

    await _until(is_sealed)
    proof = await audrey.get(path)
    lines = tmp_path / "records.jsonl"
    await program(service, "timewarden", "audit", "export", "--output", str(lines), token=str(audrey.token))
    (line,) = (line for line in lines.read_bytes().splitlines() if f'"uid":"{uid}"'.encode() in line)
    (tmp_path / "record").write_bytes(line.partition(b'"record":')[2][:-1])
    (tmp_path / "other").write_bytes(line.partition(b'"record":')[2])
    (tmp_path / "proof").write_bytes(proof.content)
    check = ("proof", str(tmp_path / "proof"), "--key", await public_key(service), "--record")
    assert (await run_verifier(service, *check, str(tmp_path / "record")))["verdict"] == "intact"
    assert (await run_verifier(service, *check, str(tmp_path / "other"), code=1))["verdict"] == "tampered"


async def _verify_answer(
    service: RunningService, uid: str, leaf: str, *where: str, code: int | None = None
) -> dict[str, Any]:
    """The verifier's report on an answer; intact or incomplete, unless `code` is given."""
    arguments = ("answer", "--decision-id", uid, "--leaf", leaf, *where, "--json")
    done = await asyncio.to_thread(_run, [str(BESIDE / "timewarden-verify"), *arguments], dict(os.environ))
    assert done.returncode in ({0, 2} if code is None else {code}), done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def _run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until the keeper has sealed and signed."""
    for _ in range(120):
        if await holds():
            return
        await asyncio.sleep(0.5)
    raise AssertionError("it did not come true within a minute")


def _is_key(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(12) == b"PRIVATE+KEY+"
