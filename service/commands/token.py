"""`timewarden token`: explain why a token is accepted or refused; in development, get tokens of demo people."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import rich_click as click

from service.commands.running import NotRunning, running, state_directory

if TYPE_CHECKING:
    from service.identity.issuer import Issuer
    from service.identity.token_explanation import TokenExplanation


@click.group()
def token() -> None:
    """Get access tokens, and explain why a token is accepted or refused."""


if importlib.util.find_spec("service.development") is not None:
    from service.commands.demo_token import get

    token.add_command(get)


@token.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain(*, as_json: bool) -> None:
    """Read a token from standard input and print, check by check, why the API accepts or refuses it.

    It is verified with the settings of this process and the keys that the issuer publishes now. The token is never
    printed. Exit code 0: accepted, 1: refused, 2: undecided. Revocation and proofs of possession are not checked.
    """
    told = asyncio.run(_explain(_read_token(), _issuers()))
    print(json.dumps(asdict(told), indent=2) if as_json else _text(told))
    sys.exit({"accepted": 0, "refused": 1}.get(told.verdict, 2))


async def _explain(presented: bytes, issuers: list[Issuer]) -> TokenExplanation:
    from service.identity.token_explanation import explain as explained  # noqa: PLC0415 — slow to load
    from service.identity.tokens import Tokens  # noqa: PLC0415 — slow to load

    tokens = Tokens(issuers)
    try:
        return await explained(tokens, presented)
    finally:
        await tokens.close()


def _read_token() -> bytes:
    """Read one token, with or without `Bearer`. Other users of the machine could see it on the command line."""
    if sys.stdin.isatty():
        given = str(click.prompt("Token (not shown)", hide_input=True, err=True))
    else:
        given = sys.stdin.read(1_000_000)
    words = given.split()
    if len(words) > 1 and words[0].lower() in {"bearer", "dpop"}:
        words = words[1:]
    if len(words) != 1:
        raise click.ClickException("Give one token on standard input")
    return words[0].encode("utf-8", "surrogateescape")


def _issuers() -> list[Issuer]:
    """The issuers of the environment, or else the issuer that `timewarden up` started."""
    from service import settings as configuration  # noqa: PLC0415 — slow to load
    from service.app import issuers_of  # noqa: PLC0415 — slow to load

    settings = configuration.load()
    if not settings.issuer and not settings.issuers_file:
        try:
            here, file = running(), state_directory() / "authorization-server" / "issuers.toml"
        except NotRunning as error:
            raise click.ClickException(
                "Set TIMEWARDEN_ISSUER and TIMEWARDEN_AUDIENCE, or TIMEWARDEN_ISSUERS_FILE, as for `serve`"
            ) from error
        settings = settings.model_copy(update={"environment": "development", "audience": here.audience})
        named = {"issuers_file": str(file)} if file.exists() else {"issuer": here.issuer}
        settings = settings.model_copy(update=named)
    return issuers_of(settings)


def _text(told: TokenExplanation) -> str:
    marks = {"passed": "ok      ", "failed": "REFUSED ", "unknown": "UNKNOWN "}
    lines = [f"{marks[check.outcome]}{check.name:<14}{check.detail}" for check in told.checks]
    lines.append(f"\n{told.verdict}" + (f": {told.cause}" if told.cause else ""))
    if told.verdict == "accepted":
        lines += [
            f"  issuer   {told.issuer}",
            f"  caller   a {told.kind}, client {told.client}",
            f"  scopes   {' '.join(told.scopes) or 'none'}",
            f"  roles    {' '.join(told.roles) or 'none'}",
            f"  expires  in {told.expires_in} seconds",
            *(f"  actor    {actor}" for actor in told.actors),
            *(f"  {name} is {value}" for name, value in told.attributes.items()),
            *(f"  needs    {need}" for need in told.needs),
        ]
    return "\n".join(lines)
