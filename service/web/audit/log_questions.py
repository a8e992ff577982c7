"""The filters that searches of the log share: read from the query, and people resolved when the question is put.

Owns no state. A token's subject or an e-mail address is used to find our person id and stands in no record.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from litestar.di import NamedDependency
from litestar.params import Parameter, SkipValidation

from service.audit import known_values, people
from service.authorization.enforcement.decision_record import Put
from service.errors import InvalidField
from service.log.record_query import RecordFilters
from service.places import FieldError
from service.policy.access_request import Effect, Reason
from service.policy.known_words import RECORDED_ACTIONS
from service.policy.vocabulary_file import nearest
from service.web.http.parameters import is_uuid, parse_optional_text, parse_optional_time, parse_optional_uuid

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

    from service.database import Connection
    from service.log.record import Kind

TAG = "Decision log"
Since = Annotated[
    str | None,
    Parameter(max_length=255, description="At this time or later", schema_extra={"format": "date-time"}),
]
Until = Annotated[
    str | None, Parameter(max_length=255, description="Before this time", schema_extra={"format": "date-time"})
]
Version = Annotated[int | None, Parameter(ge=1, le=2_147_483_647, description="Decided by this policy version")]


# Why nobody may be found who was there once.
GONE = "after an erasure, only a person's id finds what they did"
# Filters whose values may be any text.
TYPED = ("client", "resource", "rule", "request_id")
# No record has another.
ALL_ACTIONS = frozenset(one for actions in RECORDED_ACTIONS.values() for one in actions)


@dataclass(frozen=True, slots=True)
class LogQuery:
    """A question as it was put: `filters` without people; who is meant, in one of three ways; whose thing it was, and
    for whom a delegate did it."""

    filters: RecordFilters
    person: UUID | None = None
    link: tuple[str, str] | None = None
    email: str | None = None
    owner: UUID | None = None
    on_behalf_of: UUID | None = None

    async def resolved(self, connection: Connection) -> RecordFilters:
        """The filters with the people who are meant now. Raises InvalidField for whom or what nobody knows: only who
        may read the log comes here, so it tells no stranger who is known."""
        persons = await self._persons(connection)
        owners = await _ids(connection, self.owner, "query.owner")
        on_behalf_of = await _ids(connection, self.on_behalf_of, "query.on_behalf_of")
        await _refuse_unknown(connection, self.filters)
        return replace(self.filters, persons=persons, owners=owners, on_behalf_of=on_behalf_of)

    async def _persons(self, connection: Connection) -> tuple[UUID, ...] | None:
        if self.link is not None:
            found = await people.linked(connection, *self.link)
            if not found:
                issuer = self.link[0]
                _known(issuer, "query.issuer", "issuer of tokens", await known_values.issuers_near(connection, issuer))
                raise InvalidField(FieldError("query.subject", f"is nobody's, of the issuer {issuer}; {GONE}"))
            return found
        if self.email is not None:
            found = await people.addressed(connection, self.email)
            if not found:
                hint = nearest(self.email, await known_values.addresses_near(connection, self.email)) or GONE
                raise InvalidField(FieldError("query.email", f"is nobody's address; {hint}"))
            return found
        return await _ids(connection, self.person, "query.person")

    def put(self, *, kinds: Sequence[Kind], after_approval: bool = False) -> Put:
        """The question for its own record: ids, words of ours, numbers and times; what was typed in is only committed
        to; an address or a subject stands there in no way."""
        filters = {name: value for name, value in asdict(self.filters).items() if value not in {None, False}}
        typed = {name: filters.pop(name) for name in TYPED if name in filters and not is_uuid(filters[name])}
        named = {"person": self.person, "owner": self.owner, "on_behalf_of": self.on_behalf_of}
        who: dict[str, object] = {name: one for name, one in named.items() if one is not None}
        if self.link is not None or self.email is not None:
            who["person_by"] = "subject" if self.link is not None else "email"
        more = {"kinds": [kind.value for kind in kinds]} if kinds else {}
        return Put({**filters, **who, **more, **({"after_approval": True} if after_approval else {})}, typed)

    def bound(self, **more: object) -> dict[str, object]:
        """What a cursor is bound to."""
        return {"asked": self, **{name: value for name, value in more.items() if value is not None}}


# What a handler names `asked`.
AskedOfLog = NamedDependency[SkipValidation[LogQuery]]


def _text(description: str, longest: int = 255, **said: object) -> Any:
    return Parameter(max_length=longest, description=description, schema_extra=said or None)


async def read_question(
    person: Annotated[str | None, _text("Asked by the person with this id", format="uuid")] = None,
    issuer: Annotated[str | None, _text("Asked by the person of the tokens with this `iss`; with `subject`")] = None,
    subject: Annotated[str | None, _text("Asked by the person of the tokens with this `sub`; with `issuer`")] = None,
    email: Annotated[str | None, _text("Asked by the person with this e-mail address", 320)] = None,
    client: Annotated[str | None, _text("Asked through this client")] = None,
    action: Annotated[str | None, _text("Asked for this action", enum=sorted(ALL_ACTIONS))] = None,
    resource: Annotated[str | None, _text("About the resource with this id")] = None,
    resource_kind: Annotated[str | None, _text("About resources of this kind", enum=sorted(RECORDED_ACTIONS))] = None,
    owner: Annotated[str | None, _text("About what belongs to the person with this id", format="uuid")] = None,
    outcome: Annotated[str | None, _text("With this outcome", enum=list(Effect))] = None,
    applied: Annotated[bool | None, Parameter(description="Only if it was carried out, or was not")] = None,
    reason: Annotated[str | None, _text("Decided for this reason", enum=list(Reason))] = None,
    rule: Annotated[str | None, _text("Decided by the rule with this name")] = None,
    on_behalf_of: Annotated[str | None, _text("Done in the place of the person with this id", format="uuid")] = None,
    policy_version: Version = None,
    request_id: Annotated[str | None, _text("Of the request with this `X-Request-Id`")] = None,
    since: Since = None,
    until: Until = None,
) -> LogQuery:
    """The dependency `asked` of every search. Raises InvalidField."""
    if outcome not in {None, "allow", "deny"}:
        raise InvalidField(FieldError("query.outcome", "must be allow or deny"))
    _known(action, "query.action", "action", ALL_ACTIONS)
    _known(resource_kind, "query.resource_kind", "kind", RECORDED_ACTIONS.keys())
    _known(reason, "query.reason", "reason", set(Reason))
    filters = RecordFilters(
        client=parse_optional_text(client, "query.client"),
        action=parse_optional_text(action, "query.action"),
        resource=parse_optional_text(resource, "query.resource"),
        resource_kind=parse_optional_text(resource_kind, "query.resource_kind"),
        outcome=outcome,
        applied=applied,
        reason=parse_optional_text(reason, "query.reason"),
        rule=parse_optional_text(rule, "query.rule"),
        policy_version=policy_version,
        request_id=parse_optional_text(request_id, "query.request_id"),
        since=parse_optional_time(since, "query.since"),
        until=parse_optional_time(until, "query.until"),
    )
    if filters.since and filters.until and filters.since >= filters.until:
        raise InvalidField(FieldError("query.until", "must be later than since"))
    return replace(
        _person(filters, person, (issuer, subject), email),
        owner=parse_optional_uuid(owner, "query.owner"),
        on_behalf_of=parse_optional_uuid(on_behalf_of, "query.on_behalf_of"),
    )


async def _ids(connection: Connection, person: UUID | None, field: str) -> tuple[UUID, ...] | None:
    """Every id of a person. Raises InvalidField when it is nobody's, and never was."""
    if person is None:
        return None
    if not await known_values.is_person(connection, person):
        raise InvalidField(FieldError(field, "is nobody's id, neither in the directory nor in a record"))
    return await people.all_ids(connection, person)


