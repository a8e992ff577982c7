"""The people and clients of the story. Each signs in like an app and uses the client; every answer is checked.

Owns the story's HTTP connection and the decisions so far, in memory.
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

    import httpx2

    from service.commands.running import Running
    from service.development.demo.transcript import Transcript
    from service.standalone.client import Tokens

MAX_BODY_CHARS = 300
MAX_LINE_CHARS = 74
A = TypeVar("A", bound=ApiResult)


class DemoFailed(TimewardenError):
    """A step had another result than the story says; the sentence names the step."""

    slug = "demo-failed"
    summary = "The demo failed"


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision that the story caused, which the log must have."""

    who: str
    status: int


@dataclass(slots=True)
class Stage:
    """What all actors share: the running service, the transcript, the people's ids, and the decisions so far."""

    house: Running
    transcript: Transcript
    http: httpx2.AsyncClient
    people: dict[str, str]
    decided: dict[str, Decided] = field(default_factory=dict)

    async def person(self, login: str, client: str, *, granted: Sequence[str] | None = None) -> Actor:
        """Sign a demo person in to an app, on the real pages. `granted`: the boxes to leave ticked; None: all."""
        person, issuer = PEOPLE[login], self.house.issuer
        answer = await sign_in.authorization_code_token(issuer, login, person.password, client, granted=granted)
        return Actor(self, person.name, client, self.people[login], answer.access_token, answer.scope.split())

    def client(self, client_id: str) -> Actor:
        """A machine client, which gets its own tokens."""
        endpoint, secret = self.house.issuer.rstrip("/") + token_endpoint.PATH, CLIENTS[client_id].secret or ""
        return Actor(
            self, client_id, client_id, "", client_credentials(endpoint, client_id, secret, http=self.http), []
        )


class Actor:
    """A person or client with a token. `id`: the person's id. `scopes`: those of the token. `api`: the client."""

    def __init__(
        self, stage: Stage, name: str, client: str, person: str, token: str | Tokens, scopes: list[str]
    ) -> None:
        self.name, self.id, self.scopes = name, person, scopes
        self._stage, self._client = stage, client
        self._answers: list[httpx2.Response] = []
        self.api = Timewarden(stage.house.api, token, http=stage.http, on_answer=self._answers.append)

    async def does(self, asked: Awaitable[A], *, tell: Callable[[A], str] | None = None, quietly: bool = False) -> A:
        """Await a call, which must succeed. `tell` makes the transcript's line about the answer; `quietly`: there is
        none."""
        found, answer = await self._await(asked)
        if isinstance(found, Problem):
            raise self._fail(answer, "success")
        if not quietly:
            self._show(answer, [tell(found)] if tell else [])
        return found

    async def is_refused(self, status: int, asked: Awaitable[ApiResult]) -> Problem:
        """Await a call, which must be answered with this status."""
        found, answer = await self._await(asked)
        if not isinstance(found, Problem) or found.receipt.status != status:
            raise self._fail(answer, str(status))
        lines = [f"{found.slug}: {found.detail}", *(f"reason: {reason}" for reason in found.reasons[1:])]
        self._show(answer, lines + ([f"rule: {', '.join(found.rules)}"] if found.rules else []))
        return found

    async def lists(self, listed: AsyncIterator[A], *, tell: Callable[[list[A]], str] | None = None) -> list[A]:
        """Read all of a list. With `tell`, the transcript shows the first page."""
        self._answers.clear()
        found = [item async for item in listed]
        for answer in self._answers:
            self._remember(answer)
        if tell:
            self._show(self._answers[0], [tell(found)])
        return found

    async def _await(self, asked: Awaitable[A]) -> tuple[A | Problem, httpx2.Response]:
        self._answers.clear()
        found: A | Problem
        try:
            found = await asked
        except Problem as problem:
            found = problem
        answer = self._answers[-1]
        self._remember(answer)
        return found, answer

    def _remember(self, answer: httpx2.Response) -> None:
        decision = answer.headers.get("decision-id")
        if decision is None:
            raise DemoFailed(f"{_line(answer)} was answered without a decision")
        self._stage.decided[decision] = Decided(self.name, answer.status_code)

    def _show(self, answer: httpx2.Response, lines: list[str]) -> None:
        """Show an exchange in the transcript."""
        request, if_match = [_line(answer)], answer.request.headers.get("If-Match")
        request += [f"If-Match: {if_match}"] if if_match else []
        request += [_short(answer.request.content.decode())] if answer.request.content else []
        etag, decision = answer.headers.get("etag", ""), answer.headers.get("decision-id")
        self._stage.transcript.exchange(
            Exchange(self.name, self._client, request, answer.status_code, etag, lines, decision)
        )

    def _fail(self, answer: httpx2.Response, expected: str) -> DemoFailed:
        self._show(answer, [])
        return DemoFailed(
            f"{_line(answer)} answered {answer.status_code}, not {expected}: {answer.text[:MAX_BODY_CHARS]}"
        )


def must(holds: bool, what: str, found: object) -> None:  # noqa: FBT001 — reads as a sentence
    """Raise DemoFailed unless `holds`. `found`: the answer."""
    if not holds:
        raise DemoFailed(f"{what}; the answer was {str(found)[:MAX_BODY_CHARS]}")


def _line(answer: httpx2.Response) -> str:
    """The request line, unescaped."""
    url = answer.request.url
    query = f"?{unquote(url.query.decode())}" if url.query else ""
    return f"{answer.request.method} {url.path}{query}"


def _short(text: str) -> str:
    """The body, or its beginning if it is longer than a line."""
    return text if len(text) <= MAX_LINE_CHARS else f"{text[: MAX_LINE_CHARS - 8]} ..."
