"""Routes for delegations and fallback approvers: who approves in place of a manager, and who if there is none."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Meta

from service.authorization.enforcement.person_references import ME
from service.directory.entities import Validity
from service.web.directory.directory_pages import load_page
from service.web.directory.directory_shapes import NOW, EndTime, From, To, ValidFrom, ValidTo, times_of
from service.web.http.operations import BODY, COMMON, ROW, operation
from service.web.http.paging import DEFAULT_LIMIT
from service.web.http.parameters import (
    CurrentCaller,
    Cursor,
    GivenPerson,
    GivenTeam,
    Limit,
    WithNames,
    parse_optional_team,
    parse_person,
    parse_uuid,
)
from service.web.http.responses import Id as AnyId
from service.web.http.responses import Names, NextCursor, PersonId, TeamId, make_response, names_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.directory.delegations import Delegations
    from service.directory.entities import Delegation, Fallback
    from service.directory.fallbacks import Fallbacks
    from service.web.http.paging import Cursors

SCOPE = "approve:timesheets"
KEEPING = "manage:directory"
TAG = "Directory"


class NewDelegation(msgspec.Struct, forbid_unknown_fields=True):
    """Lets a delegate approve in place of a manager, the delegator."""

    delegate: GivenPerson
    delegator: Annotated[GivenPerson | None, Meta(description="The delegator; by default, you")] = None
    valid_from: From = None
    valid_to: To = None


class DelegationBody(msgspec.Struct):
    """A delegation: the delegate may approve in place of the delegator."""

    id: Annotated[AnyId, Meta(description="The delegation's id")]
    delegator: Annotated[
        PersonId, Meta(description="The delegator's id", examples=["0198c0de-0000-7000-8000-000000000002"])
    ]
    delegate: Annotated[
        PersonId,
        Meta(description="The delegate's id", examples=["0198c0de-0000-7000-8000-000000000003"]),
    ]
    valid_from: ValidFrom
    valid_to: ValidTo
    names: Names = msgspec.UNSET


class DelegationPage(msgspec.Struct):
    """Delegations, oldest first. Ended ones are listed too, unless the request asks for those in force."""

    items: Annotated[list[DelegationBody], Meta(description="The delegations of this page")]
    next_cursor: NextCursor


class NewFallback(msgspec.Struct, forbid_unknown_fields=True):
    """A person who approves for owners who have no manager."""

    person: GivenPerson
    team: Annotated[
        GivenTeam | None, Meta(description="In this team, by id or name, and below; left out: everywhere")
    ] = None
    valid_from: From = None
    valid_to: To = None


class FallbackBody(msgspec.Struct):
    """A fallback approver."""

    id: Annotated[AnyId, Meta(description="The grant's id")]
    person: PersonId
    team: Annotated[TeamId | None, Meta(description="In this team and below; null: everywhere")]
    valid_from: ValidFrom
    valid_to: ValidTo
    names: Names = msgspec.UNSET


class FallbackPage(msgspec.Struct):
    """Fallback approvers, ended ones too, oldest first."""

    items: Annotated[list[FallbackBody], Meta(description="The approvers of this page")]
    next_cursor: NextCursor


def delegation_routes(delegations: Delegations, cursors: Cursors) -> list[Any]:
    """The handlers, bound to their use cases."""

    @get("/v1/delegations", **operation("List delegations", scope=SCOPE, problems=COMMON, tag=TAG))
    async def list_delegations(
        caller: CurrentCaller,
        now: Annotated[bool, QueryParameter(description="Only delegations that are in force now")] = False,  # noqa: FBT002 — a query parameter
        names: WithNames = False,  # noqa: FBT002 — a query parameter
        cursor: Cursor = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response[DelegationPage]:
        load = partial(delegations.list, now=now, with_names=names)
        answer, following = await load_page(load, cursors, "delegations", caller, cursor, limit, {"now": now})
        return make_response(
            DelegationPage([_delegation(*named) for named in answer.value.named], following), answer.receipt
        )

    @post(
        "/v1/delegations",
        **operation("Grant a delegation", scope=SCOPE, problems=(*COMMON, *BODY, 409), tag=TAG, names=True),
    )
    async def grant_delegation(caller: CurrentCaller, data: JSONBody[NewDelegation]) -> Response[DelegationBody]:
        delegator = ME if data.delegator is None else parse_person(data.delegator, "delegator")
        delegate, validity = parse_person(data.delegate, "delegate"), Validity(data.valid_from, data.valid_to)
        answer = await delegations.grant(caller, delegator, delegate, validity)
        return make_response(_delegation(answer.value, answer.names), answer.receipt, status=201)

    @post(
        "/v1/delegations/{delegation_id:str}/end",
        status_code=200,
        **operation("Revoke a delegation", scope=SCOPE, problems=(*ROW, *BODY, 409), tag=TAG, names=True),
    )
    async def end_delegation(
        caller: CurrentCaller, delegation_id: FromPath[str], data: JSONBody[EndTime] = NOW
    ) -> Response[DelegationBody]:
        answer = await delegations.end(caller, parse_uuid(delegation_id, "path.delegation_id"), data.at)
        return make_response(_delegation(answer.value, answer.names), answer.receipt)

    return [list_delegations, grant_delegation, end_delegation]


def fallback_routes(fallbacks: Fallbacks, cursors: Cursors) -> list[Any]:
    """The handlers, bound to their use cases."""

    @get("/v1/fallback-approvers", **operation("List fallback approvers", scope=KEEPING, problems=COMMON, tag=TAG))
    async def list_fallbacks(
        caller: CurrentCaller,
        names: WithNames = False,  # noqa: FBT002 — a query parameter
        cursor: Cursor = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response[FallbackPage]:
        load = partial(fallbacks.list, with_names=names)
        answer, following = await load_page(load, cursors, "fallback-approvers", caller, cursor, limit)
        return make_response(
            FallbackPage([_fallback(*named) for named in answer.value.named], following), answer.receipt
        )

    @post(
        "/v1/fallback-approvers",
        **operation("Name a fallback approver", scope=KEEPING, problems=(*COMMON, *BODY, 409), tag=TAG, names=True),
    )
    async def name_fallback(caller: CurrentCaller, data: JSONBody[NewFallback]) -> Response[FallbackBody]:
        validity = Validity(data.valid_from, data.valid_to)
        person, team = parse_person(data.person, "person"), parse_optional_team(data.team, "team")
        answer = await fallbacks.name(caller, person, team, validity)
        return make_response(_fallback(answer.value, answer.names), answer.receipt, status=201)

    @post(
        "/v1/fallback-approvers/{fallback_id:str}/end",
        status_code=200,
        **operation("End a fallback approver", scope=KEEPING, problems=(*ROW, *BODY, 409), tag=TAG, names=True),
    )
    async def end_fallback(
        caller: CurrentCaller, fallback_id: FromPath[str], data: JSONBody[EndTime] = NOW
    ) -> Response[FallbackBody]:
        answer = await fallbacks.end(caller, parse_uuid(fallback_id, "path.fallback_id"), data.at)
        return make_response(_fallback(answer.value, answer.names), answer.receipt)

    return [list_fallbacks, name_fallback, end_fallback]


def _delegation(delegation: Delegation, names: Mapping[str, str] | None = None) -> DelegationBody:
    people = str(delegation.delegator), str(delegation.delegate)
    return DelegationBody(str(delegation.id), *people, *times_of(delegation.validity), names_body(names))


def _fallback(fallback: Fallback, names: Mapping[str, str] | None = None) -> FallbackBody:
    times, team = times_of(fallback.validity), str(fallback.team) if fallback.team else None
    return FallbackBody(str(fallback.id), str(fallback.person), team, *times, names_body(names))
