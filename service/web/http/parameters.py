"""Parameters that routes share: the caller, ids in paths, times and texts in queries. Pure: owns no state."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from litestar import Request  # noqa: TC002 — Litestar reads signatures of dependencies
from litestar.di import NamedDependency
from litestar.params import Parameter, PathParameter, QueryParameter, SkipValidation
from msgspec import Meta

from service.authorization.enforcement.changes import Caller
from service.authorization.enforcement.person_references import ME, NamedPerson, PersonReference
from service.errors import InvalidField
from service.ids import read_id
from service.places import FieldError
from service.policy.nearest_word import nearest
from service.values import replace
from service.web.http.paging import MAX_CURSOR_CHARS, MAX_LIMIT

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from service.authorization.enforcement.team_references import NamedTeam

S = TypeVar("S", bound=msgspec.Struct)
MAX_INTEGER = 2_147_483_647
_NUMBER = re.compile(r"[1-9][0-9]{0,9}")

# The caller, as `authentication` identified them; handlers name this parameter `caller`.
CurrentCaller = NamedDependency[SkipValidation[Caller]]
# Of lists. The default of `limit` is DEFAULT_LIMIT.
Cursor = Annotated[str | None, Parameter(max_length=MAX_CURSOR_CHARS, description="`next_cursor` of the page before")]
Limit = Annotated[int, Parameter(ge=1, le=MAX_LIMIT, description="How many items a page may hold")]
# How many characters name a person: an issuer, `#` and a subject of 255 each.
MAX_PERSON_CHARS = 511


class PersonKey(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A person by their e-mail address, or by issuer and subject of their tokens."""

    email: Annotated[
        Annotated[str, Meta(max_length=320)] | None,
        Meta(description="The e-mail address", examples=["ana@example.com"]),
    ] = None
    issuer: Annotated[
        Annotated[str, Meta(max_length=255)] | None,
        Meta(description="The `iss` of their tokens", examples=["https://acme.eu.auth0.com/"]),
    ] = None
    subject: Annotated[
        Annotated[str, Meta(max_length=255)] | None,
        Meta(description="The `sub` of their tokens", examples=["auth0|5f7c8ec7c33c6c004bbafe82"]),
    ] = None


# How many characters name a team.
MAX_TEAM_CHARS = 120
GivenTeam = Annotated[
    str,
    Meta(
        description="A team: its id or name",
        max_length=MAX_TEAM_CHARS,
        examples=["0198c0de-0000-7000-8000-000000000007"],
    ),
]
# A person in a body, and in a query.
GivenPerson = Annotated[
    Annotated[str, Meta(max_length=MAX_PERSON_CHARS)] | PersonKey,
    Meta(
        description="A person: an id, an e-mail address, `ISSUER#SUBJECT` of their tokens, `me`, or an object with"
        " email, or with issuer and subject",
        examples=["0198c0de-0000-7000-8000-000000000001"],
    ),
]
PERSON_IN_QUERY = "a person: an id, an e-mail address, `ISSUER#SUBJECT` of their tokens, or `me`"
PersonInPath = Annotated[
    str,
    PathParameter(description="The person's id, their e-mail address, or `me`", max_length=MAX_PERSON_CHARS),
]
TeamInPath = Annotated[str, PathParameter(description="The team's id or name", max_length=MAX_TEAM_CHARS)]
WithNames = Annotated[
    bool,
    QueryParameter(
        name="names",
        description="Adds `names`: those of the people, teams and projects whose ids are in the answer, as far as the"
        " policy lets you see them",
    ),
]
MAX_FIELDS_PARAMETERS = 50
# Members that other parameters add to an answer.
ADDED_MEMBERS = frozenset({"actions", "names"})


def members_of(shape: type[msgspec.Struct]) -> list[str]:
    """The members that an answer of this shape always has: `fields` may name them."""
    return [name for name in shape.__struct_encode_fields__ if name not in ADDED_MEMBERS]


def fields_parameter(shape: type[msgspec.Struct], of: str = "") -> QueryParameter:
    """The parameter `fields` of a route whose answer, or what it has of it, has this shape; `parse_fields` reads it."""
    return QueryParameter(
        name="fields",
        max_items=MAX_FIELDS_PARAMETERS,
        description=f"Only these members{of}, which may also be separated by commas in one value. Others are missing,"
        " also those that the schema of the answer requires",
        schema_extra={"items": {"type": "string", "enum": members_of(shape)}},
    )


def parse_fields(given: Collection[str] | None, shape: type[msgspec.Struct]) -> frozenset[str] | None:
    """The members that a request asks for. Raises InvalidField that names unknown ones and the nearest known words."""
    if given is None:
        return None
    names, known = list(dict.fromkeys(name for value in given for name in value.split(","))), members_of(shape)
    wrong = [name for name in names if name not in known]
    if wrong:
        listed = f"known: {', '.join(known)}"
        suggestions = [(parse_text(name, "query.fields")[:100], nearest(name, known) or listed) for name in wrong]
        raise InvalidField(
            *(
                FieldError("query.fields", f"'{name}' is no member; {suggestion}")
                for name, suggestion in suggestions[:20]
            )
        )
    return frozenset(names)


