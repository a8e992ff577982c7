"""JSON shapes of requests and responses of the directory. Pure: owns no state."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from litestar.params import Parameter, PathParameter
from msgspec import Meta

from service.directory.declared_attributes import MAX_VALUE_CHARS, MAX_VALUES_PER_LIST
from service.directory.entities import MAX_CLIENT_LENGTH, Part
from service.errors import InvalidField
from service.fields import PROJECT
from service.places import FieldError
from service.web.http.parameters import GivenPerson, GivenTeam
from service.web.http.responses import ClientId, Names, NextCursor, PersonId, TeamId, Time
from service.web.http.responses import Id as AnyId

if TYPE_CHECKING:
    from service.directory.entities import Validity

Name = Annotated[str, Meta(min_length=1, max_length=200, examples=["Ana Lima"])]
Email = Annotated[str, Meta(max_length=320, examples=["ana@example.com"])]
Id = Annotated[str, Meta(max_length=64, examples=["0198c0de-0000-7000-8000-000000000001"])]
Until = Annotated[datetime, Meta(tz=True, examples=["2027-11-23T09:00:00Z"])]
Moment = Annotated[datetime, Meta(tz=True, examples=["2026-11-23T09:00:00Z"])]
TeamName = Annotated[str, Meta(description="The name of the team", min_length=1, max_length=120, examples=["Atlas"])]
From = Annotated[Moment | None, Meta(description="The beginning, inclusive; default: now")]
To = Annotated[Until | None, Meta(description="The end, exclusive; default: no end")]
_AttributeName = Annotated[str, Meta(min_length=1, max_length=63, examples=["country"])]
_AttributeText = Annotated[str, Meta(max_length=MAX_VALUE_CHARS)]
_AttributeValue = _AttributeText | int | bool | Annotated[list[_AttributeText], Meta(max_length=MAX_VALUES_PER_LIST)]
GivenValues = Annotated[
    dict[_AttributeName, _AttributeValue | None],
    Meta(description="Values of attributes, as the active policy declares them; null removes one", examples=[{}]),
]
ReplacingValues = Annotated[
    dict[_AttributeName, _AttributeValue] | None,
    Meta(description="All values of attributes; left out or null: they stay as they are", examples=[{}]),
]
Values = Annotated[
    dict[str, str | int | bool | list[str]],
    Meta(description="Values of the attributes that the policy declares", examples=[{"country": "DE"}]),
]
AsOf = Annotated[str | None, Parameter(max_length=40, description="Only those that are valid at this time")]
CodeInPath = Annotated[
    str, PathParameter(description="The project's code", schema_extra={"pattern": f"^{PROJECT.pattern}$"})
]
ValidFrom = Annotated[Time, Meta(description="The beginning, inclusive")]
ValidTo = Annotated[
    Time | None,
    Meta(description="The end, exclusive; null: no end", examples=["2027-01-01T00:00:00Z"]),
]


class LinkBody(msgspec.Struct, forbid_unknown_fields=True):
    """Links tokens to a person."""

    issuer: Annotated[
        str, Meta(description="The `iss` of the tokens", max_length=255, examples=["https://acme.eu.auth0.com/"])
    ]
    subject: Annotated[
        str, Meta(description="The `sub` of the tokens", max_length=255, examples=["auth0|5f7c8ec7c33c6c004bbafe82"])
    ]


class NewPerson(msgspec.Struct, forbid_unknown_fields=True):
    """A person to add. Others are added when they first use a valid token."""

    display_name: Annotated[Name | None, Meta(description="Their name")] = None
    email: Annotated[Email | None, Meta(description="Their e-mail address")] = None
    links: Annotated[list[LinkBody], Meta(description="Links to their tokens", max_length=10)] = msgspec.field(
        default_factory=list
    )
    attributes: GivenValues = msgspec.field(default_factory=dict)


class NewLinks(msgspec.Struct, forbid_unknown_fields=True):
    """Links of more tokens to a person: a second account, or another issuer."""

    links: Annotated[list[LinkBody], Meta(description="The links", min_length=1, max_length=10)]


class PersonPatch(msgspec.Struct, forbid_unknown_fields=True):
    """A JSON Merge Patch (RFC 7396) of a person: a missing field keeps its value."""

    display_name: Annotated[Name | msgspec.UnsetType | None, Meta(description="Their name; null removes it")] = (
        msgspec.UNSET
    )
    email: Annotated[Email | msgspec.UnsetType | None, Meta(description="Their e-mail address; null removes it")] = (
        msgspec.UNSET
    )
    attributes: GivenValues = msgspec.field(default_factory=dict)


class PersonBody(msgspec.Struct):
    """A person."""

    id: PersonId
    display_name: Annotated[str | None, Meta(description="Their name; null: unknown", examples=["Ana Lima"])]
    email: Annotated[str | None, Meta(description="Their e-mail address; null: unknown", examples=["ana@example.com"])]
    merged_into: Annotated[
        PersonId | None,
        Meta(description="The person into whom they were merged; null: not merged"),
    ]
    attributes: Values
    names: Names = msgspec.UNSET


class MergeTarget(msgspec.Struct, forbid_unknown_fields=True):
    """The person to merge into."""

    into: GivenPerson


class NewTeam(msgspec.Struct, forbid_unknown_fields=True):
    """A team to add."""

    name: TeamName
    parent: Annotated[GivenTeam | None, Meta(description="The team above it; default: none, it is at the top")] = None
    attributes: GivenValues = msgspec.field(default_factory=dict)


class TeamBody(msgspec.Struct):
    """A team."""

    id: TeamId
    name: Annotated[str, Meta(description="The name of the team", examples=["Atlas"])]
    parent: Annotated[
        TeamId | None,
        Meta(
            description="The id of the team above it; null at the top",
            examples=["0198c0de-0000-7000-8000-000000000006"],
        ),
    ]
    attributes: Values
    names: Names = msgspec.UNSET


class TeamChange(msgspec.Struct, forbid_unknown_fields=True):
    """The name of a team, and its place in the tree. The teams below it move with it."""

    name: TeamName
    parent: Annotated[GivenTeam | None, Meta(description="The team above it, by id or name; null: it is at the top")]
    attributes: ReplacingValues = None


class EndTime(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The time of the end."""

    at: Annotated[Until | None, Meta(description="The time; default: now")] = None


