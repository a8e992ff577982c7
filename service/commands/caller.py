"""How a command reaches the API: its address, and a token like everybody else's. Owns no state."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import httpx
import rich_click as click

from service.commands.running import NotRunning, running

API_VARIABLE = "TIMEWARDEN_API"
TOKEN_VARIABLE = "TIMEWARDEN_TOKEN"  # noqa: S105 — the name of a variable


@dataclass(frozen=True, slots=True)
class Caller:
    """Calls the API with a token; what the API refuses ends the command with its own words."""

    api: str
    token: str

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        query: dict[str, str] | None = None,
        *,
        csv: bytes | None = None,
    ) -> Any:
        """The decoded answer to JSON, or to a CSV file. Raises ClickException with the problem's sentences when the API
        refuses."""
        try:
            answer = httpx.request(
                method,
                self.api + path,
                json=body,
                content=csv,
                params=query,
                headers={"Authorization": f"Bearer {self.token}"}
                | ({} if csv is None else {"Content-Type": "text/csv"}),
                timeout=30,
                trust_env=False,
            )
        except httpx.HTTPError as error:
            raise click.ClickException(
                f"{self.api} does not answer ({type(error).__name__}); is it running?"
            ) from error
        if answer.is_success:
            return answer.json() if answer.content else None
        raise refused(answer)


def caller(person: str | None) -> Caller:
    """The API and token from TIMEWARDEN_API and TIMEWARDEN_TOKEN, or, in development, a demo person's."""
    token = os.environ.get(TOKEN_VARIABLE, "")
    if person is not None:
        from service.commands.demo_token import demo_token  # noqa: PLC0415 — development alone has it

        token = demo_token(person)
    if not token:
        raise click.ClickException(f"Set {TOKEN_VARIABLE} to an access token, or say --as PERSON where `make run` runs")
    return Caller(_api(), token)


def _api() -> str:
    if api := os.environ.get(API_VARIABLE):
        return api.rstrip("/")
    try:
        return running().api
    except NotRunning as error:
        raise click.ClickException(f"{error} Or set {API_VARIABLE} to the API's address.") from error


def refused(answer: httpx.Response) -> click.ClickException:
    """What the API said, as an error of the command. The answer's body was read."""
    try:
        problem = answer.json()
        # The sentence of a policy that is refused ends with its first complaint, which is told below.
        said = problem["detail"].partition(": ")[0] if problem.get("complaints") else problem["detail"]
        lines = [f"{answer.status_code}: {said}"]
        lines += [f"  {c['file']}:{c['line']}:{c['column']}: {c['message']}" for c in problem.get("complaints", [])]
        lines += [f"  {reason}" for reason in problem.get("reasons", [])[1:]]
    except (ValueError, KeyError, TypeError):
        lines = [f"{answer.status_code}: {answer.text[:300]}"]
    return click.ClickException("\n".join(lines))
