"""What policy authors do over HTTP: put texts forward, let a version decide, and go back. Owns no state."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2

    from service.policy.policy_file import PolicyText
    from tests.acceptance.caller import Caller

VERSIONS = "/v1/policies/versions"


def proposal(text: PolicyText, message: str = "why not") -> dict[str, Any]:
    """The body of a proposal."""
    return {
        "message": message,
        "model": text.model,
        "rules": text.rules,
        "vocabulary": text.vocabulary,
        "cases": dict(text.cases),
    }


async def propose(author: Caller, text: PolicyText) -> int:
    """Put a policy forward that must be taken; its number. One that another test left waiting is taken too."""
    answer = await author.post(VERSIONS, proposal(text))
    assert answer.status_code in {200, 201}, answer.text
    return int(answer.json()["number"])


def add_note(text: PolicyText, note: object) -> PolicyText:
    """The same rules as another text."""
    return replace(text, rules=f"{text.rules}\n# {note}\n")


async def active(author: Caller) -> int:
    """The version that decides."""
    return int((await author.get("/v1/me")).json()["policy_version"])


async def activate(author: Caller, number: int, expected: int) -> httpx2.Response:
    """Ask that a version decides from now on."""
    return await author.post(f"{VERSIONS}/{number}/activate", {"expected_active": expected})


@asynccontextmanager
async def version_restored(author: Caller) -> AsyncIterator[None]:
    """After the block, the version that was active before it decides again."""
    before = await active(author)
    yield
    if (now := await active(author)) != before:
        assert (await activate(author, before, now)).status_code == 200
