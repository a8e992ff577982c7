"""The shapes of the directory's requests and answers. Pure: owns no state."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from service.directory.entities import LONGEST_CLIENT, Part
from service.web.http.responses import ClientId, NextCursor, PersonId, TeamId, Time
from service.web.http.responses import Id as AnyId

if TYPE_CHECKING:
    from service.directory.entities import Validity

Name = Annotated[str, Meta(min_length=1, max_length=200, examples=["Ana Lima"])]
Email = Annotated[str, Meta(max_length=320, examples=["ana@example.com"])]
Id = Annotated[str, Meta(max_length=64, examples=["0198c0de-0000-7000-8000-000000000001"])]
Until = Annotated[datetime, Meta(tz=True, examples=["2027-11-23T09:00:00Z"])]
Moment = Annotated[datetime, Meta(tz=True, examples=["2026-11-23T09:00:00Z"])]
TeamName = Annotated[str, Meta(description="What it is called", min_length=1, max_length=120, examples=["Atlas"])]
# Validity is half-open in time.
From = Annotated[Moment | None, Meta(description="From when on; left out: from now on")]
To = Annotated[Until | None, Meta(description="Up to this moment, and without it; left out: no end is known")]
ValidFrom = Annotated[Time, Meta(description="From when on")]
ValidTo = Annotated[
    Time | None,
    Meta(description="Up to this moment, and without it; null: no end is known", examples=["2027-01-01T00:00:00Z"]),
]


class LinkBody(msgspec.Struct, forbid_unknown_fields=True):
    """Tokens that speak for a person."""

    issuer: Annotated[str, Meta(description="Their `iss`", max_length=255, examples=["https://acme.eu.auth0.com/"])]
    subject: Annotated[
        str, Meta(description="Their `sub`", max_length=255, examples=["auth0|5f7c8ec7c33c6c004bbafe82"])
    ]


class NewPerson(msgspec.Struct, forbid_unknown_fields=True):
    """A person to know beforehand; others are made on first valid use of their token."""

    display_name: Annotated[Name | None, Meta(description="What they are called")] = None
    email: Annotated[Email | None, Meta(description="Their e-mail address")] = None
    links: Annotated[list[LinkBody], Meta(description="Tokens that speak for them", max_length=10)] = msgspec.field(
        default_factory=list
    )


class NewLinks(msgspec.Struct, forbid_unknown_fields=True):
    """More tokens that speak for a person: a second account, or another issuer."""

    links: Annotated[list[LinkBody], Meta(description="The tokens", min_length=1, max_length=10)]


class PersonPatch(msgspec.Struct, forbid_unknown_fields=True):
    """A JSON Merge Patch (RFC 7396) of a person: a field that is left out stays as it is."""

    display_name: Annotated[
        Name | msgspec.UnsetType | None, Meta(description="What they are called; null removes it")
    ] = msgspec.UNSET
    email: Annotated[Email | msgspec.UnsetType | None, Meta(description="Their e-mail address; null removes it")] = (
        msgspec.UNSET
    )


class PersonBody(msgspec.Struct):
    """A person."""

    id: PersonId
    display_name: Annotated[
        str | None, Meta(description="What they are called; null: nobody said", examples=["Ana Lima"])
    ]
    email: Annotated[
        str | None, Meta(description="Their e-mail address; null: nobody said", examples=["ana@example.com"])
    ]
    merged_into: Annotated[
        PersonId | None,
        Meta(description="The person that they turned out to be, who has all that was theirs; null: nobody"),
    ]


class Merger(msgspec.Struct, forbid_unknown_fields=True):
    """Two people who are one."""

    into: Annotated[Id, Meta(description="The id of the person that this one turned out to be")]


class NewTeam(msgspec.Struct, forbid_unknown_fields=True):
    """A team to make."""

    name: TeamName
    parent: Annotated[Id | None, Meta(description="The id of the team above it; left out: it is at the top")] = None


class TeamBody(msgspec.Struct):
    """A team in the tree."""

    id: TeamId
    name: Annotated[str, Meta(description="What it is called", examples=["Atlas"])]
    parent: Annotated[
        TeamId | None,
        Meta(
            description="The id of the team above it; null at the top",
            examples=["0198c0de-0000-7000-8000-000000000006"],
        ),
    ]


class TeamPlace(msgspec.Struct, forbid_unknown_fields=True):
    """What a team is called, and where it is. All below it moves with it."""

    name: TeamName
    parent: Annotated[Id | None, Meta(description="The id of the team above it; null: it is at the top")]


class EndOf(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """When to end it."""

    at: Annotated[Until | None, Meta(description="The moment; left out: now")] = None


# What no body at all stands for.
AT_ONCE = EndOf()


class MembershipMove(msgspec.Struct, forbid_unknown_fields=True):
    """Where a membership goes on."""

    team: Annotated[Id, Meta(description="The id of the team")]
    part: Annotated[Literal["member", "lead"] | None, Meta(description="With this part; left out: the same")] = None
    at: Annotated[Until | None, Meta(description="From when on; left out: from now on")] = None


class NewMembership(msgspec.Struct, forbid_unknown_fields=True):
    """A person's part in a team."""

    person: Annotated[Id, Meta(description="The person's id")]
    team: Annotated[Id, Meta(description="The team's id")]
    part: Annotated[Literal["member", "lead"], Meta(description="Whether they lead the team")]
    valid_from: From = None
    valid_to: To = None


