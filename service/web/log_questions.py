"""The filters that searches of the log share: read from the query, and people resolved when the question is put.

Owns no state. A token's subject or an e-mail address is used to find our person id and stands in no record.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from litestar.di import NamedDependency
from litestar.params import Parameter, SkipValidation

from service.audit import people
from service.audit.questions import Filters
from service.errors import InvalidField
from service.places import FieldError
from service.web.parameters import optional_plain_text, optional_time, optional_uuid

if TYPE_CHECKING:
    from uuid import UUID

    from service.database import Connection

TAG = "Decision log"
Text = Annotated[str | None, Parameter(max_length=255)]
Id = Annotated[str | None, Parameter(max_length=255, schema_extra={"format": "uuid"})]
Time = Annotated[str | None, Parameter(max_length=255, schema_extra={"format": "date-time"})]
Outcome = Annotated[str | None, Parameter(schema_extra={"enum": ["allow", "deny"]})]
Flag = Annotated[bool | None, Parameter()]
Version = Annotated[int | None, Parameter(ge=1, le=2_147_483_647)]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as it was put: `filters` without people; who is meant, in one of three ways, and whose thing."""

    filters: Filters
    person: UUID | None = None
    link: tuple[str, str] | None = None
    email: str | None = None
    owner: UUID | None = None

    async def resolved(self, connection: Connection) -> Filters:
        """The filters with the people who are meant now; nobody known means nobody, so that nothing is found."""
        persons = await self._persons(connection)
        owners = None if self.owner is None else await people.all_ids(connection, self.owner)
        return replace(self.filters, persons=persons, owners=owners)

    async def _persons(self, connection: Connection) -> tuple[UUID, ...] | None:
        if self.link is not None:
            return await people.linked(connection, *self.link)
        if self.email is not None:
            return await people.addressed(connection, self.email)
        return None if self.person is None else await people.all_ids(connection, self.person)

    def bound(self, **more: object) -> dict[str, object]:
        """What a cursor is bound to."""
        return {"asked": self, **{name: value for name, value in more.items() if value is not None}}


# What a handler names `asked`.
AskedOfLog = NamedDependency[SkipValidation[Asked]]


async def read_question(
    person: Id = None,
    issuer: Text = None,
    subject: Text = None,
    email: Annotated[str | None, Parameter(max_length=320)] = None,
    client: Text = None,
    action: Text = None,
    resource: Text = None,
    resource_kind: Text = None,
    owner: Id = None,
    outcome: Outcome = None,
    applied: Flag = None,
    reason: Text = None,
    rule: Text = None,
    policy_version: Version = None,
    request_id: Text = None,
    since: Time = None,
    until: Time = None,
) -> Asked:
    """The dependency `asked` of every search. Raises InvalidField."""
    if outcome not in {None, "allow", "deny"}:
        raise InvalidField(FieldError("query.outcome", "must be allow or deny"))
    filters = Filters(
        client=optional_plain_text(client, "query.client"),
        action=optional_plain_text(action, "query.action"),
        resource=optional_plain_text(resource, "query.resource"),
        resource_kind=optional_plain_text(resource_kind, "query.resource_kind"),
        outcome=outcome,
        applied=applied,
        reason=optional_plain_text(reason, "query.reason"),
        rule=optional_plain_text(rule, "query.rule"),
        policy_version=policy_version,
        request_id=optional_plain_text(request_id, "query.request_id"),
        since=optional_time(since, "query.since"),
        until=optional_time(until, "query.until"),
    )
    if filters.since and filters.until and filters.since >= filters.until:
        raise InvalidField(FieldError("query.until", "must be later than since"))
    return replace(_person(filters, person, (issuer, subject), email), owner=optional_uuid(owner, "query.owner"))


def _person(filters: Filters, person: str | None, link: tuple[str | None, str | None], email: str | None) -> Asked:
    """Who is meant: at most one way of saying it."""
    issuer, subject = link
    if (issuer is None) != (subject is None):
        lacking = "issuer" if issuer is None else "subject"
        raise InvalidField(FieldError(f"query.{lacking}", "is needed: issuer and subject go together"))
    ways = [name for name, given in (("person", person), ("subject", subject), ("email", email)) if given is not None]
    if len(ways) > 1:
        raise InvalidField(FieldError(f"query.{ways[1]}", f"does not go with {ways[0]}: say in one way who is meant"))
    if issuer is not None and subject is not None:
        names = (optional_plain_text(issuer, "query.issuer"), optional_plain_text(subject, "query.subject"))
        return Asked(filters, link=(str(names[0]), str(names[1])))
    return Asked(filters, optional_uuid(person, "query.person"), email=optional_plain_text(email, "query.email"))
