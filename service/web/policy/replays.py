"""/v1/replays: recorded requests evaluated again, under a policy version or under the versions that decided them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from uuid import UUID

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath, JSONBody  # noqa: TC002 — Litestar reads handler signatures
from msgspec import Meta

from service.administration.replay.tally import Group, ReplayOutcome
from service.authorization.enforcement.names import select_names
from service.errors import InvalidField
from service.log.recorded_decisions import DecisionSelection
from service.places import FieldError
from service.policy.known_words import RECORDED_ACTIONS
from service.web.http.operations import BODY, COMMON, ROW, operation
from service.web.http.paging import DEFAULT_LIMIT
from service.web.http.parameters import (
    MAX_INTEGER,
    CurrentCaller,
    Cursor,
    Limit,
    WithNames,
    parse_optional_text,
    parse_uuid,
)
from service.web.http.responses import (
    EXAMPLE_PERSON,
    ClientId,
    DecisionId,
    Id,
    Names,
    NextCursor,
    PersonId,
    RecordedAction,
    ResourceKind,
    Time,
    TimeText,
    make_response,
    names_body,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.administration.replay.jobs import Job
    from service.administration.replay.replays import Replays
    from service.web.http.paging import Cursors

TAG: Final = "Policy"
LISTING: Final = "replays"
MAX_WORDS_PER_GROUP: Final = 20
# A replay under a version takes the first scope, one without a version the second: the policy decides by the request.
READ: Final = ("read:policies", "read:audit")
WRITE: Final = ("write:policies", "read:audit")
Moment = Annotated[datetime, Meta(tz=True)]
ChangeWord = Annotated[
    ReplayOutcome,
    Meta(description="How the new verdict differs: one of the counts of the result", examples=["allow_to_deny"]),
]
ReplayState = Annotated[
    Literal["queued", "running", "done", "failed", "cancelled"],
    Meta(description="The state of the replay", examples=["done"]),
]
ReplayVersion = Annotated[
    Annotated[int, Meta(ge=1, le=MAX_INTEGER)] | None,
    Meta(
        description="The policy version to evaluate under; null: each request under the version that decided it",
        examples=[1],
    ),
]


class ReplayRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What to replay: a policy version, if any, and filters of the recorded decisions."""

    version: ReplayVersion = None
    since: Annotated[
        Moment | None, Meta(description="Decided at this time or later", examples=["2026-11-01T00:00:00Z"])
    ] = None
    until: Annotated[Moment | None, Meta(description="Decided before this time", examples=["2026-12-01T00:00:00Z"])] = (
        None
    )
    action: Annotated[
        Annotated[RecordedAction, Meta(min_length=1, max_length=64)] | None,
        Meta(description="With this action, as records name it", examples=["approve"]),
    ] = None
    kind: Annotated[
        Annotated[ResourceKind, Meta(min_length=1, max_length=64)] | None,
        Meta(description="On this kind of resource", examples=["timesheet"]),
    ] = None


class ReplayFilters(msgspec.Struct):
    """Which recorded decisions are replayed; null does not filter."""

    since: Annotated[
        Time | None,
        Meta(description="Decided at this time or later; null: at any time", examples=["2026-11-01T00:00:00Z"]),
    ]
    until: Annotated[
        Time | None, Meta(description="Decided before this time; null: at any time", examples=["2026-12-01T00:00:00Z"])
    ]
    action: Annotated[RecordedAction | None, Meta(description="With this action; null: any", examples=[None])]
    kind: Annotated[ResourceKind | None, Meta(description="On this kind of resource; null: any", examples=[None])]


class ReplayGroup(msgspec.Struct):
    """How many records have one word in common."""

    change: ChangeWord
    by: Annotated[
        Group,
        Meta(
            description="What the word is: a `rule` that made the difference, an `action`, a `subject` (a person's id,"
            " or `client:` and a client), or the `cause`: why it is undecidable, or how many approvals are needed",
            examples=["rule"],
        ),
    ]
    word: Annotated[str, Meta(description="The word", examples=["read-auditor"])]
    count: Annotated[int, Meta(description="How many records", ge=1, examples=[1])]


