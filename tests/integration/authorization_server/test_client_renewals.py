"""The client renews tokens of a server that rotates refresh tokens, while its callers leave."""

from __future__ import annotations

import asyncio
import gc
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from service.development.authorization_server import token_endpoint
from service.development.authorization_server.sign_in import authorization_code_token
from service.development.people import PEOPLE
from service.standalone.client import Timewarden, TokenRefused, refreshing, renewal
from tests.until import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.standalone.client.tokens import OAuthTokens


class SlowNetwork(httpx2.AsyncHTTPTransport):
    """Holds answers of the real server back until they may pass, and says when it has an answer."""

    def __init__(self) -> None:
        super().__init__(trust_env=False)
        self.answered, self.may_pass = asyncio.Event(), asyncio.Event()
        self.requests = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests += 1
        answer = await super().handle_async_request(request)
        await answer.aread()
        self.answered.set()
        await self.may_pass.wait()
        return answer


@dataclass
class App:
    """Ana's app, whose refresh token is the first; `kept` are those that followed."""

    tokens: OAuthTokens
    network: SlowNetwork
    kept: list[str] = field(default_factory=list)

    async def leave_while_it_renews(self) -> None:
        caller = asyncio.create_task(self.tokens())
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.network.answered.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller


@asynccontextmanager
async def app(issuer: str, refresh_token: str | None = None) -> AsyncIterator[App]:
    signed_in = await authorization_code_token(issuer, "ana", PEOPLE["ana"].password, "hours-app")
    first, network, kept = refresh_token or signed_in.refresh_token, SlowNetwork(), list[str]()
    assert first is not None
    async with httpx2.AsyncClient(transport=network) as http:
        endpoint = issuer.rstrip("/") + token_endpoint.PATH
        yield App(refreshing(endpoint, "hours-app", first, keep=kept.append, http=http), network, kept)


async def test_a_caller_who_leaves_does_not_lose_the_refresh_token_of_all(issuer: str) -> None:
    async with app(issuer) as ana:
        await ana.leave_while_it_renews()
        second, third = asyncio.create_task(ana.tokens()), asyncio.create_task(ana.tokens())
        ana.network.may_pass.set()
        token = await second
        assert await third == token
        assert (len(ana.kept), ana.network.requests) == (1, 1)
        assert await ana.tokens(token) != token
        assert len(ana.kept) == 2


async def test_a_client_that_closes_waits_for_the_refresh_token(issuer: str) -> None:
    async with app(issuer) as ana:
        async with Timewarden("http://127.0.0.1", ana.tokens):
            await ana.leave_while_it_renews()
            assert ana.kept == []
            ana.network.may_pass.set()
        assert len(ana.kept) == 1


async def test_a_refusal_whose_caller_left_is_no_warning_and_the_next_caller_tries_again(issuer: str) -> None:
    reported: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context))
    try:
        async with app(issuer, "never-issued") as ana:
            await ana.leave_while_it_renews()
            ana.network.may_pass.set()
            await ana.tokens.finish()
            with pytest.raises(TokenRefused, match="invalid_grant"):
                await ana.tokens()
        # asyncio reports an error that nobody has read when its task is freed.
        gc.collect()
    finally:
        loop.set_exception_handler(None)
    assert (reported, ana.network.requests) == ([], 2)


async def test_a_renewal_without_an_answer_ends_and_leaves_the_next_caller_a_new_attempt(
    issuer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with app(issuer, "never-issued") as ana:
        monkeypatch.setattr(renewal, "LIMIT_SECONDS", 0.05)
        with pytest.raises(httpx2.ReadTimeout, match="in time"):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await ana.tokens()
        monkeypatch.undo()
        ana.network.may_pass.set()
        with pytest.raises(TokenRefused, match="invalid_grant"):
            await ana.tokens()
