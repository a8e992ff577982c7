"""GET /v1/decisions/{id}/explanation: why a recorded decision is what it is, under the version that made it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Response, get
from litestar.params import FromPath  # noqa: TC002 — Litestar reads handler signatures

from service.administration.replay.recorded_explanation import explained
from service.administration.replay.recorded_request import NotARequest, read
from service.audit import search
from service.authorization.enforcement.changes import refused_under
from service.errors import NotFound
from service.log.record import Kind
from service.web.http.answers import answered
from service.web.http.operations import ROW, operation
from service.web.http.parameters import Asking, uuid_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from service.administration.replay.recorded_explanation import NearRow, RecordedExplanation, Row
    from service.administration.replay.recorded_request import RecordedRequest
    from service.authorization.enforcement.gate import Gate
    from service.authorization.engine.engine import Snapshot
    from service.database import Connection
    from service.identity.principal import Principal

    Found = tuple[RecordedRequest | None, list[str]]


class ExplainedRow(msgspec.Struct):
    """A rule as it stands in the version's policy.csv."""

    rule: str
    effect: str
    line: int
    text: str


class ExplainedCondition(msgspec.Struct):
    """What a rule wanted and did not find: `condition` is `who`, `state`, `scope` or `fact`, `wanted` the row's word.
    The sentence speaks of the caller; of your own decisions it says "you"."""

    condition: str
    wanted: str
    sentence: str


class ExplainedMiss(ExplainedRow):
    """A rule that would have allowed but for what is missing."""

    missing: list[ExplainedCondition]


class ExplanationBody(msgspec.Struct):
    """Why a decision is what it is. `rules` allowed or denied it; for a list they could show rows. For a denial without
    a rule, `near_misses` would have allowed, nearest first; one of `scopes` would help."""

    decision: str
    policy_version: int
    outcome: str
    reason: str
    because: str
    rules: list[ExplainedRow]
    near_misses: list[ExplainedMiss]
    scopes: list[str]


def decision_explanation_route(gate: Gate, version: Callable[[int], Awaitable[Snapshot]]) -> Any:
    """The handler, bound to the log; `version` gives the policy version of a number."""

    @get(
        "/v1/decisions/{decision_id:str}/explanation",
        **operation("Explain a decision", scope="read:audit", problems=ROW, tag="Decision log"),
    )
    async def explain_decision(ask: Asking, decision_id: FromPath[str]) -> Response[ExplanationBody]:
        uid = uuid_of(decision_id, "path.decision_id")
        async with gate.read(ask, "log", "read", record_kind=Kind.ACCESS) as reading:
            recorded, reading.returned = await _recorded(reading.connection, uid)
        with refused_under(reading.receipt):
            if recorded is None:
                raise NotFound("There is no such decision")
            # Only now, when no connection is held: the version may have to be loaded.
            snapshot = await version(recorded.version)
        # Beside the other requests: each rule is looked at.
        own = _is_own(recorded.request.principal, ask.principal, reading.seen.ids)
        why = await asyncio.to_thread(explained, snapshot, recorded, to_caller=own)
        return answered(_body(recorded, why), reading.receipt)

    return explain_decision


async def _recorded(connection: Connection, uid: UUID) -> Found:
    found = await search.decision(connection, uid)
    if found is None:
        return None, []
    try:
        return read(msgspec.json.encode(found.body)), [str(uid)]
    except NotARequest:
        return None, [str(uid)]


def _is_own(caller: Principal, reader: Principal, ids: frozenset[UUID]) -> bool:
    """Whether who reads was the caller: the same person, by any of their `ids`, or the same client for itself."""
    if caller.person is not None:
        return caller.person in {reader.person, *ids}
    return reader.person is None and caller.client == reader.client


def _body(recorded: RecordedRequest, why: RecordedExplanation) -> ExplanationBody:
    verdict = recorded.verdict
    return ExplanationBody(
        decision=recorded.uid,
        policy_version=recorded.version,
        outcome="allow" if verdict.allowed else "deny",
        reason=verdict.reason.value,
        because=why.because,
        rules=[_row(one) for one in why.rows],
        near_misses=[_miss(one) for one in why.near],
        scopes=list(why.scopes),
    )


def _row(row: Row) -> ExplainedRow:
    return ExplainedRow(row.rule, row.effect, row.line, row.text)


def _miss(one: NearRow) -> ExplainedMiss:
    row = one.row
    missing = [ExplainedCondition(lack.condition, lack.wanted, lack.sentence) for lack in one.missing]
    return ExplainedMiss(row.rule, row.effect, row.line, row.text, missing)
