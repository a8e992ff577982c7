"""Turns decisions and changes into audit records. Pure: owns no state; the log makes them durable.

The bytes hold our ids, words and numbers only: never a token subject, a name, an e-mail address or a free text.
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

# Why a dry run was allowed and not applied.
DRY_RUN = "dry-run"


@dataclass(frozen=True, slots=True)
class Positions:
    """What an export of the log gave out, instead of ids by the million: positions [start, end), in `form`, narrowed
    to decisions from `since` to `until`."""

    start: int
    end: int
    form: str
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Put:
    """A question that was put to the log: `told` are ids, words of ours, numbers and times; `typed` what may be any
    text, which a record only commits to."""

    told: Mapping[str, object]
    typed: Mapping[str, str]


def of_decision(
    caller: Caller,
    decision: Decision,
    *,
    applied: bool | None,
    because: str | None = None,
    returned: Sequence[str] | Positions = (),
    put: Put | None = None,
) -> Record:
    """The record of a decision: ACCESS for reads of the log, DECISION for all else. `applied` is None for reads, and
    says for writes whether the change took place; if it was allowed and did not, `because` is the slug of what stood in
    the way. `put` is the question of a search."""
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
                # Replay decides this action again, not the one that the record is called by.
                **({"action": request.action} if caller.recorded_as else {}),
            },
            "principal": _whole_principal(caller.principal, lookup, decision.access_request.who),
            "relations": {name: _holds(name, lookup, decision.access_request.who) for name in sorted(lookup.evaluated)},
            "facts": _facts(decision),
            "policy": {"version": decision.version, "digest": decision.digest},
            "directory_revision": lookup.directory_revision,
            "request": _request(caller),
            **_returned(returned),
            **({} if put is None else {"question": dict(put.told)}),
        },
        {} if put is None else put.typed,
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
    """The record of one change, bound to the decision that allowed it. `event` is the change's type, such as
    `timesheet.approved`; `texts` are kept beside the log and only committed to. The record of a delegate's
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


def _returned(returned: Sequence[str] | Positions) -> dict[str, object]:
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
    """The door; `trace` and `again` only where there are any."""
    told: dict[str, object] = {"id": caller.request_id, "method": caller.method, "route": caller.route}
    told |= {"trace": caller.trace} if caller.trace is not None else {}
    return told | ({"again": caller.again} if caller.again is not None else {})


def _principal(principal: Principal) -> dict[str, object]:
    person = str(principal.person) if principal.person and principal.kind is PrincipalKind.USER else None
    return {"kind": str(principal.kind), "person": person, "client": principal.client}


def _holds(relation: str, lookup: FactLookup, words: frozenset[str]) -> bool | None:
    """Whether it holds; None where only an id from before an erasure makes it hold, which counts for denies alone.
    Where no rule that was asked denies by it, that is not told: the record stays, and would say for good who came
    back."""
    if relation in lookup.relations:
        return True
    return None if former_word(relation) in lookup.relations & words else False


def _facts(decision: Decision) -> dict[str, bool | None]:
    """The facts as decided on. One of the row that is unknown because of an id from before an erasure is told only
    where a rule asked for it."""
    request, lookup = decision.request, decision.request.lookup
    if not lookup.former_ids or lookup.row is None:
        return dict(request.facts)
    return {
        name: False if value is None and name in lookup.facts and name not in decision.asked_facts else value
        for name, value in request.facts.items()
    }


def _whole_principal(principal: Principal, lookup: FactLookup, words: frozenset[str]) -> dict[str, object]:
    """`also` only where the person has other ids as well; `former` only where they have some from before an erasure.

    A record stays for good, and what links a person to who they were before an erasure does not. So only those of the
    former ids are `named` that a rule which was asked denies something to; of the rest there is only the number."""
    others = sorted(str(one) for one in lookup.ids if one != principal.person)
    named = sorted(str(one) for one in lookup.former_ids if former_word(f"{PERSON}{one}") in words)
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