async def _refuse_unknown(connection: Connection, asked: RecordFilters) -> None:
    """Raises InvalidField for a client, a rule or a policy version that there never was."""
    if asked.client is not None:
        clients = await known_values.clients_near(connection, asked.client)
        _known(None if clients is None else asked.client, "query.client", "client of any record", clients or ())
    if asked.rule is not None:
        rules = await known_values.rules_near(connection, asked.rule)
        _known(None if rules is None else asked.rule, "query.rule", "rule of any version", rules or ())
    if asked.policy_version is not None:
        newest = await known_values.newest_version(connection, asked.policy_version)
        if newest is not None:
            raise InvalidField(FieldError("query.policy_version", f"is no version; the newest is {newest}"))


def _known(word: str | None, field: str, what: str, among: Collection[str]) -> None:
    """Raises InvalidField for a word that stands in no record: a misspelt one would find nothing, and so say that
    nothing happened."""
    if word is not None and word not in among:
        hint = nearest(word, among)
        raise InvalidField(FieldError(field, f"is no {what}" + (f"; {hint}" if hint else "")))


def _person(
    filters: RecordFilters, person: str | None, link: tuple[str | None, str | None], email: str | None
) -> LogQuery:
    """Who is meant: at most one way of saying it."""
    issuer, subject = link
    if (issuer is None) != (subject is None):
        lacking = "issuer" if issuer is None else "subject"
        raise InvalidField(FieldError(f"query.{lacking}", "is needed: issuer and subject go together"))
    ways = [name for name, given in (("person", person), ("subject", subject), ("email", email)) if given is not None]
    if len(ways) > 1:
        raise InvalidField(FieldError(f"query.{ways[1]}", f"does not go with {ways[0]}: say in one way who is meant"))
    if issuer is not None and subject is not None:
        names = (parse_optional_text(issuer, "query.issuer"), parse_optional_text(subject, "query.subject"))
        return LogQuery(filters, link=(str(names[0]), str(names[1])))
    if person is not None and "@" in person:
        raise InvalidField(FieldError("query.person", "must be a UUID; an e-mail address goes with email"))
    return LogQuery(
        filters, parse_optional_uuid(person, "query.person"), email=parse_optional_text(email, "query.email")
    )
