"""The HTTP client of the commands: the address of the API and an access token. Owns no state."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from threading import Timer
from typing import TYPE_CHECKING, Any

import httpx2
import rich_click as click

from service.commands.running import NotRunning, running
from service.commands.tables import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

API_VARIABLE = "TIMEWARDEN_API"
TOKEN_VARIABLE = "TIMEWARDEN_TOKEN"  # noqa: S105 — the name of a variable
# A request about a whole policy waits for its turn, runs for up to two minutes and then prepares the version.
TIMEOUT_SECONDS, LONG_TIMEOUT_SECONDS = 30.0, 300.0
ANNOUNCE_AFTER_SECONDS = 3.0
# No number of the API has more digits. Python refuses to read some that do.
MAX_DIGITS = 100
# The detail of a problem names so many wrong fields itself.
FIELDS_IN_DETAIL = 3


@dataclass(frozen=True, slots=True)
class ApiClient:
    """Calls the API with a token. A refusal ends the command with the API's sentences."""

    api: str
    token: str

    @property
    def trust_environment(self) -> bool:
        """Whether the proxies of the environment are used: only with TLS, as a proxy would read the token otherwise."""
        return self.api.lower().startswith("https:")

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        query: dict[str, str] | None = None,
        *,
        csv: bytes | None = None,
        long: str = "",
    ) -> Any:
        """The decoded answer to JSON, or to a CSV file. `long` says what is waited for if the answer may take
        minutes. Raises ClickException with the problem's sentences when the API refuses."""
        return self.decode(self.response(method, path, query, body, csv=csv, long=long))

    def decode(self, answer: httpx2.Response) -> Any:
        """The decoded body of an answer. Raises ClickException as `call`."""
        if not answer.is_success:
            raise to_click_error(answer)
        try:
            return answer.json(parse_int=_parse_integer) if answer.content else None
        except (ValueError, RecursionError) as error:
            raise click.ClickException(f"{self.api} answers, but not like this API; check the address") from error

    def response(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: object = None,
        *,
        csv: bytes | None = None,
        long: str = "",
    ) -> httpx2.Response:
        """The answer, also a refusal. Raises ClickException if there is none."""
        timeout = LONG_TIMEOUT_SECONDS if long else TIMEOUT_SECONDS
        try:
            with _announce_wait(long) if long else nullcontext():
                answer = httpx2.request(
                    method,
                    self.api + path,
                    json=body,
                    content=csv,
                    params=query,
                    headers={"Authorization": f"Bearer {self.token}"}
                    | ({} if csv is None else {"Content-Type": "text/csv"}),
                    timeout=timeout,
                    trust_env=self.trust_environment,
                )
        except httpx2.ReadTimeout as error:
            raise click.ClickException(
                f"{self.api} did not answer within {timeout:.0f} s; the request may still succeed"
            ) from error
        except httpx2.InvalidURL as error:
            raise click.ClickException(f"{self.api} is not an API address: {error}") from error
        except httpx2.HTTPError as error:
            raise click.ClickException(
                f"{self.api} does not answer ({type(error).__name__}); check that it runs"
            ) from error
        return answer


def _parse_integer(digits: str) -> int | str:
    """The integer; a sentence instead of one in a forged record, so that the others on its page can be read."""
    return int(digits) if len(digits) <= MAX_DIGITS else f"(damaged: a number of {len(digits):,} digits)"


@contextmanager
def _announce_wait(what: str) -> Iterator[None]:
    """Print what is waited for on standard error if it takes longer than a few seconds."""
    sentence = f"Waiting: {what}. This may take some minutes."
    timer = Timer(ANNOUNCE_AFTER_SECONDS, lambda: print(sentence, file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def connect(person: str | None) -> ApiClient:
    """The API and token from TIMEWARDEN_API and TIMEWARDEN_TOKEN, or, in development, a demo person's."""
    token = os.environ.get(TOKEN_VARIABLE, "")
    if person is not None:
        from service.commands.demo_token import demo_token  # noqa: PLC0415 — development alone has it

        token = demo_token(person)
    if not token:
        raise click.ClickException(f"Set {TOKEN_VARIABLE} to an access token, or use --as PERSON with `make run`")
    if not (token.isascii() and token.isprintable()):
        raise click.ClickException(f"{TOKEN_VARIABLE} holds characters that no access token has")
    return ApiClient(_api(), token)


def active_number(api: ApiClient) -> int:
    """The number of the active version. A client that acts for itself may read it too."""
    return int(api.call("GET", "/v1/policies/active")["number"])


def _api() -> str:
    if api := os.environ.get(API_VARIABLE):
        # Errors and logs name the address.
        if "@" in api:
            raise click.ClickException(f"{API_VARIABLE} must be a URL without a user and a password")
        try:
            scheme = httpx2.URL(api).scheme
        except httpx2.InvalidURL:
            scheme = ""
        if scheme not in {"http", "https"}:
            raise click.ClickException(
                f"{api} is not an API address: {API_VARIABLE} must be a URL, as https://api.example"
            )
        return api.rstrip("/")
    try:
        return running().api
    except NotRunning as error:
        raise click.ClickException(f"{error} Or set {API_VARIABLE} to the API's address.") from error


def to_click_error(answer: httpx2.Response) -> click.ClickException:
    """The API's refusal as an error of the command. The body must have been read."""
    try:
        problem = answer.json()
        # The detail of a rejected policy ends with its first complaint, which is printed below.
        said = problem["detail"].partition(": ")[0] if problem.get("complaints") else problem["detail"]
        lines = [f"{answer.status_code}: {said}"]
        lines += [f"  {_complaint(complaint)}" for complaint in problem.get("complaints", [])]
        lines += [f"  warning: {_complaint(warning)}" for warning in problem.get("warnings", [])]
        lines += [f"  {field['field']}: {field['message']}" for field in problem.get("fields", [])[FIELDS_IN_DETAIL:]]
        lines += [f"  {reason}" for reason in problem.get("reasons", [])[1:]]
    except (ValueError, KeyError, TypeError):
        lines = [f"{answer.status_code}: {answer.text[:300]}"]
    return click.ClickException("\n".join(map(plain, lines)))


def _complaint(complaint: dict[str, Any]) -> str:
    """As `Complaint` says it."""
    place = f"{complaint['file']}:{complaint['line']}:{complaint['column']}" if complaint["line"] else complaint["file"]
    return f"{place}: {complaint['message']}" + (f" ({complaint['suggestion']})" if complaint.get("suggestion") else "")
