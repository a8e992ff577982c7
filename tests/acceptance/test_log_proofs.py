"""The log of the running service: signed with its own key, and provable even across a crash."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING

from service.log.key_files import read_key
from tests.conformance.rfc9162_verifier import consistency_holds, inclusion_holds
from tests.integration.tlog_client import read_note

if TYPE_CHECKING:
    import httpx2

    from tests.acceptance.caller import Caller, Callers
    from tests.acceptance.running_service import RunningService


async def when_sealed(caller: Caller, path: str) -> httpx2.Response:
    """The response once a signed checkpoint covers the request."""
    for _ in range(100):
        answer = await caller.get(path)
        if answer.status_code == 200:
            return answer
        assert answer.status_code == 503, answer.text
        await asyncio.sleep(0.3)
    raise AssertionError("nothing was signed in half a minute")


async def test_an_answer_is_proved_in_a_log_that_only_grows(service: RunningService, callers: Callers) -> None:
    vkey = read_key(service.state / "log" / "key").verifier.vkey
    audrey, nobody = await callers("audrey"), callers.nobody()
    old_size, old_root = read_note((await when_sealed(nobody, "/v1/log/checkpoint")).text, vkey)
    mine = await (await callers("ana")).get("/v1/me")
    proof = (await when_sealed(audrey, f"/v1/audit/records/{mine.headers['Decision-Id']}/proof")).text
    head, _, note = proof.partition("\n\n")
    _, index, *hashes = head.split("\n")
    size, root = read_note(note, vkey)
    leaf = bytes.fromhex(mine.headers["Decision-Leaf"])
    path = [base64.b64decode(value) for value in hashes]
    assert inclusion_holds(leaf, int(index.removeprefix("index ")), size, path, root)
    grown = (await when_sealed(audrey, f"/v1/audit/consistency?from={old_size}&to={size}")).json()
    assert consistency_holds(old_size, old_root, size, root, [base64.b64decode(value) for value in grown["hashes"]])
