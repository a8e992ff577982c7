"""Makes the records of decisions and changes. Pure: owns no state; the log makes them durable.

The bytes hold our ids, words and numbers only: never a token's subject, a name, an e-mail address or free text.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - msgspec reads the types of members
from functools import lru_cache
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from service.authorization.enforcement.decision_point import MAX_CALLERS, sign_in_age
from service.identity.principal import Principal, PrincipalKind
from service.log.columns import format_time
from service.log.record import RESERVED, Kind, Record, make_nonce, make_record, to_json
from service.policy.attributes import is_never_missing
from service.policy.known_words import FACTS_ABOUT_PEOPLE
from service.policy.matching import PERSON, former_word

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from service.authorization.enforcement.changes import Caller
    from service.authorization.enforcement.decision_point import Decision, Resource
    from service.authorization.enforcement.fact_lookup import FactLookup
    from service.log.columns import Column

# A record must hold the ids that a list returned, too.
MAX_ATTRIBUTE_BYTES_PER_RECORD = 8_000
# Prefix of the texts that hold personal attributes.
PERSONAL = "attributes."
# Why an allowed dry run was not applied.
DRY_RUN = "dry-run"


@dataclass(frozen=True, slots=True)
class Positions:
    """What an export of the log gave out: positions [start, end) in the format `form`, narrowed to decisions from
    `since` to `until`."""

    start: int
    end: int
    form: str
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class RecordedQuery:
    """A search of the log, as its record holds it: `filters` are ids, words of ours, numbers and times; `texts` may be
    any text, so the record only commits to them."""

    filters: Mapping[str, object]
    texts: Mapping[str, str]


# The members of a decision's record, in the order of their names. UNSET members are left out.


class _Asked(msgspec.Struct, kw_only=True):
    about: str
    action: str | UnsetType = UNSET
    found: bool
    looked: bool


class _Former(msgspec.Struct):
    named: list[str]
    others: int


class _Policy(msgspec.Struct):
    digest: str
    version: int


class _Principal(msgspec.Struct, kw_only=True):
    acr: str | None
    actors: list[str] | UnsetType = UNSET
    also: list[str] | UnsetType = UNSET
    auth_age: int | None
    client: str
    former: _Former | UnsetType = UNSET
    issuer: str
    kind: PrincipalKind
    methods: tuple[str, ...] | None
    person: UUID | None
    roles: tuple[str, ...]
    scopes: tuple[str, ...]
    token: str | None


class _Request(msgspec.Struct, kw_only=True):
    again: UUID | UnsetType = UNSET
    id: str
    method: str
    route: str
    trace: str | UnsetType = UNSET


class _Resource(msgspec.Struct):
    id: str | None
    kind: str
    owner: UUID | None
    state: str | None
    version: int | None


class DecisionMembers(msgspec.Struct, kw_only=True):
    """The record of a decision, without what only some decisions note."""

    action: str
    applied: bool | None
    asked: _Asked
    attributes: dict[str, object] | UnsetType = UNSET
    attributes_left_out: list[str] | UnsetType = UNSET
    decided_at: str
    directory_revision: int
    facts: dict[str, bool | None]
    kind: Kind
    nonce: str
    not_applied_because: str | None
    outcome: str
    policy: _Policy
    principal: _Principal
    question: object | UnsetType = UNSET
    reason: str
    relations: dict[str, bool | None]
    request: _Request
    resource: _Resource
    returned: list[str]
    rules: list[str]
    uid: UUID
    v: int = 1

    def plain(self) -> dict[str, object]:
        """The members as JSON values, without those that the log adds itself."""
        members: dict[str, object] = msgspec.to_builtins(self)
        return {name: value for name, value in members.items() if name not in RESERVED}

    def columns(self, at: datetime) -> dict[str, Column]:
        """The search columns, which `search_columns` would read from the bytes. `at` is `decided_at`."""
        return {
            "decision_uid": None,
            "decided_at": at,
            "person_id": self.principal.person,
            "client_id": self.principal.client,
            "action": self.action,
            "resource_kind": self.resource.kind,
            "resource_id": self.resource.id,
            "owner_id": self.resource.owner,
            "outcome": self.outcome,
            "applied": self.applied,
            "reason": self.reason,
            "rules": self.rules,
            "policy_version": self.policy.version,
            "request_id": self.request.id,
            "returned": self.returned,
            "actors": self.principal.actors or None,
        }


def of_decision(
    caller: Caller,
    decision: Decision,
    *,
    applied: bool | None,
    because: str | None = None,
    returned: Sequence[str] | Positions = (),
    query: RecordedQuery | None = None,
) -> Record:
    """The record of a decision: ACCESS for reads of the log, DECISION for all else.

    `applied` is None for reads; for changes it says whether the change took place. If the change was allowed and did
    not take place, `because` is the slug of the reason. `query` is the search of a read of the log.
    """
    if caller.dry_run:
        applied, because = False, DRY_RUN
    request = decision.request
    lookup = request.lookup
    reads_log = request.resource.kind == "log" and request.action == "read"
    kind = Kind.ACCESS if reads_log else Kind.DECISION
    span, ids = (returned, ()) if isinstance(returned, Positions) else (None, returned)
    attributes, personal = _attributes(decision)
    left_out = _leave_out_large(attributes)
    texts = personal if query is None else {**query.texts, **personal}
    more = decision.noted if span is None else {**decision.noted, **_describe_positions(span)}
    members = DecisionMembers(
        action=caller.recorded_as or request.action,
        applied=applied,
        asked=_Asked(
            about=str(lookup.about),
            # A replay evaluates this action, not the one that the record names.
            action=request.action if caller.recorded_as else UNSET,
            found=lookup.row is not None,
            looked=lookup.looked,
        ),
        attributes=attributes or UNSET,
        attributes_left_out=left_out or UNSET,
        decided_at=_format_lookup_time(lookup.at),
        directory_revision=lookup.directory_revision,
        facts=_facts(decision),
        kind=kind,
        nonce=make_nonce(),
        not_applied_because=because if decision.allowed else None,
        outcome="allow" if decision.allowed else "deny",
        policy=_Policy(decision.digest, decision.version),
        principal=_whole_principal(caller.principal, lookup, decision.access_request.who),
        question=UNSET if query is None else to_json(query.filters, "question"),
        reason=str(decision.verdict.reason),
        relations=_relations(lookup, decision.access_request.who),
        request=_Request(
            again=UNSET if caller.again is None else caller.again,
            id=caller.request_id,
            method=caller.method,
            route=caller.route,
            trace=UNSET if caller.trace is None else caller.trace,
        ),
        resource=_Resource(
            request.resource.id,
            request.resource.kind,
            request.resource.owner,
            request.resource.state or None,
            request.resource.version,
        ),
        returned=list(ids),
        rules=list(decision.verdict.rules),
        uid=decision.uid,
    )
    if more or texts:
        return Record.make(kind, {**members.plain(), **more}, texts, uid=decision.uid)
    return make_record(kind, decision.uid, members, members.columns(lookup.at))


def of_change(
    caller: Caller,
    decision: Decision,
    *,
    kind: Kind,
    event: str,
    resource: Resource,
    before: Mapping[str, object],
    after: Mapping[str, object],
    texts: Mapping[str, str],
) -> Record:
    """The record of a change, bound to the decision that allowed it. `event` is the change's type, such as
    `timesheet.approved`. `texts` are kept beside the log, and the record commits to them. The record of a delegate's
    change names the delegator (`on_behalf_of`), as the decision does."""
    on_behalf_of = {name: decision.noted[name] for name in ("on_behalf_of",) if name in decision.noted}
    return Record.make(
        kind,
        {
            **on_behalf_of,
            "decided_at": decision.request.lookup.at,
            "decision": str(decision.uid),
            "action": decision.request.action,
            "resource": _resource(resource),
            "principal": _principal(caller.principal),
            "change": {"type": event, "from": dict(before), "to": dict(after)},
            "policy": {"version": decision.version, "digest": decision.digest},
            "request": {"id": caller.request_id, **({} if caller.trace is None else {"trace": caller.trace})},
        },
        texts=texts,
    )


def _describe_positions(span: Positions) -> dict[str, object]:
    members = {"from": span.start, "to": span.end, "format": span.form, "since": span.since, "until": span.until}
    return {"positions": members}


def _resource(resource: Resource) -> dict[str, object]:
    return {
        "kind": resource.kind,
        "id": resource.id,
        "owner": str(resource.owner) if resource.owner else None,
        "state": resource.state or None,
        "version": resource.version,
    }


def _principal(principal: Principal) -> dict[str, object]:
    person = str(principal.person) if principal.person and principal.kind is PrincipalKind.USER else None
    actors = {"actors": list(principal.actors)} if principal.actors else {}
    return {"kind": str(principal.kind), "person": person, "client": principal.client, **actors}


def _relations(lookup: FactLookup, words: frozenset[str]) -> dict[str, bool | None]:
    """Whether each relation holds; None if it holds only through an id from before an erasure, which counts for denies
    alone. If no rule denies by it, the record says False: the log is permanent and must not tell who returned."""
    held = lookup.relations
    found: dict[str, bool | None] = {name: name in held for name in lookup.evaluated}
    if not held <= lookup.evaluated:
        counted = held & words
        found |= {name: None for name, holds in found.items() if not holds and former_word(name) in counted}
    return found


def _facts(decision: Decision) -> dict[str, bool | None]:
    """The facts that were decided on. A fact that is unknown because of an id from before an erasure is recorded as
    such only if a rule asked for it."""
    request, lookup = decision.request, decision.request.lookup
    if not lookup.former_ids or lookup.row is None:
        return dict(request.facts)
    return {
        name: False if value is None and name in FACTS_ABOUT_PEOPLE - decision.asked_facts else value
        for name, value in request.facts.items()
    }


def _attributes(decision: Decision) -> tuple[dict[str, object], dict[str, str]]:
    """The attributes that were decided on and that no other member of the record says; and, as JSON, those that are
    personal data. An empty list is left out if it is never missing."""
    lookup, kind = decision.request.lookup, decision.request.resource.kind
    found: dict[str, object] = {**lookup.attributes, **lookup.caller}
    for name in [name for name, value in found.items() if value == ()]:
        if is_never_missing(kind, name):
            del found[name]
    if lookup.personal.isdisjoint(found):
        return found, {}
    personal = {name: found.pop(name) for name in lookup.personal & found.keys()}
    return found, {PERSONAL + name: msgspec.json.encode(value).decode() for name, value in personal.items()}


def _leave_out_large(attributes: dict[str, object]) -> list[str]:
    """Remove the largest values until the rest fits into a record; returns their names."""
    if not attributes or len(msgspec.json.encode(attributes)) <= MAX_ATTRIBUTE_BYTES_PER_RECORD:
        return []
    sizes = {name: len(name) + len(msgspec.json.encode(value)) for name, value in attributes.items()}
    total, left_out = sum(sizes.values()), list[str]()
    for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if total <= MAX_ATTRIBUTE_BYTES_PER_RECORD:
            break
        del attributes[name]
        left_out.append(name)
        total -= sizes[name]
    return sorted(left_out)


def _whole_principal(principal: Principal, lookup: FactLookup, words: frozenset[str]) -> _Principal:
    """`also` holds a person's other ids, `former` those from before an erasure.

    A record is permanent, while the link to a person before an erasure is not. So `former` names only the ids to which
    a rule denies something, and counts the others.
    """
    others = [person for person in lookup.ids if person != principal.person]
    return _Principal(
        acr=principal.acr,
        actors=list(principal.actors) or UNSET,
        auth_age=sign_in_age(principal, int(lookup.at.timestamp())),
        client=principal.client,
        issuer=principal.issuer_name,
        kind=principal.kind,
        methods=None if principal.methods is None else _sorted_words(principal.methods),
        person=principal.person if principal.kind is PrincipalKind.USER else None,
        roles=_sorted_roles(principal.roles, lookup.roles),
        scopes=_sorted_words(principal.scopes),
        token=principal.token_id,
        also=sorted(map(str, others)) if others else UNSET,
        former=_describe_former(lookup.former_ids, words) if lookup.former_ids else UNSET,
    )


def _describe_former(ids: AbstractSet[UUID], words: AbstractSet[str]) -> _Former:
    named = sorted(str(person) for person in ids if former_word(f"{PERSON}{person}") in words)
    return _Former(named, len(ids) - len(named))


# Requests that share a statement of facts also share its time.
_format_lookup_time = lru_cache(maxsize=16)(format_time)


@lru_cache(maxsize=MAX_CALLERS)
def _sorted_words(words: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(words))


@lru_cache(maxsize=MAX_CALLERS)
def _sorted_roles(words: frozenset[str], directory_roles: frozenset[str]) -> tuple[str, ...]:
    return _sorted_words(words.union(f"role:{role}" for role in directory_roles))
