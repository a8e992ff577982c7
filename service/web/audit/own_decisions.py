"""GET /v1/me/decisions: what was done in the caller's name, and by others with what is theirs. Owns no state.

A caller learns no more here than the requests told. They see the reason of a refusal if they were refused themselves,
about no resource or about their own. A refusal about another resource must not tell whether it exists, and the reason
why others were refused is about those.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from litestar import Response, get
from litestar.params import FromPath, Parameter
from msgspec import Meta

from service.administration.replay.recorded_explanation import BECAUSE, explain_record
from service.administration.replay.recorded_request import NotARequest, parse_request
from service.audit import people, search
from service.authorization.enforcement.decision_record import RecordedQuery
from service.authorization.enforcement.fact_lookup import About
from service.authorization.enforcement.names import select_names
from service.authorization.enforcement.person_references import NO_PERSON
from service.errors import InvalidField, NotFound
from service.log.record_query import DECISIONS, RecordFilters
from service.places import FieldError
from service.policy.access_request import Effect, Reason
from service.policy.known_words import RECORDED_ACTIONS, REVIEW
from service.web.audit.log_query import ALL_ACTIONS, Since, Until
from service.web.audit.log_reading import PageRequest, read_records
from service.web.http.direct_routes import DIRECT
from service.web.http.operations import COMMON, ROW, operation
from service.web.http.paging import DEFAULT_LIMIT
from service.web.http.parameters import (
    CurrentCaller,
    Cursor,
    Limit,
    WithNames,
    parse_optional_text,
    parse_optional_time,
    parse_uuid,
)
from service.web.http.responses import (
    EXAMPLE_ID,
    EXAMPLE_PERSON,
    ClientId,
    DecisionId,
    Names,
    NextCursor,
    PersonId,
    RecordedAction,
    ResourceKind,
    ResourceState,
    RuleName,
    TimeText,
    make_response,
    names_body,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from service.audit.search import LoggedRecord
    from service.authorization.enforcement.changes import Caller
    from service.authorization.enforcement.gate import Gate
    from service.authorization.engine.engine import Snapshot
    from service.database import Connection, Database
    from service.web.http.paging import Cursors

TAG = "Me"
SCOPE = "read:timesheets"
LISTING = "own-decisions"
ASKED = ("me", REVIEW)
OTHERS_REFUSED = "Another caller was refused this. The reason is not shown, because it is about them"
REFUSED = "You were refused this. The resource may not exist, or you may not see it"


class OwnDecision(msgspec.Struct, kw_only=True):
    """A decision about what you asked for, or about what others asked for of yours."""

    id: DecisionId
    decided_at: Annotated[TimeText, Meta(description="When it was decided")]
    by_you: Annotated[bool, Meta(description="Whether it was asked for in your name", examples=[True])]
    person: Annotated[
        PersonId | None,
        Meta(description="Who asked; null for a client that acted for itself", examples=[EXAMPLE_PERSON]),
    ]
    client: Annotated[ClientId, Meta(description="The app that asked")]
    actors: Annotated[
        list[str],
        Meta(description="Who acted for that person by delegation, the current actor first (RFC 8693)", examples=[[]]),
    ]
    action: Annotated[RecordedAction, Meta(description="What was asked for", examples=["approve"])]
    kind: Annotated[ResourceKind, Meta(description="The kind of what it was about")]
    resource: Annotated[
        str | None, Meta(description="Its id; null for a list or the kind as a whole", examples=[EXAMPLE_ID])
    ]
    owner: Annotated[
        PersonId | None,
        Meta(description="Whose it was; null if nobody's, or if that is not shown", examples=[EXAMPLE_PERSON]),
    ]
    state: Annotated[
        ResourceState | None,
        Meta(description="Its state then; null if it has none, or if that is not shown", examples=["submitted"]),
    ]
    outcome: Annotated[Effect, Meta(description="The outcome", examples=["allow"])]
    applied: Annotated[bool | None, Meta(description="Whether the change took place; null for reads", examples=[True])]
    not_applied_because: Annotated[
        str | None, Meta(description="Why an allowed change did not take place; null otherwise", examples=[None])
    ]
    reason: Annotated[
        Reason | None,
        Meta(description="The reason; null for refusals of others, and of what you may not see", examples=["allowed"]),
    ]
    rules: Annotated[
        list[RuleName],
        Meta(description="The rules that decided; empty where the reason is null", examples=[["approve-team"]]),
    ]
    on_behalf_of: Annotated[
        PersonId | None, Meta(description="The manager for whom a delegate acted; null otherwise", examples=[None])
    ]
    policy_version: Annotated[int, Meta(description="The policy version that decided", ge=1, examples=[7])]
    names: Names = msgspec.UNSET


class OwnDecisionPage(msgspec.Struct):
    """A page of decisions, newest first."""

    items: Annotated[list[OwnDecision], Meta(description="The decisions of this page")]
    next_cursor: NextCursor


class OwnExplanation(OwnDecision, kw_only=True):
    """A decision with its explanation, as far as it is yours to know."""

    because: Annotated[
        str,
        Meta(
            description="The reason, as a sentence", examples=["A rule of the policy allowed this, and none denied it"]
        ),
    ]
    missing: Annotated[
        list[str],
        Meta(
            description="What you were missing, a sentence for each rule that would have allowed it otherwise",
            examples=[["you do not lead this person's team"]],
        ),
    ]


class _Who(msgspec.Struct):
    person: str | None
    client: str
    actors: list[str] = []


class _What(msgspec.Struct):
    kind: str
    id: str | None = None
    owner: str | None = None
    state: str | None = None


class _Version(msgspec.Struct):
    version: int


class _Asked(msgspec.Struct):
    about: About = About.ROW
    looked: bool = True

    @property
    def about_nothing(self) -> bool:
        """Whether no resource was looked up, so that the decision tells of none."""
        return self.about is About.KIND or not self.looked


class _Body(msgspec.Struct):
    """The members of a decision's record that its subject may see, and those that say which."""

    decided_at: str
    action: str
    outcome: Effect
    reason: Reason
    rules: list[str]
    principal: _Who
    resource: _What
    policy: _Version
    asked: _Asked = msgspec.field(default_factory=_Asked)
    applied: bool | None = None
    not_applied_because: str | None = None
    on_behalf_of: str | None = None


