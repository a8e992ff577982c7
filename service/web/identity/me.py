"""GET /v1/me: the caller's identity, roles and teams, and what the token may do under the active policy."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, cast

import msgspec
from litestar import Response, get
from msgspec import Meta

from service.authorization.enforcement.attribute_values import GROUPS, PROJECTS_LED
from service.authorization.enforcement.capabilities import (
    Availability,
    list_capabilities,
    list_requestable,
    recall_capabilities,
)
from service.authorization.enforcement.changes import refused_under
from service.authorization.enforcement.names import load_names_of_row
from service.database import Turns
from service.directory import access_request_store, store
from service.identity.principal import PrincipalKind
from service.policy.paths import NodeType
from service.web.http.direct_routes import DIRECT
from service.web.http.operations import operation
from service.web.http.parameters import CurrentCaller, WithNames  # noqa: TC001 — Litestar reads handler signatures
from service.web.http.responses import (
    Action,
    ClientId,
    Id,
    Names,
    PersonId,
    ResourceKind,
    ResourceState,
    TeamId,
    Time,
    make_response,
    names_body,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from service.authorization.enforcement.capabilities import Capability, Requestable
    from service.authorization.enforcement.gate import Gate
    from service.directory.entities import RequestedAccess, Team
    from service.policy.access_request import Vocabulary

MAX_WAIT_SECONDS: Final = 10.0
# The members of an access request that name these.
PLACES: Final = {NodeType.PROJECTS: "project", NodeType.TEAMS: "team"}
BUSY: Final = "Many requests for capabilities are being computed; try again in a moment"


class LedTeam(msgspec.Struct):
    """A team that you lead, including all teams below it."""

    id: TeamId
    name: Annotated[str, Meta(description="The team's name", examples=["Atlas"])]


class HeldAccess(msgspec.Struct):
    """An access request of yours that is open, or access that was granted to you and has not ended."""

    id: Annotated[Id, Meta(description="The access request's id")]
    relation: Annotated[str, Meta(description="The relation", examples=["temporary_approver"])]
    team: Annotated[
        TeamId | None, Meta(description="To the timesheets of this team and the teams below it; null: of a project")
    ]
    project: Annotated[
        str | None, Meta(description="To those with hours on this project; null: of a team", examples=[None])
    ]
    state: Annotated[Literal["open", "granted"], Meta(description="Whether it was granted", examples=["granted"])]
    from_: Annotated[Time, Meta(description="The beginning, inclusive")] = msgspec.field(name="from")
    until: Annotated[Time, Meta(description="The end, exclusive", examples=["2026-11-27T17:00:00Z"])]


class GivenAction(msgspec.Struct):
    """An action on timesheets that access would let you do."""

    action: Annotated[Action, Meta(description="The action", examples=["approve"])]
    sentence: Annotated[str, Meta(description="It in words", examples=["approve a timesheet that was handed in"])]
    may: Annotated[
        Literal["depends", "needs-sign-in", "needs-scope"],
        Meta(
            description="`depends`: with this token. `needs-sign-in`: after a stronger or more recent sign-in."
            " `needs-scope`: with one of `scopes`",
            examples=["depends"],
        ),
    ]
    states: Annotated[
        list[ResourceState],
        Meta(description="The timesheet must be in one of these states; empty: in any", examples=[["submitted"]]),
    ]
    scopes: Annotated[list[str], Meta(description="You need one of these scopes", examples=[[]])]


class RequestableRelation(msgspec.Struct):
    """A relation that you can ask for at /v1/access-requests, and what it would let you do there until it ends."""

    relation: Annotated[str, Meta(description="The relation: send it as `relation`", examples=["temporary_approver"])]
    on: Annotated[
        list[Literal["project", "team"]],
        Meta(
            description="Where: name one as `team` (for its timesheets and those of the teams below it) or as `project`"
            " (for those with hours on it)",
            examples=[["team"]],
        ),
    ]
    may: Annotated[list[GivenAction], Meta(description="What it would let you do to timesheets there")]


class May(msgspec.Struct, rename={"as_": "as"}):
    """The rights of this token for one action on one kind of resource."""

    kind: Annotated[ResourceKind, Meta(description="The kind of resource")]
    action: Annotated[Action, Meta(description="The action", examples=["approve"])]
    may: Annotated[
        Availability,
        Meta(
            description="`always`: on every resource. `depends`: with one of the relations `as`, in one of `states`."
            " `needs-scope`: with one of `scopes`. `needs-sign-in`: after a stronger or more recent sign-in. `never`:"
            " not under this policy. Where rules have too many facts to try, what might be possible counts as possible",
            examples=["depends"],
        ),
    ]
    as_: Annotated[
        list[str], Meta(description="You need one of these relations; empty: none is needed", examples=[["manager"]])
    ]
    states: Annotated[
        list[ResourceState],
        Meta(description="The resource must be in one of these states; empty: in any", examples=[["submitted"]]),
    ]
    scopes: Annotated[list[str], Meta(description="You need one of these scopes", examples=[[]])]


class Me(msgspec.Struct):
    """The principal of the token, and what the token may do under the active policy version."""

    kind: Annotated[
        PrincipalKind, Meta(description="A `user` who acts through a client, or a `client` itself", examples=["user"])
    ]
    person: Annotated[PersonId | None, Meta(description="The id of the person; null for a client")]
    client: Annotated[ClientId, Meta(description="The id of the OAuth client that acts")]
    actors: Annotated[
        list[str],
        Meta(
            description="The clients that act for the caller by delegation, the current one first (`act`, RFC 8693)."
            " `(unlisted)`: not known to be a client",
            examples=[[]],
        ),
    ]
    agent: Annotated[
        bool | None, Meta(description="Whether one of them is an agent; null if that is not known", examples=[False])
    ]
    scopes: Annotated[list[str], Meta(description="The scopes that were granted", examples=[["approve:timesheets"]])]
    roles: Annotated[list[str], Meta(description="Roles from the token and the directory", examples=[["manager"]])]
    groups: Annotated[list[str], Meta(description="The groups that the person is in", examples=[["works-council"]])]
    teams_led: Annotated[list[LedTeam], Meta(description="The teams that the person leads")]
    projects_led: Annotated[
        list[str], Meta(description="The codes of the projects that the person leads", examples=[["ATLAS"]])
    ]
    access: Annotated[list[HeldAccess], Meta(description="Your open access requests, and access that was granted")]
    requestable: Annotated[
        list[RequestableRelation],
        Meta(
            description="What access you can ask for; empty: none, or not with this token. Relations and actions that"
            " take too long to find out are left out"
        ),
    ]
    may: Annotated[list[May], Meta(description="What the token may do, for each action")]
    policy_version: Annotated[int, Meta(description="The active policy version", ge=1, examples=[7])]
    names: Names = msgspec.UNSET


def me_route(gate: Gate) -> Any:
    """The handler, bound to the gate."""
    turns = Turns(1, timeout=MAX_WAIT_SECONDS, full=BUSY)

    @get("/v1/me", opt=DIRECT, **operation("Read your identity and capabilities", scope=None, tag="Me"))
    async def read_me(
        caller: CurrentCaller,
        names: WithNames = False,  # noqa: FBT002 — a query parameter
    ) -> Response[Me]:
        principal = caller.principal
        async with gate.read(caller, "me", "read") as reading:
            teams: Sequence[Team] = []
            access: Sequence[RequestedAccess] = []
            if principal.person:
                access = await access_request_store.list_own(reading.permit, reading.connection, principal.person)
                teams = await store.list_led_teams(reading.permit, reading.connection, principal.person)
            projects = reading.lookup.list_of_caller(PROJECTS_LED)
            named = [str(principal.person), *projects, *(str(held.team or held.project) for held in access)]
            known = await load_names_of_row(reading, named) if names else None
        asked = reading.permit.snapshot, principal, reading.lookup
        may = recall_capabilities(*asked)
        if may is None:
            # In a thread and without a database connection, because a large policy takes a while.
            with refused_under(reading.receipt):
                async with turns.take():
                    await asyncio.to_thread(list_requestable, *asked)
                    may = await asyncio.to_thread(list_capabilities, *asked)
        roles = principal.roles | {f"role:{role}" for role in reading.lookup.roles}
        me = Me(
            kind=principal.kind,
            person=str(principal.person) if principal.person else None,
            client=principal.client,
            actors=list(principal.actors),
            agent=principal.agent,
            scopes=sorted(principal.scopes),
            roles=sorted(role.removeprefix("role:") for role in roles),
            groups=reading.lookup.list_of_caller(GROUPS),
            teams_led=[LedTeam(str(team.id), team.name) for team in teams],
            projects_led=projects,
            access=[_access(held) for held in access],
            requestable=[_requestable(found, reading.permit.snapshot.vocabulary) for found in list_requestable(*asked)],
            may=[_may(capability) for capability in may],
            policy_version=reading.lookup.version,
            names=names_body(known),
        )
        return make_response(me, reading.receipt)

    return read_me


def _access(held: RequestedAccess) -> HeldAccess:
    return HeldAccess(
        id=str(held.id),
        relation=held.relation,
        team=None if held.team is None else str(held.team),
        project=held.project,
        state=cast("Any", held.state),
        from_=cast("datetime", held.time.valid_from),
        until=cast("datetime", held.time.valid_to),
    )


def _requestable(found: Requestable, vocabulary: Vocabulary) -> RequestableRelation:
    may = [
        GivenAction(
            given.action,
            vocabulary.descriptions.get(f"action.{given.kind}.{given.action}", given.action),
            cast("Any", given.availability.value),
            list(given.states),
            list(given.scopes),
        )
        for given in found.may
    ]
    return RequestableRelation(found.relation, sorted(cast("Any", PLACES[node]) for node in found.on), may)


def _may(found: Capability) -> May:
    return May(found.kind, found.action, found.availability, list(found.as_), list(found.states), list(found.scopes))