class ReplayExample(msgspec.Struct):
    """A record whose verdict differs, or that is undecidable."""

    change: ChangeWord
    decision: DecisionId
    subject: Annotated[str, Meta(description="A person's id, or `client:` and a client", examples=[EXAMPLE_PERSON])]
    action: Annotated[RecordedAction, Meta(description="The action", examples=["read"])]
    kind: Annotated[ResourceKind, Meta(description="The kind of resource")]
    was: Annotated[str, Meta(description="The recorded verdict", examples=["allowed by read-auditor"])]
    now: Annotated[str, Meta(description="The new verdict, or why there is none", examples=["denied for no-rule"])]


class ReplayResult(msgspec.Struct):
    """The result so far."""

    decided: Annotated[int, Meta(description="Records that were evaluated again", ge=0, examples=[107])]
    undecidable: Annotated[int, Meta(description="Records that lack a fact the version needs", ge=0, examples=[0])]
    same: Annotated[int, Meta(description="With the same verdict, reason and rules", ge=0, examples=[106])]
    allow_to_deny: Annotated[int, Meta(description="Allowed then, denied now", ge=0, examples=[1])]
    deny_to_allow: Annotated[int, Meta(description="Denied then, allowed now", ge=0, examples=[0])]
    other_reason: Annotated[int, Meta(description="With the same verdict for another reason", ge=0, examples=[0])]
    other_rules: Annotated[int, Meta(description="For the same reason by other rules", ge=0, examples=[0])]
    other_approvals: Annotated[
        int,
        Meta(description="Approvals that are enough for the timesheet only then, or only now", ge=0, examples=[0]),
    ]
    groups: Annotated[list[ReplayGroup], Meta(description="The largest groups of records that differ")]
    examples: Annotated[list[ReplayExample], Meta(description="The first records that differ")]


class ReplaySummary(msgspec.Struct, kw_only=True):
    """A replay without its result."""

    id: Annotated[Id, Meta(description="The replay's id")]
    version: ReplayVersion
    state: ReplayState
    progress: Annotated[float, Meta(description="From 0 to 1; the result grows with it", ge=0, le=1, examples=[1.0])]
    filters: Annotated[ReplayFilters, Meta(description="Which records")]
    asked_by: Annotated[PersonId | None, Meta(description="Who started it; null: a client that acted for itself")]
    asked_by_client: Annotated[ClientId, Meta(description="Through which client", examples=["timesheets-cli"])]
    asked_at: Annotated[TimeText, Meta(description="When it was queued")]
    started_at: Annotated[TimeText | None, Meta(description="When a keeper started it; null: not yet")]
    ended_at: Annotated[TimeText | None, Meta(description="When it ended; null: not yet")]
    problem: Annotated[str | None, Meta(description="Why it failed; null: it did not", examples=[None])]
    names: Names = msgspec.UNSET


class ReplayBody(ReplaySummary, kw_only=True):
    """A replay with its result."""

    result: Annotated[ReplayResult, Meta(description="The result so far")]


class ReplayPage(msgspec.Struct):
    """Replays, newest first; those that ended more than 30 days ago are deleted."""

    items: Annotated[list[ReplaySummary], Meta(description="The replays of this page")]
    next_cursor: NextCursor


