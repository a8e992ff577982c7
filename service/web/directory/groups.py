"""Routes of groups of people, for administrators of the directory."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath, JSONBody, Parameter, PathParameter
from msgspec import Meta

from service.directory.entities import GROUP, Validity
from service.errors import InvalidField
from service.places import FieldError
from service.web.directory.directory_pages import load_page
from service.web.directory.directory_shapes import NOW, AsOf, EndTime, From, To, ValidFrom, ValidTo, times_of
from service.web.http.operations import BODY, COMMON, ROW, operation
from service.web.http.paging import DEFAULT_LIMIT
from service.web.http.parameters import (
    MAX_PERSON_CHARS,
    PERSON_IN_QUERY,
    CurrentCaller,
    Cursor,
    GivenPerson,
    Limit,
    WithNames,
    parse_optional_person,
    parse_optional_time,
    parse_person,
    parse_uuid,
)
from service.web.http.responses import Id as AnyId
from service.web.http.responses import Names, NextCursor, PersonId, make_response, names_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.directory.entities import GroupMember
    from service.directory.groups import Groups
    from service.directory.holders import Holders
    from service.web.http.paging import Cursors

SCOPE = "manage:directory"
TAG = "Directory"
GroupInPath = Annotated[
    str, PathParameter(description="The group's name", schema_extra={"pattern": f"^{GROUP.pattern}$"})
]


class NewGroup(msgspec.Struct, forbid_unknown_fields=True):
    """A group to add. Its name cannot change, because policies name it."""

    name: Annotated[
        str,
        Meta(description="Lower-case words joined by -", min_length=1, max_length=63, examples=["works-council"]),
    ]


class GroupBody(msgspec.Struct):
    """A group of people. Policies name it as `group:NAME`."""

    name: Annotated[str, Meta(description="The group's name", examples=["works-council"])]


class GroupPage(msgspec.Struct):
    """Groups by name."""

    items: Annotated[list[GroupBody], Meta(description="The groups of this page")]
    next_cursor: NextCursor


class NewGroupMember(msgspec.Struct, forbid_unknown_fields=True):
    """A person to put into the group."""

    person: GivenPerson
    valid_from: From = None
    valid_to: To = None


class GroupMemberBody(msgspec.Struct):
    """A person in a group."""

    id: Annotated[AnyId, Meta(description="The id of this membership of the group")]
    group: Annotated[str, Meta(description="The group's name", examples=["works-council"])]
    person: PersonId
    valid_from: ValidFrom
    valid_to: ValidTo
    names: Names = msgspec.UNSET


class GroupMemberPage(msgspec.Struct):
    """Members of a group, past ones too, oldest first."""

    items: Annotated[list[GroupMemberBody], Meta(description="The members of this page")]
    next_cursor: NextCursor


def group_routes(groups: Groups, members: Holders[GroupMember], cursors: Cursors) -> list[Any]:
    """The handlers, bound to their use cases."""
    return [*_groups(groups, cursors), *_members(members, cursors)]


def _groups(groups: Groups, cursors: Cursors) -> list[Any]:
    @get("/v1/groups", **operation("List groups", scope=SCOPE, problems=COMMON, tag=TAG))
    async def list_groups(
        caller: CurrentCaller,
        person: Annotated[
            str | None,
            Parameter(
                max_length=MAX_PERSON_CHARS, description=f"Only groups that a person is in now: {PERSON_IN_QUERY}"
            ),
        ] = None,
        cursor: Cursor = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response[GroupPage]:
        load = partial(groups.list, person=parse_optional_person(person, "query.person"))
        answer, following = await load_page(load, cursors, "groups", caller, cursor, limit, {"person": person}, key=str)
        return make_response(GroupPage([GroupBody(name) for name in answer.value.items], following), answer.receipt)

    @post("/v1/groups", **operation("Add a group", scope=SCOPE, problems=(*COMMON, *BODY, 409), tag=TAG))
    async def add_group(caller: CurrentCaller, data: JSONBody[NewGroup]) -> Response[GroupBody]:
        answer = await groups.add(caller, data.name)
        return make_response(GroupBody(answer.value), answer.receipt, status=201)

    return [list_groups, add_group]


def _members(members: Holders[GroupMember], cursors: Cursors) -> list[Any]:
    @get("/v1/groups/{name:str}/members", **operation("List members of a group", scope=SCOPE, problems=ROW, tag=TAG))
    async def list_group_members(
        caller: CurrentCaller,
        name: GroupInPath,
        as_of: AsOf = None,
        names: WithNames = False,  # noqa: FBT002 — a query parameter
        cursor: Cursor = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response[GroupMemberPage]:
        time = parse_optional_time(as_of, "query.as_of")
        load = partial(members.list, thing=_parse_name(name), as_of=time, with_names=names)
        filters = {"group": name, "as_of": as_of}
        answer, following = await load_page(load, cursors, "group-members", caller, cursor, limit, filters)
        items = [_member(*named) for named in answer.value.named]
        return make_response(GroupMemberPage(items, following), answer.receipt)

    @post(
        "/v1/groups/{name:str}/members",
        **operation("Put a person into a group", scope=SCOPE, problems=(*ROW, *BODY, 409), tag=TAG, names=True),
    )
    async def add_group_member(
        caller: CurrentCaller, name: GroupInPath, data: JSONBody[NewGroupMember]
    ) -> Response[GroupMemberBody]:
        validity = Validity(data.valid_from, data.valid_to)
        answer = await members.add(caller, _parse_name(name), parse_person(data.person, "person"), validity)
        return make_response(_member(answer.value, answer.names), answer.receipt, status=201)

    @post(
        "/v1/groups/{name:str}/members/{member_id:str}/end",
        status_code=200,
        **operation("Take a person out of a group", scope=SCOPE, problems=(*ROW, *BODY, 409), tag=TAG, names=True),
    )
    async def end_group_member(
        caller: CurrentCaller, name: GroupInPath, member_id: FromPath[str], data: JSONBody[EndTime] = NOW
    ) -> Response[GroupMemberBody]:
        answer = await members.end(caller, _parse_name(name), parse_uuid(member_id, "path.member_id"), data.at)
        return make_response(_member(answer.value, answer.names), answer.receipt)

    return [list_group_members, add_group_member, end_group_member]


def _parse_name(text: str) -> str:
    if not GROUP.fullmatch(text):
        raise InvalidField(FieldError("path.name", "is not the name of a group"))
    return text


def _member(member: GroupMember, names: Mapping[str, str] | None = None) -> GroupMemberBody:
    return GroupMemberBody(
        str(member.id), member.group, str(member.person), *times_of(member.validity), names_body(names)
    )
