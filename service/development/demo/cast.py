"""People and clients of the story: each signs in as its app would and sends requests whose answers are checked.

Owns the story's HTTP connection and what was decided so far. Nothing is durable here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httpx

from service.development.authorization_server import sign_in
from service.development.demo.transcript import Exchange
from service.development.people import CLIENTS, PEOPLE
from service.errors import TimewardenError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service.commands.running import Running
    from service.development.demo.transcript import Transcript

    Telling = Callable[[Any], str]

LONGEST_BODY = 300
LINE = 74


class NotAsTold(TimewardenError):
    """A step did not do what the story says; the sentence names the step."""

    slug = "not-as-told"
    summary = "The story did not go as told"


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision that the story has caused: what the log must hold under its id."""

    who: str
    status: int


@dataclass(slots=True)
class Stage:
    """What the cast shares: the running service, the transcript, the directory's ids, and the decisions so far."""

    house: Running
    transcript: Transcript
    http: httpx.AsyncClient
    people: dict[str, str]
    decided: dict[str, Decided] = field(default_factory=dict)

    async def person(self, login: str, client: str, *, granted: Sequence[str] | None = None) -> Actor:
        """Sign a demo person in through an app, on the real pages; `granted` are the boxes left ticked, None all."""
        person, issuer = PEOPLE[login], self.house.issuer
        answer = await sign_in.authorization_code_token(issuer, login, person.password, client, granted=granted)
        return Actor(self, person.name, client, self.people[login], answer.access_token, answer.scope.split())

    async def client(self, client_id: str) -> Actor:
        """A machine client's own token."""
        secret = CLIENTS[client_id].secret or ""
        answer = await sign_in.client_credentials_token(self.house.issuer, client_id, secret)
        return Actor(self, client_id, client_id, "", answer.access_token, answer.scope.split())


@dataclass(frozen=True, slots=True)
class Answer:
    """A checked answer."""

    body: Any
    etag: str

    def must(self, holds: bool, what: str) -> None:  # noqa: FBT001 — reads as a sentence
        """Raise NotAsTold unless it holds."""
        if not holds:
            raise NotAsTold(f"{what}; the answer was {json.dumps(self.body)[:LONGEST_BODY]}")


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody with a token. `id` is a person's id, `scopes` what the token holds."""

    stage: Stage
    name: str
    client: str
    id: str
    token: str = field(repr=False)
    scopes: list[str]

    async def ask(
        self,
        method: str,
        path: str,
        status: int,
        *,
        body: object = None,
        seen: str | None = None,
        query: dict[str, str] | None = None,
        tell: Telling | None = None,
        quietly: bool = False,
    ) -> Answer:
        """Send a request and check its status; `seen` is the ETag for If-Match. Raises NotAsTold for another one.

        `tell` makes the line that the transcript shows of a body; `quietly` shows nothing at all.
        """
        headers = {"Authorization": f"Bearer {self.token}"} | ({"If-Match": seen} if seen else {})
        answer = await self.stage.http.request(method, path, json=body, params=query, headers=headers)
        decision = answer.headers.get("decision-id")
        content: Any = answer.json() if answer.content else None
        etag = answer.headers.get("etag", "")
        if not quietly:
            request = [f"{method} {path}" + (f"?{unquote(str(httpx.QueryParams(query)))}" if query else "")]
            request += [f"If-Match: {seen}"] if seen else []
            request += [_short(json.dumps(body, separators=(",", ":")))] if body is not None else []
            told = _told(content, tell if answer.is_success else None)
            self.stage.transcript.exchange(
                Exchange(self.name, self.client, request, answer.status_code, etag, told, decision)
            )
        if answer.status_code != status:
            raise NotAsTold(
                f"{method} {path} answered {answer.status_code}, not {status}: {answer.text[:LONGEST_BODY]}"
            )
        if decision is None:
            raise NotAsTold(f"{method} {path} was answered without a decision")
        self.stage.decided[decision] = Decided(self.name, answer.status_code)
        return Answer(content, etag)


def _told(content: Any, tell: Telling | None) -> list[str]:
    """The telling part: of a problem its kind, sentence and reasons, of anything else what `tell` makes of it."""
    if isinstance(content, dict) and str(content.get("type", "")).startswith("urn:timewarden:problem:"):
        lines = [f"{content['type'].rpartition(':')[2]}: {content['detail']}"]
        lines += [f"reason: {one}" for one in content.get("reasons", [])[1:]]
        lines += [f"rule: {', '.join(content['rules'])}"] if content.get("rules") else []
        return lines
    return [tell(content)] if tell else []


def _short(text: str) -> str:
    """A body that fits in a line, or its beginning."""
    return text if len(text) <= LINE else f"{text[: LINE - 8]} ..."
