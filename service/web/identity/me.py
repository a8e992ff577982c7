"""GET /v1/me: who the token says you are, as the policy sees you, which teams you lead, and what this token may do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
from litestar import Response, get

from service.authorization.enforcement.changes import refused_under
from service.authorization.enforcement.prospects import known_outlooks, outlooks
from service.database import Turns
from service.directory import store
from service.web.http.answers import answered
from service.web.http.operations import operation
from service.web.http.parameters import Asking  # noqa: TC001 — Litestar reads handler signatures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.authorization.enforcement.gate import Gate
    from service.authorization.enforcement.prospects import Outlook
    from service.directory.entities import Team

# Seconds.
LONGEST_WAIT: Final = 10.0
BUSY: Final = "What others may do is being worked out, and that takes a while; ask again in a moment"


class LedTeam(msgspec.Struct):
    """A team that you lead, and with it all teams below."""

    id: str
    name: str


class May(msgspec.Struct, rename={"as_": "as"}):
    """What this token may do. `always`: whatever the resource. `depends`: as one of the relations `as` (none: for what
    you are anyway), while the resource is in one of `states` (none: in any). `needs-scope`: with one of `scopes`.
    `needs-sign-in`: after a stronger or fresher one. `never`: not as the policy stands."""

    kind: str
    action: str
    may: Literal["always", "depends", "needs-scope", "needs-sign-in", "never"]
    as_: list[str]
    states: list[str]
    scopes: list[str]


class Me(msgspec.Struct):
    """The principal of the token: kind, person (of a user), acting client, granted scopes, roles; the teams that the
    person leads; and what this token may do under the active policy version."""

    kind: str
    person: str | None
    client: str
    scopes: list[str]
    roles: list[str]
    teams_led: list[LedTeam]
    may: list[May]
    policy_version: int


def me_route(gate: Gate) -> Any:
    """The handler, bound to its use case."""
    one_at_a_time = Turns(1, timeout=LONGEST_WAIT, full=BUSY)

    @get("/v1/me", **operation("Who am I", scope=None, tag="Me"))
    async def read_me(ask: Asking) -> Response[Me]:
        principal = ask.principal
        async with gate.read(ask, "me", "read") as reading:
            teams: Sequence[Team] = []
            if principal.person:
                teams = await store.teams_led(reading.permit, reading.connection, principal.person)
        asked = reading.permit.snapshot, principal, reading.seen
        may = known_outlooks(*asked)
        if may is None:
            # When no connection is held, and beside the other requests: many rules take a while.
            with refused_under(reading.receipt):
                async with one_at_a_time.one():
                    may = await asyncio.to_thread(outlooks, *asked)
        roles = principal.roles | {f"role:{role}" for role in reading.seen.roles}
        me = Me(
            kind=str(principal.kind),
            person=str(principal.person) if principal.person else None,
            client=principal.client,
            scopes=sorted(principal.scopes),
            roles=sorted(role.removeprefix("role:") for role in roles),
            teams_led=[LedTeam(str(one.id), one.name) for one in teams],
            may=[_may(one) for one in may],
            policy_version=reading.seen.version,
        )
        return answered(me, reading.receipt)

    return read_me


def _may(one: Outlook) -> May:
    return May(one.kind, one.action, one.prospect.value, list(one.as_), list(one.states), list(one.scopes))
