"""Routes for access requests: who asks for access for a time, and who grants it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET, Meta

from service.directory.entities import (
    MAX_ACCESS_DAYS,
    MAX_ACCESS_REASON_LENGTH,
    MAX_DAYS_UNTIL_ACCESS,
    MAX_TEAM_NAME_LENGTH,
    WantedAccess,
)
from service.errors import InvalidField
from service.fields import PROJECT
from service.ids import read_id
from service.places import FieldError
from service.web.directory.directory_pages import load_page
from service.web.directory.directory_shapes import Id, Moment, Until
from service.web.http.operations import BODY, COMMON, ROW, operation
from service.web.http.paging import DEFAULT_LIMIT
from service.web.http.parameters import (
    CurrentCaller,
    Cursor,
    Limit,
    WithNames,
    parse_optional_text,
    parse_optional_uuid,
    parse_text,
    parse_uuid,
)
from service.web.http.responses import DecisionId, Names, NextCursor, PersonId, TeamId, Time, make_response, names_body
from service.web.http.responses import Id as AnyId

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    from service.directory.access_requests import AccessRequests
    from service.directory.entities import RequestedAccess
    from service.web.http.paging import Cursors

SCOPE = ("approve:timesheets", "manage:directory")
ASKING = "approve:timesheets"
TAG = "Access requests"

AccessState = Literal["open", "granted", "declined", "withdrawn", "ended"]
_Relation = Annotated[str, Meta(max_length=40, examples=["temporary_approver"])]
_Team = Annotated[str, Meta(max_length=MAX_TEAM_NAME_LENGTH, examples=["Atlas"])]
_Code = Annotated[str, Meta(pattern=f"^{PROJECT.pattern}$", examples=["ATLAS"])]
_Reason = Annotated[str, Meta(min_length=1, max_length=MAX_ACCESS_REASON_LENGTH)]
_Why = Annotated[_Reason, Meta(description="Why", examples=["I approve while Ana is away"])]


class NewAccessRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Asks for a relation to the timesheets of a team or of a project, or after a refusal for what was missing."""

    until: Annotated[Until, Meta(description=f"The end, exclusive; at most {MAX_ACCESS_DAYS} days after the beginning")]
    reason: _Why
    from_: Annotated[
        Moment | None,
        Meta(
            description="The beginning, inclusive; default, and at the earliest: now;"
            f" at most {MAX_DAYS_UNTIL_ACCESS} days ahead"
        ),
    ] = msgspec.field(name="from", default=None)
    relation: Annotated[
        _Relation | None, Meta(description="The relation; it must be one that the policy lets you ask for")
    ] = None
    team: Annotated[
        _Team | None, Meta(description="A team by its id or name: for the timesheets of it and of the teams below it")
    ] = None
    project: Annotated[_Code | None, Meta(description="A project: for the timesheets with hours on it")] = None
    decision: Annotated[
        Id | None,
        Meta(
            description="Instead of a relation: a refusal of yours on a timesheet, `request_access.decision` of the"
            " problem. The team is the owner's; name it if there are several"
        ),
    ] = None


