"""The model of the directory, and the checks of its fields. Pure: owns no state."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, get_args

from service.errors import InvalidField
from service.fields import ACTIVITY, PROJECT, Fields
from service.places import FieldError

if TYPE_CHECKING:
    from uuid import UUID

    from service.directory.declared_attributes import Attributes

MAX_NAME_LENGTH = 200
MAX_TEAM_NAME_LENGTH = 120
MAX_EMAIL_LENGTH = 320
# Of a search for people.
MAX_WORDS_PER_SEARCH = 10
# 255 characters after the longest prefix of an issuer and a colon.
MAX_CLIENT_LENGTH = 276
MAX_LINK_LENGTH = 255
MAX_LINKS = 10
# Any time between these can be written in UTC, with any offset. Drivers use the limits themselves for infinity.
EARLIEST, LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
ADDRESS = re.compile(r"[^@\s]+@[^@\s]+")
ProjectKind = Literal["work", "absence"]
PROJECT_KINDS = get_args(ProjectKind)
MAX_ACTIVITIES = 100
# How long access can be asked for, how far ahead it can begin, and how many open access requests a person can have.
MAX_ACCESS_DAYS = 31
MAX_DAYS_UNTIL_ACCESS = 90
MAX_OPEN_ACCESS_REQUESTS = 20
MAX_ACCESS_REASON_LENGTH = 1_000
ROLE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
GROUP = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
WORD_FORM = "must be 1 to 63 of the characters a-z 0-9 -, the first a letter or digit"


class Part(StrEnum):
    """The part of a person in a team."""

    MEMBER = "member"
    LEAD = "lead"


@dataclass(frozen=True, slots=True)
class Link:
    """Links the tokens with this issuer (`iss`) and subject (`sub`) to a person."""

    issuer: str
    subject: str


@dataclass(frozen=True, slots=True)
class Person:
    """A human. A person who was created by the first use of a token has no name and no e-mail address yet.
    `merged_into` is the canonical id of a merged person. `version` starts at 1 and grows with every change."""

    id: UUID
    display_name: str | None = None
    email: str | None = None
    merged_into: UUID | None = None
    version: int = field(default=1, compare=False)
    attributes: Attributes = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Team:
    """A team; `parent` is the team above, None at the top. `version` grows with every change."""

    id: UUID
    name: str
    parent: UUID | None = None
    version: int = field(default=1, compare=False)
    attributes: Attributes = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Validity:
    """The time from `valid_from`, inclusive, to `valid_to`, exclusive. None means from now on, or without end."""

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
    """Lets a client upload hours for the people of a team and of the teams below it."""

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
    """A fallback approver: approves for people who have no manager, in a team and below, or, without a team,
    everywhere."""

    id: UUID
    person: UUID
    team: UUID | None
    validity: Validity


@dataclass(frozen=True, slots=True)
class GroupMember:
    """Puts a person into a group, which policies name."""

    id: UUID
    group: str
    person: UUID
    validity: Validity


@dataclass(frozen=True, slots=True)
class ProjectLead:
    """Makes a person a lead of a project."""

    id: UUID
    project: str
    person: UUID
    validity: Validity


@dataclass(frozen=True, slots=True)
class WantedAccess:
    """What a person asks for: a relation to the timesheets of a team and the teams below it, or to those with hours on
    a project, until a time and from another, by default from now on. A team is given by its id or name."""

    relation: str | None
    team: UUID | str | None
    project: str | None
    until: datetime
    reason: str
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class RequestedAccess:
    """An access request. Its `state` is open, granted, declined, withdrawn, or ended, which it also is once its time
    has passed. `validity` is the time in which access is in force, None unless it was granted. `refusal` is the
    decision that led to the request. `reason` is the requester's and `decision_reason` that of who decided; None if
    erased. `decided_by` is a person's id or a client that acted for itself."""

    id: UUID
    relation: str
    team: UUID | None
    project: str | None
    person: UUID
    requested: Validity
    reason: str | None
    refusal: UUID | None = None
    state: str = "open"
    requested_at: datetime | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None
    decision_reason: str | None = None
    validity: Validity | None = None

    @property
    def time(self) -> Validity:
        """When access is in force, or while it was not granted, when it was asked for."""
        return self.validity or self.requested


@dataclass(frozen=True, slots=True)
class GivenRole:
    """A role from the directory, in addition to those in tokens; without the prefix `role:`."""

    person: UUID
    role: str
    validity: Validity


@dataclass(frozen=True, slots=True)
class Project:
    """A project; entries use its `code`. A project that is not `active` accepts no new hours. `kind` is `work` or
    `absence`; only hours of work can be billed, and are unless they say otherwise if the project is `billable`.
    `activities` are those that hours may name. `version` grows with every change."""

    code: str
    name: str
    active: bool = True
    kind: ProjectKind = "work"
    billable: bool = False
    activities: tuple[str, ...] = ()
    version: int = field(default=1, compare=False)
    attributes: Attributes = field(default_factory=dict, hash=False)


