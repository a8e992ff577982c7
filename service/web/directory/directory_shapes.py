"""The shapes of the directory's requests and answers. Pure: owns no state."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from service.directory.entities import LONGEST_CLIENT

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200, examples=["Ana Lima"])]
Email = Annotated[str, msgspec.Meta(max_length=320, examples=["ana@example.com"])]
Id = Annotated[str, msgspec.Meta(max_length=64, examples=["0198c0de-0000-7000-8000-000000000001"])]
Until = Annotated[datetime, msgspec.Meta(tz=True, examples=["2027-11-23T09:00:00Z"])]
Moment = Annotated[datetime, msgspec.Meta(tz=True, examples=["2026-11-23T09:00:00Z"])]


class LinkBody(msgspec.Struct, forbid_unknown_fields=True):
    """Tokens that speak for a person: those with this `iss` and `sub`."""

    issuer: Annotated[str, msgspec.Meta(max_length=255, examples=["https://acme.eu.auth0.com/"])]
    subject: Annotated[str, msgspec.Meta(max_length=255, examples=["auth0|5f7c8ec7c33c6c004bbafe82"])]


class NewPerson(msgspec.Struct, forbid_unknown_fields=True):
    """A person to know beforehand; others are made on first valid use of their token."""

    display_name: Name | None = None
    email: Email | None = None
    links: Annotated[list[LinkBody], msgspec.Meta(max_length=10)] = msgspec.field(default_factory=list)


class NewLinks(msgspec.Struct, forbid_unknown_fields=True):
    """More tokens that speak for a person: a second account, or another issuer."""

    links: Annotated[list[LinkBody], msgspec.Meta(min_length=1, max_length=10)]


class PersonPatch(msgspec.Struct, forbid_unknown_fields=True):
    """What to change of a person: null takes it away, what is not named stays (RFC 7396)."""

    display_name: Name | msgspec.UnsetType | None = msgspec.UNSET
    email: Email | msgspec.UnsetType | None = msgspec.UNSET


class PersonBody(msgspec.Struct):
    """A person. `merged_into`: the one that they turned out to be, who has everything that was theirs."""

    id: str
    display_name: str | None
    email: str | None
    merged_into: str | None


class Merger(msgspec.Struct, forbid_unknown_fields=True):
    """The person that this one turned out to be."""

    into: Id


class NewTeam(msgspec.Struct, forbid_unknown_fields=True):
    """A team, below `parent` or at the top."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=120, examples=["Atlas"])]
    parent: Id | None = None


class TeamBody(msgspec.Struct):
    """A team in the tree."""

    id: str
    name: str
    parent: str | None


class TeamPlace(msgspec.Struct, forbid_unknown_fields=True):
    """What a team is called, and the team above it: null at the top. All below it moves with it."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=120, examples=["Atlas"])]
    parent: Id | None


class EndOf(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """When to end it; without a moment: now."""

    at: Until | None = None


# What no body at all stands for.
AT_ONCE = EndOf()


class MembershipMove(msgspec.Struct, forbid_unknown_fields=True):
    """Where a membership goes on, with which part (the same, if none is given), and from when on: now, if not said."""

    team: Id
    part: Literal["member", "lead"] | None = None
    at: Until | None = None


class NewMembership(msgspec.Struct, forbid_unknown_fields=True):
    """A person's part in a team, half-open in time; without times: from now on."""

    person: Id
    team: Id
    part: Literal["member", "lead"]
    valid_from: Moment | None = None
    valid_to: Until | None = None


class MembershipBody(msgspec.Struct):
    """A person's part in a team; `valid_to` is null while no end is known."""

    id: str
    person: str
    team: str
    part: str
    valid_from: datetime | None
    valid_to: datetime | None


class NewGrant(msgspec.Struct, forbid_unknown_fields=True):
    """A client that may upload hours for the people of a team and of the teams below it."""

    client: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_CLIENT, examples=["payroll-import"])]
    team: Id
    valid_from: Moment | None = None
    valid_to: Until | None = None


class GrantBody(msgspec.Struct):
    """An importer grant."""

    id: str
    client: str
    team: str
    valid_from: datetime | None
    valid_to: datetime | None


class GrantPage(msgspec.Struct):
    """Importer grants, ended ones too, oldest first."""

    items: list[GrantBody]
    next_cursor: str | None


class NewRole(msgspec.Struct, forbid_unknown_fields=True):
    """A role for a person, beside those in their tokens."""

    role: Annotated[str, msgspec.Meta(max_length=63, examples=["auditor"])]
    valid_from: Moment | None = None
    valid_to: Until | None = None


class RoleBody(msgspec.Struct):
    """A role that the directory gives."""

    person: str
    role: str
    valid_from: datetime | None
    valid_to: datetime | None


class Roles(msgspec.Struct):
    """All roles that the directory gives to one person, gave or will give."""

    items: list[RoleBody]


class PersonPage(msgspec.Struct):
    """People, oldest first."""

    items: list[PersonBody]
    next_cursor: str | None


class TeamPage(msgspec.Struct):
    """Teams, oldest first."""

    items: list[TeamBody]
    next_cursor: str | None


class MembershipPage(msgspec.Struct):
    """Memberships, ended ones too, oldest first."""

    items: list[MembershipBody]
    next_cursor: str | None
