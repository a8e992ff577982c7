"""What was decided or weighed and not done: denied, allowed yet not applied, a policy refused. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from service.errors.root import TimewardenError
from service.places import bounded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.places import Complaint


class Denied(TimewardenError):
    """The policy said no, and that decision is recorded."""

    slug = "denied"
    summary = "Forbidden"


class InsufficientScope(Denied):
    """No rule for this action can be satisfied with the token's scopes; `scopes` would help."""

    slug = "insufficient-scope"
    summary = "The token lacks the scope that this needs"

    def __init__(self, scopes: Sequence[str]) -> None:
        super().__init__(f"This needs the scope {' or '.join(scopes)}", extra={"required_scope": list(scopes)})
        self.scopes = tuple(scopes)


class Forbidden(Denied):
    """Denied with `reasons` that speak of the caller, nearest first; `near_misses` are the same as members."""

    slug = "forbidden"
    summary = "Forbidden by the policy"

    def __init__(
        self, reasons: Sequence[str], *, rules: Sequence[str] = (), near_misses: Sequence[Mapping[str, object]] = ()
    ) -> None:
        named: dict[str, object] = {"rules": list(rules)} if rules else {}
        named |= {"near_misses": list(near_misses)} if near_misses else {}
        super().__init__(reasons[0] if reasons else None, extra={"reasons": list(reasons), **named})
        self.reasons = tuple(reasons)


class NotFound(Denied):
    slug = "not-found"
    summary = "There is no such resource, or it is not for you to know"


class NotApplied(TimewardenError):
    """Allowed by the policy, but nothing was changed."""

    slug = "not-applied"
    summary = "Nothing was changed"


class PreconditionRequired(NotApplied):
    slug = "precondition-required"
    summary = "Send If-Match with the ETag of the version that you have seen"


class PreconditionFailed(NotApplied):
    slug = "precondition-failed"
    summary = "The resource has changed since the version that you named; read it again"


class WrongState(NotApplied):
    slug = "wrong-state"
    summary = "The timesheet is not in a state that allows this"


class NoApprover(NotApplied):
    slug = "no-approver"
    summary = "Nobody could approve this: ask an administrator to name a fallback approver"


class Conflict(NotApplied):
    slug = "conflict"
    summary = "This contradicts what is already there"


class TimesheetFull(Conflict):
    slug = "timesheet-full"
    summary = "The timesheet holds as many entries as it can; put hours of one project and day together"


class KeyInUse(NotApplied):
    slug = "idempotency-key-in-use"
    summary = "A request with this Idempotency-Key is under way; send it again in a moment to get its answer"


class PolicyRejected(TimewardenError):
    """The policy is malformed, breaks a safety law or fails its cases; `complaints` says where and why. Of very many
    the first hundred are told, and how many more there are."""

    slug = "policy-rejected"
    summary = "This policy cannot become active"

    def __init__(self, complaints: Sequence[Complaint]) -> None:
        complaints = bounded(complaints)
        first = f": {complaints[0]}" if complaints else ""
        super().__init__(self.summary + first, extra={"complaints": [asdict(complaint) for complaint in complaints]})
        self.complaints = complaints


class StaleExpectation(TimewardenError):
    slug = "stale-expectation"
    summary = "Another version is active than the one that you expected; look at it and try again"