_BODY: Final = msgspec.json.Decoder(_Body)


def own_decision_routes(
    gate: Gate, cursors: Cursors, replica: Database | None, version: Callable[[int], Awaitable[Snapshot]]
) -> list[Any]:
    """The handlers, bound to the log; they read the `replica` if there is one. `version` loads a policy version."""

    @get("/v1/me/decisions", opt=DIRECT, **operation("List decisions about you", scope=SCOPE, problems=COMMON, tag=TAG))
    async def list_own_decisions(
        caller: CurrentCaller,
        by: Annotated[
            Literal["me", "others"] | None,
            Parameter(description="`me`: in your name. `others`: by others, with what is yours"),
        ] = None,
        action: Annotated[
            str | None, Parameter(description="The requested action", schema_extra={"enum": sorted(ALL_ACTIONS)})
        ] = None,
        kind: Annotated[
            str | None,
            Parameter(description="The kind of what it was about", schema_extra={"enum": sorted(RECORDED_ACTIONS)}),
        ] = None,
        outcome: Annotated[Literal["allow", "deny"] | None, Parameter(description="The outcome")] = None,
        client: Annotated[str | None, Parameter(max_length=255, description="The app that asked")] = None,
        actor: Annotated[
            str | None, Parameter(max_length=255, description="Who acted by delegation (RFC 8693); `*`: anybody")
        ] = None,
        since: Since = None,
        until: Until = None,
        reads: Annotated[bool, Parameter(description="Whether allowed reads are listed")] = True,  # noqa: FBT002 — a query parameter
        names: WithNames = False,  # noqa: FBT002 — a query parameter
        cursor: Cursor = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response[OwnDecisionPage]:
        for given, field, known in ((action, "action", ALL_ACTIONS), (kind, "kind", RECORDED_ACTIONS.keys())):
            if given is not None and given not in known:
                raise InvalidField(FieldError(f"query.{field}", f"is not one of {', '.join(sorted(known))}"))
        filters = RecordFilters(
            action=action,
            resource_kind=kind,
            outcome=outcome,
            client=parse_optional_text(client, "query.client"),
            actor=parse_optional_text(actor, "query.actor"),
            since=parse_optional_time(since, "query.since"),
            until=parse_optional_time(until, "query.until"),
            by_others=None if by is None else by == "others",
            without_reads=not reads,
        )
        if filters.since and filters.until and filters.since >= filters.until:
            raise InvalidField(FieldError("query.until", "must be later than since"))
        page = PageRequest(cursors, LISTING, {"person": caller.principal.person, "filters": filters}, cursor, limit)
        after, ids = page.place(), frozenset[str]()

        async def load(connection: Connection) -> tuple[list[LoggedRecord], list[str]]:
            nonlocal ids
            person = await _load_ids(connection, caller)
            ids = frozenset(map(str, person))
            found = await search.search_records(
                connection, replace(filters, concerned=person), kinds=DECISIONS, after=after, limit=limit + 1
            )
            return found, [str(record.uid) for record in found[:limit]]

        answer = await read_records(
            gate,
            caller,
            load,
            with_names=names,
            query=_recorded_query(filters),
            replica=replica,
            asked=ASKED,
        )
        items = [shown for record in answer.value[:limit] if (shown := _own_decision(record, ids))]
        return make_response(OwnDecisionPage(items, page.next_cursor(answer.value)), answer.receipt)

    @get(
        "/v1/me/decisions/{decision_id:str}",
        **operation("Read a decision about you", scope=SCOPE, problems=ROW, tag=TAG),
    )
    async def read_own_decision(
        caller: CurrentCaller,
        decision_id: FromPath[str],
        names: WithNames = False,  # noqa: FBT002 — a query parameter
    ) -> Response[OwnExplanation]:
        uid, ids = parse_uuid(decision_id, "path.decision_id"), frozenset[str]()

        async def load(connection: Connection) -> tuple[list[LoggedRecord], list[str]]:
            nonlocal ids
            ids = frozenset(map(str, await _load_ids(connection, caller)))
            found = await search.load_decision(connection, uid)
            if found is None or not _concerns(found, ids):
                raise NotFound("No such decision about you")
            return [found], [str(uid)]

        answer = await read_records(gate, caller, load, with_names=names, asked=ASKED)
        (record,) = answer.value
        shown = _own_decision(record, ids)
        if shown is None:
            raise NotFound
        because, missing = await _explain(record, shown, version)
        members = {name: getattr(shown, name) for name in OwnDecision.__struct_fields__}
        return make_response(OwnExplanation(**members, because=because, missing=missing), answer.receipt)

    return [list_own_decisions, read_own_decision]


def _recorded_query(filters: RecordFilters) -> RecordedQuery:
    """The query as the record of this access holds it. Clients are texts, whether they exist or not."""
    names = ("action", "resource_kind", "outcome", "since", "until", "by_others")
    found = {name: value for name in names if (value := getattr(filters, name)) is not None}
    texts = {name: text for name in ("client", "actor") if (text := getattr(filters, name)) is not None}
    return RecordedQuery({**found, "reads": False} if filters.without_reads else found, texts)


async def _load_ids(connection: Connection, caller: Caller) -> tuple[UUID, ...]:
    """All ids of the caller. Raises InvalidField for a client that acts for itself."""
    if caller.principal.person is None:
        raise InvalidField(FieldError("header.Authorization", f"must be a person's token: this list {NO_PERSON}"))
    return await people.load_ids(connection, caller.principal.person)


def _parse(record: LoggedRecord) -> _Body | None:
    """The members of a decision that are shown; None if the record was altered, which is for auditors to find."""
    try:
        return _BODY.decode(record.json)
    except msgspec.MsgspecError:
        return None


def _concerns(record: LoggedRecord, ids: frozenset[str]) -> bool:
    """Whether a list of decisions about the person with these ids holds this one."""
    body = _parse(record)
    if body is None or body.principal.person in ids:
        return body is not None
    what = body.resource
    is_of_directory = what.kind == "directory" and what.owner is None and what.id in ids
    return record.kind == "decision" and (what.owner in ids or is_of_directory)


def _own_decision(record: LoggedRecord, ids: frozenset[str]) -> OwnDecision | None:
    """A decision as the person with these ids may see it; None if the record was altered."""
    body = _parse(record)
    if body is None:
        return None
    who, what = body.principal, body.resource
    allowed, by_you = body.outcome is Effect.ALLOW, who.person in ids
    sees = allowed or what.owner in ids or what.id in ids
    told = allowed or (by_you and (sees or body.asked.about_nothing or (what.id, what.owner) == (None, None)))
    shown = OwnDecision(
        id=str(record.uid),
        decided_at=body.decided_at,
        by_you=by_you,
        person=who.person,
        client=who.client,
        actors=who.actors,
        action=body.action,
        kind=what.kind,
        resource=what.id,
        owner=what.owner if sees else None,
        state=what.state if sees else None,
        outcome=body.outcome,
        applied=body.applied,
        not_applied_because=body.not_applied_because,
        reason=body.reason if told else None,
        rules=body.rules if told else [],
        on_behalf_of=body.on_behalf_of if allowed else None,
        policy_version=body.policy.version,
    )
    if record.names is not None:
        known = [shown.person, shown.owner, shown.on_behalf_of, shown.resource if sees else None]
        shown.names = names_body(select_names(record.names, filter(None, known)))
    return shown


async def _explain(
    record: LoggedRecord, shown: OwnDecision, version: Callable[[int], Awaitable[Snapshot]]
) -> tuple[str, list[str]]:
    """The reason as a sentence, and what the caller was missing."""
    if shown.reason is None:
        return (REFUSED if shown.by_you else OTHERS_REFUSED), []
    try:
        recorded = parse_request(record.json, record.texts)
    except NotARequest:
        return BECAUSE[shown.reason], []
    snapshot = await version(recorded.version)
    # In a thread, as every rule is evaluated.
    why = await asyncio.to_thread(explain_record, snapshot, recorded, to_caller=True, of_others=False)
    missing = ["; ".join(condition.sentence for condition in row.missing) for row in why.near]
    return why.because, list(dict.fromkeys(missing))
