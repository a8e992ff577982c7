"""A sign-out of the console while another tab renews the token of the same session."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs, urlsplit

import httpx2
import msgspec

from events.stream import open_redis
from service.console.application import connect, create
from service.console.sign_in import CALLBACK, sign_out
from service.console.sign_in_server import Demand
from service.console.visits import Visit
from service.development.authorization_server.page_walk import Account, walk
from service.development.people import CLIENTS, PEOPLE
from service.standalone.client import Me
from tests.integration.authorization_server.browser import AUDIENCE
from tests.ports import unused_port
from tests.until import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.console.sessions import ConsoleSession
    from service.console.visits import Console

URL = "http://127.0.0.1:8070"
CLIENT = CLIENTS["timewarden-console"]
ANA = Me(kind="person", person="ana", client="", scopes=[], roles=[], teams_led=[], may=[], policy_version=1)


class SlowRenewals(httpx2.AsyncHTTPTransport):
    """Holds the real server's answers to renewals back until they may pass. Remembers the tokens that were revoked."""

    def __init__(self) -> None:
        super().__init__(trust_env=False)
        self.answered, self.may_pass = asyncio.Event(), asyncio.Event()
        self.renewed: list[str] = []
        self.revoked: list[str] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = await super().handle_async_request(request)
        form = parse_qs(request.content.decode())
        if form.get("grant_type") == ["refresh_token"]:
            await answer.aread()
            self.renewed.append(answer.json()["refresh_token"])
            self.answered.set()
            await self.may_pass.wait()
        elif request.url.path == "/revoke":
            self.revoked += form["token"]
        return answer


async def sign_in(console: Console) -> ConsoleSession:
    """A session of Ana's, whose access token has expired."""
    async with httpx2.AsyncClient(trust_env=False) as pages:
        url, attempt = await console.server.begin("/week", Demand())
        account = Account.of("ana", PEOPLE["ana"].password, None)
        location = await walk(pages, httpx2.URL(url), account, URL + CALLBACK)
    answer = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
    grant = await console.server.finish(attempt, answer)
    return await console.sessions.start(msgspec.structs.replace(grant, expires_at=0.0), Demand())


@asynccontextmanager
async def connected(issuer: str, redis_url: str) -> AsyncIterator[tuple[Console, SlowRenewals]]:
    redis, network = open_redis(redis_url), SlowRenewals()
    async with httpx2.AsyncClient(transport=network) as http:
        yield (
            connect(
                url=URL,
                api=f"http://127.0.0.1:{unused_port()}",
                issuer=issuer,
                audience=AUDIENCE,
                audience_parameter="resource",
                client=CLIENT.client_id,
                secret=CLIENT.secret or "",
                scopes=CLIENT.scopes,
                keys=["k" * 32],
                redis=redis,
                http=http,
            ),
            network,
        )
    await redis.aclose()


async def test_a_sign_out_ends_a_session_whose_token_is_being_renewed(issuer: str, redis_url: str) -> None:
    async with connected(issuer, redis_url) as (console, network):
        session = await sign_in(console)
        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(cast("Any", create(console))),
            base_url=URL,
            cookies={console.cookie: session.id},
            trust_env=False,
        ) as browser:
            other_tab = asyncio.create_task(browser.get("/week"))
            async with asyncio.timeout(PATIENCE_SECONDS):
                await network.answered.wait()
            # The console has just read who Ana is, so that the sign-out itself needs no token.
            console.known[session.id] = (time.monotonic() + PATIENCE_SECONDS, ANA)
            signed_out = await browser.post("/sign-out", data={"csrf_token": session.csrf})
            assert signed_out.status_code == 303
            assert await console.sessions.find(session.id) is None
            network.may_pass.set()
            answer = await other_tab
        assert answer.headers["location"] == "/sign-in?next=%2Fweek&ended=1"
        assert await console.sessions.find(session.id) is None
        assert network.revoked == [session.grant.refresh_token, *network.renewed]


async def test_a_sign_out_revokes_the_token_that_another_tab_renewed_after_it_began(
    issuer: str, redis_url: str
) -> None:
    async with connected(issuer, redis_url) as (console, network):
        network.may_pass.set()
        session = await sign_in(console)
        begun = Visit(console, cast("Any", None), session)
        other_tab = await console.sessions.find(session.id)
        assert other_tab is not None
        other_tab.grant = await console.server.refresh(other_tab.grant)
        assert await console.sessions.save(other_tab)
        await sign_out.fn(begun)
        assert network.revoked == network.renewed == [other_tab.grant.refresh_token]
        assert await console.sessions.find(session.id) is None
