"""The filters that all searches of the log share: parsed from the query string, with people resolved at each search.

Owns no state. A token's subject, an e-mail address or a name only serves to find the person's id and is not recorded.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias
from uuid import UUID

from litestar.di import NamedDependency
from litestar.params import Parameter, SkipValidation

from service.audit import known_values, people
from service.authorization.enforcement.decision_record import RecordedQuery
from service.authorization.enforcement.person_references import ME, NO_PERSON, NamedPerson, PersonReference
from service.errors import InvalidField
from service.log.record_query import ANY_ACTOR, RecordFilters
from service.places import FieldError
from service.policy.access_request import Effect, Reason
from service.policy.known_words import RECORDED_ACTIONS
from service.policy.nearest_word import nearest
from service.web.http.parameters import (
    MAX_PERSON_CHARS,
    PERSON_IN_QUERY,
    CurrentCaller,
    is_uuid,
    parse_optional_text,
    parse_optional_time,
    parse_person,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from service.authorization.enforcement.changes import Caller
    from service.database import Connection
    from service.log.record import Kind

TAG = "Decision log"
Since = Annotated[
    str | None,
    Parameter(max_length=255, description="Decided at this time or later", schema_extra={"format": "date-time"}),
]
Until = Annotated[
    str | None, Parameter(max_length=255, description="Decided before this time", schema_extra={"format": "date-time"})
]
Version = Annotated[int | None, Parameter(ge=1, le=2_147_483_647, description="The policy version that decided")]


# How the searches name people.
PERSON = f"{PERSON_IN_QUERY}, or a name"
SUBJECT = "query.subject"
# How many people an ambiguous name lists.
MAX_NAMED = 5
# The hint when no person is found.
ERASURE_HINT = "after an erasure, only the person's id finds what they did"
FILTERS = tuple(field.name for field in fields(RecordFilters))
# Filters that accept any text.
FREE_TEXT_FILTERS = ("client", "actor", "resource", "rule", "request_id")
# Every action that a record can have.
ALL_ACTIONS = frozenset(action for actions in RECORDED_ACTIONS.values() for action in actions)


Asked: TypeAlias = NamedPerson | str


@dataclass(frozen=True, slots=True)
class LogQuery:
    """A query as the auditor wrote it: `filters` without people; the caller, the owner of the resource and the
    delegator, each by id, by a reference, or by a name; and the Monday of the owner's `week`. `field` is the parameter
    that names the caller."""

    filters: RecordFilters
    person: Asked | None = None
    owner: Asked | None = None
    on_behalf_of: Asked | None = None
    week: date | None = None
    field: str = "query.person"

    async def resolve(self, connection: Connection) -> RecordFilters:
        """The filters with the ids of the people and of the sheets. Raises InvalidField for a person, week, client,
        rule or version that is not known. Callers are authorized before, so this reveals nothing to strangers."""
        persons = await _load_ids(connection, self.person, self.field)
        owners = await _load_ids(connection, self.owner, "query.owner")
        on_behalf_of = await _load_ids(connection, self.on_behalf_of, "query.on_behalf_of")
        await _refuse_unknown(connection, self.filters)
        found = replace(self.filters, persons=persons, owners=owners, on_behalf_of=on_behalf_of)
        if self.week is None or owners is None:
            return found
        sheets = await people.find_sheets(connection, owners, self.week)
        if not sheets:
            raise InvalidField(FieldError("query.week", "has no timesheet of this person, and had none"))
        return replace(found, owners=None, sheets=sheets)

    def found_by(self, resolved: RecordFilters) -> list[UUID]:
        """The ids that the record of this access names beside the records: those of the caller, and those of other
        people and of sheets that the query does not name by id."""
        named = [*(resolved.persons or ()), *(resolved.sheets or ())]
        for person, ids in ((self.owner, resolved.owners), (self.on_behalf_of, resolved.on_behalf_of)):
            named += () if isinstance(person, UUID) else ids or ()
        return named

    def to_record(self, *, kinds: Sequence[Kind], after_approval: bool = False) -> RecordedQuery:
        """The query as the record of this access holds it: ids, fixed words, numbers and times. Free text is only
        committed to. An address, a subject or a name is left out."""
        given = ((name, getattr(self.filters, name)) for name in FILTERS)
        filters = {name: value for name, value in given if value not in {None, False}}
        texts = {
            name: filters.pop(name) for name in FREE_TEXT_FILTERS if name in filters and not is_uuid(filters[name])
        }
        who: dict[str, object] = {}
        for name, person in (("person", self.person), ("owner", self.owner), ("on_behalf_of", self.on_behalf_of)):
            if isinstance(person, UUID):
                who[name] = person
            elif person is not None:
                way = "name" if isinstance(person, str) else "email" if person.email is not None else "subject"
                who[f"{name}_by"] = way
        if self.week is not None:
            who["week"] = self.week.isoformat()
        more = {"kinds": [kind.value for kind in kinds]} if kinds else {}
        return RecordedQuery({**filters, **who, **more, **({"after_approval": True} if after_approval else {})}, texts)

    def cursor_key(self, **more: object) -> dict[str, object]:
        """The filters that a cursor is valid for."""
        return {"query": self, **{name: value for name, value in more.items() if value is not None}}


NO_FILTERS = LogQuery(RecordFilters())
# The dependency that handlers take as `log_query`.
LogQueryDependency = NamedDependency[SkipValidation[LogQuery]]


def _text(description: str, max_length: int = 255, **schema: object) -> Any:
    return Parameter(max_length=max_length, description=description, schema_extra=schema or None)


async def read_query(
    caller: CurrentCaller,
    person: Annotated[str | None, _text(f"Who called: {PERSON}", MAX_PERSON_CHARS)] = None,
    issuer: Annotated[str | None, _text("The `iss` of the caller's token; needs `subject`")] = None,
    subject: Annotated[str | None, _text("The `sub` of the caller's token; needs `issuer`")] = None,
    email: Annotated[str | None, _text("The e-mail address of the person who called", 320)] = None,
    client: Annotated[str | None, _text("The client of the call")] = None,
    action: Annotated[str | None, _text("The requested action", enum=sorted(ALL_ACTIONS))] = None,
    resource: Annotated[str | None, _text("The id of the resource")] = None,
    resource_kind: Annotated[str | None, _text("The kind of the resource", enum=sorted(RECORDED_ACTIONS))] = None,
    owner: Annotated[str | None, _text(f"The owner of the resource: {PERSON}", MAX_PERSON_CHARS)] = None,
    week: Annotated[
        date | None, Parameter(description="Only the timesheet of `owner` for the week with this day, deleted or not")
    ] = None,
    outcome: Annotated[str | None, _text("The outcome", enum=list(Effect))] = None,
    applied: Annotated[bool | None, Parameter(description="Whether the change was applied")] = None,
    reason: Annotated[str | None, _text("The reason of the decision", enum=list(Reason))] = None,
    rule: Annotated[str | None, _text("A rule that decided")] = None,
    on_behalf_of: Annotated[str | None, _text(f"The delegator: {PERSON}", MAX_PERSON_CHARS)] = None,
    actor: Annotated[str | None, _text("A client that acted for the caller (RFC 8693); `*`: any")] = None,
    policy_version: Version = None,
    request_id: Annotated[str | None, _text("The `X-Request-Id` of the request")] = None,
    since: Since = None,
    until: Until = None,
) -> LogQuery:
    """Parse the query string: the dependency `log_query` of every search. Raises InvalidField."""
    if outcome not in {None, "allow", "deny"}:
        raise InvalidField(FieldError("query.outcome", "must be allow or deny"))
    _refuse_unlisted(action, "query.action", "an action", ALL_ACTIONS)
    _refuse_unlisted(resource_kind, "query.resource_kind", "a resource kind", RECORDED_ACTIONS.keys())
    _refuse_unlisted(reason, "query.reason", "a reason", set(Reason))
    filters = RecordFilters(
        client=parse_optional_text(client, "query.client"),
        action=parse_optional_text(action, "query.action"),
        resource=parse_optional_text(resource, "query.resource"),
        resource_kind=parse_optional_text(resource_kind, "query.resource_kind"),
        outcome=outcome,
        applied=applied,
        reason=parse_optional_text(reason, "query.reason"),
        rule=parse_optional_text(rule, "query.rule"),
        actor=parse_optional_text(actor, "query.actor"),
        policy_version=policy_version,
        request_id=parse_optional_text(request_id, "query.request_id"),
        since=parse_optional_time(since, "query.since"),
        until=parse_optional_time(until, "query.until"),
    )
    if filters.since and filters.until and filters.since >= filters.until:
        raise InvalidField(FieldError("query.until", "must be later than since"))
    if week is not None and owner is None:
        raise InvalidField(FieldError("query.owner", "is needed: week is the week of an owner's timesheet"))
    return replace(
        _query_about(filters, _parse_asked(person, "query.person", caller), (issuer, subject), email),
        owner=_parse_asked(owner, "query.owner", caller),
        on_behalf_of=_parse_asked(on_behalf_of, "query.on_behalf_of", caller),
        week=week and week - timedelta(days=week.weekday()),
    )


def _parse_asked(given: str | None, field: str, caller: Caller) -> Asked | None:
    """A person as `parse_person` reads them, or else a name. Raises InvalidField."""
    text = parse_optional_text(given, field)
    if text is None or not (is_uuid(text) or text == "me" or "@" in text or "#" in text):
        return text
    person = parse_person(text, field)
    if person != ME:
        return person
    if caller.principal.person is None:
        raise InvalidField(FieldError(field, NO_PERSON))
    return caller.principal.person


async def _load_ids(connection: Connection, person: Asked | None, field: str) -> tuple[UUID, ...] | None:
    """All ids of a person. Raises InvalidField for an id that neither the directory nor a record has, for an address or
    subject of nobody, and for a name of nobody or of several people."""
    if person is None:
        return None
    if isinstance(person, str):
        return await people.load_ids(connection, await _find_by_name(connection, person, field))
    if isinstance(person, UUID):
        if not await known_values.is_person(connection, person):
            raise InvalidField(FieldError(field, "is not a person's id in the directory or in a record"))
        return await people.load_ids(connection, person)
    if person.link is not None:
        found = await people.find_by_subject(connection, *person.link)
        if not found:
            issuer = person.link[0]
            known = await known_values.suggest_issuers(connection, issuer)
            _refuse_unlisted(issuer, "query.issuer" if field == SUBJECT else field, "a known issuer", known)
            raise InvalidField(FieldError(field, f"is not a person's subject at the issuer {issuer}; {ERASURE_HINT}"))
        return found
    email = person.email or ""
    found = await people.find_by_email(connection, email)
    if not found:
        hint = nearest(email, await known_values.suggest_addresses(connection, email)) or ERASURE_HINT
        raise InvalidField(FieldError(field, f"is not a person's address; {hint}"))
    return found


async def _find_by_name(connection: Connection, name: str, field: str) -> UUID:
    found = await people.find_by_name(connection, name)
    if not found:
        raise InvalidField(FieldError(field, f"is not the name of a person in the directory; {ERASURE_HINT}"))
    if len(found) > 1:
        listed = ", ".join(f"{called} ({person})" for person, called in found[:MAX_NAMED])
        more = f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
        raise InvalidField(FieldError(field, f"names several people; give an id: {listed}{more}"))
    return found[0][0]


async def _refuse_unknown(connection: Connection, filters: RecordFilters) -> None:
    """Raise InvalidField for a client, an actor, a rule or a policy version that never existed."""
    if filters.client is not None:
        clients = await known_values.suggest_clients(connection, filters.client)
        _refuse_unlisted(
            None if clients is None else filters.client, "query.client", "a client of any record", clients or ()
        )
    if filters.actor is not None and filters.actor != ANY_ACTOR:
        actors = await known_values.suggest_actors(connection, filters.actor)
        _refuse_unlisted(
            None if actors is None else filters.actor, "query.actor", "an actor of any record", actors or ()
        )
    if filters.rule is not None:
        rules = await known_values.suggest_rules(connection, filters.rule)
        _refuse_unlisted(None if rules is None else filters.rule, "query.rule", "a rule of any version", rules or ())
    if filters.policy_version is not None:
        newest = await known_values.newest_if_unknown(connection, filters.policy_version)
        if newest is not None:
            raise InvalidField(FieldError("query.policy_version", f"is not a version; the newest is {newest}"))


def _refuse_unlisted(word: str | None, field: str, what: str, known: Collection[str]) -> None:
    """Raise InvalidField for a value that no record has: a misspelt one would find nothing, as if nothing had
    happened."""
    if word is not None and word not in known:
        hint = nearest(word, known)
        raise InvalidField(FieldError(field, f"is not {what}" + (f"; {hint}" if hint else "")))


def _query_about(
    filters: RecordFilters, person: Asked | None, link: tuple[str | None, str | None], email: str | None
) -> LogQuery:
    """The query with its caller, which may be given in one way only."""
    issuer, subject = (parse_optional_text(*part) for part in zip(link, ("query.issuer", SUBJECT), strict=True))
    if (issuer is None) != (subject is None):
        missing = "issuer" if issuer is None else "subject"
        raise InvalidField(FieldError(f"query.{missing}", "is needed: issuer and subject go together"))
    ways = [name for name, given in (("person", person), ("subject", subject), ("email", email)) if given is not None]
    if len(ways) > 1:
        raise InvalidField(
            FieldError(f"query.{ways[1]}", f"cannot be combined with {ways[0]}: give the person in one way")
        )
    if issuer is not None and subject is not None:
        return LogQuery(filters, PersonReference(link=(issuer, subject)), field=SUBJECT)
    if email is not None:
        address = parse_optional_text(email, "query.email")
        return LogQuery(filters, PersonReference(email=address), field="query.email")
    return LogQuery(filters, person)
