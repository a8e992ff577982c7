"""What the directory holds, and the grammar of what may be written into it. Pure: owns no state."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from service.fields import Fields

if TYPE_CHECKING:
    from uuid import UUID

LONGEST_NAME = 200
LONGEST_TEAM_NAME = 120
LONGEST_ADDRESS = 320
# 255, behind the longest prefix of an issuer and a colon.
LONGEST_CLIENT = 276
LONGEST_LINK = 255
MAX_LINKS = 10
# Within these every time can be written in UTC, whatever its offset; the ends themselves stand for infinity in drivers.
EARLIEST, LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
ADDRESS = re.compile(r"[^@\s]+@[^@\s]+")
PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
ROLE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class Part(StrEnum):
    """What somebody is in a team."""

    MEMBER = "member"
    LEAD = "lead"


@dataclass(frozen=True, slots=True)
class Link:
    """Tokens that speak for a person: those with this issuer (`iss`) and subject (`sub`)."""

    issuer: str
    subject: str


@dataclass(frozen=True, slots=True)
class Person:
    """A human. Somebody who was made on first use of a token has neither name nor e-mail address until described.
    `merged_into`: the person that they turned out to be. `version` is how often this was changed, and one."""

    id: UUID
    display_name: str | None = None
    email: str | None = None
    merged_into: UUID | None = None
    version: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class Team:
    """A team; `parent` is the team above, None at the top. `version` as a person's."""

    id: UUID
    name: str
    parent: UUID | None = None
    version: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class Validity:
    """Half-open in time: from `valid_from`, up to and without `valid_to`. None means: from now on, and without end."""

    valid_from: datetime | None = None
    valid_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class Membership:
    """A person's part in a team."""

    id: UUID
    person: UUID
    team: UUID
    part: Part
    validity: Validity


@dataclass(frozen=True, slots=True)
class ImporterGrant:
    """A client that may upload hours for the people of a team and of the teams below it."""

    id: UUID
    client: str
    team: UUID
    validity: Validity


@dataclass(frozen=True, slots=True)
class Delegation:
    """The right of `delegate` to approve in place of `delegator`, a manager."""

    id: UUID
    delegator: UUID
    delegate: UUID
    validity: Validity


@dataclass(frozen=True, slots=True)
class Fallback:
    """Who approves for those whom nobody leads, in a team and below, or, without a team, everywhere."""

    id: UUID
    person: UUID
    team: UUID | None
    validity: Validity


@dataclass(frozen=True, slots=True)
class GivenRole:
    """A role that the directory gives, beside those in tokens; without the prefix `role:`."""

    person: UUID
    role: str
    validity: Validity


@dataclass(frozen=True, slots=True)
class Project:
    """`code` is the word that entries use; one that is not `active` takes no new hours. `version` as a person's."""

    code: str
    name: str
    active: bool = True
    version: int = field(default=1, compare=False)


def check_person(display_name: str | None, email: str | None, links: tuple[Link, ...] = ()) -> None:
    """Raise InvalidField naming every wrong field."""
    fields = Fields()
    if display_name is not None:
        fields.text("display_name", display_name, LONGEST_NAME)
    if email is not None:
        fields.text("email", email, LONGEST_ADDRESS)
        if not ADDRESS.fullmatch(email):
            fields.wrong("email", "must be an e-mail address")
    if len(links) > MAX_LINKS:
        fields.wrong("links", f"must be at most {MAX_LINKS}")
    for place, link in enumerate(links):
        fields.text(f"links[{place}].issuer", link.issuer, LONGEST_LINK)
        fields.text(f"links[{place}].subject", link.subject, LONGEST_LINK)
        if link in links[:place]:
            fields.wrong(f"links[{place}]", "stands there twice")
    fields.refuse()


def check_team(name: str) -> None:
    """Raise InvalidField unless a team can have this name."""
    fields = Fields()
    fields.text("name", name, LONGEST_TEAM_NAME)
    fields.refuse()


def check_project(project: Project) -> None:
    """Raise InvalidField naming every wrong field."""
    fields = Fields()
    if not PROJECT.fullmatch(project.code):
        fields.wrong("code", "must be 1 to 40 of A-Z a-z 0-9 . _ -, the first a letter or digit")
    fields.text("name", project.name, LONGEST_NAME)
    fields.refuse()


def check_delegation(delegator: UUID, delegate: UUID) -> None:
    """Raise InvalidField if both are the same person."""
    fields = Fields()
    if delegator == delegate:
        fields.wrong("delegate", "must not be the delegator")
    fields.refuse()


def check_grant(validity: Validity, *, client: str | None = None, role: str | None = None) -> None:
    """Raise InvalidField unless something can be given for this time, to this client or as this role."""
    fields = Fields()
    if client is not None:
        fields.text("client", client, LONGEST_CLIENT)
    if role is not None and not ROLE.fullmatch(role):
        fields.wrong("role", "must be 1 to 63 of the characters a-z 0-9 -, the first a letter or digit")
    for name, time in (("valid_from", validity.valid_from), ("valid_to", validity.valid_to)):
        if time is not None and time.tzinfo is None:
            fields.wrong(name, "must have a time zone")
        elif time is not None and not EARLIEST <= time < LATEST:
            fields.wrong(name, f"must lie between the years {EARLIEST.year} and {LATEST.year}")
    fields.refuse()
    if validity.valid_from is not None and validity.valid_to is not None and validity.valid_to <= validity.valid_from:
        fields.wrong("valid_to", "must be after valid_from")
    fields.refuse()
