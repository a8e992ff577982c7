"""GET /v1/decisions/{id}/explanation: explains a recorded decision under the policy version that made it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import msgspec
from litestar import Response, get
from litestar.params import FromPath  # noqa: TC002 — Litestar reads handler signatures
from msgspec import Meta

from service.administration.replay.recorded_explanation import explain_record
from service.administration.replay.recorded_request import NotARequest, parse_request
from service.audit import search
from service.authorization.enforcement.changes import refused_under
from service.errors import NotFound
from service.policy.access_request import Effect, Reason
from service.web.http.operations import ROW, operation
from service.web.http.parameters import CurrentCaller, parse_uuid
from service.web.http.problem_documents import MissingCondition
from service.web.http.responses import DecisionId, RuleName, make_response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from service.administration.replay.recorded_explanation import NearRow, RecordedExplanation, RuleRow
    from service.administration.replay.recorded_request import RecordedRequest
    from service.authorization.enforcement.gate import Gate
    from service.authorization.engine.engine import Snapshot
    from service.database import Connection
    from service.identity.principal import Principal

    Found = tuple[RecordedRequest | None, list[str]]


class ExplainedRow(msgspec.Struct):
    """A rule of the version's policy.csv."""

    rule: Annotated[RuleName, Meta(examples=["never-own-hours"])]
    effect: Annotated[Effect, Meta(description="Whether it allows or denies", examples=["deny"])]
    line: Annotated[int, Meta(description="Its line in policy.csv, from 1", ge=0, examples=[31])]
    text: Annotated[
        str,
        Meta(
            description="The row",
            examples=["p, deny, owner, approve, any, timesheet, any, always, never-own-hours"],
        ),
    ]


class ExplainedCondition(MissingCondition):
    """A condition of a rule that did not hold."""

    sentence: Annotated[
        str,
        Meta(
            description='What was missing, as a sentence about the caller; for your own decisions it says "you"',
            examples=["the caller was not manager of the timesheet"],
        ),
    ]


class ExplainedMiss(ExplainedRow):
    """A rule that would have allowed if the missing conditions had held."""

    missing: Annotated[list[ExplainedCondition], Meta(description="The conditions that did not hold")]


class ExplainedFact(msgspec.Struct):
    """A fact that the policy version defines, as it was evaluated."""

    fact: Annotated[str, Meta(description="Its name", examples=["overtime"])]
    value: Annotated[
        Literal["true", "false", "unknown"], Meta(description="Its value in the decision", examples=["true"])
    ]
    expression: Annotated[str, Meta(description="Its expression", examples=["resource.minutes > 2400"])]
    values: Annotated[
        dict[str, str],
        Meta(description="The values that the expression saw, as text", examples=[{"resource.minutes": "2580"}]),
    ]


class ExplanationBody(msgspec.Struct):
    """The explanation of a decision."""

    decision: DecisionId
    policy_version: Annotated[int, Meta(description="The policy version that decided", ge=1, examples=[1])]
    outcome: Annotated[Effect, Meta(description="The outcome", examples=["deny"])]
    reason: Annotated[Reason, Meta(description="The reason, as a word", examples=["deny-rule"])]
    because: Annotated[
        str,
        Meta(
            description="The reason, as a sentence",
            examples=["A rule of the policy denied this, even if others allowed it"],
        ),
    ]
    actors: Annotated[
        list[str],
        Meta(description="Who acted for the caller by delegation, the current actor first (RFC 8693)", examples=[[]]),
    ]
    rules: Annotated[
        list[ExplainedRow], Meta(description="The rules that allowed or denied; for a list, those that can allow rows")
    ]
    near_misses: Annotated[
        list[ExplainedMiss],
        Meta(description="For a denial without a rule: rules that would have allowed, nearest first", examples=[[]]),
    ]
    scopes: Annotated[list[str], Meta(description="Scopes, one of which the token needs", examples=[[]])]
    request_access: Annotated[
        str | None,
        Meta(
            description="The relation that alone was missing, if the person could have asked for it; null: none",
            examples=["temporary_approver"],
        ),
    ]
    facts: Annotated[
        list[ExplainedFact],
        Meta(description="The facts of these rules that the version defines by an expression", examples=[[]]),
    ]


def decision_explanation_route(gate: Gate, version: Callable[[int], Awaitable[Snapshot]]) -> Any:
    """The handler; `version` loads the policy version of a number."""

    @get(
        "/v1/decisions/{decision_id:str}/explanation",
        **operation("Explain a decision", scope="read:audit", problems=ROW, tag="Decision log"),
    )
    async def explain_decision(caller: CurrentCaller, decision_id: FromPath[str]) -> Response[ExplanationBody]:
        uid = parse_uuid(decision_id, "path.decision_id")
        async with gate.read(caller, "log", "read") as reading:
            recorded, reading.returned = await _load_request(reading.connection, uid)
        with refused_under(reading.receipt):
            if recorded is None:
                raise NotFound("No such decision")
            # Outside the transaction, as the version may have to be loaded.
            snapshot = await version(recorded.version)
        # In a thread, as every rule is evaluated.
        own = _is_own(recorded.request.principal, caller.principal, reading.lookup.ids)
        why = await asyncio.to_thread(explain_record, snapshot, recorded, to_caller=own)
        return make_response(_body(recorded, why), reading.receipt)

    return explain_decision


async def _load_request(connection: Connection, uid: UUID) -> Found:
    found = await search.load_decision(connection, uid)
    if found is None:
        return None, []
    try:
        return parse_request(found.json, found.texts), [str(uid)]
    except NotARequest:
        return None, [str(uid)]


def _is_own(caller: Principal, reader: Principal, ids: frozenset[UUID]) -> bool:
    """Whether the reader was the caller: the same person, by any of their `ids`, or the same client."""
    if caller.person is not None:
        return caller.person in {reader.person, *ids}
    return reader.person is None and caller.client == reader.client


def _body(recorded: RecordedRequest, why: RecordedExplanation) -> ExplanationBody:
    verdict = recorded.verdict
    return ExplanationBody(
        decision=recorded.uid,
        policy_version=recorded.version,
        outcome=Effect.ALLOW if verdict.allowed else Effect.DENY,
        reason=verdict.reason,
        because=why.because,
        actors=list(recorded.request.principal.actors),
        rules=[_row(row) for row in why.rows],
        near_misses=[_near_miss(row) for row in why.near],
        scopes=list(why.scopes),
        request_access=why.requestable,
        facts=[
            ExplainedFact(fact.name, cast("Any", fact.value), fact.expression, dict(fact.values)) for fact in why.facts
        ],
    )


def _row(row: RuleRow) -> ExplainedRow:
    return ExplainedRow(row.rule, Effect(row.effect), row.line, row.text)


def _near_miss(near_row: NearRow) -> ExplainedMiss:
    row = near_row.row
    missing = [ExplainedCondition(lack.condition, lack.wanted, lack.sentence) for lack in near_row.missing]
    return ExplainedMiss(row.rule, Effect(row.effect), row.line, row.text, missing)
