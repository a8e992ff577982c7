"""Callers of the running service: a person or a machine with a real token. Owns tokens for as long as a session."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from service.development.authorization_server import sign_in
from service.development.people import CLIENTS, PEOPLE
from service.standalone.client import Timewarden

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import httpx2

    from service.commands.running import Running

_weeks = itertools.count()
SHEETS = "/v1/timesheets"


def fresh_week() -> date:
    """A Monday that no other test uses."""
    return date(2001, 1, 1) + timedelta(weeks=next(_weeks))


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller with a token (None: without one). Every method returns the response."""

    http: httpx2.AsyncClient
    token: str | None = field(default=None, repr=False)

    @property
    def api(self) -> Timewarden:
        """The client that is given to other people's programs, with this token."""
        return Timewarden(str(self.http.base_url), self.token or "", http=self.http)

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        if_match: str | None = None,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> httpx2.Response:
        given = dict(headers or {})
        if self.token is not None:
            given.setdefault("Authorization", f"Bearer {self.token}")
        if if_match is not None:
            given["If-Match"] = if_match
        if content is not None:
            given.setdefault("Content-Type", "application/json")
        # As bytes, so that headers may hold what they should not; empty parameters would cut the path's own query off.
        written = [(name.encode(), value.encode()) for name, value in given.items()]
        return await self.http.request(method, path, content=content, json=body, params=params or None, headers=written)

    async def get(self, path: str, **params: str | int) -> httpx2.Response:
        return await self.send("GET", path, params=params)

    async def post(self, path: str, body: object = None, *, if_match: str | None = None) -> httpx2.Response:
        return await self.send("POST", path, body=body, if_match=if_match)

    async def put(self, path: str, body: object, *, if_match: str | None = None) -> httpx2.Response:
        return await self.send("PUT", path, body=body, if_match=if_match)

    async def delete(self, path: str, *, if_match: str | None = None) -> httpx2.Response:
        return await self.send("DELETE", path, if_match=if_match)

    async def decision(self, answer: httpx2.Response) -> dict[str, Any]:
        """The recorded decision behind an answer, as this caller (an auditor) reads it."""
        found = await self.get(f"/v1/decisions/{answer.headers['Decision-Id']}")
        assert found.status_code == 200, found.text
        logged: dict[str, Any] = found.json()
        return logged

    async def me(self) -> str:
        """One's own person id."""
        return str((await self.get("/v1/me")).json()["person"])


@dataclass
class Callers:
    """Signs people in at the running authorization server, each with the same scopes only once."""

    http: httpx2.AsyncClient
    addresses: Running
    tokens: dict[tuple[str, tuple[str, ...]], str] = field(default_factory=dict)

    async def __call__(self, who: str, scopes: Sequence[str] = ()) -> Caller:
        """A demo person or machine client with these scopes; none means all that they may have."""
        key = (who, tuple(scopes))
        if key not in self.tokens:
            self.tokens[key] = await self._token(*key)
        return Caller(self.http, self.tokens[key])

    def nobody(self) -> Caller:
        return Caller(self.http)

    def bearer_of(self, token: str) -> Caller:
        return Caller(self.http, token)

    async def _token(self, who: str, scopes: tuple[str, ...]) -> str:
        issuer = self.addresses.issuer
        if who in PEOPLE:
            password = PEOPLE[who].password
            answer = await sign_in.authorization_code_token(issuer, who, password, "timesheets-cli", scopes)
        else:
            secret = CLIENTS[who].secret
            assert secret is not None
            answer = await sign_in.client_credentials_token(issuer, who, secret, scopes)
        return answer.access_token


def problem(answer: httpx2.Response, status: int, slug: str) -> dict[str, Any]:
    """The problem document of an answer, which must be of this status and kind, and as RFC 9457 wants it."""
    assert answer.status_code == status, f"{answer.status_code}: {answer.text}"
    assert answer.headers["Content-Type"].split(";")[0] == "application/problem+json"
    assert answer.headers["X-Request-Id"]
    document: dict[str, Any] = answer.json()
    assert document["type"] == f"urn:timewarden:problem:{slug}", document
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    assert document["request_id"] == answer.headers["X-Request-Id"]
    return document


def fields(answer: httpx2.Response) -> list[str]:
    """The names of the fields that were found wrong."""
    return [item["field"] for item in problem(answer, 422, "invalid-field")["fields"]]


async def draft(owner: Caller, *, minutes: int = 480) -> httpx2.Response:
    """A fresh week of a person with one entry; the answer holds the sheet and its ETag."""
    week = fresh_week()
    made = await owner.post(SHEETS, {"period_start": week.isoformat()})
    assert made.status_code == 201, made.text
    entry = {"day": week.isoformat(), "project": "ATLAS", "minutes": minutes, "note": "a secret errand"}
    path = f"{SHEETS}/{made.json()['id']}/entries"
    filled = await owner.post(path, entry, if_match=made.headers["ETag"])
    assert filled.status_code == 201, filled.text
    return filled


async def submit_week(owner: Caller) -> httpx2.Response:
    """As `draft`, and handed in."""
    filled = await draft(owner)
    handed = await owner.post(f"{SHEETS}/{filled.json()['id']}/submit", if_match=filled.headers["ETag"])
    assert handed.status_code == 200, handed.text
    return handed