def replay_routes(replays: Replays, cursors: Cursors) -> list[Any]:
    """The handlers, bound to their use cases."""

    @post(
        "/v1/replays",
        status_code=202,
        **operation(
            "Replay recorded requests", scope=WRITE, problems=(*ROW, *BODY, 409), tag=TAG, location=True, names=True
        ),
    )
    async def start_replay(caller: CurrentCaller, data: JSONBody[ReplayRequest]) -> Response[ReplayBody]:
        answer = await replays.start(caller, _selection(data), data.version)
        location = f"/v1/replays/{answer.value.id}"
        return make_response(_body(answer.value, answer.names), answer.receipt, status=202, location=location)

    @get("/v1/replays", **operation("List replays", scope=READ, problems=COMMON, tag=TAG))
    async def list_replays(
        caller: CurrentCaller,
        names: WithNames = False,  # noqa: FBT002 — a query parameter
        cursor: Cursor = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response[ReplayPage]:
        after = cursors.read(LISTING, {}, cursor)
        answer = await replays.list(caller, before=UUID(after[0]) if after else None, limit=limit + 1, with_names=names)
        page = answer.value[:limit]
        following = cursors.make(LISTING, {}, [str(page[-1].id)]) if len(answer.value) > limit else None
        items = [ReplaySummary(**_members(job, answer.names, job.asker)) for job in page]
        return make_response(ReplayPage(items, following), answer.receipt)

    @get("/v1/replays/{replay_id:str}", **operation("Read a replay", scope=READ, problems=ROW, tag=TAG))
    async def read_replay(
        caller: CurrentCaller,
        replay_id: FromPath[str],
        names: WithNames = False,  # noqa: FBT002 — a query parameter
    ) -> Response[ReplayBody]:
        answer = await replays.read(caller, parse_uuid(replay_id, "path.replay_id"), with_names=names)
        return make_response(_body(answer.value, answer.names), answer.receipt)

    @post(
        "/v1/replays/{replay_id:str}/cancel",
        status_code=200,
        **operation("Cancel a replay", scope=WRITE, problems=(*ROW, 409), tag=TAG, names=True),
    )
    async def cancel_replay(caller: CurrentCaller, replay_id: FromPath[str]) -> Response[ReplayBody]:
        answer = await replays.cancel(caller, parse_uuid(replay_id, "path.replay_id"))
        return make_response(_body(answer.value, answer.names), answer.receipt)

    return [start_replay, list_replays, read_replay, cancel_replay]


def _selection(data: ReplayRequest) -> DecisionSelection:
    since, until = _in_utc(data.since, "since"), _in_utc(data.until, "until")
    if since and until and since >= until:
        raise InvalidField(FieldError("until", "must be later than since"))
    action, kind = parse_optional_text(data.action, "action"), parse_optional_text(data.kind, "kind")
    if kind is not None and kind not in RECORDED_ACTIONS:
        raise InvalidField(FieldError("kind", f"must be one of {', '.join(sorted(RECORDED_ACTIONS))}"))
    actions = RECORDED_ACTIONS[kind] if kind else frozenset[str]().union(*RECORDED_ACTIONS.values())
    if action is not None and action not in actions:
        raise InvalidField(FieldError("action", f"must be one of {', '.join(sorted(actions))}"))
    return DecisionSelection(since, until, action, kind)


def _in_utc(moment: datetime | None, field: str) -> datetime | None:
    """The moment in UTC. An offset can move a moment of the first or last year out of the range of `datetime`."""
    try:
        return moment and moment.astimezone(UTC)
    except OverflowError:
        raise InvalidField(FieldError(field, "must lie between the years 1 and 9999 in UTC")) from None


def _body(job: Job, names: Mapping[str, str] | None) -> ReplayBody:
    return ReplayBody(**_members(job, names, job.people), result=_result(job))


def _members(job: Job, names: Mapping[str, str] | None, people: Sequence[str]) -> dict[str, Any]:
    """The members of a replay, with the `names` of these people."""
    selection = job.selection
    return {
        "id": str(job.id),
        "version": job.version,
        "state": job.state,
        "progress": round(job.progress, 4),
        "filters": ReplayFilters(selection.since, selection.until, selection.action, selection.resource_kind),
        "asked_by": str(job.by_person) if job.by_person else None,
        "asked_by_client": job.by_client,
        "asked_at": job.asked_at.isoformat(),
        "started_at": job.started_at.isoformat() if job.started_at else None,
        "ended_at": job.ended_at.isoformat() if job.ended_at else None,
        "problem": job.problem,
        "names": names_body(None if names is None else select_names(names, people)),
    }


def _result(job: Job) -> ReplayResult:
    totals = job.totals
    counts = {outcome.value: totals.counts.get(outcome, 0) for outcome in ReplayOutcome}
    groups = [
        ReplayGroup(ReplayOutcome(change), by, word, count)
        for change, counts_by in sorted(totals.groups.items())
        for by, words in sorted(counts_by.items())
        for word, count in sorted(words.items(), key=lambda item: (-item[1], item[0]))[:MAX_WORDS_PER_GROUP]
    ]
    examples = [
        ReplayExample(ReplayOutcome(change), **msgspec.structs.asdict(example))
        for change, found in sorted(totals.examples.items())
        for example in found
    ]
    decided = totals.records - counts[ReplayOutcome.UNDECIDABLE]
    return ReplayResult(decided=decided, **counts, groups=groups, examples=examples)
