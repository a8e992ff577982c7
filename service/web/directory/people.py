"""Routes of people and their roles, for administrators of the directory."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from litestar import Response, delete, get, patch, post
from litestar.params import BodyKwarg, JSONBody, PathParameter, QueryParameter
from litestar.types import Scope  # noqa: TC002 — Litestar reads handler signatures

from service.directory.entities import Link, Validity
from service.web.directory.directory_pages import load_page
from service.web.directory.directory_shapes import (
    MergeTarget,
    NewLinks,
    NewPerson,
    NewRole,
    PersonBody,
    PersonPage,
    PersonPatch,
    RoleBody,
    Roles,
    times_of,
)
from service.web.http.operations import BODY, CHANGE, COMMON, ROW, operation
from service.web.http.paging import DEFAULT_LIMIT
from service.web.http.parameters import (
    CurrentCaller,
    Cursor,
    Limit,
    PersonInPath,
    WithNames,
    fields_parameter,
    parse_fields,
    parse_optional_text,
    parse_person,
    pick_fields,
)
from service.web.http.preconditions import MERGE_PATCH, read_if_match, referent
from service.web.http.responses import make_response, names_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.authorization.enforcement.changes import Answer
    from service.authorization.enforcement.person_references import NamedPerson
    from service.directory.actions import Directory
    from service.directory.entities import GivenRole, Person
    from service.directory.merging import Merging
    from service.web.http.paging import Cursors

SCOPE = "manage:directory"
TAG = "Directory"
PERSON = "path.person_id"
Fields = Annotated[list[str] | None, fields_parameter(PersonBody)]


def people_routes(directory: Directory, merging: Merging, cursors: Cursors) -> list[Any]:
    """The handlers, bound to the use cases."""
    return [*_reading(directory, cursors), *_writing(directory, merging), *_roles(directory)]


def _reading(directory: Directory, cursors: Cursors) -> list[Any]:
    @get("/v1/people", **operation("List people", scope=SCOPE, problems=COMMON, tag=TAG))
    async def list_people(
        caller: CurrentCaller,
        email: Annotated[
            str | None, QueryParameter(description="Only people with this address", max_length=320)
        ] = None,
        name: Annotated[
            str | None,
            QueryParameter(
                description="Only people whose name has words that begin like these, such as `an lim`", max_length=200
            ),
        ] = None,
        names: WithNames = False,  # noqa: FBT002 — a query parameter
        fields: Fields = None,
        cursor: Cursor = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Response[PersonPage]:
        wanted = parse_fields(fields, PersonBody)
        address, words = parse_optional_text(email, "query.email"), parse_optional_text(name, "query.name")
        load = partial(directory.people, email=address, name=words, with_names=names)
        filters = {"email": address, "name": words}
        answer, following = await load_page(load, cursors, "people", caller, cursor, limit, filters)
        items = pick_fields([_person(*named) for named in answer.value.named], wanted)
        return make_response(PersonPage(items, following), answer.receipt)

    @get("/v1/people/{person_id:str}", **operation("Read a person", scope=SCOPE, problems=ROW, tag=TAG, etag=True))
    async def read_person(
        caller: CurrentCaller,
        person_id: PersonInPath,
        names: WithNames = False,  # noqa: FBT002 — a query parameter
    ) -> Response[PersonBody]:
        person = parse_person(person_id, PERSON)
        return _respond(await directory.person(caller, person, with_names=names), person)

    return [list_people, read_person]


def _writing(directory: Directory, merging: Merging) -> list[Any]:
    @post(
        "/v1/people",
        **operation("Add a person", scope=SCOPE, problems=(*COMMON, *BODY, 409), tag=TAG, etag=True, names=True),
    )
    async def add_person(caller: CurrentCaller, data: JSONBody[NewPerson]) -> Response[PersonBody]:
        links = [Link(link.issuer, link.subject) for link in data.links]
        answer = await directory.add_person(caller, data.display_name, data.email, links, data.attributes)
        return _respond(answer, answer.value.id, status=201)

    @patch(
        "/v1/people/{person_id:str}",
        opt={"media_types": (MERGE_PATCH,)},
        **operation(
            "Change a person's name, address or attributes",
            scope=SCOPE,
            problems=(*CHANGE, *BODY),
            tag=TAG,
            conditional=True,
            names=True,
        ),
    )
    async def amend_person(
        caller: CurrentCaller,
        person_id: PersonInPath,
        data: Annotated[PersonPatch, BodyKwarg(media_type=MERGE_PATCH)],
        scope: Scope,
    ) -> Response[PersonBody]:
        given = {"display_name": data.display_name, "email": data.email}
        changes = {name: value for name, value in given.items() if not isinstance(value, msgspec.UnsetType)}
        person, expect = parse_person(person_id, PERSON), read_if_match(scope)
        return _respond(await directory.amend_person(caller, person, changes, expect, data.attributes), person)

    @post(
        "/v1/people/{person_id:str}/links",
        **operation(
            "Link more tokens to a person", scope=SCOPE, problems=(*ROW, *BODY, 409), tag=TAG, etag=True, names=True
        ),
    )
    async def link_person(
        caller: CurrentCaller, person_id: PersonInPath, data: JSONBody[NewLinks]
    ) -> Response[PersonBody]:
        links = [Link(link.issuer, link.subject) for link in data.links]
        person = parse_person(person_id, PERSON)
        return _respond(await directory.link_person(caller, person, links), person, status=201)

    @post(
        "/v1/people/{person_id:str}/merge",
        status_code=200,
        **operation(
            "Merge a person into another", scope=SCOPE, problems=(*ROW, *BODY, 409), tag=TAG, etag=True, names=True
        ),
    )
    async def merge_person(
        caller: CurrentCaller, person_id: PersonInPath, data: JSONBody[MergeTarget]
    ) -> Response[PersonBody]:
        into = parse_person(data.into, "into")
        return _respond(await merging.merge(caller, parse_person(person_id, PERSON), into), into)

    return [add_person, amend_person, link_person, merge_person]


def _roles(directory: Directory) -> list[Any]:
    @get("/v1/people/{person_id:str}/roles", **operation("List a person's roles", scope=SCOPE, problems=ROW, tag=TAG))
    async def list_roles(
        caller: CurrentCaller,
        person_id: PersonInPath,
        names: WithNames = False,  # noqa: FBT002 — a query parameter
    ) -> Response[Roles]:
        answer = await directory.roles(caller, parse_person(person_id, PERSON), with_names=names)
        return make_response(Roles([_role(role, answer.names) for role in answer.value]), answer.receipt)

    @post(
        "/v1/people/{person_id:str}/roles",
        **operation("Give a role", scope=SCOPE, problems=(*ROW, *BODY, 409), tag=TAG, names=True),
    )
    async def give_role(caller: CurrentCaller, person_id: PersonInPath, data: JSONBody[NewRole]) -> Response[RoleBody]:
        validity = Validity(data.valid_from, data.valid_to)
        answer = await directory.give_role(caller, parse_person(person_id, PERSON), data.role, validity)
        return make_response(_role(answer.value, answer.names), answer.receipt, status=201)

    @delete(
        "/v1/people/{person_id:str}/roles/{role:str}",
        status_code=200,
        **operation("End a role", scope=SCOPE, problems=ROW, tag=TAG, names=True),
    )
    async def take_role(
        caller: CurrentCaller,
        person_id: PersonInPath,
        role: Annotated[str, PathParameter(description="The role's name")],
    ) -> Response[RoleBody]:
        answer = await directory.take_role(caller, parse_person(person_id, PERSON), role)
        return make_response(_role(answer.value, answer.names), answer.receipt)

    return [list_roles, give_role, take_role]


def _respond(answer: Answer[Person], named: NamedPerson, status: int = 200) -> Response[PersonBody]:
    return make_response(
        _person(answer.value, answer.names),
        answer.receipt,
        status=status,
        version=answer.value.version,
        unversioned=referent(named, answer.value.id),
    )


def _person(person: Person, names: Mapping[str, str] | None = None) -> PersonBody:
    return PersonBody(
        str(person.id),
        person.display_name,
        person.email,
        str(person.merged_into) if person.merged_into else None,
        dict(person.attributes),
        names_body(names),
    )


def _role(given_role: GivenRole, names: Mapping[str, str] | None) -> RoleBody:
    return RoleBody(str(given_role.person), given_role.role, *times_of(given_role.validity), names_body(names))
