"""People and clients of the story: each signs in as its app would and uses the client; every answer is checked.

Owns the story's HTTP connection and what was decided so far. Nothing is durable here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote

from service.development.authorization_server import sign_in, token_endpoint
from service.development.demo.transcript import Exchange
from service.development.people import CLIENTS, PEOPLE
from service.errors import TimewardenError
from service.standalone.client import ApiResult, Problem, Timewarden, client_credentials

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    import httpx

    from service.commands.running import Running
    from service.development.demo.transcript import Transcript
    from service.standalone.client import Tokens

LONGEST_BODY = 300
LINE = 74
A = TypeVar("A", bound=ApiResult)


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

    def client(self, client_id: str) -> Actor:
        """A machine client, which gets its own tokens when it needs them."""
        endpoint, secret = self.house.issuer.rstrip("/") + token_endpoint.PATH, CLIENTS[client_id].secret or ""
        return Actor(
            self, client_id, client_id, "", client_credentials(endpoint, client_id, secret, http=self.http), []
        )


class Actor:
    """Somebody with a token. `id` is a person's id, `scopes` what the token holds, `api` the client that they use."""

    def __init__(
        self, stage: Stage, name: str, client: str, person: str, token: str | Tokens, scopes: list[str]
    ) -> None:
        self.name, self.id, self.scopes = name, person, scopes
        self._stage, self._client = stage, client
        self._answers: list[httpx.Response] = []
        self.api = Timewarden(stage.house.api, token, http=stage.http, on_answer=self._answers.append)

    async def does(self, asked: Awaitable[A], *, tell: Callable[[A], str] | None = None, quietly: bool = False) -> A:
        """Await a call of the client, which must succeed. `tell` makes the line that the transcript shows of what was
        answered; `quietly` shows nothing at all."""
        found, answer = await self._answered(asked)
        if isinstance(found, Problem):
            raise self._otherwise(answer, "success")
        if not quietly:
            self._show(answer, [tell(found)] if tell else [])
        return found

    async def is_refused(self, status: int, asked: Awaitable[ApiResult]) -> Problem:
        """Await a call of the client, which must be answered with this status."""
        found, answer = await self._answered(asked)
        if not isinstance(found, Problem) or found.receipt.status != status:
            raise self._otherwise(answer, str(status))
        lines = [f"{found.slug}: {found.detail}", *(f"reason: {reason}" for reason in found.reasons[1:])]
        self._show(answer, lines + ([f"rule: {', '.join(found.rules)}"] if found.rules else []))
        return found

    async def lists(self, listed: AsyncIterator[A], *, tell: Callable[[list[A]], str] | None = None) -> list[A]:
        """All of a list; with `tell`, its first page stands in the transcript."""
        self._answers.clear()
        found = [one async for one in listed]
        for answer in self._answers:
            self._remember(answer)
        if tell:
            self._show(self._answers[0], [tell(found)])
        return found

    async def _answered(self, asked: Awaitable[A]) -> tuple[A | Problem, httpx.Response]:
        self._answers.clear()
        found: A | Problem
        try:
            found = await asked
        except Problem as problem:
            found = problem
        answer = self._answers[-1]
        self._remember(answer)
        return found, answer

    def _remember(self, answer: httpx.Response) -> None:
        decision = answer.headers.get("decision-id")
        if decision is None:
            raise NotAsTold(f"{_line(answer)} was answered without a decision")
        self._stage.decided[decision] = Decided(self.name, answer.status_code)

    def _show(self, answer: httpx.Response, told: list[str]) -> None:
        """An exchange, in the transcript."""
        request, seen = [_line(answer)], answer.request.headers.get("If-Match")
        request += [f"If-Match: {seen}"] if seen else []
        request += [_short(answer.request.content.decode())] if answer.request.content else []
        etag, decision = answer.headers.get("etag", ""), answer.headers.get("decision-id")
        self._stage.transcript.exchange(
            Exchange(self.name, self._client, request, answer.status_code, etag, told, decision)
        )

    def _otherwise(self, answer: httpx.Response, wanted: str) -> NotAsTold:
        self._show(answer, [])
        return NotAsTold(f"{_line(answer)} answered {answer.status_code}, not {wanted}: {answer.text[:LONGEST_BODY]}")


def must(holds: bool, what: str, found: object) -> None:  # noqa: FBT001 — reads as a sentence
    """Raise NotAsTold unless it holds; `found` is what was answered instead."""
    if not holds:
        raise NotAsTold(f"{what}; the answer was {str(found)[:LONGEST_BODY]}")


def _line(answer: httpx.Response) -> str:
    """The request line of an answer, readable."""
    url = answer.request.url
    query = f"?{unquote(url.query.decode())}" if url.query else ""
    return f"{answer.request.method} {url.path}{query}"


def _short(text: str) -> str:
    """A body that fits in a line, or its beginning."""
    return text if len(text) <= LINE else f"{text[: LINE - 8]} ..."