class AccessGrant(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How access is granted."""

    until: Annotated[Until | None, Meta(description="An earlier end than was asked for")] = None
    reason: Annotated[_Reason | None, Meta(description="A comment", examples=["Until Ana is back"])] = None


class AccessRefusal(msgspec.Struct, forbid_unknown_fields=True):
    """Why access is declined."""

    reason: _Why


class AccessRequestBody(msgspec.Struct):
    """An access request: a person asks for a relation to timesheets for a time."""

    id: Annotated[AnyId, Meta(description="The access request's id")]
    relation: Annotated[str, Meta(description="The relation", examples=["temporary_approver"])]
    team: Annotated[
        TeamId | None, Meta(description="For the timesheets of this team and the teams below it; null: of a project")
    ]
    project: Annotated[
        str | None, Meta(description="For the timesheets with hours on this project; null: of a team", examples=[None])
    ]
    person: Annotated[PersonId, Meta(description="The requester's id")]
    state: Annotated[
        AccessState,
        Meta(description="`ended`: its time has passed, or somebody ended it", examples=["granted"]),
    ]
    from_: Annotated[
        Time, Meta(description="The beginning that was asked for, inclusive; once it was granted, of the access")
    ] = msgspec.field(name="from")
    until: Annotated[
        Time,
        Meta(
            description="The end that was asked for, exclusive; once it was granted, of the access",
            examples=["2026-11-27T17:00:00Z"],
        ),
    ]
    reason: Annotated[str | None, Meta(description="The requester's reason; null: erased", examples=["Ana is away"])]
    requested_at: Annotated[Time, Meta(description="When it was made")]
    decision: Annotated[DecisionId | None, Meta(description="The refusal that led to it; null: none")]
    decided_by: Annotated[
        str | None,
        Meta(
            description="Who decided or withdrew it: a person's id, or a client that acts for itself; null: nobody yet",
            examples=["0198c0de-0000-7000-8000-000000000002"],
        ),
    ]
    decided_at: Annotated[Time | None, Meta(description="When; null: not yet")]
    decision_reason: Annotated[
        str | None, Meta(description="Their reason; null: none, or erased", examples=["Until Ana is back"])
    ]
    names: Names = UNSET


class AccessRequestPage(msgspec.Struct):
    """Access requests, oldest first unless `sort` says otherwise."""

    items: Annotated[list[AccessRequestBody], Meta(description="The requests of this page")]
    next_cursor: NextCursor


_NO_GRANT = AccessGrant()


def access_request_routes(requests: AccessRequests, cursors: Cursors) -> list[Any]:
    """The handlers, bound to their use cases."""

    @post(
        "/v1/access-requests",
        **operation("Ask for access", scope=ASKING, problems=(*COMMON, *BODY, 409), tag=TAG, location=True, names=True),
    )
    async def request_access(caller: CurrentCaller, data: JSONBody[NewAccessRequest]) -> Response[AccessRequestBody]:
        wanted, refusal = _parse_wanted(data)
        answer = await requests.request(caller, wanted, refusal)
        location = f"/v1/access-requests/{answer.value.id}"
        return make_response(_body(answer.value, answer.names), answer.receipt, status=201, location=location)

    @get("/v1/access-requests", **operation("List access requests", scope=SCOPE, problems=COMMON, tag=TAG))
    async def list_access_requests(
        caller: CurrentCaller,
        in_state: Annotated[
            AccessState | None, QueryParameter(name="state", description="Only those in this state")
        ] = None,
        mine: Annotated[bool, QueryParameter(description="Only your own")] = False,  # noqa: FBT002 — a query parameter
        to_decide: Annotated[bool, QueryParameter(description="Only those that you may grant now")] = False,  # noqa: FBT002 — a query parameter
        sort: Annotated[
            Literal["requested_at", "-requested_at"],
            QueryParameter(description="The order; with a `-`, the newest come first"),
        ] = "requested_at",
        names: WithNames = False,  # noqa: FBT002 — a query parameter
        cursor: Cursor = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response[AccessRequestPage]:
        newest_first = sort == "-requested_at"
        load = partial(
            requests.list, state=in_state, mine=mine, to_decide=to_decide, newest_first=newest_first, with_names=names
        )
        filters = {"state": in_state, "mine": mine, "to_decide": to_decide, **({"sort": sort} if newest_first else {})}
        answer, following = await load_page(load, cursors, "access-requests", caller, cursor, limit, filters)
        return make_response(
            AccessRequestPage([_body(*named) for named in answer.value.named], following), answer.receipt
        )

    @get(
        "/v1/access-requests/{request_id:str}",
        **operation("Read an access request", scope=SCOPE, problems=ROW, tag=TAG),
    )
    async def read_access_request(
        caller: CurrentCaller,
        request_id: FromPath[str],
        names: WithNames = False,  # noqa: FBT002 — a query parameter
    ) -> Response[AccessRequestBody]:
        answer = await requests.load(caller, parse_uuid(request_id, "path.request_id"), with_names=names)
        return make_response(_body(answer.value, answer.names), answer.receipt)

    @post(
        "/v1/access-requests/{request_id:str}/grant",
        status_code=200,
        **operation("Grant access", scope=SCOPE, problems=(*ROW, *BODY, 409), tag=TAG, names=True),
    )
    async def grant_access(
        caller: CurrentCaller, request_id: FromPath[str], data: JSONBody[AccessGrant] = _NO_GRANT
    ) -> Response[AccessRequestBody]:
        request, reason = parse_uuid(request_id, "path.request_id"), parse_optional_text(data.reason, "reason")
        answer = await requests.grant(caller, request, data.until, reason)
        return make_response(_body(answer.value, answer.names), answer.receipt)

    @post(
        "/v1/access-requests/{request_id:str}/decline",
        status_code=200,
        **operation("Decline access", scope=SCOPE, problems=(*ROW, *BODY, 409), tag=TAG, names=True),
    )
    async def decline_access(
        caller: CurrentCaller, request_id: FromPath[str], data: JSONBody[AccessRefusal]
    ) -> Response[AccessRequestBody]:
        request, reason = parse_uuid(request_id, "path.request_id"), parse_text(data.reason, "reason")
        answer = await requests.decline(caller, request, reason)
        return make_response(_body(answer.value, answer.names), answer.receipt)

    @post(
        "/v1/access-requests/{request_id:str}/withdraw",
        status_code=200,
        **operation("Withdraw an access request", scope=ASKING, problems=(*ROW, 409), tag=TAG, names=True),
    )
    async def withdraw_access_request(caller: CurrentCaller, request_id: FromPath[str]) -> Response[AccessRequestBody]:
        answer = await requests.withdraw(caller, parse_uuid(request_id, "path.request_id"))
        return make_response(_body(answer.value, answer.names), answer.receipt)

    @post(
        "/v1/access-requests/{request_id:str}/end",
        status_code=200,
        **operation("End access", scope=SCOPE, problems=(*ROW, 409), tag=TAG, names=True),
    )
    async def end_access(caller: CurrentCaller, request_id: FromPath[str]) -> Response[AccessRequestBody]:
        answer = await requests.end(caller, parse_uuid(request_id, "path.request_id"))
        return make_response(_body(answer.value, answer.names), answer.receipt)

    return [
        request_access,
        list_access_requests,
        read_access_request,
        grant_access,
        decline_access,
        withdraw_access_request,
        end_access,
    ]


def _parse_wanted(data: NewAccessRequest) -> tuple[WantedAccess, UUID | None]:
    """The access that is asked for, and the refusal that led to it. Raises InvalidField."""
    refusal = parse_optional_uuid(data.decision, "decision")
    wrong = []
    if (data.relation is None) == (refusal is None):
        wrong.append(FieldError("relation", "is required, or `decision` instead of it"))
    if data.team is not None and data.project is not None:
        wrong.append(FieldError("project", "cannot be given together with a team"))
    if refusal is None and data.team is None and data.project is None:
        wrong.append(FieldError("team", "is required, or `project` instead of it"))
    if wrong:
        raise InvalidField(*wrong)
    team = parse_optional_text(data.team, "team")
    return WantedAccess(
        relation=parse_optional_text(data.relation, "relation"),
        team=None if team is None else read_id(team) or team,
        project=data.project,
        until=data.until,
        reason=parse_text(data.reason, "reason"),
        since=data.from_,
    ), refusal


def _body(request: RequestedAccess, names: Mapping[str, str] | None = None) -> AccessRequestBody:
    return AccessRequestBody(
        id=str(request.id),
        relation=request.relation,
        team=None if request.team is None else str(request.team),
        project=request.project,
        person=str(request.person),
        state=cast("AccessState", request.state),
        from_=cast("datetime", request.time.valid_from),
        until=cast("datetime", request.time.valid_to),
        reason=request.reason,
        requested_at=cast("datetime", request.requested_at),
        decision=None if request.refusal is None else str(request.refusal),
        decided_by=request.decided_by,
        decided_at=request.decided_at,
        decision_reason=request.decision_reason,
        names=names_body(names),
    )
