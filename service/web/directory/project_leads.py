"""Routes of leads of projects, for administrators of the directory."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath, JSONBody  # noqa: TC002 - Litestar reads the signatures
from msgspec import Meta

from service.directory.entities import Validity
from service.web.directory.directory_pages import load_page
from service.web.directory.directory_shapes import (
    NOW,
    AsOf,
    CodeInPath,
    EndTime,
    From,
    To,
    ValidFrom,
    ValidTo,
    parse_code,
    times_of,
)
from service.web.http.operations import BODY, ROW, operation
from service.web.http.paging import DEFAULT_LIMIT
from service.web.http.parameters import (
    CurrentCaller,
    Cursor,
    GivenPerson,
    Limit,
    WithNames,
    parse_optional_time,
    parse_person,
    parse_uuid,
)
from service.web.http.responses import Id as AnyId
from service.web.http.responses import Names, NextCursor, PersonId, make_response, names_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.directory.entities import ProjectLead
    from service.directory.holders import Holders
    from service.web.http.paging import Cursors

SCOPE = "manage:directory"
TAG = "Directory"


class NewProjectLead(msgspec.Struct, forbid_unknown_fields=True):
    """A person to make a lead of the project."""

    person: GivenPerson
    valid_from: From = None
    valid_to: To = None


class ProjectLeadBody(msgspec.Struct):
    """A lead of a project."""

    id: Annotated[AnyId, Meta(description="The id of this lead")]
    project: Annotated[str, Meta(description="The project's code", examples=["ATLAS"])]
    person: PersonId
    valid_from: ValidFrom
    valid_to: ValidTo
    names: Names = msgspec.UNSET


class ProjectLeadPage(msgspec.Struct):
    """Leads of a project, past ones too, oldest first."""

    items: Annotated[list[ProjectLeadBody], Meta(description="The leads of this page")]
    next_cursor: NextCursor


def project_lead_routes(leads: Holders[ProjectLead], cursors: Cursors) -> list[Any]:
    """The handlers, bound to their use cases."""

    @get("/v1/projects/{code:str}/leads", **operation("List leads of a project", scope=SCOPE, problems=ROW, tag=TAG))
    async def list_project_leads(
        caller: CurrentCaller,
        code: CodeInPath,
        as_of: AsOf = None,
        names: WithNames = False,  # noqa: FBT002 — a query parameter
        cursor: Cursor = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response[ProjectLeadPage]:
        time = parse_optional_time(as_of, "query.as_of")
        load = partial(leads.list, thing=parse_code(code), as_of=time, with_names=names)
        filters = {"project": code, "as_of": as_of}
        answer, following = await load_page(load, cursors, "project-leads", caller, cursor, limit, filters)
        return make_response(
            ProjectLeadPage([_lead(*named) for named in answer.value.named], following), answer.receipt
        )

    @post(
        "/v1/projects/{code:str}/leads",
        **operation("Name a lead of a project", scope=SCOPE, problems=(*ROW, *BODY, 409), tag=TAG, names=True),
    )
    async def name_project_lead(
        caller: CurrentCaller, code: CodeInPath, data: JSONBody[NewProjectLead]
    ) -> Response[ProjectLeadBody]:
        validity = Validity(data.valid_from, data.valid_to)
        answer = await leads.add(caller, parse_code(code), parse_person(data.person, "person"), validity)
        return make_response(_lead(answer.value, answer.names), answer.receipt, status=201)

    @post(
        "/v1/projects/{code:str}/leads/{lead_id:str}/end",
        status_code=200,
        **operation("End a lead of a project", scope=SCOPE, problems=(*ROW, *BODY, 409), tag=TAG, names=True),
    )
    async def end_project_lead(
        caller: CurrentCaller, code: CodeInPath, lead_id: FromPath[str], data: JSONBody[EndTime] = NOW
    ) -> Response[ProjectLeadBody]:
        answer = await leads.end(caller, parse_code(code), parse_uuid(lead_id, "path.lead_id"), data.at)
        return make_response(_lead(answer.value, answer.names), answer.receipt)

    return [list_project_leads, name_project_lead, end_project_lead]


def _lead(lead: ProjectLead, names: Mapping[str, str] | None = None) -> ProjectLeadBody:
    return ProjectLeadBody(str(lead.id), lead.project, str(lead.person), *times_of(lead.validity), names_body(names))
