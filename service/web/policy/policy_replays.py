"""Replays: what a version would have said to recorded requests, and whether every record's verdict is reproduced."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath, JSONBody  # noqa: TC002 — Litestar reads handler signatures
from msgspec import Meta

from service.administration.replay.replay_tally import Group, ReplayOutcome
from service.errors import InvalidField
from service.log.recorded import RecordSelection
from service.places import FieldError
from service.policy.known_words import RECORDED_ACTIONS
from service.web.http.operations import BODY, COMMON, ROW, operation
from service.web.http.paging import DEFAULT_LIMIT
from service.web.http.parameters import Asking, Cursor, Limit, Number, parse_number, parse_optional_text, parse_uuid
from service.web.http.responses import (
    EXAMPLE_PERSON,
    ClientId,
    DecisionId,
    Id,
    NextCursor,
    PersonId,
    RecordedAction,
    ResourceKind,
    Time,
    TimeText,
    make_response,
)

if TYPE_CHECKING:
    from service.administration.replay.policy_replays import PolicyReplays
    from service.administration.replay.replay_jobs import Job
    from service.web.http.paging import Cursors

POLICY, LOG = "Policy", "Decision log"
LISTING = "replays"
MAX_SHOWN = 20
Moment = Annotated[datetime, Meta(tz=True)]
Word = Annotated[str, Meta(min_length=1, max_length=64)]
ChangeWord = Annotated[
    ReplayOutcome,
    Meta(description="How the new verdict differs: one of the counts of the result", examples=["allow_to_deny"]),
]
ReplayState = Annotated[
    Literal["queued", "running", "done", "failed", "cancelled"],
    Meta(description="Where the replay stands", examples=["done"]),
]


class ReplayFilters(msgspec.Struct, forbid_unknown_fields=True):
    """Which recorded decisions; what is left out asks nothing."""

    since: Annotated[
        Moment | None, Meta(description="Decided at this time or later", examples=["2026-11-01T00:00:00Z"])
    ] = None
    until: Annotated[Moment | None, Meta(description="Decided before this time", examples=["2026-12-01T00:00:00Z"])] = (
        None
    )
    action: Annotated[Word | None, Meta(description="Of this action, as records name it")] = None
    kind: Annotated[Word | None, Meta(description="On this kind of resource")] = None


class RecordedFilters(msgspec.Struct):
    """Which recorded decisions were asked for; null asks nothing."""

    since: Annotated[
        Time | None,
        Meta(description="Decided at this time or later; null: at any time", examples=["2026-11-01T00:00:00Z"]),
    ]
    until: Annotated[
        Time | None, Meta(description="Decided before this time; null: at any time", examples=["2026-12-01T00:00:00Z"])
    ]
    action: Annotated[RecordedAction | None, Meta(description="Of this action; null: of any", examples=[None])]
    kind: Annotated[ResourceKind | None, Meta(description="On this kind of resource; null: on any", examples=[None])]


class Counted(msgspec.Struct):
    """How many records had one word."""

    change: ChangeWord
    by: Annotated[
        Group,
        Meta(
            description="What the word is: a `rule` that made the difference, an `action`, a `subject` (a person's id,"
            " or `client:` and a client), or the `cause` why they are undecidable",
            examples=["rule"],
        ),
    ]
    word: Annotated[str, Meta(description="The word", examples=["read-auditor"])]
    count: Annotated[int, Meta(description="How many records", ge=1, examples=[1])]


class Changed(msgspec.Struct):
    """One record that was decided otherwise, or not."""

    change: ChangeWord
    decision: DecisionId
    subject: Annotated[str, Meta(description="A person's id, or `client:` and a client", examples=[EXAMPLE_PERSON])]
    action: Annotated[RecordedAction, Meta(description="The action", examples=["read"])]
    kind: Annotated[ResourceKind, Meta(description="The kind of resource")]
    was: Annotated[str, Meta(description="The recorded verdict", examples=["allowed by read-auditor"])]
    now: Annotated[str, Meta(description="The new verdict, or why there is none", examples=["denied for no-rule"])]


class ReplayResult(msgspec.Struct):
    """What came out so far."""

    decided: Annotated[int, Meta(description="Records that were decided again", ge=0, examples=[107])]
    undecidable: Annotated[int, Meta(description="Records without what the version asks for", ge=0, examples=[0])]
    same: Annotated[int, Meta(description="With the same verdict, reason and rules", ge=0, examples=[106])]
    allow_to_deny: Annotated[int, Meta(description="Allowed then, denied now", ge=0, examples=[1])]
    deny_to_allow: Annotated[int, Meta(description="Denied then, allowed now", ge=0, examples=[0])]
    other_reason: Annotated[int, Meta(description="With the same verdict for another reason", ge=0, examples=[0])]
    other_rules: Annotated[int, Meta(description="For the same reason by other rules", ge=0, examples=[0])]
    groups: Annotated[list[Counted], Meta(description="The largest groups of records that differ")]
    examples: Annotated[list[Changed], Meta(description="The first records that differ")]


class ReplayBody(msgspec.Struct):
    """A replay and its result."""

    id: Annotated[Id, Meta(description="The replay's id")]
    version: Annotated[
        int | None,
        Meta(description="The version that decides again; null: for each record the one that decided it", examples=[1]),
    ]
    state: ReplayState
    progress: Annotated[float, Meta(description="From 0 to 1; the result grows with it", ge=0, le=1, examples=[1.0])]
    filters: Annotated[RecordedFilters, Meta(description="Which records")]
    asked_at: Annotated[TimeText, Meta(description="When it was asked for")]
    started_at: Annotated[TimeText | None, Meta(description="When it started; null: it waits")]
    ended_at: Annotated[TimeText | None, Meta(description="When it ended; null: it has not")]
    problem: Annotated[str | None, Meta(description="Why it failed; null: it did not", examples=[None])]
    result: Annotated[ReplayResult, Meta(description="What came out so far")]


class ReplaySummary(msgspec.Struct):
    """A replay without its result."""

    id: Annotated[Id, Meta(description="The replay's id")]
    version: Annotated[int, Meta(description="The version that decides again", ge=1, examples=[7])]
    state: ReplayState
    progress: Annotated[float, Meta(description="From 0 to 1", ge=0, le=1, examples=[1.0])]
    filters: Annotated[RecordedFilters, Meta(description="Which records")]
    asked_by: Annotated[PersonId | None, Meta(description="Who asked for it; null: a client for itself")]
    asked_by_client: Annotated[ClientId, Meta(description="Through which client", examples=["timesheets-cli"])]
    asked_at: Annotated[TimeText, Meta(description="When it was asked for")]
    ended_at: Annotated[TimeText | None, Meta(description="When it ended; null: it has not")]
    problem: Annotated[str | None, Meta(description="Why it failed; null: it did not", examples=[None])]


class ReplayPage(msgspec.Struct):
    """Replays, newest first; those that ended more than 30 days ago are gone."""

    items: Annotated[list[ReplaySummary], Meta(description="The replays of this page")]
    next_cursor: NextCursor


def policy_replay_routes(replays: PolicyReplays, cursors: Cursors) -> list[Any]:
    """The handlers, bound to their use cases."""

    @post(
        "/v1/policies/versions/{number:str}/replay",
        status_code=202,
        **operation(
            "Replay recorded requests under a version",
            scope="write:policies",
            problems=(*ROW, *BODY, 409),
            tag=POLICY,
            location=True,
        ),
    )
    async def ask_for_replay(ask: Asking, number: Number, data: JSONBody[ReplayFilters]) -> Response[ReplayBody]:
        answer = await replays.replay(ask, parse_number(number, "path.number"), _wanted(data))
        where = f"/v1/policies/replays/{answer.value.id}"
        return make_response(_body(answer.value), answer.receipt, status=202, location=where)

    @get("/v1/policies/replays", **operation("List replays", scope="read:policies", problems=COMMON, tag=POLICY))
    async def list_replays(
        ask: Asking,
        cursor: Cursor = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response[ReplayPage]:
        after = cursors.read(LISTING, {}, cursor)
        answer = await replays.list(ask, before=UUID(after[0]) if after else None, limit=limit + 1)
        page = answer.value[:limit]
        following = cursors.make(LISTING, {}, [str(page[-1].id)]) if len(answer.value) > limit else None
        return make_response(ReplayPage([_summary(one) for one in page], following), answer.receipt)

    @get(
        "/v1/policies/replays/{replay_id:str}",
        **operation("Read a replay", scope="read:policies", problems=ROW, tag=POLICY),
    )
    async def read_replay(ask: Asking, replay_id: FromPath[str]) -> Response[ReplayBody]:
        answer = await replays.replayed(ask, parse_uuid(replay_id, "path.replay_id"))
        return make_response(_body(answer.value), answer.receipt)

    @post(
        "/v1/audit/redecisions",
        status_code=202,
        **operation(
            "Decide recorded requests again, as they were decided",
            scope="read:audit",
            problems=(*COMMON, *BODY, 409),
            tag=LOG,
            location=True,
        ),
    )
    async def ask_for_redecision(ask: Asking, data: JSONBody[ReplayFilters]) -> Response[ReplayBody]:
        answer = await replays.redecide(ask, _wanted(data))
        where = f"/v1/audit/redecisions/{answer.value.id}"
        return make_response(_body(answer.value), answer.receipt, status=202, location=where)

    @get(
        "/v1/audit/redecisions/{redecision_id:str}",
        **operation("Read a redecision", scope="read:audit", problems=ROW, tag=LOG),
    )
    async def read_redecision(ask: Asking, redecision_id: FromPath[str]) -> Response[ReplayBody]:
        answer = await replays.redecided(ask, parse_uuid(redecision_id, "path.redecision_id"))
        return make_response(_body(answer.value), answer.receipt)

    @post(
        "/v1/policies/replays/{replay_id:str}/cancel",
        status_code=200,
        **operation("Cancel a replay", scope="write:policies", problems=(*ROW, 409), tag=POLICY),
    )
    async def cancel_replay(ask: Asking, replay_id: FromPath[str]) -> Response[ReplayBody]:
        answer = await replays.cancel_replay(ask, parse_uuid(replay_id, "path.replay_id"))
        return make_response(_body(answer.value), answer.receipt)

    @post(
        "/v1/audit/redecisions/{redecision_id:str}/cancel",
        status_code=200,
        **operation("Cancel a redecision", scope="read:audit", problems=(*ROW, 409), tag=LOG),
    )
    async def cancel_redecision(ask: Asking, redecision_id: FromPath[str]) -> Response[ReplayBody]:
        answer = await replays.cancel_redecision(ask, parse_uuid(redecision_id, "path.redecision_id"))
        return make_response(_body(answer.value), answer.receipt)

    of_policies = [ask_for_replay, list_replays, read_replay, cancel_replay]
    return [*of_policies, ask_for_redecision, read_redecision, cancel_redecision]


def _wanted(data: ReplayFilters) -> RecordSelection:
    since, until = _in_utc(data.since, "since"), _in_utc(data.until, "until")
    if since and until and since >= until:
        raise InvalidField(FieldError("until", "must be later than since"))
    action, kind = parse_optional_text(data.action, "action"), parse_optional_text(data.kind, "kind")
    if kind is not None and kind not in RECORDED_ACTIONS:
        raise InvalidField(FieldError("kind", f"is none of {', '.join(sorted(RECORDED_ACTIONS))}"))
    actions = RECORDED_ACTIONS[kind] if kind else frozenset[str]().union(*RECORDED_ACTIONS.values())
    if action is not None and action not in actions:
        raise InvalidField(FieldError("action", f"is none of {', '.join(sorted(actions))}"))
    return RecordSelection(since, until, action, kind)


def _in_utc(moment: datetime | None, field: str) -> datetime | None:
    """The moment as it is kept: an offset can put the first or last day that there is outside of all years."""
    try:
        return moment and moment.astimezone(UTC)
    except OverflowError:
        raise InvalidField(FieldError(field, "must lie between the years 1 and 9999 in UTC")) from None


def _body(job: Job) -> ReplayBody:
    started = job.started_at.isoformat() if job.started_at else None
    return ReplayBody(**_members(job), started_at=started, result=_result(job))


def _summary(job: Job) -> ReplaySummary:
    person = str(job.by_person) if job.by_person else None
    return ReplaySummary(**_members(job), asked_by=person, asked_by_client=job.by_client)


def _members(job: Job) -> dict[str, Any]:
    wanted = job.wanted
    return {
        "id": str(job.id),
        "version": job.version,
        "state": job.state,
        "progress": round(job.progress, 4),
        "filters": RecordedFilters(wanted.since, wanted.until, wanted.action, wanted.resource_kind),
        "asked_at": job.asked_at.isoformat(),
        "ended_at": job.ended_at.isoformat() if job.ended_at else None,
        "problem": job.problem,
    }


def _result(job: Job) -> ReplayResult:
    totals = job.totals
    counts = {one.value: totals.counts.get(one, 0) for one in ReplayOutcome}
    groups = [
        Counted(ReplayOutcome(change), by, word, count)
        for change, named in sorted(totals.groups.items())
        for by, words in sorted(named.items())
        for word, count in sorted(words.items(), key=lambda item: (-item[1], item[0]))[:MAX_SHOWN]
    ]
    examples = [
        Changed(ReplayOutcome(change), one.decision, one.subject, one.action, one.kind, one.was, one.now)
        for change, found in sorted(totals.examples.items())
        for one in found
    ]
    decided = totals.records - counts[ReplayOutcome.UNDECIDABLE]
    return ReplayResult(decided=decided, **counts, groups=groups, examples=examples)
