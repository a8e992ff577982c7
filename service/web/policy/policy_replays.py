"""Replays: what a version would have said to recorded requests, and whether every record's verdict is reproduced."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath, JSONBody  # noqa: TC002 — Litestar reads handler signatures

from service.administration.replay.replay_tally import Outcome
from service.errors import InvalidField
from service.log.recorded import Wanted
from service.places import FieldError
from service.policy.known_words import RECORDED_ACTIONS
from service.web.http.answers import answered
from service.web.http.operations import BODY, COMMON, ROW, operation
from service.web.http.paging import DEFAULT_LIMIT
from service.web.http.parameters import Asking, Cursor, Limit, Number, number_of, optional_plain_text, uuid_of

if TYPE_CHECKING:
    from service.administration.replay.policy_replays import PolicyReplays
    from service.administration.replay.replay_jobs import Job
    from service.web.http.paging import Cursors

POLICY, LOG = "Policy", "Decision log"
LISTING = "replays"
MOST_SHOWN = 20
Moment = Annotated[datetime, msgspec.Meta(tz=True, examples=["2026-11-01T00:00:00Z"])] | None
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None


class ReplayFilters(msgspec.Struct, forbid_unknown_fields=True):
    """Which recorded decisions; what is left out asks nothing. `since` and `until` bound the time of deciding,
    half-open; `action` and `kind` are words of the policy."""

    since: Moment = None
    until: Annotated[Moment, msgspec.Meta(examples=["2026-12-01T00:00:00Z"])] = None
    action: Word = None
    kind: Word = None


class Counted(msgspec.Struct):
    """How many records had this word. `change` is one of the counts of the result; `by` is `rule` (that made the
    difference), `action`, `subject` (a person's id, or `client:` and a client), or `cause` (why it is undecidable)."""

    change: str
    by: str
    word: str
    count: int


class Changed(msgspec.Struct):
    """One record that was decided otherwise, or not: `decision` is its id."""

    change: str
    decision: str
    subject: str
    action: str
    kind: str
    was: str
    now: str


class ReplayResult(msgspec.Struct):
    """`decided` records were decided again: `same` in verdict, reason and rules; by verdict `allow_to_deny` and
    `deny_to_allow`; with the same verdict for an `other_reason`, or for the same reason by `other_rules`.
    `undecidable` ones do not hold what the version asks for. Groups are the largest ones, examples the first ones."""

    decided: int
    undecidable: int
    same: int
    allow_to_deny: int
    deny_to_allow: int
    other_reason: int
    other_rules: int
    groups: list[Counted]
    examples: list[Changed]


class ReplayBody(msgspec.Struct):
    """A replay: `version` is null when each record is decided again under the version that decided it. `progress` goes
    from 0 to 1; the result grows with it. `problem` says why a replay failed."""

    id: str
    version: int | None
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    progress: float
    filters: ReplayFilters
    asked_at: str
    started_at: str | None
    ended_at: str | None
    problem: str | None
    result: ReplayResult


class ReplaySummary(msgspec.Struct):
    """A replay without its result. `asked_by` is a person's id, or null when the client asked for itself."""

    id: str
    version: int
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    progress: float
    filters: ReplayFilters
    asked_by: str | None
    asked_by_client: str
    asked_at: str
    ended_at: str | None
    problem: str | None


class ReplayPage(msgspec.Struct):
    """Replays, the newest first; those that ended more than 30 days ago are gone. `next_cursor` is null on the last
    page."""

    items: list[ReplaySummary]
    next_cursor: str | None


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
        answer = await replays.replay(ask, number_of(number, "path.number"), _wanted(data))
        where = f"/v1/policies/replays/{answer.value.id}"
        return answered(_body(answer.value), answer.receipt, status=202, location=where)

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
        return answered(ReplayPage([_summary(one) for one in page], following), answer.receipt)

    @get(
        "/v1/policies/replays/{replay_id:str}",
        **operation("Read a replay", scope="read:policies", problems=ROW, tag=POLICY),
    )
    async def read_replay(ask: Asking, replay_id: FromPath[str]) -> Response[ReplayBody]:
        answer = await replays.replayed(ask, uuid_of(replay_id, "path.replay_id"))
        return answered(_body(answer.value), answer.receipt)

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
        return answered(_body(answer.value), answer.receipt, status=202, location=where)

    @get(
        "/v1/audit/redecisions/{redecision_id:str}",
        **operation("Read a redecision", scope="read:audit", problems=ROW, tag=LOG),
    )
    async def read_redecision(ask: Asking, redecision_id: FromPath[str]) -> Response[ReplayBody]:
        answer = await replays.redecided(ask, uuid_of(redecision_id, "path.redecision_id"))
        return answered(_body(answer.value), answer.receipt)

    @post(
        "/v1/policies/replays/{replay_id:str}/cancel",
        status_code=200,
        **operation("Cancel a replay", scope="write:policies", problems=(*ROW, 409), tag=POLICY),
    )
    async def cancel_replay(ask: Asking, replay_id: FromPath[str]) -> Response[ReplayBody]:
        answer = await replays.cancel_replay(ask, uuid_of(replay_id, "path.replay_id"))
        return answered(_body(answer.value), answer.receipt)

    @post(
        "/v1/audit/redecisions/{redecision_id:str}/cancel",
        status_code=200,
        **operation("Cancel a redecision", scope="read:audit", problems=(*ROW, 409), tag=LOG),
    )
    async def cancel_redecision(ask: Asking, redecision_id: FromPath[str]) -> Response[ReplayBody]:
        answer = await replays.cancel_redecision(ask, uuid_of(redecision_id, "path.redecision_id"))
        return answered(_body(answer.value), answer.receipt)

    of_policies = [ask_for_replay, list_replays, read_replay, cancel_replay]
    return [*of_policies, ask_for_redecision, read_redecision, cancel_redecision]


def _wanted(data: ReplayFilters) -> Wanted:
    since, until = _in_utc(data.since, "since"), _in_utc(data.until, "until")
    if since and until and since >= until:
        raise InvalidField(FieldError("until", "must be later than since"))
    action, kind = optional_plain_text(data.action, "action"), optional_plain_text(data.kind, "kind")
    if kind is not None and kind not in RECORDED_ACTIONS:
        raise InvalidField(FieldError("kind", f"is none of {', '.join(sorted(RECORDED_ACTIONS))}"))
    actions = RECORDED_ACTIONS[kind] if kind else frozenset[str]().union(*RECORDED_ACTIONS.values())
    if action is not None and action not in actions:
        raise InvalidField(FieldError("action", f"is none of {', '.join(sorted(actions))}"))
    return Wanted(since, until, action, kind)


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
        "filters": ReplayFilters(wanted.since, wanted.until, wanted.action, wanted.resource_kind),
        "asked_at": job.asked_at.isoformat(),
        "ended_at": job.ended_at.isoformat() if job.ended_at else None,
        "problem": job.problem,
    }


def _result(job: Job) -> ReplayResult:
    totals = job.totals
    counts = {one.value: totals.counts.get(one, 0) for one in Outcome}
    groups = [
        Counted(change, by, word, count)
        for change, named in sorted(totals.groups.items())
        for by, words in sorted(named.items())
        for word, count in sorted(words.items(), key=lambda one: (-one[1], one[0]))[:MOST_SHOWN]
    ]
    examples = [
        Changed(change, one.decision, one.subject, one.action, one.kind, one.was, one.now)
        for change, found in sorted(totals.examples.items())
        for one in found
    ]
    decided = totals.records - counts[Outcome.UNDECIDABLE]
    return ReplayResult(decided=decided, **counts, groups=groups, examples=examples)