# The default without a body.
NOW = EndTime()


class MembershipMove(msgspec.Struct, forbid_unknown_fields=True):
    """Another team or part for a membership."""

    team: GivenTeam
    part: Annotated[Literal["member", "lead"] | None, Meta(description="The new part; default: the same")] = None
    at: Annotated[Until | None, Meta(description="The time of the move; default: now")] = None


class NewMembership(msgspec.Struct, forbid_unknown_fields=True):
    """A person's part in a team."""

    person: GivenPerson
    team: GivenTeam
    part: Annotated[Literal["member", "lead"], Meta(description="Member or lead of the team")]
    valid_from: From = None
    valid_to: To = None


class MembershipBody(msgspec.Struct):
    """A person's part in a team."""

    id: Annotated[AnyId, Meta(description="The membership's id")]
    person: PersonId
    team: TeamId
    part: Annotated[Part, Meta(description="Member or lead of the team", examples=["member"])]
    valid_from: ValidFrom
    valid_to: ValidTo
    names: Names = msgspec.UNSET


class NewGrant(msgspec.Struct, forbid_unknown_fields=True):
    """A client that may upload hours for the people of a team and of the teams below it."""

    client: Annotated[
        str,
        Meta(
            description="The OAuth client's id", min_length=1, max_length=MAX_CLIENT_LENGTH, examples=["payroll-import"]
        ),
    ]
    team: GivenTeam
    valid_from: From = None
    valid_to: To = None


class GrantBody(msgspec.Struct):
    """A client that may upload hours for the people of a team and of the teams below it."""

    id: Annotated[AnyId, Meta(description="The grant's id")]
    client: Annotated[ClientId, Meta(examples=["payroll-import"])]
    team: TeamId
    valid_from: ValidFrom
    valid_to: ValidTo
    names: Names = msgspec.UNSET


class GrantPage(msgspec.Struct):
    """Importer grants, ended ones too, oldest first."""

    items: Annotated[list[GrantBody], Meta(description="The grants of this page")]
    next_cursor: NextCursor


class NewRole(msgspec.Struct, forbid_unknown_fields=True):
    """A role for a person, in addition to those in their tokens."""

    role: Annotated[str, Meta(description="The role's name", max_length=63, examples=["auditor"])]
    valid_from: From = None
    valid_to: To = None


class RoleBody(msgspec.Struct):
    """A role from the directory."""

    person: PersonId
    role: Annotated[str, Meta(description="The role's name", examples=["auditor"])]
    valid_from: ValidFrom
    valid_to: ValidTo
    names: Names = msgspec.UNSET


class Roles(msgspec.Struct):
    """All past, present and future roles of a person from the directory."""

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


def parse_code(text: str) -> str:
    """The code of a project in a path. Raises InvalidField."""
    if not PROJECT.fullmatch(text):
        raise InvalidField(FieldError("path.code", "is not the code of a project"))
    return text


def times_of(validity: Validity) -> tuple[datetime, datetime | None]:
    """The beginning and end of a stored validity. Raises ValueError without a beginning, which only a request may
    lack."""
    if validity.valid_from is None:
        raise ValueError("a stored validity has a beginning")
    return validity.valid_from, validity.valid_to
