"""The API as the composition root wires it, in this process, with settings of a test's own. Postgres and keys are real.

The key set is served over HTTP on loopback; requests go through ASGI, from any address that a test likes.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from time import time
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from service.administration.checks import check_worker, examination
from service.app import admit, build, route, wire
from service.settings import Settings
from tests.documented_answers import check_answer
from tests.integration.house import build_once, check_in_process
from tests.local_http import Answering, http_server
from tests.token_forge import good_jwks, header, sign

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping

    from service.web.http.admission import Admission
    from service.web.http.requests import RequestFrame
    from tests.integration.house import House

AUDIENCE = "https://timewarden.example/timesheets"


class _Keys(Answering):
    def respond(self) -> None:
        self.answer(good_jwks(), Content_Type="application/json")


# How each action is asked of a sheet: method, the path behind the sheet's, body.
REQUESTS: dict[str, tuple[str, str, object]] = {
    "read": ("GET", "", None),
    "edit": ("POST", "/entries", {"day": "2026-03-02", "project": "ATLAS", "minutes": 60}),
    "delete": ("DELETE", "", None),
    **{action: ("POST", f"/{action}", None) for action in ("submit", "withdraw", "approve")},
    **{action: ("POST", f"/{action}", {"reason": "why"}) for action in ("reject", "reopen", "lock", "unlock")},
}


def key_server() -> Iterator[str]:
    """The address of an issuer that serves the good keys at /jwks."""
    # Two workers that ask at once would otherwise each let the keys be made.
    good_jwks()
    with http_server(_Keys) as address:
        yield address


def token_of(issuer: str, **changes: Any) -> str:
    """A token of ana's, or with other claims; None leaves one out."""
    now = int(time())
    claims = {
        "iss": issuer,
        "aud": AUDIENCE,
        "sub": "auth0|ana",
        "client_id": "hours-app",
        "jti": "token-1",
        "iat": now - 1,
        "exp": now + 600,
        "scope": "read:timesheets create:timesheets",
        **changes,
    }
    return sign(header(), {name: value for name, value in claims.items() if value is not None}).decode()


@dataclass(frozen=True, slots=True)
class InProcess:
    """A running API. `token` forges a token that it takes; `send` sends a request from an address, and holds its
    answer to the document."""

    frame: Admission
    issuer: str

    def token(self, **changes: Any) -> str:
        return token_of(self.issuer, **changes)

    async def send(
        self,
        method: str,
        path: str,
        token: str | None = None,
        *,
        address: str = "192.0.2.1",
        headers: dict[str, str] | None = None,
        body: object = None,
        content: bytes | AsyncIterable[bytes] | None = None,
    ) -> httpx2.Response:
        given = dict(headers or {})
        if token is not None:
            given["Authorization"] = f"Bearer {token}"
        application: Any = self.frame
        transport = httpx2.ASGITransport(app=application, client=(address, 40000))
        async with httpx2.AsyncClient(transport=transport, base_url="http://testserver") as http:
            answer = await http.request(method, path, headers=given, json=body, content=content)
        check_answer(method, path, answer)
        return answer


@asynccontextmanager
async def api(house: House, issuer: str, **settings: Any) -> AsyncIterator[InProcess]:
    """Start the API over the house's database; it is stopped afterwards."""
    with _application(_settings(house, issuer, settings)) as frame:
        async with _alive(frame):
            yield InProcess(frame, issuer)


@asynccontextmanager
async def unshared_api(house: House, issuer: str) -> AsyncIterator[InProcess]:
    """As `api`, for a test that replaced what routes are made of, such as a constant."""
    frame = build(_settings(house, issuer, {}))
    async with _alive(frame):
        yield InProcess(frame, issuer)


def _settings(house: House, issuer: str, changes: Mapping[str, Any]) -> Settings:
    changes = {"database_url": house.log_database.url("app"), **changes}
    # Each test has a database of its own. To read all settings takes ten milliseconds.
    database = {"database_url": changes.pop("database_url")}
    return _read_settings(issuer, tuple(changes.items())).model_copy(update=database)


@cache
def _read_settings(issuer: str, changes: tuple[tuple[str, Any], ...]) -> Settings:
    wanted: dict[str, Any] = {
        "environment": "development",
        "issuer": issuer,
        "jwks_url": f"{issuer}/jwks",
        "audience": AUDIENCE,
        "public_url": "https://timewarden.example",
        "cursor_key": "0" * 32,
        "erasure_keys": "1" * 32,
        **dict(changes),
    }
    return Settings(**wanted)


class _Current:
    """Stands for a stateful part in shared routes: each call goes to the part of the test that runs."""

    def __init__(self) -> None:
        self.part: Any = None

    def __getattr__(self, name: str) -> Any:
        if not callable(getattr(self.part, name)):
            return getattr(self.part, name)

        def call(*values: Any, **named: Any) -> Any:
            return getattr(self.part, name)(*values, **named)

        return call


# Routes that no test uses now, by their settings. To make them takes ten times the CPU of what else a test needs.
_routes: dict[str, list[tuple[RequestFrame, dict[str, _Current]]]] = {}
ALWAYS = ("api", "requests", "policies", "counters", "tokens", "gate", "people", "published", "relationships")
SHARED = (*ALWAYS, "hint", "replica", "newest")


@contextmanager
def _application(settings: Settings) -> Iterator[Admission]:
    """The API with parts of its own, over the routes of an earlier test with the same settings, if there are any."""
    if settings.issuers_file:
        yield build(settings)
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examination, "build", build_once)
        parts = wire(settings)
    kind = settings.model_copy(update={"database_url": "", "redis_url": "a Redis" if settings.redis_url else ""})
    free = _routes.setdefault(kind.model_dump_json(), [])
    made = {name for name in SHARED if getattr(parts, name) is not None}
    frame, current = free.pop() if free else (None, {name: _Current() for name in made})
    for name, stand_in in current.items():
        stand_in.part = getattr(parts, name)
    if frame is None:
        stand_ins: dict[str, Any] = dict(current)
        with pytest.MonkeyPatch.context() as patch:
            # A process for each check would take longer to start than to work.
            patch.setattr(check_worker, "check", check_in_process)
            frame = route(settings, replace(parts, **stand_ins))
    try:
        yield admit(settings, parts, frame)
    finally:
        free.append((frame, current))


@asynccontextmanager
async def _alive(frame: Admission) -> AsyncIterator[None]:
    """The lifespan protocol of ASGI, as a server speaks it."""
    inbox: asyncio.Queue[Any] = asyncio.Queue()
    outbox: asyncio.Queue[Any] = asyncio.Queue()
    scope: Any = {"type": "lifespan", "state": {}}
    running = asyncio.create_task(frame(scope, inbox.get, outbox.put))
    await inbox.put({"type": "lifespan.startup"})
    started = await outbox.get()
    assert started["type"] == "lifespan.startup.complete", started
    try:
        yield
    finally:
        await inbox.put({"type": "lifespan.shutdown"})
        await outbox.get()
        await running
