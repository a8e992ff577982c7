"""Routes of teams, memberships and importer grants, for administrators of the directory."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from litestar import Response, get, post, put
from litestar.params import FromPath, JSONBody, Parameter
from litestar.types import Scope  # noqa: TC002 — Litestar reads handler signatures

from service.directory.entities import Part, Validity
from service.directory.grant_store import MembershipFilter
from service.web.directory.directory_pages import load_page
from service.web.directory.directory_shapes import (
    NOW,
    EndTime,
    GrantBody,
    GrantPage,
    MembershipBody,
    MembershipMove,
    MembershipPage,
    NewGrant,
    NewMembership,
    NewTeam,
    TeamBody,
    TeamChange,
    TeamPage,
    times_of,
)
from service.web.http.operations import BODY, CHANGE, COMMON, ROW, operation
from service.web.http.paging import DEFAULT_LIMIT
from service.web.http.parameters import (
    MAX_PERSON_CHARS,
    MAX_TEAM_CHARS,
    PERSON_IN_QUERY,
    CurrentCaller,
    Cursor,
    Limit,
    TeamInPath,
    WithNames,
    fields_parameter,
    parse_fields,
    parse_optional_person,
    parse_optional_team,
    parse_optional_time,
    parse_person,
    parse_team,
    parse_uuid,
    pick_fields,
)
from service.web.http.preconditions import read_if_match, referent
from service.web.http.responses import make_response, names_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.authorization.enforcement.changes import Answer
    from service.authorization.enforcement.team_references import NamedTeam
    from service.directory.actions import Directory
    from service.directory.entities import ImporterGrant, Membership, Team
    from service.web.http.paging import Cursors

SCOPE = "manage:directory"
TAG = "Directory"
# Of whom one request lists memberships.
MAX_PEOPLE = 100
TeamFields = Annotated[list[str] | None, fields_parameter(TeamBody)]


def directory_routes(directory: Directory, cursors: Cursors) -> list[Any]:
    """The handlers, bound to their use cases."""
    return [
        *_teams(directory, cursors),
        *_importers(directory, cursors),
        *_memberships(directory, cursors),
    ]


def _teams(directory: Directory, cursors: Cursors) -> list[Any]:
    @get("/v1/teams", **operation("List teams", scope=SCOPE, problems=COMMON, tag=TAG))
    async def list_teams(
        caller: CurrentCaller,
        names: WithNames = False,  # noqa: FBT002 — a query parameter
        fields: TeamFields = None,
        cursor: Cursor = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response[TeamPage]:
        wanted = parse_fields(fields, TeamBody)
        load = partial(directory.teams, with_names=names)
        answer, following = await load_page(load, cursors, "teams", caller, cursor, limit)
        items = pick_fields([_team(*named) for named in answer.value.named], wanted)
        return make_response(TeamPage(items, following), answer.receipt)

    @post(
        "/v1/teams", **operation("Add a team", scope=SCOPE, problems=(*ROW, *BODY, 409), tag=TAG, etag=True, names=True)
    )
    async def add_team(caller: CurrentCaller, data: JSONBody[NewTeam]) -> Response[TeamBody]:
        parent = parse_optional_team(data.parent, "parent")
        answer = await directory.add_team(caller, data.name, parent, data.attributes)
        return _respond(answer, answer.value.id, status=201)

    @get("/v1/teams/{team_id:str}", **operation("Read a team", scope=SCOPE, problems=ROW, tag=TAG, etag=True))
    async def read_team(
        caller: CurrentCaller,
        team_id: TeamInPath,
        names: WithNames = False,  # noqa: FBT002 — a query parameter
    ) -> Response[TeamBody]:
        team = parse_team(team_id, "path.team_id")
        return _respond(await directory.team(caller, team, with_names=names), team)

    @put(
        "/v1/teams/{team_id:str}",
        **operation(
            "Rename or move a team", scope=SCOPE, problems=(*CHANGE, *BODY), tag=TAG, conditional=True, names=True
        ),
    )
    async def replace_team(
        caller: CurrentCaller, team_id: TeamInPath, data: JSONBody[TeamChange], scope: Scope
    ) -> Response[TeamBody]:
        team, parent = parse_team(team_id, "path.team_id"), parse_optional_team(data.parent, "parent")
        expect = read_if_match(scope)
        return _respond(await directory.replace_team(caller, team, data.name, parent, expect, data.attributes), team)

    return [list_teams, add_team, read_team, replace_team]


def _importers(directory: Directory, cursors: Cursors) -> list[Any]:
    @get("/v1/importer-grants", **operation("List importer grants", scope=SCOPE, problems=COMMON, tag=TAG))
    async def list_grants(
        caller: CurrentCaller,
        names: WithNames = False,  # noqa: FBT002 — a query parameter
        cursor: Cursor = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response[GrantPage]:
        load = partial(directory.importer_grants, with_names=names)
        answer, following = await load_page(load, cursors, "importer-grants", caller, cursor, limit)
        return make_response(GrantPage([_grant(*named) for named in answer.value.named], following), answer.receipt)

    @post(
        "/v1/importer-grants",
        **operation(
            "Grant a client the import of hours", scope=SCOPE, problems=(*ROW, *BODY, 409), tag=TAG, names=True
        ),
    )
    async def grant_importer(caller: CurrentCaller, data: JSONBody[NewGrant]) -> Response[GrantBody]:
        validity = Validity(data.valid_from, data.valid_to)
        answer = await directory.grant_importer(caller, data.client, parse_team(data.team, "team"), validity)
        return make_response(_grant(answer.value, answer.names), answer.receipt, status=201)

    @post(
        "/v1/importer-grants/{grant_id:str}/end",
        status_code=200,
        **operation("End an importer grant", scope=SCOPE, problems=(*ROW, *BODY, 409), tag=TAG, names=True),
    )
    async def end_grant(
        caller: CurrentCaller, grant_id: FromPath[str], data: JSONBody[EndTime] = NOW
    ) -> Response[GrantBody]:
        answer = await directory.end_importer_grant(caller, parse_uuid(grant_id, "path.grant_id"), data.at)
        return make_response(_grant(answer.value, answer.names), answer.receipt)

    return [list_grants, grant_importer, end_grant]


def _memberships(directory: Directory, cursors: Cursors) -> list[Any]:
    @get("/v1/memberships", **operation("List memberships", scope=SCOPE, problems=COMMON, tag=TAG))
    async def list_memberships(
        caller: CurrentCaller,
        person: Annotated[
            str | None, Parameter(max_length=MAX_PERSON_CHARS, description=f"Only memberships of {PERSON_IN_QUERY}")
        ] = None,
        people: Annotated[
            list[str] | None,
            Parameter(max_items=MAX_PEOPLE, description="Only memberships of these people, by their ids; repeatable"),
        ] = None,
        team: Annotated[
            str | None, Parameter(max_length=MAX_TEAM_CHARS, description="Only memberships in this team, by id or name")
        ] = None,
        as_of: Annotated[
            str | None, Parameter(max_length=40, description="Only memberships that are valid at this time")
        ] = None,
        names: WithNames = False,  # noqa: FBT002 — a query parameter
        cursor: Cursor = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response[MembershipPage]:
        time = parse_optional_time(as_of, "query.as_of")
        of = MembershipFilter(
            parse_optional_person(person, "query.person"),
            parse_optional_team(team, "query.team"),
            time,
            None if people is None else tuple(parse_uuid(text, "query.people") for text in people),
        )
        filters = {"person": person, "people": people, "team": team, "as_of": as_of}
        load = partial(directory.memberships, of=of, with_names=names)
        answer, following = await load_page(load, cursors, "memberships", caller, cursor, limit, filters)
        return make_response(
            MembershipPage([_membership(*named) for named in answer.value.named], following), answer.receipt
        )

    @post(
        "/v1/memberships",
        **operation("Add a membership", scope=SCOPE, problems=(*ROW, *BODY, 409), tag=TAG, names=True),
    )
    async def add_membership(caller: CurrentCaller, data: JSONBody[NewMembership]) -> Response[MembershipBody]:
        validity = Validity(data.valid_from, data.valid_to)
        person, team = parse_person(data.person, "person"), parse_team(data.team, "team")
        answer = await directory.add_membership(caller, person, team, Part(data.part), validity)
        return make_response(_membership(answer.value, answer.names), answer.receipt, status=201)

    @post(
        "/v1/memberships/{membership_id:str}/end",
        status_code=200,
        **operation("End a membership", scope=SCOPE, problems=(*ROW, *BODY, 409), tag=TAG, names=True),
    )
    async def end_membership(
        caller: CurrentCaller, membership_id: FromPath[str], data: JSONBody[EndTime] = NOW
    ) -> Response[MembershipBody]:
        answer = await directory.end_membership(caller, parse_uuid(membership_id, "path.membership_id"), data.at)
        return make_response(_membership(answer.value, answer.names), answer.receipt)

    @post(
        "/v1/memberships/{membership_id:str}/move",
        status_code=201,
        **operation("Move a membership", scope=SCOPE, problems=(*ROW, *BODY, 409), tag=TAG, names=True),
    )
    async def move_membership(
        caller: CurrentCaller, membership_id: FromPath[str], data: JSONBody[MembershipMove]
    ) -> Response[MembershipBody]:
        membership, team = parse_uuid(membership_id, "path.membership_id"), parse_team(data.team, "team")
        part = Part(data.part) if data.part else None
        answer = await directory.move_membership(caller, membership, team, part, data.at)
        return make_response(_membership(answer.value, answer.names), answer.receipt, status=201)

    return [list_memberships, add_membership, end_membership, move_membership]


def _team(team: Team, names: Mapping[str, str] | None = None) -> TeamBody:
    parent = str(team.parent) if team.parent else None
    return TeamBody(str(team.id), team.name, parent, dict(team.attributes), names_body(names))


def _respond(answer: Answer[Team], named: NamedTeam, status: int = 200) -> Response[TeamBody]:
    return make_response(
        _team(answer.value, answer.names),
        answer.receipt,
        status=status,
        version=answer.value.version,
        unversioned=referent(named, answer.value.id),
    )


def _membership(membership: Membership, names: Mapping[str, str] | None = None) -> MembershipBody:
    return MembershipBody(
        str(membership.id),
        str(membership.person),
        str(membership.team),
        membership.part,
        *times_of(membership.validity),
        names_body(names),
    )


def _grant(importer_grant: ImporterGrant, names: Mapping[str, str] | None = None) -> GrantBody:
    return GrantBody(
        str(importer_grant.id),
        importer_grant.client,
        str(importer_grant.team),
        *times_of(importer_grant.validity),
        names_body(names),
    )
