"""`timewarden token get`: a real access token of a demo person or client, by a real sign-in over HTTP. Development."""

from __future__ import annotations

import asyncio

import rich_click as click

from service.commands.running import NotRunning, running
from service.development.authorization_server import sign_in
from service.development.people import CLIENTS, PEOPLE


@click.group()
def token() -> None:
    """Access tokens of the development authorization server."""


@token.command()
@click.argument("who")
@click.option("--scope", "scopes", multiple=True, help="Ask for this scope only; may be given several times.")
def get(who: str, scopes: tuple[str, ...]) -> None:
    """Print a token of WHO: a demo person (ana, mia, audrey ...) or a machine client (payroll-import)."""
    print(demo_token(who, scopes))


def demo_token(who: str, scopes: tuple[str, ...] = ()) -> str:
    """Sign in as a demo person, or as a client for itself. Raises ClickException for unknown names."""
    try:
        issuer = running().issuer
    except NotRunning as error:
        raise click.ClickException(str(error)) from error
    if who in PEOPLE:
        person = PEOPLE[who]
        return asyncio.run(
            sign_in.authorization_code_token(issuer, person.login, person.password, "timesheets-cli", scopes)
        ).access_token
    client = CLIENTS.get(who)
    if client is None or client.secret is None:
        known = ", ".join([*PEOPLE, *(one.client_id for one in CLIENTS.values() if one.secret)])
        raise click.ClickException(f"There is no {who} here; there are {known}")
    return asyncio.run(sign_in.client_credentials_token(issuer, client.client_id, client.secret, scopes)).access_token
