"""Routes of projects: callers who enter hours read them, administrators of the directory change them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from litestar import Response, get, post, put
from litestar.params import JSONBody, QueryParameter
from litestar.types import Scope  # noqa: TC002 — Litestar reads handler signatures
from msgspec import Meta

from service.directory.entities import MAX_ACTIVITIES, Project, ProjectKind
from service.web.directory.directory_pages import load_page
from service.web.directory.directory_shapes import CodeInPath, GivenValues, ReplacingValues, Values, parse_code
from service.web.http.operations import BODY, CHANGE, COMMON, ROW, operation
from service.web.http.paging import DEFAULT_LIMIT
from service.web.http.parameters import CurrentCaller, Cursor, Limit, fields_parameter, parse_fields, pick_fields
from service.web.http.preconditions import read_if_match
from service.web.http.responses import NextCursor, make_response

if TYPE_CHECKING:
    from service.authorization.enforcement.changes import Answer
    from service.directory.projects import Projects
    from service.web.http.paging import Cursors

SCOPE = "manage:directory"
TAG = "Directory"
ProjectName = Annotated[
    str, Meta(description="The name of the project", min_length=1, max_length=200, examples=["Atlas, second phase"])
]


Activities = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=20)]], Meta(max_length=MAX_ACTIVITIES, examples=[["design"]])
]


class NewProject(msgspec.Struct, forbid_unknown_fields=True):
    """A project to add."""

    code: Annotated[
        str,
        Meta(
            description="The code that entries use; it cannot change", min_length=1, max_length=40, examples=["ATLAS"]
        ),
    ]
    name: ProjectName
    active: Annotated[bool, Meta(description="Whether it accepts new hours")] = True
    kind: Annotated[ProjectKind, Meta(description="What hours on it are")] = "work"
    billable: Annotated[bool, Meta(description="Whether new hours are billed unless they say otherwise")] = False
    activities: Annotated[Activities, Meta(description="The activities that hours may name")] = []
    attributes: GivenValues = msgspec.field(default_factory=dict)


class ProjectChange(msgspec.Struct, forbid_unknown_fields=True):
    """A project without its code. A field that is null or missing stays as it is."""

    name: ProjectName
    active: Annotated[bool, Meta(description="Whether it accepts new hours", examples=[False])]
    kind: Annotated[ProjectKind | None, Meta(description="What hours on it are")] = None
    billable: Annotated[bool | None, Meta(description="Whether new hours are billed unless they say otherwise")] = None
    activities: Annotated[Activities | None, Meta(description="The activities that hours may name")] = None
    attributes: ReplacingValues = None


class ProjectBody(msgspec.Struct):
    """A project."""

    code: Annotated[str, Meta(description="The code that entries use", examples=["ATLAS"])]
    name: Annotated[str, Meta(description="The name of the project", examples=["Atlas, second phase"])]
    active: Annotated[bool, Meta(description="Whether it accepts new hours", examples=[True])]
    kind: Annotated[ProjectKind, Meta(description="What hours on it are", examples=["work"])]
    billable: Annotated[
        bool, Meta(description="Whether new hours are billed unless they say otherwise", examples=[True])
    ]
    activities: Annotated[list[str], Meta(description="The activities that hours may name", examples=[["design"]])]
    attributes: Values


class ProjectPage(msgspec.Struct):
    """Projects by code."""

    items: Annotated[list[ProjectBody], Meta(description="The projects of this page")]
    next_cursor: NextCursor


Fields = Annotated[list[str] | None, fields_parameter(ProjectBody)]


def project_routes(projects: Projects, cursors: Cursors) -> list[Any]:
    """The handlers, bound to their use cases."""

    @get("/v1/projects", **operation("List projects", scope="create:timesheets", problems=COMMON, tag=TAG))
    async def list_projects(
        caller: CurrentCaller,
        active: Annotated[
            bool | None, QueryParameter(description="Only projects that accept hours (true), or do not (false)")
        ] = None,
        fields: Fields = None,
        cursor: Cursor = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response[ProjectPage]:
        wanted = parse_fields(fields, ProjectBody)
        load = partial(projects.list, active=active)
        answer, following = await load_page(
            load, cursors, "projects", caller, cursor, limit, {"active": active}, key=str
        )
        items = pick_fields([_body(item) for item in answer.value.items], wanted)
        return make_response(ProjectPage(items, following), answer.receipt)

    @post("/v1/projects", **operation("Add a project", scope=SCOPE, problems=(*COMMON, *BODY, 409), tag=TAG, etag=True))
    async def add_project(caller: CurrentCaller, data: JSONBody[NewProject]) -> Response[ProjectBody]:
        project = Project(data.code, data.name, data.active, data.kind, data.billable, tuple(data.activities))
        return _respond(await projects.add(caller, project, data.attributes), status=201)

    @get(
        "/v1/projects/{code:str}",
        **operation("Read a project", scope="create:timesheets", problems=ROW, tag=TAG, etag=True),
    )
    async def read_project(caller: CurrentCaller, code: CodeInPath) -> Response[ProjectBody]:
        return _respond(await projects.read(caller, parse_code(code)))

    @put(
        "/v1/projects/{code:str}",
        **operation("Change a project", scope=SCOPE, problems=(*CHANGE, *BODY), tag=TAG, conditional=True),
    )
    async def replace_project(
        caller: CurrentCaller, code: CodeInPath, data: JSONBody[ProjectChange], scope: Scope
    ) -> Response[ProjectBody]:
        project = Project(
            parse_code(code),
            data.name,
            data.active,
            data.kind or "work",
            data.billable or False,
            tuple(data.activities or ()),
        )
        kept = [name for name in ("kind", "billable", "activities") if getattr(data, name) is None]
        return _respond(await projects.replace(caller, project, read_if_match(scope), data.attributes, kept))

    return [list_projects, add_project, read_project, replace_project]


def _respond(answer: Answer[Project], status: int = 200) -> Response[ProjectBody]:
    return make_response(_body(answer.value), answer.receipt, status=status, version=answer.value.version)


def _body(project: Project) -> ProjectBody:
    return ProjectBody(
        project.code,
        project.name,
        project.active,
        project.kind,
        project.billable,
        list(project.activities),
        dict(project.attributes),
    )
