"""Makes the records of decisions and changes. Pure: owns no state; the log makes them durable.

The bytes hold our ids, words and numbers only: never a token's subject, a name, an e-mail address or free text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.authorization.enforcement.decision_point import sign_in_age
from service.identity.principal import Principal, PrincipalKind
from service.log.record import Kind, Record
from service.policy.matching import PERSON, former_word

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from service.authorization.enforcement.changes import Caller
    from service.authorization.enforcement.decision_point import Decision, Resource
    from service.authorization.enforcement.relationships import FactLookup

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
    return Record.make(
        Kind.ACCESS if reads_log else Kind.DECISION,
        {
            **decision.noted,
            "decided_at": lookup.at,
            "outcome": "allow" if decision.allowed else "deny",
            "reason": str(decision.verdict.reason),
            "rules": list(decision.verdict.rules),
            "applied": applied,
            "not_applied_because": because if decision.allowed else None,
            "action": caller.recorded_as or request.action,
            "resource": _resource(request.resource),
            "asked": {
                "about": str(lookup.about),
                "looked": lookup.looked,
                "found": lookup.row is not None,
                # A replay evaluates this action, not the one that the record names.
                **({"action": request.action} if caller.recorded_as else {}),
            },
            "principal": _whole_principal(caller.principal, lookup, decision.access_request.who),
            "relations": {name: _holds(name, lookup, decision.access_request.who) for name in sorted(lookup.evaluated)},
            "facts": _facts(decision),
            "policy": {"version": decision.version, "digest": decision.digest},
            "directory_revision": lookup.directory_revision,
            "request": _request(caller),
            **_describe_returned(returned),
            **({} if query is None else {"question": dict(query.filters)}),
        },
        {} if query is None else query.texts,
        uid=decision.uid,
    )


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
            "request": {"id": caller.request_id},
        },
        texts=texts,
    )


def _describe_returned(returned: Sequence[str] | Positions) -> dict[str, object]:
    if not isinstance(returned, Positions):
        return {"returned": list(returned)}
    span = {"from": returned.start, "to": returned.end, "format": returned.form}
    return {"returned": [], "positions": {**span, "since": returned.since, "until": returned.until}}


def _resource(resource: Resource) -> dict[str, object]:
    return {
        "kind": resource.kind,
        "id": resource.id,
        "owner": str(resource.owner) if resource.owner else None,
        "state": resource.state or None,
        "version": resource.version,
    }


def _request(caller: Caller) -> dict[str, object]:
    members: dict[str, object] = {"id": caller.request_id, "method": caller.method, "route": caller.route}
    members |= {"trace": caller.trace} if caller.trace is not None else {}
    return members | ({"again": caller.again} if caller.again is not None else {})


def _principal(principal: Principal) -> dict[str, object]:
    person = str(principal.person) if principal.person and principal.kind is PrincipalKind.USER else None
    return {"kind": str(principal.kind), "person": person, "client": principal.client}


def _holds(relation: str, lookup: FactLookup, words: frozenset[str]) -> bool | None:
    """Whether the relation holds; None if it holds only through an id from before an erasure, which counts for denies
    alone. If no rule denies by it, the record says False: the log is permanent and must not tell who returned."""
    if relation in lookup.relations:
        return True
    return None if former_word(relation) in lookup.relations & words else False


def _facts(decision: Decision) -> dict[str, bool | None]:
    """The facts that were decided on. A fact of the row that is unknown because of an id from before an erasure is
    recorded only if a rule asked for it."""
    request, lookup = decision.request, decision.request.lookup
    if not lookup.former_ids or lookup.row is None:
        return dict(request.facts)
    return {
        name: False if value is None and name in lookup.facts and name not in decision.asked_facts else value
        for name, value in request.facts.items()
    }


def _whole_principal(principal: Principal, lookup: FactLookup, words: frozenset[str]) -> dict[str, object]:
    """`also` holds a person's other ids, `former` those from before an erasure.

    A record is permanent, while the link to a person before an erasure is not. So `former` names only the ids to which
    a rule denies something, and counts the others.
    """
    others = sorted(str(person) for person in lookup.ids if person != principal.person)
    named = sorted(str(person) for person in lookup.former_ids if former_word(f"{PERSON}{person}") in words)
    former = {"named": named, "others": len(lookup.former_ids) - len(named)}
    return {
        **_principal(principal),
        **({"also": others} if others else {}),
        **({"former": former} if lookup.former_ids else {}),
        "issuer": principal.issuer_name,
        "scopes": sorted(principal.scopes),
        "roles": sorted(principal.roles | {f"role:{role}" for role in lookup.roles}),
        "token": principal.token_id,
        "auth_age": sign_in_age(principal, int(lookup.at.timestamp())),
        "methods": None if principal.methods is None else sorted(principal.methods),
        "acr": principal.acr,
    }
