"""POST /v1/policies/simulate: what a policy version would decide on a subject, an action and a resource, and why."""

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
from service.web.http.parameters import CurrentCaller, GivenPerson, parse_optional_uuid, parse_person
from service.web.http.responses import Action, Hex, ResourceKind, ResourceState, RuleName, make_response

if TYPE_CHECKING:
    from service.administration.versions.simulation import Simulated, Simulation
    from service.policy.access_request import Applied

MAX_NEAR = 50
Word = Annotated[str, Meta(min_length=1, max_length=128)]
Words = Annotated[list[Word], Meta(max_length=MAX_WORDS)]
Facts = Annotated[dict[Word, bool | None], Meta(max_length=MAX_WORDS)]
GivenAttributes = Annotated[dict[Word, str | int | bool | list[str | int | bool]], Meta(max_length=MAX_WORDS)]
Id = Annotated[str, Meta(max_length=64)]


class SimulatedSubject(msgspec.Struct, forbid_unknown_fields=True):
    """The simulated caller, as a token would describe them."""

    client: Annotated[
        str, Meta(description="The OAuth client's id", min_length=1, max_length=128, examples=["hours-app"])
    ]
    as_: Annotated[
        Literal["user", "client"],
        Meta(description="A `user` through the client, or the `client` for itself", examples=["user"]),
    ] = msgspec.field(name="as", default="user")
    person: GivenPerson | None = None
    scopes: Annotated[Words, Meta(description="Granted scopes", examples=[["approve:timesheets"]])] = msgspec.field(
        default_factory=list
    )
    roles: Annotated[Words, Meta(description="Names of roles", examples=[["manager"]])] = msgspec.field(
        default_factory=list
    )
    methods: Annotated[
        Words | None,
        Meta(description="The sign-in methods (`amr`); null: the token does not hold them", examples=[["pwd", "mfa"]]),
    ] = None
    auth_age: Annotated[
        Annotated[int, Meta(ge=0, le=OLDEST)] | None,
        Meta(description="Seconds since the sign-in; null: the token does not hold it", examples=[60]),
    ] = None
    actors: Annotated[
        Words, Meta(description="The clients that act for the caller, the current one first (RFC 8693)", examples=[[]])
    ] = msgspec.field(default_factory=list)
    agent: Annotated[bool, Meta(description="Whether one of them, or the client, is an agent")] = False
    attributes: Annotated[
        GivenAttributes,
        Meta(
            description="Attributes of the caller in the directory, without `principal.`, for an imagined resource",
            examples=[{"groups": ["finance"]}],
        ),
    ] = msgspec.field(default_factory=dict)


class SimulatedThing(msgspec.Struct, forbid_unknown_fields=True):
    """The resource: a real timesheet by its `id`, or an imagined resource."""

    kind: Annotated[ResourceKind, Meta(description="The kind of resource", min_length=1, max_length=128)]
    id: Annotated[
        Id | None, Meta(description="The id of a real timesheet that you may read, or of any if you may read the log")
    ] = None
    state: Annotated[
        Annotated[ResourceState, Meta(min_length=1, max_length=128)] | None,
        Meta(description="The state of an imagined resource", examples=["submitted"]),
    ] = None
    relations: Annotated[
        Words, Meta(description="The subject's relations to an imagined resource", examples=[["manager"]])
    ] = msgspec.field(default_factory=list)
    facts: Annotated[
        Facts,
        Meta(
            description="Facts about an imagined resource: true, false, or null for unknown. If left out, a fact with"
            " an expression follows from the attributes; others are unknown",
            examples=[{"acted_for_owner": False}],
        ),
    ] = msgspec.field(default_factory=dict)
    attributes: Annotated[
        GivenAttributes,
        Meta(
            description="Attributes of an imagined resource, without `resource.`",
            examples=[{"minutes": 2580, "projects": ["ATLAS"]}],
        ),
    ] = msgspec.field(default_factory=dict)


class SimulatedQuestion(msgspec.Struct, forbid_unknown_fields=True):
    """An access request to decide without effect."""

    subject: Annotated[SimulatedSubject, Meta(description="The simulated caller")]
    action: Annotated[Action, Meta(description="The action", min_length=1, max_length=128, examples=["approve"])]
    resource: Annotated[SimulatedThing, Meta(description="The resource")]
    version: Annotated[
        Annotated[int, Meta(ge=1, le=2_147_483_647)] | None,
        Meta(description="The policy version; if left out, the active version", examples=[1]),
    ] = None