def check_person(display_name: str | None, email: str | None, links: tuple[Link, ...] = ()) -> None:
    """Raise InvalidField naming every wrong field."""
    fields = Fields()
    if display_name is not None:
        fields.text("display_name", display_name, MAX_NAME_LENGTH)
    if email is not None:
        fields.text("email", email, MAX_EMAIL_LENGTH)
        if not ADDRESS.fullmatch(email):
            fields.wrong("email", "must be an e-mail address")
    if len(links) > MAX_LINKS:
        fields.wrong("links", f"must be at most {MAX_LINKS}")
    for place, link in enumerate(links):
        fields.text(f"links[{place}].issuer", link.issuer, MAX_LINK_LENGTH)
        fields.text(f"links[{place}].subject", link.subject, MAX_LINK_LENGTH)
        if link in links[:place]:
            fields.wrong(f"links[{place}]", "appears twice")
    fields.refuse()


def check_words(name: str) -> tuple[str, ...]:
    """The words of a name to search for. Raises InvalidField unless there are 1 to MAX_WORDS_PER_SEARCH of them."""
    words = tuple(re.findall(r"\w+", name))
    if not 1 <= len(words) <= MAX_WORDS_PER_SEARCH:
        raise InvalidField(FieldError("query.name", f"must have 1 to {MAX_WORDS_PER_SEARCH} words"))
    return words


def check_team(name: str) -> None:
    """Raise InvalidField unless a team can have this name."""
    fields = Fields()
    fields.text("name", name, MAX_TEAM_NAME_LENGTH)
    fields.refuse()


def check_project(project: Project) -> None:
    """Raise InvalidField naming every wrong field."""
    fields = Fields()
    if not PROJECT.fullmatch(project.code):
        fields.wrong("code", "must be 1 to 40 of A-Z a-z 0-9 . _ -, the first a letter or digit")
    fields.text("name", project.name, MAX_NAME_LENGTH)
    if project.kind not in PROJECT_KINDS:
        fields.wrong("kind", f"must be one of {', '.join(PROJECT_KINDS)}")
    if project.billable and project.kind == "absence":
        fields.wrong("billable", "must be false for absence")
    if len(project.activities) > MAX_ACTIVITIES:
        fields.wrong("activities", f"must be at most {MAX_ACTIVITIES}")
    for place, activity in enumerate(project.activities):
        if not ACTIVITY.fullmatch(activity):
            fields.wrong(f"activities[{place}]", "must be 1 to 20 of A-Z a-z 0-9 . _ -, the first a letter or digit")
        elif activity in project.activities[:place]:
            fields.wrong(f"activities[{place}]", "is there twice")
    fields.refuse()


def check_group(name: str) -> None:
    """Raise InvalidField unless a group can have this name."""
    fields = Fields()
    if not GROUP.fullmatch(name):
        fields.wrong("name", WORD_FORM)
    fields.refuse()


def check_delegation(delegator: UUID, delegate: UUID) -> None:
    """Raise InvalidField if both are the same person."""
    fields = Fields()
    if delegator == delegate:
        fields.wrong("delegate", "must not be the delegator")
    fields.refuse()


def check_wanted_access(since: datetime | None, until: datetime, reason: str, now: datetime) -> None:
    """Raise InvalidField unless access can be asked for: from `since`, at most MAX_DAYS_UNTIL_ACCESS ahead, or now if
    that is later, for at most MAX_ACCESS_DAYS."""
    fields = Fields()
    fields.text("reason", reason, MAX_ACCESS_REASON_LENGTH)
    for name, time in (("from", since), ("until", until)):
        if time is not None and time.tzinfo is None:
            fields.wrong(name, "must have a time zone")
        elif time is not None and not EARLIEST <= time < LATEST:
            fields.wrong(name, f"must lie between the years {EARLIEST.year} and {LATEST.year}")
    fields.refuse()
    begin = now if since is None else max(since, now)
    if begin - now > timedelta(days=MAX_DAYS_UNTIL_ACCESS):
        fields.wrong("from", f"must be at most {MAX_DAYS_UNTIL_ACCESS} days ahead")
    elif until <= now:
        fields.wrong("until", "must lie in the future")
    elif until <= begin:
        fields.wrong("until", "must be after from")
    elif until - begin > timedelta(days=MAX_ACCESS_DAYS):
        fields.wrong("until", f"must be at most {MAX_ACCESS_DAYS} days after the beginning")
    fields.refuse()


def check_grant(validity: Validity, *, client: str | None = None, role: str | None = None) -> None:
    """Raise InvalidField for an invalid validity, client or role of a grant."""
    fields = Fields()
    if client is not None:
        fields.text("client", client, MAX_CLIENT_LENGTH)
    if role is not None and not ROLE.fullmatch(role):
        fields.wrong("role", WORD_FORM)
    for name, time in (("valid_from", validity.valid_from), ("valid_to", validity.valid_to)):
        if time is not None and time.tzinfo is None:
            fields.wrong(name, "must have a time zone")
        elif time is not None and not EARLIEST <= time < LATEST:
            fields.wrong(name, f"must lie between the years {EARLIEST.year} and {LATEST.year}")
    fields.refuse()
    if validity.valid_from is not None and validity.valid_to is not None and validity.valid_to <= validity.valid_from:
        fields.wrong("valid_to", "must be after valid_from")
    fields.refuse()
