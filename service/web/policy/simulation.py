"""POST /v1/policies/simulate: would this subject be allowed this action on this thing, under this version, and why?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from litestar import Response, post
from litestar.params import JSONBody  # noqa: TC002 — Litestar reads handler signatures

from service.administration.versions.simulated import MOST_WORDS, OLDEST, Asked, Subject, Thing
from service.web.http.answers import answered
from service.web.http.operations import BODY, COMMON, operation
from service.web.http.parameters import Asking, optional_uuid

if TYPE_CHECKING:
    from service.administration.versions.simulation import Simulated, Simulation
    from service.policy.question import Applied, Missing

MOST_NEAR = 50
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Words = Annotated[list[Word], msgspec.Meta(max_length=MOST_WORDS)]
Facts = Annotated[dict[Word, bool | None], msgspec.Meta(max_length=MOST_WORDS)]
Id = Annotated[str, msgspec.Meta(max_length=64)]


class SimulatedSubject(msgspec.Struct, forbid_unknown_fields=True):
    """Who would ask. `as` is `user` (through the client) or `client` (for itself). `roles` are names, as a token has
    them; `methods` is amr, `auth_age` the seconds since the sign-in: null when the token would not say."""

    client: Annotated[str, msgspec.Meta(min_length=1, max_length=128, examples=["hours-app"])]
    as_: Annotated[Literal["user", "client"], msgspec.Meta(examples=["user"])] = msgspec.field(
        name="as", default="user"
    )
    person: Annotated[Id | None, msgspec.Meta(examples=["0198c0de-0000-7000-8000-000000000000"])] = None
    scopes: Annotated[Words, msgspec.Meta(examples=[["approve:timesheets"]])] = msgspec.field(default_factory=list)
    roles: Annotated[Words, msgspec.Meta(examples=[["manager"]])] = msgspec.field(default_factory=list)
    methods: Annotated[Words | None, msgspec.Meta(examples=[["pwd", "mfa"]])] = None
    auth_age: Annotated[int, msgspec.Meta(ge=0, le=OLDEST, examples=[60])] | None = None


class SimulatedThing(msgspec.Struct, forbid_unknown_fields=True):
    """What it would be done to: a real timesheet by its `id`, or an imagined thing with the subject's `relations` to it
    and its `facts` (true, false, or null for unknown; what is left out is unknown)."""

    kind: Annotated[Word, msgspec.Meta(examples=["timesheet"])]
    id: Id | None = None
    state: Annotated[Word | None, msgspec.Meta(examples=["submitted"])] = None
    relations: Annotated[Words, msgspec.Meta(examples=[["manager"]])] = msgspec.field(default_factory=list)
    facts: Annotated[Facts, msgspec.Meta(examples=[{"acted_for_owner": False}])] = msgspec.field(default_factory=dict)


class SimulatedQuestion(msgspec.Struct, forbid_unknown_fields=True):
    """A whole question. Without a `version` it is asked of the active one."""

    subject: SimulatedSubject
    action: Annotated[Word, msgspec.Meta(examples=["approve"])]
    resource: SimulatedThing
    version: Annotated[int, msgspec.Meta(ge=1, le=2_147_483_647, examples=[1])] | None = None


class RuleConditions(msgspec.Struct):
    """A rule, and conditions of it: `who`, `state`, `scope` or `fact`, each with the word that the row has."""

    rule: str
    conditions: list[tuple[str, str]]


class SimulationBody(msgspec.Struct):
    """What would be decided. `near_misses` would have allowed but for their conditions, the 50 nearest at most, nearest
    first, and there are `more_near_misses`; `denied_because` says what each rule that denied asked for; `told` is what
    the subject would be told. `relations`, `facts` and `state` are what was decided on, `assumed` what was taken for
    granted."""

    verdict: str
    reason: str
    rules: list[str]
    near_misses: list[RuleConditions]
    more_near_misses: int
    denied_because: list[RuleConditions]
    told: list[str]
    version: int
    digest: str
    state: str | None
    relations: list[str]
    facts: dict[str, bool | None]
    assumed: list[str]


def simulation_route(simulation: Simulation) -> Any:
    """The handler, bound to its use case."""

    @post(
        "/v1/policies/simulate",
        status_code=200,
        **operation("Simulate a decision", scope="read:policies", problems=(*COMMON, *BODY), tag="Policy"),
    )
    async def simulate(ask: Asking, data: JSONBody[SimulatedQuestion]) -> Response[SimulationBody]:
        answer = await simulation.run(ask, _asked(data))
        return answered(_body(answer.value), answer.receipt)

    return simulate


def _asked(data: SimulatedQuestion) -> Asked:
    subject, thing = data.subject, data.resource
    return Asked(
        subject=Subject(
            client=subject.client,
            user=subject.as_ == "user",
            person=optional_uuid(subject.person, "subject.person"),
            scopes=frozenset(subject.scopes),
            roles=frozenset(subject.roles),
            methods=None if subject.methods is None else frozenset(subject.methods),
            auth_age=subject.auth_age,
        ),
        action=data.action,
        resource=Thing(
            thing.kind,
            optional_uuid(thing.id, "resource.id"),
            thing.state or "",
            frozenset(thing.relations),
            dict(thing.facts),
        ),
        version=data.version,
    )


def _body(one: Simulated) -> SimulationBody:
    decision, why = one.decision, one.explanation
    return SimulationBody(
        verdict="allow" if decision.allowed else "deny",
        reason=str(decision.verdict.reason),
        rules=list(decision.verdict.rules),
        near_misses=[_rule(miss) for miss in why.near_misses[:MOST_NEAR]],
        more_near_misses=max(0, len(why.near_misses) - MOST_NEAR),
        denied_because=[_rule(applied) for applied in why.denied_because],
        told=list(one.sentences),
        version=decision.version,
        digest=decision.digest,
        state=decision.request.resource.state or None,
        relations=sorted(decision.request.seen.relations),
        facts=dict(decision.request.facts),
        assumed=list(one.assumed),
    )


def _rule(one: Missing | Applied) -> RuleConditions:
    return RuleConditions(one.rule, list(one.conditions))