class RuleConditions(msgspec.Struct):
    """A rule, and conditions of it."""

    rule: RuleName
    conditions: Annotated[
        list[tuple[Dimension, str]],
        Meta(description="What kind of condition it is, and the row's word for it", examples=[[["who", "manager"]]]),
    ]


class SimulatedMiss(RuleConditions):
    """A rule that misses some conditions."""

    missing: Annotated[
        list[str],
        Meta(
            description="The missing conditions as sentences about the subject, in the same order",
            examples=[["the caller was not manager of the timesheet"]],
        ),
    ]


class SimulationBody(msgspec.Struct):
    """The simulated decision, with its reasons."""

    verdict: Annotated[Effect, Meta(description="Whether it would be allowed", examples=["deny"])]
    reason: Annotated[Reason, Meta(description="Why", examples=["no-rule"])]
    rules: Annotated[list[RuleName], Meta(description="The rules that allow, or that deny", examples=[[]])]
    near_misses: Annotated[
        list[SimulatedMiss],
        Meta(description=f"The rules that miss the fewest conditions, nearest first, at most {MAX_NEAR}"),
    ]
    more_near_misses: Annotated[int, Meta(description="How many more near misses there are", ge=0, examples=[0])]
    denied_because: Annotated[
        list[RuleConditions], Meta(description="The conditions of each rule that denies", examples=[[]])
    ]
    told: Annotated[
        list[str],
        Meta(description="The sentences that the subject would get", examples=[["you do not lead this person's team"]]),
    ]
    version: Annotated[int, Meta(description="The policy version", ge=1, examples=[1])]
    digest: Annotated[Hex, Meta(description="Its SHA-256")]
    state: Annotated[
        str | None,
        Meta(description="The resource's state; null for a kind without states", examples=["submitted"]),
    ]
    relations: Annotated[
        list[str], Meta(description="The subject's relations to the resource", examples=[["colleague"]])
    ]
    facts: Annotated[
        dict[str, bool | None],
        Meta(
            description="The facts; null: unknown",
            examples=[{"mfa": False, "recent_sign_in": None}],
        ),
    ]
    assumed: Annotated[
        list[str],
        Meta(description="The assumptions of the simulation", examples=[["the token is valid and not revoked"]]),
    ]


def simulation_route(simulation: Simulation) -> Any:
    """The handler, bound to its use case."""

    @post(
        "/v1/policies/simulate",
        status_code=200,
        **operation("Simulate a decision", scope="read:policies", problems=(*COMMON, *BODY), tag="Policy"),
    )
    async def simulate(caller: CurrentCaller, data: JSONBody[SimulatedQuestion]) -> Response[SimulationBody]:
        answer = await simulation.run(caller, _to_request(data))
        return make_response(_body(answer.value), answer.receipt)

    return simulate


def _to_request(data: SimulatedQuestion) -> SimulatedRequest:
    subject, thing = data.subject, data.resource
    return SimulatedRequest(
        subject=Subject(
            client=subject.client,
            user=subject.as_ == "user",
            person=None if subject.person is None else parse_person(subject.person, "subject.person"),
            scopes=frozenset(subject.scopes),
            roles=frozenset(subject.roles),
            methods=None if subject.methods is None else frozenset(subject.methods),
            auth_age=subject.auth_age,
            actors=tuple(subject.actors),
            agent=subject.agent,
            attributes=subject.attributes,
        ),
        action=data.action,
        resource=SimulatedResource(
            thing.kind,
            parse_optional_uuid(thing.id, "resource.id"),
            thing.state or "",
            frozenset(thing.relations),
            dict(thing.facts),
            thing.attributes,
        ),
        version=data.version,
    )


def _body(simulated: Simulated) -> SimulationBody:
    decision, why = simulated.decision, simulated.explanation
    return SimulationBody(
        verdict=Effect.ALLOW if decision.allowed else Effect.DENY,
        reason=decision.verdict.reason,
        rules=list(decision.verdict.rules),
        near_misses=_near_misses(simulated),
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


def _near_misses(simulated: Simulated) -> list[SimulatedMiss]:
    return [
        SimulatedMiss(
            near.rule,
            [(condition.condition, condition.wanted) for condition in near.missing],
            [condition.sentence for condition in near.missing],
        )
        for near in simulated.near[:MAX_NEAR]
    ]


def _rule(applied: Applied) -> RuleConditions:
    return RuleConditions(applied.rule, list(applied.conditions))
