"""Deputies and fallback approvers: who approves in the place of a manager, and who where there is none."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Meta

from service.directory.entities import Validity
from service.errors import InvalidField
from service.places import FieldError
from service.web.directory.directory_pages import page_of
from service.web.directory.directory_shapes import AT_ONCE, EndOf, From, Id, To, ValidFrom, ValidTo, times_of
from service.web.http.operations import BODY, COMMON, ROW, operation
from service.web.http.paging import DEFAULT_LIMIT
from service.web.http.parameters import Asking, Cursor, Limit, parse_optional_uuid, parse_uuid
from service.web.http.responses import Id as AnyId
from service.web.http.responses import NextCursor, PersonId, TeamId, make_response

if TYPE_CHECKING:
    from service.directory.deputies import Deputies
    from service.directory.entities import DeputyGrant, Fallback
    from service.directory.fallbacks import Fallbacks
    from service.web.http.paging import Cursors

SCOPE = "approve:timesheets"
KEEPING = "manage:directory"
TAG = "Directory"


class NewDeputy(msgspec.Struct, forbid_unknown_fields=True):
    """Somebody who stands in for a manager."""

    deputy: Annotated[
        Id, Meta(description="The id of the person who stands in", examples=["0198c0de-0000-7000-8000-000000000003"])
    ]
    manager: Annotated[Id | None, Meta(description="For whom; left out, it is you")] = None
    valid_from: From = None
    valid_to: To = None


class DeputyBody(msgspec.Struct):
    """Somebody who stands in for a manager."""

    id: Annotated[AnyId, Meta(description="The grant's id")]
    manager: Annotated[
        PersonId, Meta(description="The manager's id", examples=["0198c0de-0000-7000-8000-000000000002"])
    ]
    deputy: Annotated[
        PersonId,
        Meta(description="The id of the person who stands in", examples=["0198c0de-0000-7000-8000-000000000003"]),
    ]
    valid_from: ValidFrom
    valid_to: ValidTo


class DeputyPage(msgspec.Struct):
    """Grants, oldest first, ended ones too unless only those that hold were asked for."""

    items: Annotated[list[DeputyBody], Meta(description="The grants of this page")]
    next_cursor: NextCursor


class NewFallback(msgspec.Struct, forbid_unknown_fields=True):
    """A person who approves for those whom nobody leads."""

    person: Annotated[Id, Meta(description="The person's id")]
    team: Annotated[Id | None, Meta(description="In this team and below; left out: everywhere")] = None
    valid_from: From = None
    valid_to: To = None


class FallbackBody(msgspec.Struct):
    """A fallback approver."""

    id: Annotated[AnyId, Meta(description="The grant's id")]
    person: PersonId
    team: Annotated[TeamId | None, Meta(description="In this team and below; null: everywhere")]
    valid_from: ValidFrom
    valid_to: ValidTo


class FallbackPage(msgspec.Struct):
    """Fallback approvers, ended ones too, oldest first."""

    items: Annotated[list[FallbackBody], Meta(description="The approvers of this page")]
    next_cursor: NextCursor


def deputy_routes(deputies: Deputies, cursors: Cursors) -> list[Any]:
    """The handlers, bound to their use cases."""

    @get("/v1/deputies", **operation("List deputies", scope=SCOPE, problems=COMMON, tag=TAG))
    async def list_deputies(
        ask: Asking,
        now: Annotated[bool, QueryParameter(description="Only those that hold now")] = False,  # noqa: FBT002 — a query parameter
        cursor: Cursor = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response[DeputyPage]:
        load = partial(deputies.list, now=now)
        answer, following = await page_of(load, cursors, "deputies", ask, cursor, limit, {"now": now})
        return make_response(DeputyPage([_deputy(item) for item in answer.value.items], following), answer.receipt)

    @post("/v1/deputies", **operation("Name a deputy", scope=SCOPE, problems=(*COMMON, *BODY, 409), tag=TAG))
    async def grant_deputy(ask: Asking, data: JSONBody[NewDeputy]) -> Response[DeputyBody]:
        manager = parse_optional_uuid(data.manager, "manager") or ask.principal.person
        if manager is None:
            raise InvalidField(FieldError("manager", "is needed: a client that acts for itself has no deputy"))
        deputy, validity = parse_uuid(data.deputy, "deputy"), Validity(data.valid_from, data.valid_to)
        answer = await deputies.grant(ask, manager, deputy, validity)
        return make_response(_deputy(answer.value), answer.receipt, status=201)

    @post(
        "/v1/deputies/{grant_id:str}/end",
        status_code=200,
        **operation("End a standing in", scope=SCOPE, problems=(*ROW, *BODY, 409), tag=TAG),
    )
    async def end_deputy(ask: Asking, grant_id: FromPath[str], data: JSONBody[EndOf] = AT_ONCE) -> Response[DeputyBody]:
        answer = await deputies.end(ask, parse_uuid(grant_id, "path.grant_id"), data.at)
        return make_response(_deputy(answer.value), answer.receipt)

    return [list_deputies, grant_deputy, end_deputy]


def fallback_routes(fallbacks: Fallbacks, cursors: Cursors) -> list[Any]:
    """The handlers, bound to their use cases."""

    @get("/v1/fallback-approvers", **operation("List fallback approvers", scope=KEEPING, problems=COMMON, tag=TAG))
    async def list_fallbacks(
        ask: Asking, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
    ) -> Response[FallbackPage]:
        answer, following = await page_of(fallbacks.list, cursors, "fallback-approvers", ask, cursor, limit)
        return make_response(FallbackPage([_fallback(item) for item in answer.value.items], following), answer.receipt)

    @post(
        "/v1/fallback-approvers",
        **operation("Name a fallback approver", scope=KEEPING, problems=(*COMMON, *BODY, 409), tag=TAG),
    )
    async def name_fallback(ask: Asking, data: JSONBody[NewFallback]) -> Response[FallbackBody]:
        validity = Validity(data.valid_from, data.valid_to)
        person, team = parse_uuid(data.person, "person"), parse_optional_uuid(data.team, "team")
        answer = await fallbacks.name(ask, person, team, validity)
        return make_response(_fallback(answer.value), answer.receipt, status=201)

    @post(
        "/v1/fallback-approvers/{fallback_id:str}/end",
        status_code=200,
        **operation("End a fallback approver", scope=KEEPING, problems=(*ROW, *BODY, 409), tag=TAG),
    )
    async def end_fallback(
        ask: Asking, fallback_id: FromPath[str], data: JSONBody[EndOf] = AT_ONCE
    ) -> Response[FallbackBody]:
        answer = await fallbacks.end(ask, parse_uuid(fallback_id, "path.fallback_id"), data.at)
        return make_response(_fallback(answer.value), answer.receipt)

    return [list_fallbacks, name_fallback, end_fallback]


def _deputy(deputy_grant: DeputyGrant) -> DeputyBody:
    times = times_of(deputy_grant.validity)
    return DeputyBody(str(deputy_grant.id), str(deputy_grant.manager), str(deputy_grant.deputy), *times)


def _fallback(fallback: Fallback) -> FallbackBody:
    times = times_of(fallback.validity)
    return FallbackBody(str(fallback.id), str(fallback.person), str(fallback.team) if fallback.team else None, *times)