def pick_fields(items: list[S], fields: frozenset[str] | None) -> list[Any]:
    """The items of an answer with only these members, and those that other parameters added; None: all members."""
    if fields is None:
        return items
    kept = fields | ADDED_MEMBERS
    return [
        {
            encoded: value
            for encoded, name in zip(item.__struct_encode_fields__, item.__struct_fields__, strict=True)
            if encoded in kept and (value := getattr(item, name)) is not msgspec.UNSET
        }
        for item in items
    ]


SheetId = Annotated[str, PathParameter(description="The timesheet's id", max_length=64)]
# Of a policy version.
Number = Annotated[
    str, PathParameter(description="The version's number", schema_extra={"pattern": f"^{_NUMBER.pattern}$"})
]


async def provide_caller_and_names(
    request: Request[Any, Any, Any],
    names: WithNames = False,  # noqa: FBT002 — a query parameter
) -> Caller:
    """The dependency `caller` of changes whose answer may have names."""
    caller: Caller = request.scope["state"]["caller"]
    return replace(caller, names=True) if names else caller


def parse_uuid(text: str, field: str) -> UUID:
    """Parse a UUID in its usual spelling. Raises InvalidField that names `field`."""
    found = read_id(text)
    if found is None:
        raise InvalidField(FieldError(field, "must be a UUID such as 0198c0de-0000-7000-8000-000000000000"))
    return found


def parse_person(given: str | PersonKey, field: str) -> NamedPerson:
    """The person that a request names: by id, by e-mail address, by `ISSUER#SUBJECT` of their tokens, or as `me`. An
    object says the same in members. Raises InvalidField that names `field`."""
    if isinstance(given, PersonKey):
        email, issuer, subject = (
            parse_optional_text(text, field) for text in (given.email, given.issuer, given.subject)
        )
        if email is not None and issuer is None and subject is None:
            return PersonReference(email=email)
        if email is None and issuer is not None and subject is not None:
            return PersonReference(link=(issuer, subject))
        raise InvalidField(FieldError(field, "must have either email, or issuer and subject"))
    if given == "me":
        return ME
    issuer, _, subject = given.partition("#")
    if "://" in issuer and subject:
        return PersonReference(link=(parse_text(issuer, field), parse_text(subject, field)))
    if "@" in given:
        return PersonReference(email=parse_text(given, field))
    found = read_id(given)
    if found is None:
        raise InvalidField(FieldError(field, "must be a person's id, e-mail address, ISSUER#SUBJECT, or me"))
    return found


def parse_team(given: str, field: str) -> NamedTeam:
    """The team that a request names, by id or by name. Raises InvalidField that names `field`."""
    if (found := read_id(given)) is not None:
        return found
    if not given:
        raise InvalidField(FieldError(field, "must be a team's id or name"))
    return parse_text(given, field)


def parse_optional_team(given: str | None, field: str) -> NamedTeam | None:
    """Like `parse_team`, for an optional parameter."""
    return None if given is None else parse_team(given, field)


def parse_optional_person(given: str | None, field: str) -> NamedPerson | None:
    """Like `parse_person`, for an optional parameter."""
    return None if given is None else parse_person(given, field)


def is_uuid(text: str) -> bool:
    """Whether a text is a UUID in its usual spelling."""
    return read_id(text) is not None


def parse_number(text: str, field: str) -> int:
    """Parse a number from 1 to MAX_INTEGER, the largest that Postgres can hold. Raises InvalidField that names
    `field`."""
    if not _NUMBER.fullmatch(text) or int(text) > MAX_INTEGER:
        raise InvalidField(FieldError(field, "must be a number, 1 or more"))
    return int(text)


def parse_optional_uuid(text: str | None, field: str) -> UUID | None:
    """Like `parse_uuid`, for an optional parameter."""
    return None if text is None else parse_uuid(text, field)


def parse_optional_time(text: str | None, field: str) -> datetime | None:
    """Parse an RFC 3339 time with its offset. Raises InvalidField that names `field`."""
    if text is None:
        return None
    try:
        # An unescaped `+` in a query string arrives as a space.
        found = datetime.fromisoformat(text.replace(" ", "+")).astimezone(UTC)
    except (ValueError, OverflowError):
        found = None
    if found is None or "T" not in text.upper() or datetime.fromisoformat(text.replace(" ", "+")).tzinfo is None:
        raise InvalidField(FieldError(field, "must be an RFC 3339 time with an offset, such as 2026-11-23T09:00:00Z"))
    return found


def shift_time(time: datetime, by: timedelta) -> datetime:
    """Add `by` to a time; beyond the range of datetime, its first or last time."""
    try:
        return time + by
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC) if by > timedelta() else datetime.min.replace(tzinfo=UTC)


def parse_text(text: str, field: str) -> str:
    """Check that text can be stored and compared: no NUL, no lone surrogate. Raises InvalidField that names `field`."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidField(FieldError(field, "must be valid Unicode text")) from None
    if "\x00" in text:
        raise InvalidField(FieldError(field, "must not contain a NUL character"))
    return text


def parse_texts(texts: list[str] | None, field: str) -> tuple[str, ...]:
    """Like `parse_text`, for a parameter that is a list, without repetitions."""
    return tuple(dict.fromkeys(parse_text(text, field) for text in texts or ()))


def parse_optional_text(text: str | None, field: str) -> str | None:
    """Like `parse_text`, for an optional parameter."""
    return None if text is None else parse_text(text, field)
