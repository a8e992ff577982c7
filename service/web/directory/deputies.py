"""Deputies and fallback approvers: who approves in the place of a manager, and who where there is none."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath, JSONBody, QueryParameter

from service.directory.entities import Validity
from service.errors import InvalidField
from service.places import FieldError
from service.web.directory.directory_pages import page_of
from service.web.directory.directory_shapes import AT_ONCE, EndOf, Id, Moment, Until
from service.web.http.answers import answered
from service.web.http.operations import BODY, COMMON, ROW, operation
from service.web.http.paging import DEFAULT_LIMIT
from service.web.http.parameters import Asking, Cursor, Limit, optional_uuid, uuid_of

if TYPE_CHECKING:
    from service.directory.deputies import Deputies
    from service.directory.entities import DeputyGrant, Fallback
    from service.directory.fallbacks import Fallbacks
    from service.web.http.paging import Cursors

SCOPE = "approve:timesheets"
KEEPING = "manage:directory"
TAG = "Directory"


class NewDeputy(msgspec.Struct, forbid_unknown_fields=True):
    """Somebody who stands in for a manager: for oneself, unless `manager` says for whom. Half-open in time."""

    deputy: Annotated[Id, msgspec.Meta(examples=["0198c0de-0000-7000-8000-000000000003"])]
    manager: Id | None = None
    valid_from: Moment | None = None
    valid_to: Until | None = None


class DeputyBody(msgspec.Struct):
    """A grant; `valid_to` is null while no end is known."""

    id: str
    manager: str
    deputy: str
    valid_from: datetime | None
    valid_to: datetime | None


class DeputyPage(msgspec.Struct):
    """Grants, oldest first, ended ones too unless only those that hold were asked for."""

    items: list[DeputyBody]
    next_cursor: str | None


class NewFallback(msgspec.Struct, forbid_unknown_fields=True):
    """A person who approves for those whom nobody leads, in a team and below; without a team: everywhere."""

    person: Id
    team: Id | None = None
    valid_from: Moment | None = None
    valid_to: Until | None = None


class FallbackBody(msgspec.Struct):
    """A fallback approver."""

    id: str
    person: str
    team: str | None
    valid_from: datetime | None
    valid_to: datetime | None


class FallbackPage(msgspec.Struct):
    """Fallback approvers, ended ones too, oldest first."""

    items: list[FallbackBody]
    next_cursor: str | None


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
        return answered(DeputyPage([_deputy(one) for one in answer.value.items], following), answer.receipt)

    @post("/v1/deputies", **operation("Name a deputy", scope=SCOPE, problems=(*COMMON, *BODY, 409), tag=TAG))
    async def grant_deputy(ask: Asking, data: JSONBody[NewDeputy]) -> Response[DeputyBody]:
        manager = optional_uuid(data.manager, "manager") or ask.principal.person
        if manager is None:
            raise InvalidField(FieldError("manager", "is needed: a client that acts for itself has no deputy"))
        deputy, validity = uuid_of(data.deputy, "deputy"), Validity(data.valid_from, data.valid_to)
        answer = await deputies.grant(ask, manager, deputy, validity)
        return answered(_deputy(answer.value), answer.receipt, status=201)

    @post(
        "/v1/deputies/{grant_id:str}/end",
        status_code=200,
        **operation("End a standing in", scope=SCOPE, problems=(*ROW, *BODY, 409), tag=TAG),
    )
    async def end_deputy(ask: Asking, grant_id: FromPath[str], data: JSONBody[EndOf] = AT_ONCE) -> Response[DeputyBody]:
        answer = await deputies.end(ask, uuid_of(grant_id, "path.grant_id"), data.at)
        return answered(_deputy(answer.value), answer.receipt)

    return [list_deputies, grant_deputy, end_deputy]


def fallback_routes(fallbacks: Fallbacks, cursors: Cursors) -> list[Any]:
    """The handlers, bound to their use cases."""

    @get("/v1/fallback-approvers", **operation("List fallback approvers", scope=KEEPING, problems=COMMON, tag=TAG))
    async def list_fallbacks(
        ask: Asking, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
    ) -> Response[FallbackPage]:
        answer, following = await page_of(fallbacks.list, cursors, "fallback-approvers", ask, cursor, limit)
        return answered(FallbackPage([_fallback(one) for one in answer.value.items], following), answer.receipt)

    @post(
        "/v1/fallback-approvers",
        **operation("Name a fallback approver", scope=KEEPING, problems=(*COMMON, *BODY, 409), tag=TAG),
    )
    async def name_fallback(ask: Asking, data: JSONBody[NewFallback]) -> Response[FallbackBody]:
        validity = Validity(data.valid_from, data.valid_to)
        person, team = uuid_of(data.person, "person"), optional_uuid(data.team, "team")
        answer = await fallbacks.name(ask, person, team, validity)
        return answered(_fallback(answer.value), answer.receipt, status=201)

    @post(
        "/v1/fallback-approvers/{fallback_id:str}/end",
        status_code=200,
        **operation("End a fallback approver", scope=KEEPING, problems=(*ROW, *BODY, 409), tag=TAG),
    )
    async def end_fallback(
        ask: Asking, fallback_id: FromPath[str], data: JSONBody[EndOf] = AT_ONCE
    ) -> Response[FallbackBody]:
        answer = await fallbacks.end(ask, uuid_of(fallback_id, "path.fallback_id"), data.at)
        return answered(_fallback(answer.value), answer.receipt)

    return [list_fallbacks, name_fallback, end_fallback]


def _deputy(one: DeputyGrant) -> DeputyBody:
    times = (one.validity.valid_from, one.validity.valid_to)
    return DeputyBody(str(one.id), str(one.manager), str(one.deputy), *times)


def _fallback(one: Fallback) -> FallbackBody:
    times = (one.validity.valid_from, one.validity.valid_to)
    return FallbackBody(str(one.id), str(one.person), str(one.team) if one.team else None, *times)
