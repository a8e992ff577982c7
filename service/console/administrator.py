"""The pages for people who keep the directory: people, teams as a tree, projects, groups, imports with a dry run."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID

import msgspec
from litestar import Response, get, post
from litestar.datastructures import UploadFile
from litestar.params import FromPath, FromQuery

from service.console.failures import describe_refusal
from service.console.form_values import number_of
from service.console.people import find_people, resolve_person, teams_of
from service.console.rooms import NavigationLink, Room
from service.console.visits import ListPage, ListPart, TheVisit, first_of, is_over
from service.standalone.client import (
    ApiResult,
    Denied,
    Group,
    GroupMember,
    Membership,
    Person,
    Problem,
    Project,
    Team,
    Unauthenticated,
)

MAX_SHOWN = 200
MAX_TEAMS = 2_000
# Of a team or a group.
MAX_MEMBERS = 2_000
MAX_IMPORTED_ROWS = 200
PARTS = {"member": "Member", "lead": "Lead"}


@dataclass(slots=True)
class TeamBranch:
    """A team with the teams below it."""

    team: Team
    below: list["TeamBranch"] = field(default_factory=list)


class ImportResult(ApiResult):
    """The result of an import, or of its dry run."""

    dry_run: bool
    created: int
    updated: int
    unchanged: int
    rows: list[dict[str, Any]]


@get("/directory/people")
async def show_people(visit: TheVisit, q: FromQuery[str] = "") -> Response[str]:
    """People, found by name or e-mail address."""
    q = q.strip()[:200]
    query = {"email": q} if "@" in q else {"name": q} if q else {}
    people = await first_of(visit.api.pages(Person, "/v1/people", **query), MAX_SHOWN)
    teams = await teams_of(visit, (person.id for person in people))
    return visit.render("directory_people.html", people=people, teams=teams, q=q, more=len(people) == MAX_SHOWN)


@get("/directory/names")
async def suggest_people(
    visit: TheVisit, person: FromQuery[str] = "", delegate: FromQuery[str] = "", delegator: FromQuery[str] = ""
) -> Response[str]:
    """Names for a field that names a person, for htmx, which sends the field."""
    person = person or delegate or delegator
    found: list[Person] = []
    # No page asks for another sign-in just to suggest names.
    with suppress(Denied, Unauthenticated):
        found = await find_people(visit, person, limit=8) if person.strip() else []
    return visit.render("directory_names.html", people=found)


@post("/directory/people", status_code=303)
async def add_person(visit: TheVisit) -> Response[Any]:
    """Add a person."""
    form = await visit.read_form()
    body = {"display_name": form.get("name") or None, "email": form.get("email") or None}
    person = await visit.api.call(Person, "POST", "/v1/people", body=body)
    return visit.redirect(f"/directory/people/{person.id}", done="added")


@get("/directory/people/{person_id:uuid}")
async def show_person(visit: TheVisit, person_id: FromPath[UUID]) -> Response[str]:
    """A person with their teams, roles and groups."""
    api = visit.api
    person, roles, memberships, groups, teams = await asyncio.gather(
        api.person(str(person_id)),
        api.roles(str(person_id)),
        visit.read_part(
            ListPage[Membership], "/v1/memberships", most=MAX_SHOWN, at="memberships", person=str(person_id), names=True
        ),
        visit.read_part(ListPage[Group], "/v1/groups", most=MAX_SHOWN, at="groups", person=str(person_id)),
        first_of(api.teams(), MAX_TEAMS),
    )
    return visit.render(
        "directory_person.html",
        person=person,
        roles=[role for role in roles if not is_over(role)],
        part=memberships,
        memberships=[membership for membership in memberships.items if not is_over(membership)],
        former=[membership for membership in memberships.items if is_over(membership)],
        groups=groups,
        teams=teams,
        MAX_TEAMS=MAX_TEAMS,
        parts=PARTS,
    )


@post("/directory/people/{person_id:uuid}", status_code=303)
async def change_person(visit: TheVisit, person_id: FromPath[UUID]) -> Response[Any]:
    """Change the name and the e-mail address of a person, in the version that was seen."""
    form = await visit.read_form()
    person = await visit.api.person(str(person_id))
    person.version = number_of(form.get("version")) or 0
    await visit.api.amend_person(person, display_name=form.get("name") or None, email=form.get("email") or None)
    return visit.redirect(f"/directory/people/{person_id}", done="changed")


@post("/directory/people/{person_id:uuid}/roles", status_code=303)
async def change_roles(visit: TheVisit, person_id: FromPath[UUID]) -> Response[Any]:
    """Give a role, or take one."""
    form = await visit.read_form()
    change = visit.api.take_role if form.get("take") else visit.api.give_role
    await change(str(person_id), form.get("role", ""))
    return visit.redirect(f"/directory/people/{person_id}", done="changed")


@get("/directory/teams")
async def show_teams(visit: TheVisit) -> Response[str]:
    """Teams as a tree."""
    part = await visit.read_part(ListPage[Team], "/v1/teams", most=MAX_TEAMS)
    return visit.render("directory_teams.html", tree=_grow(part.items), teams=part.items, part=part)


@post("/directory/teams", status_code=303)
async def add_team(visit: TheVisit) -> Response[Any]:
    """Add a team."""
    form = await visit.read_form()
    body = {"name": form.get("name", ""), "parent": form.get("parent") or None}
    team = await visit.api.call(Team, "POST", "/v1/teams", body=body)
    return visit.redirect(f"/directory/teams/{team.id}", done="added")


@get("/directory/teams/{team_id:uuid}")
async def show_team(visit: TheVisit, team_id: FromPath[UUID]) -> Response[str]:
    """A team with its leads and members."""
    api, now = visit.api, datetime.now(UTC)
    held = {"team": str(team_id), "as_of": now.isoformat(), "names": True}
    team, teams, members = await asyncio.gather(
        api.team(str(team_id)),
        first_of(api.teams(), MAX_TEAMS),
        visit.read_part(ListPage[Membership], "/v1/memberships", most=MAX_MEMBERS, at="members", **held),
    )
    others = [other for other in teams if other.id != team.id]
    parent = next((other for other in teams if other.id == team.parent), None)
    if team.parent and parent is None:
        # The form names it, or a new name would move the team to the top.
        parent = await api.team(team.parent)
        others.append(parent)
    return visit.render(
        "directory_team.html",
        team=team,
        teams=others,
        all_teams=len(teams) < MAX_TEAMS,
        parent=parent,
        below=[other for other in teams if other.parent == team.id],
        part=members,
        members=sorted(members.items, key=lambda member: (member.part != "lead", _name(member, member.person))),
        parts=PARTS,
    )


@post("/directory/teams/{team_id:uuid}", status_code=303)
async def change_team(visit: TheVisit, team_id: FromPath[UUID]) -> Response[Any]:
    """Rename or move a team, in the version that was seen."""
    form = await visit.read_form()
    team = await visit.api.team(str(team_id))
    team.version = number_of(form.get("version")) or 0
    await visit.api.replace_team(team, name=form.get("name", ""), parent=form.get("parent") or None)
    return visit.redirect(f"/directory/teams/{team_id}", done="changed")


@post("/directory/memberships", status_code=303)
async def add_membership(visit: TheVisit) -> Response[Any]:
    """Put a person into a team, from now on."""
    form = await visit.read_form()
    person = await resolve_person(visit, form.get("person", ""))
    body = {"person": person, "team": form.get("team", ""), "part": form.get("part", "member")}
    await visit.api.call(Membership, "POST", "/v1/memberships", body=body)
    return visit.redirect(_back(form, "/directory/teams"), done="added")


@post("/directory/memberships/{membership_id:uuid}/end", status_code=303)
async def end_membership(visit: TheVisit, membership_id: FromPath[UUID]) -> Response[Any]:
    """End a membership now."""
    form = await visit.read_form()
    await visit.api.call(Membership, "POST", f"/v1/memberships/{membership_id}/end", body={})
    return visit.redirect(_back(form, "/directory/teams"), done="ended")


@get("/directory/projects")
async def show_projects(visit: TheVisit) -> Response[str]:
    """Projects by code."""
    part = await visit.read_part(ListPage[Project], "/v1/projects", most=MAX_TEAMS)
    return visit.render("directory_projects.html", projects=part.items, part=part)


@post("/directory/projects", status_code=303)
async def save_project(visit: TheVisit) -> Response[Any]:
    """Add a project, rename it, or end or renew it."""
    form = await visit.read_form()
    code, name, active = form.get("code", ""), form.get("name", ""), form.get("active") != "no"
    if form.get("known"):
        await visit.api.replace_project(await visit.api.project(code), name=name, active=active)
        return visit.redirect("/directory/projects", done="changed")
    await visit.api.call(Project, "POST", "/v1/projects", body={"code": code, "name": name, "active": active})
    return visit.redirect("/directory/projects", done="added")


@get("/directory/groups")
async def show_groups(visit: TheVisit, group: FromQuery[str] = "") -> Response[str]:
    """Groups by name, and the members of the chosen group."""
    groups = await visit.read_part(ListPage[Group], "/v1/groups", most=MAX_TEAMS)
    held = {"as_of": datetime.now(UTC).isoformat(), "names": True}
    members: ListPart[GroupMember] = ListPart([], None, None)
    # A group that was chosen elsewhere need not be in this part of the list.
    if group in {each.name for each in groups.items} or (group and not groups.whole):
        path = f"/v1/groups/{quote(group, safe='')}/members"
        members = await visit.read_part(ListPage[GroupMember], path, most=MAX_MEMBERS, at="members", **held)
    else:
        group = ""
    cursor = visit.request.query_params.get("cursor")
    here = {"cursor": cursor} if cursor else {}
    return visit.render(
        "directory_groups.html",
        part=groups,
        groups=groups.items,
        group=group,
        members=members,
        link=lambda name: f"/directory/groups?{urlencode({'group': name, **here})}",
    )


@post("/directory/groups", status_code=303)
async def change_groups(visit: TheVisit) -> Response[Any]:
    """Add a group, put a person into one, or take a person out."""
    form = await visit.read_form()
    name = form.get("group", "")
    if form.get("end"):
        await visit.api.call(GroupMember, "POST", f"/v1/groups/{name}/members/{UUID(form['end'])}/end", body={})
    elif "person" in form:
        await visit.api.add_group_member(name, await resolve_person(visit, form["person"]))
    else:
        await visit.api.call(Group, "POST", "/v1/groups", body={"name": name})
    return visit.redirect(f"/directory/groups?group={name}", done="changed")


@get("/directory/import")
async def show_import(visit: TheVisit) -> Response[str]:
    """The form of an import."""
    return visit.render("directory_import.html", text="", result=None, failure=None)


@post("/directory/import", status_code=200)
async def import_directory(visit: TheVisit) -> Response[Any]:
    """Show what an import would do, or import it, all rows or none."""
    form = await visit.request.form()
    uploaded = form.get("file")
    content = await uploaded.read() if isinstance(uploaded, UploadFile) and uploaded.filename else b""
    text = str(form.get("text", ""))
    # The API reads the file as it is, and refuses one that is not UTF-8. The form cannot show such a file.
    with suppress(UnicodeDecodeError):
        text = content.decode("utf-8-sig") or text
    query = {"dry_run": form.get("then") != "import"}
    file = ("text/csv", content or text.encode())
    try:
        answer = await visit.api.send("POST", "/v1/directory/import", file=file, query=query)
    except Problem as found:
        failure = describe_refusal(found)
        return visit.render("directory_import.html", failure.status, text=text, result=None, failure=failure)
    result = msgspec.json.decode(answer.content, type=ImportResult)
    shown = [row for row in result.rows if row["outcome"] != "unchanged"][:MAX_IMPORTED_ROWS]
    return visit.render("directory_import.html", text=text, result=result, shown=shown, failure=None)


def _grow(teams: Iterable[Team]) -> list[TeamBranch]:
    """The teams as trees, by name."""
    branches = {team.id: TeamBranch(team) for team in sorted(teams, key=lambda team: team.name.casefold())}
    roots: list[TeamBranch] = []
    for branch in branches.values():
        parent = branches.get(branch.team.parent or "")
        (parent.below if parent else roots).append(branch)
    return roots


def _name(named: Membership, key: str) -> str:
    return (named.names or {}).get(key, key)


def _back(form: dict[str, str], default: str) -> str:
    """The page of the directory that the form is on."""
    page = form.get("page", "")
    kind, _, key = page.partition("/")
    try:
        return f"/directory/{kind}/{UUID(key)}" if kind in ("teams", "people") else default
    except ValueError:
        return default


ROOM = Room(
    "Directory",
    (
        NavigationLink("People", "/directory/people", "directory", ("manage",)),
        NavigationLink("Teams", "/directory/teams", "directory", ("manage",)),
        NavigationLink("Projects", "/directory/projects", "directory", ("manage",)),
        NavigationLink("Groups", "/directory/groups", "directory", ("manage",)),
        NavigationLink("Import", "/directory/import", "directory", ("manage",)),
    ),
    (
        show_people,
        suggest_people,
        add_person,
        show_person,
        change_person,
        change_roles,
        show_teams,
        add_team,
        show_team,
        change_team,
        add_membership,
        end_membership,
        show_projects,
        save_project,
        show_groups,
        change_groups,
        show_import,
        import_directory,
    ),
    done={"added": "It is added.", "changed": "It is changed.", "ended": "It has ended."},
)
