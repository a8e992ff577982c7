"""POST /v1/policies/simulate: would this subject be allowed this action on this thing, under this version, and why?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from litestar import Response, post
from litestar.params import JSONBody  # noqa: TC002 — Litestar reads handler signatures
from msgspec import Meta

from service.administration.versions.simulated_request import (
    MAX_WORDS,
    OLDEST,
    SimulatedRequest,
    SimulatedResource,
    Subject,
)
from service.policy.access_request import Dimension, Effect, Reason
from service.web.http.operations import BODY, COMMON, operation
from service.web.http.parameters import CurrentCaller, parse_optional_uuid
from service.web.http.responses import Hex, RuleName, make_response

if TYPE_CHECKING:
    from service.administration.versions.simulation import Simulated, Simulation
    from service.policy.access_request import Applied, NearRule

MAX_NEAR = 50
Word = Annotated[str, Meta(min_length=1, max_length=128)]
Words = Annotated[list[Word], Meta(max_length=MAX_WORDS)]
Facts = Annotated[dict[Word, bool | None], Meta(max_length=MAX_WORDS)]
Id = Annotated[str, Meta(max_length=64)]


class SimulatedSubject(msgspec.Struct, forbid_unknown_fields=True):
    """Who would ask, as a token would say it."""

    client: Annotated[
        str, Meta(description="The OAuth client's id", min_length=1, max_length=128, examples=["hours-app"])
    ]
    as_: Annotated[
        Literal["user", "client"],
        Meta(description="A `user` through the client, or the `client` for itself", examples=["user"]),
    ] = msgspec.field(name="as", default="user")
    person: Annotated[
        Id | None, Meta(description="The id of the person", examples=["0198c0de-0000-7000-8000-000000000000"])
    ] = None
    scopes: Annotated[Words, Meta(description="Granted scopes", examples=[["approve:timesheets"]])] = msgspec.field(
        default_factory=list
    )
    roles: Annotated[Words, Meta(description="Names of roles", examples=[["manager"]])] = msgspec.field(
        default_factory=list
    )
    methods: Annotated[
        Words | None,
        Meta(description="How they signed in (`amr`); null: the token does not say", examples=[["pwd", "mfa"]]),
    ] = None
    auth_age: Annotated[
        Annotated[int, Meta(ge=0, le=OLDEST)] | None,
        Meta(description="Seconds since the sign-in; null: the token does not say", examples=[60]),
    ] = None


class SimulatedThing(msgspec.Struct, forbid_unknown_fields=True):
    """What it would be done to: a real timesheet by its `id`, or an imagined resource."""

    kind: Annotated[Word, Meta(description="The kind of resource", examples=["timesheet"])]
    id: Annotated[Id | None, Meta(description="The id of a real timesheet")] = None
    state: Annotated[Word | None, Meta(description="The state of an imagined one", examples=["submitted"])] = None
    relations: Annotated[Words, Meta(description="What the subject is to an imagined one", examples=[["manager"]])] = (
        msgspec.field(default_factory=list)
    )
    facts: Annotated[
        Facts,
        Meta(
            description="Facts about an imagined one: true, false, or null for unknown. What is left out is unknown",
            examples=[{"acted_for_owner": False}],
        ),
    ] = msgspec.field(default_factory=dict)


class SimulatedQuestion(msgspec.Struct, forbid_unknown_fields=True):
    """An access request to decide without effect."""

    subject: Annotated[SimulatedSubject, Meta(description="Who would ask")]
    action: Annotated[Word, Meta(description="What they would do", examples=["approve"])]
    resource: Annotated[SimulatedThing, Meta(description="What they would do it to")]
    version: Annotated[
        Annotated[int, Meta(ge=1, le=2_147_483_647)] | None,
        Meta(description="The policy version to ask; left out, the active one", examples=[1]),
    ] = None


class RuleConditions(msgspec.Struct):
    """A rule, and conditions of it."""

    rule: RuleName
    conditions: Annotated[
        list[tuple[Dimension, str]],
        Meta(description="What kind of condition it is, and the row's word for it", examples=[[["who", "manager"]]]),
    ]


class SimulationBody(msgspec.Struct):
    """What would be decided, and why."""

    verdict: Annotated[Effect, Meta(description="Whether it would be allowed", examples=["deny"])]
    reason: Annotated[Reason, Meta(description="Why", examples=["no-rule"])]
    rules: Annotated[list[RuleName], Meta(description="The rules that allow, or that deny", examples=[[]])]
    near_misses: Annotated[
        list[RuleConditions],
        Meta(description=f"The rules that miss the fewest conditions, nearest first, at most {MAX_NEAR}"),
    ]
    more_near_misses: Annotated[int, Meta(description="How many more near misses there are", ge=0, examples=[0])]
    denied_because: Annotated[
        list[RuleConditions], Meta(description="What each rule that denies asks for", examples=[[]])
    ]
    told: Annotated[
        list[str],
        Meta(description="What the subject would be told", examples=[["you do not lead this person's team"]]),
    ]
    version: Annotated[int, Meta(description="The policy version that was asked", ge=1, examples=[1])]
    digest: Annotated[Hex, Meta(description="Its SHA-256")]
    state: Annotated[
        str | None,
        Meta(description="The resource's state; null for a kind without states", examples=["submitted"]),
    ]
    relations: Annotated[list[str], Meta(description="What the subject is to the resource", examples=[["colleague"]])]
    facts: Annotated[
        dict[str, bool | None],
        Meta(
            description="The facts that were decided on; null: unknown",
            examples=[{"mfa": False, "recent_sign_in": None}],
        ),
    ]
    assumed: Annotated[
        list[str],
        Meta(description="What was taken for granted", examples=[["the token is valid and was not revoked"]]),
    ]


def simulation_route(simulation: Simulation) -> Any:
    """The handler, bound to its use case."""

    @post(
        "/v1/policies/simulate",
        status_code=200,
        **operation("Simulate a decision", scope="read:policies", problems=(*COMMON, *BODY), tag="Policy"),
    )
    async def simulate(caller: CurrentCaller, data: JSONBody[SimulatedQuestion]) -> Response[SimulationBody]:
        answer = await simulation.run(caller, _asked(data))
        return make_response(_body(answer.value), answer.receipt)

    return simulate


def _asked(data: SimulatedQuestion) -> SimulatedRequest:
    subject, thing = data.subject, data.resource
    return SimulatedRequest(
        subject=Subject(
            client=subject.client,
            user=subject.as_ == "user",
            person=parse_optional_uuid(subject.person, "subject.person"),
            scopes=frozenset(subject.scopes),
            roles=frozenset(subject.roles),
            methods=None if subject.methods is None else frozenset(subject.methods),
            auth_age=subject.auth_age,
        ),
        action=data.action,
        resource=SimulatedResource(
            thing.kind,
            parse_optional_uuid(thing.id, "resource.id"),
            thing.state or "",
            frozenset(thing.relations),
            dict(thing.facts),
        ),
        version=data.version,
    )


def _body(simulated: Simulated) -> SimulationBody:
    decision, why = simulated.decision, simulated.explanation
    return SimulationBody(
        verdict=Effect.ALLOW if decision.allowed else Effect.DENY,
        reason=decision.verdict.reason,
        rules=list(decision.verdict.rules),
        near_misses=[_rule(miss) for miss in why.near_misses[:MAX_NEAR]],
        more_near_misses=max(0, len(why.near_misses) - MAX_NEAR),
        denied_because=[_rule(applied) for applied in why.denied_because],
        told=list(simulated.sentences),
        version=decision.version,
        digest=decision.digest,
        state=decision.request.resource.state or None,
        relations=sorted(decision.request.lookup.relations),
        facts=dict(decision.request.facts),
        assumed=list(simulated.assumed),
    )


def _rule(missing: NearRule | Applied) -> RuleConditions:
    return RuleConditions(missing.rule, list(missing.conditions))
