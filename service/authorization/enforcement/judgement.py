"""From what was seen to a decision, and from a decision to what the caller is told. Pure: owns no state.

Enforcement reads and records; this module only judges.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from uuid_utils.compat import uuid7

from service.authorization.enforcement.changes import Refused
from service.authorization.enforcement.decision_point import Decision, Resource, decide, evaluation_request
from service.authorization.enforcement.refusal import refusal_of
from service.authorization.enforcement.relationships import About
from service.policy.access_request import Reason, Verdict
from service.policy.known_words import DELEGATE

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from service.authorization.enforcement.changes import Target
    from service.authorization.enforcement.decision_record import Caller
    from service.authorization.enforcement.relationships import KindFacts, Seen
    from service.authorization.engine.engine import Snapshot
    from service.errors import TimewardenError

    Expect = Callable[[int | None], None]

NO_SCOPE = Verdict(allowed=False, reason=Reason.INSUFFICIENT_SCOPE)
NO_ROW = Verdict(allowed=False, reason=Reason.UNKNOWN_RESOURCE)


class Behind(Exception):
    """The facts named an active version that is not the one decided under."""

    def __init__(self, version: int) -> None:
        super().__init__(version)
        self.version = version


class NotDone(Exception):
    """Leaves the transaction, so that nothing of a refused change stays and no lock is held while it is recorded."""

    def __init__(self, error: TimewardenError, decision: Decision | None = None) -> None:
        super().__init__(str(error))
        self.error, self.decision = error, decision


def decided(snapshot: Snapshot, caller: Caller, action: str, resource: Resource, seen: Seen) -> Decision:
    """The decision; when only another scope could help it says so, whatever else is missing."""
    decision = decide(snapshot, uuid7(), evaluation_request(snapshot, caller.principal, action, resource, seen))
    if on_behalf_of := _on_behalf_of(snapshot, decision):
        decision = replace(decision, noted={"on_behalf_of": str(on_behalf_of)})
    if decision.allowed or snapshot.could_allow(resource.kind, action, caller.principal.scopes):
        return decision
    # Where no rule allows it at all, a challenge that asks for a scope would send the caller round in circles.
    return replace(decision, verdict=NO_SCOPE) if snapshot.scopes_for(resource.kind, action) else decision


def _on_behalf_of(snapshot: Snapshot, decision: Decision) -> UUID | None:
    """The delegator for whom the caller acts: None unless every rule that allowed it is one for delegates."""
    asked = decision.request
    if not (decision.allowed and asked.seen.on_behalf_of):
        return None
    rules = snapshot.index_of(asked.resource.kind, asked.action).named(decision.verdict.rules)
    return asked.seen.on_behalf_of if {rule.who for rule in rules} == {DELEGATE} else None


def judged(snapshot: Snapshot, decision: Decision, *, missing: bool, expect: Expect | None = None) -> Refused | None:
    """None when allowed; otherwise the decision as it is recorded and the error as it is told."""
    if missing and decision.verdict.reason is not Reason.INSUFFICIENT_SCOPE:
        decision = replace(decision, verdict=NO_ROW)
    return None if decision.allowed else Refused(decision, refusal_of(snapshot, decision, expect))


def about_of(target: Target) -> About:
    """What a change names."""
    if target.must_exist:
        return About.ROW
    return About.KIND if target.owner is None else About.NEW


def sighted(seen: Seen, facts: KindFacts, about: About, *, looked: bool) -> Seen:
    """What was seen, as the record has to tell it to be decided again: where it was looked and there is no row,
    relations are known not to hold and facts are known to be unknown."""
    if looked and not seen.evaluated:
        seen = replace(seen, evaluated=frozenset(facts.relations), facts={**dict.fromkeys(facts.facts), **seen.facts})
    return replace(seen, about=about, looked=looked)


def resource_of(kind: str, seen: Seen, called: str | None) -> Resource:
    """The resource as seen; without a row, as the caller called it."""
    row = seen.row
    if row is None:
        return Resource(kind, called)
    return Resource(kind, str(row["id"]), row["owner_id"], row["state"], row["version"])
