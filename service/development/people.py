"""The demo people, their roles and the demo clients, as data. Pure: imports nothing of the service.

The development authorization server signs these people in, the demo data assigns them to teams, and the command line
prints them. Their passwords are public: they only work at a server that listens on loopback.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True)
class DemoPerson:
    """A person who can sign in. `subject` becomes the token's `sub`, `roles` its `roles` claim."""

    login: str
    name: str
    subject: str
    password: str = field(repr=False)
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DemoClient:
    """An OAuth client. Without a secret it is public (RFC 6749 section 2.1). A redirect URI on a loopback address
    without a port matches every port (RFC 8252 section 7.3). A client that `introspects` is a resource server. An
    `agent` acts for people, with tokens that it gets by the exchange of theirs. `post_logout_uris`: where people may
    return to after they signed out.
    """

    client_id: str
    secret: str | None = field(repr=False)
    name: str
    redirect_uris: tuple[str, ...]
    scopes: tuple[str, ...]
    grants: tuple[str, ...]
    first_party: bool = False
    signing_algorithm: str = "RS256"
    introspects: bool = False
    agent: bool = False
    post_logout_uris: tuple[str, ...] = ()


# The meaning of each scope, in the words and order of the consent page.
SCOPE_MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        "read:timesheets": "See timesheets that you may see",
        "create:timesheets": "Write your hours and submit them",
        "delete:timesheets": "Delete your drafts",
        "approve:timesheets": "Approve or reject the hours of people you lead",
        "batch:upload": "Upload hours of many people at once, as a machine",
        "read:audit": "Read who did what, and why it was allowed or refused",
        "read:policies": "Read the access policy",
        "write:policies": "Change the access policy",
        "manage:directory": "Manage people, teams and projects",
        "manage:tokens": "Revoke access tokens",
    }
)

# Those of OpenID: everybody may grant them, and they let a client do nothing at the API.
OPENID_MEANINGS: Mapping[str, str] = MappingProxyType({"openid": "Know that it is you", "profile": "Know your name"})
ALL_MEANINGS: Mapping[str, str] = MappingProxyType({**OPENID_MEANINGS, **SCOPE_MEANINGS})

_OWN_HOURS = ("read:timesheets", "create:timesheets", "delete:timesheets")

ROLE_SCOPES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "employee": _OWN_HOURS,
        "manager": (*_OWN_HOURS, "approve:timesheets"),
        "auditor": ("read:audit", "read:timesheets", "read:policies"),
        "payroll": ("read:timesheets", "approve:timesheets"),
        "policy-author": ("read:policies", "write:policies", "read:audit"),
        "administrator": ("manage:directory", "manage:tokens", "read:audit"),
    }
)


def scopes_of(person: DemoPerson) -> frozenset[str]:
    """The scopes that this person can grant, by their roles."""
    return frozenset(scope for role in person.roles for scope in ROLE_SCOPES[role])


def grantable_scopes(person: DemoPerson) -> frozenset[str]:
    """The scopes that this person can grant, with those of OpenID."""
    return scopes_of(person) | OPENID_MEANINGS.keys()


def sort_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """The known scopes among these, each once, in the order of the consent page."""
    chosen = frozenset(scopes)
    return tuple(scope for scope in ALL_MEANINGS if scope in chosen)


def _person(login: str, name: str, *roles: str) -> DemoPerson:
    return DemoPerson(login=login, name=name, subject=f"dev|{login}", password=f"{login}-demo", roles=roles)


PEOPLE: Mapping[str, DemoPerson] = MappingProxyType(
    {
        person.login: person
        for person in (
            _person("ana", "Ana Lima", "employee"),
            _person("ben", "Ben Okafor", "employee"),
            _person("mia", "Mia Novak", "manager"),
            _person("max", "Max Weber", "manager"),
            _person("dora", "Dora Haas", "manager"),
            _person("carl", "Carl Dupont", "employee"),
            _person("audrey", "Audrey Stone", "auditor"),
            _person("paula", "Paula Costa", "policy-author"),
            _person("adam", "Adam Reyes", "administrator"),
            _person("pia", "Pia Moreau", "payroll"),
            _person("pablo", "Pablo Ruiz", "payroll"),
        )
    }
)

CLIENTS: Mapping[str, DemoClient] = MappingProxyType(
    {
        client.client_id: client
        for client in (
            DemoClient(
                client_id="timesheets-cli",
                secret=None,
                name="Timewarden command line",
                redirect_uris=("http://127.0.0.1/callback", "http://[::1]/callback"),
                scopes=tuple(scope for scope in SCOPE_MEANINGS if scope != "batch:upload"),
                grants=("authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"),
                first_party=True,
            ),
            DemoClient(
                client_id="timewarden-console",
                secret="timewarden-console-demo",  # noqa: S106  # as public as the passwords above
                name="Timewarden console",
                redirect_uris=("http://127.0.0.1/sign-in/callback", "http://[::1]/sign-in/callback"),
                scopes=tuple(scope for scope in ALL_MEANINGS if scope != "batch:upload"),
                grants=("authorization_code", "refresh_token"),
                first_party=True,
                post_logout_uris=("http://127.0.0.1/signed-out", "http://[::1]/signed-out"),
            ),
            DemoClient(
                client_id="hours-app",
                secret=None,
                name="Hours App",
                redirect_uris=("http://127.0.0.1:4200/callback",),
                scopes=(*_OWN_HOURS, "approve:timesheets"),
                grants=("authorization_code", "refresh_token"),
            ),
            DemoClient(
                client_id="payroll-import",
                secret="payroll-import-demo",  # noqa: S106
                name="Payroll import",
                redirect_uris=(),
                scopes=("batch:upload",),
                grants=("client_credentials",),
                first_party=True,
                signing_algorithm="ES256",
            ),
            DemoClient(
                client_id="assistant",
                secret="assistant-demo",  # noqa: S106
                name="Assistant, an agent that acts for people",
                redirect_uris=(),
                scopes=(*_OWN_HOURS, "approve:timesheets"),
                grants=("urn:ietf:params:oauth:grant-type:token-exchange",),
                agent=True,
            ),
            DemoClient(
                client_id="timewarden-api",
                secret="timewarden-api-demo",  # noqa: S106
                name="Timewarden itself, as a resource server",
                redirect_uris=(),
                scopes=(),
                grants=(),
                first_party=True,
                introspects=True,
            ),
        )
    }
)
