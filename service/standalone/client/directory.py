"""The directory part of the client: people, roles, teams, delegates, projects.

Owns no state. A method that changes a person, team or project takes it as it was read and sends its version in
If-Match.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from .directory_shapes import (
    Delegation,
    Group,
    GroupMember,
    Membership,
    Person,
    Project,
    ProjectLead,
    RequestedAccess,
    Role,
    RoleList,
    Team,
)
from .transport import Transport, details

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from datetime import datetime

    from .directory_shapes import Attributes, AttributeValue

PEOPLE, TEAMS, PROJECTS, DELEGATIONS = "/v1/people", "/v1/teams", "/v1/projects", "/v1/delegations"
GROUPS, ACCESS_REQUESTS = "/v1/groups", "/v1/access-requests"


class DirectoryApi(Transport):
    """The methods for people, roles, teams, delegations, access requests, projects and groups. A person is named by id,
    e-mail address or `me`, in bodies also by `ISSUER#SUBJECT`, and a team by id or name."""

    def people(self, *, email: str | None = None, name: str | None = None) -> AsyncIterator[Person]:
        """All people in the directory, those with this e-mail address, or those whose names have words that begin with
        the words of `name`."""
        return self.pages(Person, PEOPLE, email=email, name=name)

    async def person(self, person: str) -> Person:
        """A person, with the version that `amend_person` sends."""
        return await self.call(Person, "GET", _person(person))

    async def amend_person(self, person: Person, **fields: str | Mapping[str, AttributeValue | None] | None) -> Person:
        """Change fields of a person: `email="..."`, `display_name=None` to remove it, `attributes={"level": 3}`, where
        None removes one."""
        return await self._amend(Person, f"{PEOPLE}/{person.id}", fields, person.version)

    async def merge_people(self, person: str, *, into: str) -> Person:
        """Merge a person into another for good. Returns the remaining person, who has everything of both."""
        return await self.call(Person, "POST", f"{_person(person)}/merge", body={"into": into})

    async def roles(self, person: str) -> list[Role]:
        """All roles of a person in the directory: past, present and future."""
        found = await self.call(RoleList, "GET", f"{_person(person)}/roles")
        for item in found.items:
            item.receipt = found.receipt
        return found.items

    async def give_role(self, person: str, role: str, **times: datetime | None) -> Role:
        """Give a person a role, in addition to those in their tokens. `times`: `valid_from` and `valid_to`."""
        return await self.call(Role, "POST", f"{_person(person)}/roles", body={"role": role, **times})

    async def take_role(self, person: str, role: str) -> Role:
        """Revoke a role of the directory, from now on."""
        return await self.call(Role, "DELETE", f"{_person(person)}/roles/{quote(role, safe='')}")

    def teams(self) -> AsyncIterator[Team]:
        """All teams."""
        return self.pages(Team, TEAMS)

    async def team(self, team: str) -> Team:
        """A team, with the version that `replace_team` sends."""
        return await self.call(Team, "GET", f"{TEAMS}/{quote(team, safe='')}")

    async def replace_team(
        self, team: Team, *, name: str, parent: str | None, attributes: Attributes | None = None
    ) -> Team:
        """Rename a team or move it, with all teams below it, in the tree. Without a parent it is at the top. Given
        `attributes` replace the present ones."""
        body = {"name": name, "parent": parent} | _attributes_member(attributes)
        return await self.call(Team, "PUT", f"{TEAMS}/{team.id}", body=body, version=team.version)

    def memberships(self, *, names: bool = False) -> AsyncIterator[Membership]:
        """All memberships and leads of teams, past ones too; with `names`, the names of people and teams by id."""
        return self.pages(Membership, "/v1/memberships", **details(names=names))

    def delegations(self, *, names: bool = False) -> AsyncIterator[Delegation]:
        """Delegations that the caller may see, ended ones too."""
        return self.pages(Delegation, DELEGATIONS, **details(names=names))

    async def grant_delegation(self, delegate: str, **more: str | datetime) -> Delegation:
        """Let a delegate approve in the caller's place. `more`: another `delegator`, `valid_from` and `valid_to`."""
        return await self.call(Delegation, "POST", DELEGATIONS, body={"delegate": delegate, **more})

    async def end_delegation(self, delegation_id: str, at: datetime | None = None) -> Delegation:
        """Revoke a delegation, now or at a later moment."""
        body = {"at": at} if at else {}
        return await self.call(Delegation, "POST", f"{DELEGATIONS}/{delegation_id}/end", body=body)

    async def request_access(
        self,
        until: datetime,
        reason: str,
        *,
        decision: str | None = None,
        relation: str | None = None,
        team: str | None = None,
        project: str | None = None,
        from_: str | datetime | None = None,
    ) -> RequestedAccess:
        """Ask for access until a time. After a refusal, `decision` is `request_access["decision"]` of the error, if it
        has one; otherwise name the `relation`, one of `requestable` of `me`, and a `team` by id or name, or a
        `project`."""
        wanted = {"until": until, "reason": reason, "decision": decision, "relation": relation}
        wanted |= {"team": team, "project": project, "from": from_}
        body = {name: value for name, value in wanted.items() if value is not None}
        return await self.call(RequestedAccess, "POST", ACCESS_REQUESTS, body=body)

    def access_requests(
        self,
        *,
        state: str | None = None,
        mine: bool = False,
        to_decide: bool = False,
        sort: str | None = None,
        names: bool = False,
    ) -> AsyncIterator[RequestedAccess]:
        """Access requests that the caller may see: those in a state, the caller's own, or those that the caller may
        grant now. Oldest first, or with `sort="-requested_at"` newest first."""
        only = {"mine": mine or None, "to_decide": to_decide or None, "sort": sort}
        return self.pages(RequestedAccess, ACCESS_REQUESTS, state=state, **only, **details(names=names))

    async def access_request(self, request_id: str) -> RequestedAccess:
        """An access request by its id."""
        return await self.call(RequestedAccess, "GET", f"{ACCESS_REQUESTS}/{request_id}")

    async def grant_access(
        self, request_id: str, *, until: datetime | None = None, reason: str | None = None
    ) -> RequestedAccess:
        """Grant what another person asks for, perhaps with an earlier end."""
        given = {"until": until, "reason": reason}
        body = {name: value for name, value in given.items() if value is not None}
        return await self.call(RequestedAccess, "POST", f"{ACCESS_REQUESTS}/{request_id}/grant", body=body)

    async def decline_access(self, request_id: str, reason: str) -> RequestedAccess:
        """Decline what another person asks for."""
        body = {"reason": reason}
        return await self.call(RequestedAccess, "POST", f"{ACCESS_REQUESTS}/{request_id}/decline", body=body)

    async def withdraw_access_request(self, request_id: str) -> RequestedAccess:
        """Take back an open request of the caller."""
        return await self.call(RequestedAccess, "POST", f"{ACCESS_REQUESTS}/{request_id}/withdraw")

    async def end_access(self, request_id: str) -> RequestedAccess:
        """End access before its time."""
        return await self.call(RequestedAccess, "POST", f"{ACCESS_REQUESTS}/{request_id}/end")

    def projects(self, *, active: bool | None = None) -> AsyncIterator[Project]:
        """Projects by code."""
        return self.pages(Project, PROJECTS, active=active)

    async def project(self, code: str) -> Project:
        """A project by its code, with the version that `replace_project` sends."""
        return await self.call(Project, "GET", f"{PROJECTS}/{quote(code, safe='')}")

    async def replace_project(
        self, project: Project, *, name: str, active: bool, attributes: Attributes | None = None
    ) -> Project:
        """Rename a project, or change whether it is active. Given `attributes` replace the present ones."""
        path = f"{PROJECTS}/{quote(project.code, safe='')}"
        body = {"name": name, "active": active} | _attributes_member(attributes)
        return await self.call(Project, "PUT", path, body=body, version=project.version)

    def project_leads(self, code: str, *, names: bool = False) -> AsyncIterator[ProjectLead]:
        """All leads of a project, past ones too."""
        return self.pages(ProjectLead, _leads(code), **details(names=names))

    async def name_project_lead(self, code: str, person: str, **times: datetime | None) -> ProjectLead:
        """Make a person a lead of a project. `times`: `valid_from` and `valid_to`."""
        return await self.call(ProjectLead, "POST", _leads(code), body={"person": person, **times})

    async def end_project_lead(self, lead: ProjectLead, at: datetime | None = None) -> ProjectLead:
        """End a lead of a project, now or at a later moment."""
        path, body = f"{_leads(lead.project)}/{lead.id}/end", {"at": at} if at else {}
        return await self.call(ProjectLead, "POST", path, body=body)

    def groups(self, *, person: str | None = None) -> AsyncIterator[Group]:
        """All groups by name, or those that a person is in now."""
        return self.pages(Group, GROUPS, person=person)

    async def add_group(self, name: str) -> Group:
        """Add a group: lower-case words joined by -."""
        return await self.call(Group, "POST", GROUPS, body={"name": name})

    def group_members(self, name: str, *, names: bool = False) -> AsyncIterator[GroupMember]:
        """All members of a group, past ones too."""
        return self.pages(GroupMember, f"{GROUPS}/{name}/members", **details(names=names))

    async def add_group_member(self, name: str, person: str, **times: datetime | None) -> GroupMember:
        """Put a person into a group. `times`: `valid_from` and `valid_to`."""
        body = {"person": person, **times}
        return await self.call(GroupMember, "POST", f"{GROUPS}/{name}/members", body=body)

    async def end_group_member(self, member: GroupMember, at: datetime | None = None) -> GroupMember:
        """Take a person out of a group, now or at a later moment."""
        path, body = f"{GROUPS}/{member.group}/members/{member.id}/end", {"at": at} if at else {}
        return await self.call(GroupMember, "POST", path, body=body)


def _person(person: str) -> str:
    return f"{PEOPLE}/{quote(person, safe='@')}"


def _leads(code: str) -> str:
    return f"{PROJECTS}/{quote(code, safe='')}/leads"


def _attributes_member(attributes: Attributes | None) -> dict[str, object]:
    """The member of a body; none, so that the attributes stay as they are."""
    return {} if attributes is None else {"attributes": attributes}
