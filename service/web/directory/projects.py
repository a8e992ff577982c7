"""Projects: everybody who writes hours sees them; those who manage the directory keep them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from litestar import Request, Response, get, post, put
from litestar.params import JSONBody, PathParameter, QueryParameter
from msgspec import Meta

from service.directory.entities import PROJECT, Project
from service.errors import InvalidField
from service.places import FieldError
from service.web.directory.directory_pages import page_of
from service.web.http.operations import BODY, CHANGE, COMMON, ROW, operation
from service.web.http.paging import DEFAULT_LIMIT
from service.web.http.parameters import CurrentCaller, Cursor, Limit  # noqa: TC001 — Litestar reads handler signatures
from service.web.http.preconditions import read_if_match
from service.web.http.responses import NextCursor, make_response

if TYPE_CHECKING:
    from service.authorization.enforcement.changes import Answer
    from service.directory.projects import Projects
    from service.web.http.paging import Cursors

SCOPE = "manage:directory"
TAG = "Directory"
CodeInPath = Annotated[
    str, PathParameter(description="The project's code", schema_extra={"pattern": f"^{PROJECT.pattern}$"})
]
ProjectName = Annotated[
    str, Meta(description="What it is called", min_length=1, max_length=200, examples=["Atlas, second phase"])
]


class NewProject(msgspec.Struct, forbid_unknown_fields=True):
    """A project to make."""

    code: Annotated[
        str, Meta(description="The word that entries use; it stays", min_length=1, max_length=40, examples=["ATLAS"])
    ]
    name: ProjectName
    active: Annotated[bool, Meta(description="Whether it takes new hours")] = True


class ProjectState(msgspec.Struct, forbid_unknown_fields=True):
    """What a project is called, and whether it takes new hours."""

    name: ProjectName
    active: Annotated[bool, Meta(description="Whether it takes new hours", examples=[False])]


class ProjectBody(msgspec.Struct):
    """A project."""

    code: Annotated[str, Meta(description="The word that entries use", examples=["ATLAS"])]
    name: Annotated[str, Meta(description="What it is called", examples=["Atlas, second phase"])]
    active: Annotated[bool, Meta(description="Whether it takes new hours", examples=[True])]


class ProjectPage(msgspec.Struct):
    """Projects by code."""

    items: Annotated[list[ProjectBody], Meta(description="The projects of this page")]
    next_cursor: NextCursor


def project_routes(projects: Projects, cursors: Cursors) -> list[Any]:
    """The handlers, bound to their use cases."""

    @get("/v1/projects", **operation("List projects", scope="create:timesheets", problems=COMMON, tag=TAG))
    async def list_projects(
        caller: CurrentCaller,
        active: Annotated[bool | None, QueryParameter(description="Only those that take hours, or do not")] = None,
        cursor: Cursor = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response[ProjectPage]:
        load = partial(projects.list, active=active)
        answer, following = await page_of(load, cursors, "projects", caller, cursor, limit, {"active": active}, key=str)
        return make_response(ProjectPage([_body(item) for item in answer.value.items], following), answer.receipt)

    @post("/v1/projects", **operation("Add a project", scope=SCOPE, problems=(*COMMON, *BODY, 409), tag=TAG, etag=True))
    async def add_project(caller: CurrentCaller, data: JSONBody[NewProject]) -> Response[ProjectBody]:
        return _shown(await projects.add(caller, Project(data.code, data.name, data.active)), status=201)

    @get(
        "/v1/projects/{code:str}",
        **operation("Read a project", scope="create:timesheets", problems=ROW, tag=TAG, etag=True),
    )
    async def read_project(caller: CurrentCaller, code: CodeInPath) -> Response[ProjectBody]:
        return _shown(await projects.one(caller, _code(code)))

    @put(
        "/v1/projects/{code:str}",
        **operation("Change a project", scope=SCOPE, problems=(*CHANGE, *BODY), tag=TAG, conditional=True),
    )
    async def replace_project(
        caller: CurrentCaller, code: CodeInPath, data: JSONBody[ProjectState], request: Request[Any, Any, Any]
    ) -> Response[ProjectBody]:
        return _shown(
            await projects.replace(caller, Project(_code(code), data.name, data.active), read_if_match(request))
        )

    return [list_projects, add_project, read_project, replace_project]


def _code(text: str) -> str:
    if not PROJECT.fullmatch(text):
        raise InvalidField(FieldError("path.code", "is not the code of a project"))
    return text


def _shown(answer: Answer[Project], status: int = 200) -> Response[ProjectBody]:
    return make_response(_body(answer.value), answer.receipt, status=status, version=answer.value.version)


def _body(project: Project) -> ProjectBody:
    return ProjectBody(project.code, project.name, project.active)
