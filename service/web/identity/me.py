"""GET /v1/me: who the token says you are, as the policy sees you, which teams you lead, and what this token may do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from litestar import Response, get
from msgspec import Meta

from service.authorization.enforcement.capabilities import Availability, list_capabilities, recall_capabilities
from service.authorization.enforcement.changes import refused_under
from service.database import Turns
from service.directory import store
from service.identity.principal import PrincipalKind
from service.web.http.operations import operation
from service.web.http.parameters import CurrentCaller  # noqa: TC001 — Litestar reads handler signatures
from service.web.http.responses import Action, ClientId, PersonId, ResourceKind, ResourceState, TeamId, make_response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.authorization.enforcement.capabilities import Capability
    from service.authorization.enforcement.gate import Gate
    from service.directory.entities import Team

# Seconds.
LONGEST_WAIT: Final = 10.0
BUSY: Final = "What others may do is being worked out, and that takes a while; ask again in a moment"


class LedTeam(msgspec.Struct):
    """A team that you lead, and with it all teams below."""

    id: TeamId
    name: Annotated[str, Meta(description="What it is called", examples=["Atlas"])]


class May(msgspec.Struct, rename={"as_": "as"}):
    """What this token may do with one action on one kind of resource."""

    kind: Annotated[ResourceKind, Meta(description="The kind of resource")]
    action: Annotated[Action, Meta(description="The action", examples=["approve"])]
    may: Annotated[
        Availability,
        Meta(
            description="`always`: on every resource. `depends`: as one of `as`, in one of `states`. `needs-scope`:"
            " with one of `scopes`. `needs-sign-in`: after a stronger or fresher sign-in. `never`: not under this"
            " policy",
            examples=["depends"],
        ),
    ]
    as_: Annotated[
        list[str], Meta(description="Relations of which you need one; none: you need none", examples=[["manager"]])
    ]
    states: Annotated[
        list[ResourceState],
        Meta(description="States in which the resource must be; none: any", examples=[["submitted"]]),
    ]
    scopes: Annotated[list[str], Meta(description="Scopes of which one would help", examples=[[]])]


class Me(msgspec.Struct):
    """The principal of the token, and what the token may do under the active policy version."""

    kind: Annotated[
        PrincipalKind, Meta(description="A `user` through a client, or a `client` for itself", examples=["user"])
    ]
    person: Annotated[PersonId | None, Meta(description="The id of the person; null for a client")]
    client: Annotated[ClientId, Meta(description="The id of the OAuth client that acts")]
    scopes: Annotated[list[str], Meta(description="The scopes that were granted", examples=[["approve:timesheets"]])]
    roles: Annotated[list[str], Meta(description="Roles by the token and by the directory", examples=[["manager"]])]
    teams_led: Annotated[list[LedTeam], Meta(description="The teams that the person leads")]
    may: Annotated[list[May], Meta(description="What the token may do, action by action")]
    policy_version: Annotated[int, Meta(description="The policy version that says so", ge=1, examples=[7])]


def me_route(gate: Gate) -> Any:
    """The handler, bound to its use case."""
    one_at_a_time = Turns(1, timeout=LONGEST_WAIT, full=BUSY)

    @get("/v1/me", **operation("Who am I", scope=None, tag="Me"))
    async def read_me(caller: CurrentCaller) -> Response[Me]:
        principal = caller.principal
        async with gate.read(caller, "me", "read") as reading:
            teams: Sequence[Team] = []
            if principal.person:
                teams = await store.teams_led(reading.permit, reading.connection, principal.person)
        asked = reading.permit.snapshot, principal, reading.lookup
        may = recall_capabilities(*asked)
        if may is None:
            # When no connection is held, and beside the other requests: many rules take a while.
            with refused_under(reading.receipt):
                async with one_at_a_time.one():
                    may = await asyncio.to_thread(list_capabilities, *asked)
        roles = principal.roles | {f"role:{role}" for role in reading.lookup.roles}
        me = Me(
            kind=principal.kind,
            person=str(principal.person) if principal.person else None,
            client=principal.client,
            scopes=sorted(principal.scopes),
            roles=sorted(role.removeprefix("role:") for role in roles),
            teams_led=[LedTeam(str(team.id), team.name) for team in teams],
            may=[_may(one) for one in may],
            policy_version=reading.lookup.version,
        )
        return make_response(me, reading.receipt)

    return read_me


def _may(one: Capability) -> May:
    return May(one.kind, one.action, one.availability, list(one.as_), list(one.states), list(one.scopes))