class MembershipBody(msgspec.Struct):
    """A person's part in a team."""

    id: Annotated[AnyId, Meta(description="The membership's id")]
    person: PersonId
    team: TeamId
    part: Annotated[Part, Meta(description="Whether they lead the team", examples=["member"])]
    valid_from: ValidFrom
    valid_to: ValidTo


class NewGrant(msgspec.Struct, forbid_unknown_fields=True):
    """A client that may upload hours for the people of a team and of the teams below it."""

    client: Annotated[
        str,
        Meta(description="The OAuth client's id", min_length=1, max_length=LONGEST_CLIENT, examples=["payroll-import"]),
    ]
    team: Annotated[Id, Meta(description="The team's id")]
    valid_from: From = None
    valid_to: To = None


class GrantBody(msgspec.Struct):
    """A client that may upload hours for the people of a team and of the teams below it."""

    id: Annotated[AnyId, Meta(description="The grant's id")]
    client: Annotated[ClientId, Meta(examples=["payroll-import"])]
    team: TeamId
    valid_from: ValidFrom
    valid_to: ValidTo


class GrantPage(msgspec.Struct):
    """Importer grants, ended ones too, oldest first."""

    items: Annotated[list[GrantBody], Meta(description="The grants of this page")]
    next_cursor: NextCursor


class NewRole(msgspec.Struct, forbid_unknown_fields=True):
    """A role for a person, beside those in their tokens."""

    role: Annotated[str, Meta(description="The role's name", max_length=63, examples=["auditor"])]
    valid_from: From = None
    valid_to: To = None


class RoleBody(msgspec.Struct):
    """A role that the directory gives."""

    person: PersonId
    role: Annotated[str, Meta(description="The role's name", examples=["auditor"])]
    valid_from: ValidFrom
    valid_to: ValidTo


class Roles(msgspec.Struct):
    """All roles that the directory gives to one person, gave or will give."""

    items: Annotated[list[RoleBody], Meta(description="The roles")]


class PersonPage(msgspec.Struct):
    """People, oldest first."""

    items: Annotated[list[PersonBody], Meta(description="The people of this page")]
    next_cursor: NextCursor


class TeamPage(msgspec.Struct):
    """Teams, oldest first."""

    items: Annotated[list[TeamBody], Meta(description="The teams of this page")]
    next_cursor: NextCursor


class MembershipPage(msgspec.Struct):
    """Memberships, ended ones too, oldest first."""

    items: Annotated[list[MembershipBody], Meta(description="The memberships of this page")]
    next_cursor: NextCursor


def times_of(validity: Validity) -> tuple[datetime, datetime | None]:
    """When something stored begins and ends. Raises ValueError without a beginning, which only a request may lack."""
    if validity.valid_from is None:
        raise ValueError("what is stored has a beginning")
    return validity.valid_from, validity.valid_to
