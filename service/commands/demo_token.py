"""`timewarden token get`: a real access token of a demo person or client, by a real sign-in over HTTP. Development."""

from __future__ import annotations

import asyncio

import rich_click as click

from service.commands.running import NotRunning, running
from service.development.authorization_server import sign_in
from service.development.people import CLIENTS, PEOPLE


@click.command()
@click.argument("who")
@click.option("--scope", "scopes", multiple=True, help="Request only this scope; may be repeated.")
@click.option("--mfa", is_flag=True, help="Sign in with a second factor; for people.")
@click.option("--opaque", is_flag=True, help="An opaque token, which the API introspects.")
@click.option("--agent", is_flag=True, help="A token with which the demo agent, assistant, acts for the person.")
def get(who: str, scopes: tuple[str, ...], *, mfa: bool, opaque: bool, agent: bool) -> None:
    """Print a token of WHO: a demo person (ana, mia, audrey ...) or a machine client (payroll-import)."""
    if not agent:
        print(demo_token(who, scopes, mfa=mfa, opaque=opaque))
        return
    if who not in PEOPLE:
        raise click.ClickException(f"An agent acts for people, and '{who}' is none; known are {', '.join(PEOPLE)}")
    print(_agent_token(demo_token(who, mfa=mfa), scopes, opaque=opaque))


def _agent_token(subject_token: str, scopes: tuple[str, ...], *, opaque: bool) -> str:
    """Exchange the token of a person for one of the agent that acts for them (RFC 8693)."""
    agent = CLIENTS["assistant"]
    exchange = sign_in.exchanged_token(
        running().issuer, agent.client_id, agent.secret or "", subject_token, scopes, opaque=opaque
    )
    try:
        return asyncio.run(exchange).access_token
    except sign_in.SignInRefused as refused:
        raise click.ClickException(f"The authorization server refuses this: {refused}") from refused


def demo_token(who: str, scopes: tuple[str, ...] = (), *, mfa: bool = False, opaque: bool = False) -> str:
    """Sign in as a demo person, or as a client for itself. Raises ClickException for unknown names."""
    try:
        issuer = running().issuer
    except NotRunning as error:
        raise click.ClickException(str(error)) from error
    if who in PEOPLE:
        person = PEOPLE[who]
        return asyncio.run(
            sign_in.authorization_code_token(
                issuer, person.login, person.password, "timesheets-cli", scopes, mfa=mfa, opaque=opaque
            )
        ).access_token
    client = CLIENTS.get(who)
    if client is None or client.secret is None or "client_credentials" not in client.grants:
        known = ", ".join(
            [*PEOPLE, *(client.client_id for client in CLIENTS.values() if "client_credentials" in client.grants)]
        )
        raise click.ClickException(f"Unknown person or client '{who}'; known are {known}")
    return asyncio.run(
        sign_in.client_credentials_token(issuer, client.client_id, client.secret, scopes, opaque=opaque)
    ).access_token
