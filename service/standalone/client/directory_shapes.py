"""The types of the directory: people, teams, projects, groups and what joins them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime  # noqa: TC003 — msgspec reads the members of shapes
from typing import TypeAlias

import msgspec

from .shapes import ApiResult, VersionedResult

AttributeValue: TypeAlias = str | int | bool | list[str]
Attributes: TypeAlias = Mapping[str, AttributeValue]


class Person(VersionedResult):
    """A person of the directory. `merged_into` is the id of the person they were merged into."""

    id: str
    display_name: str | None
    email: str | None
    merged_into: str | None = None
    attributes: Attributes = msgspec.field(default_factory=dict)


class Role(ApiResult):
    """A role of a person in the directory, from `valid_from` up to, not including, `valid_to`."""

    person: str
    role: str
    valid_from: datetime | None
    valid_to: datetime | None


class Team(VersionedResult):
    """A team in the team tree."""

    id: str
    name: str
    parent: str | None
    attributes: Attributes = msgspec.field(default_factory=dict)


class Membership(ApiResult):
    """A person's part in a team, from `valid_from` up to, not including, `valid_to`."""

    id: str
    person: str
    team: str
    part: str
    valid_from: datetime | None
    valid_to: datetime | None
    names: dict[str, str] | None = None


class Delegation(ApiResult):
    """`delegate` may approve in place of `delegator`, from `valid_from` up to, not including, `valid_to`."""

    id: str
    delegator: str
    delegate: str
    valid_from: datetime | None
    valid_to: datetime | None
    names: dict[str, str] | None = None


class RequestedAccess(ApiResult):
    """An access request: `person` asks for a relation to the timesheets of a team or of a project, from `from_` up to,
    not including, `until`. `state` is open, granted, declined, withdrawn or ended. `decision` is the refusal that led
    to it."""

    id: str
    relation: str
    team: str | None
    project: str | None
    person: str
    state: str
    until: datetime
    reason: str | None
    requested_at: datetime
    from_: datetime = msgspec.field(name="from")
    decision: str | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None
    decision_reason: str | None = None
    names: dict[str, str] | None = None


class Project(VersionedResult):
    """A project; entries refer to its `code`."""

    code: str
    name: str
    active: bool
    kind: str = "work"
    billable: bool = False
    activities: list[str] = msgspec.field(default_factory=list)
    attributes: Attributes = msgspec.field(default_factory=dict)


class Group(ApiResult):
    """A group of people. Policies name it as `group:NAME`."""

    name: str


class GroupMember(ApiResult):
    """A person in a group, from `valid_from` up to, not including, `valid_to`."""

    id: str
    group: str
    person: str
    valid_from: datetime | None
    valid_to: datetime | None
    names: dict[str, str] | None = None


class ProjectLead(ApiResult):
    """A lead of a project, from `valid_from` up to, not including, `valid_to`."""

    id: str
    project: str
    person: str
    valid_from: datetime | None
    valid_to: datetime | None
    names: dict[str, str] | None = None


class RoleList(ApiResult):
    """All roles of a person."""

    items: list[Role]
