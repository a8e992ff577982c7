"""Every error that Timewarden raises on purpose, in one tree. Pure: owns no state.

    TimewardenError                            slug, public sentence, private cause
    ├── BadInput                               the caller can correct the request
    │   ├── MalformedRequest                   400  the bytes or the headers are not what HTTP or JSON allow
    │   │   └── MalformedCredentials           400  the Authorization header is malformed; the answer holds a challenge
    │   ├── InvalidField · QueryTooBroad       422  a field is wrong; names it · too many records to answer in time
    │   │   └── KeyReused                      422  an Idempotency-Key that was sent with another request
    │   ├── BodyTooSlow                        408  the body stopped arriving, or arrives too slowly
    │   └── BodyTooLarge · HeadersTooLarge · UnsupportedMediaType   413 · 431 · 415
    ├── Unauthenticated                        401
    │   ├── MissingToken                       no credentials: a challenge without an error code
    │   ├── InvalidToken                       bad, expired, wrong issuer or audience ...
    │   ├── InvalidProof · NonceRequired       the DPoP proof beside the token is not valid (RFC 9449)
    │   └── StepUpNeeded                       a stronger or more recent sign-in is required (RFC 9470)
    ├── Denied                                 the policy said no
    │   ├── InsufficientScope                  403  no rule can be satisfied with these scopes
    │   ├── Forbidden                          403  with reasons about the caller
    │   └── NotFound                           404  missing, or the caller may not see it
    ├── NotApplied                             allowed, but nothing was changed
    │   ├── PreconditionRequired · ...Failed   428 no If-Match · 412 the resource has changed
    │   ├── KeyInUse                           409  a request with the same Idempotency-Key is in progress
    │   ├── WrongState · NoApprover · Conflict 409  the state · nobody could approve it · a constraint
    │   └── TimesheetFull                      409  one entry more than a sheet can hold
    ├── PolicyRejected                         422  a policy that may not become active; every complaint with its place
    ├── StaleExpectation                       409  the active version is not the one that the caller expected
    ├── TooManyRequests                        429  beyond a rate limit; says when to try again
    ├── TryLater                               503
    │   ├── Overloaded                         too many requests, though every part works; the slug of TryLater
    │   ├── LogUnavailable · DatabaseUnavailable · PolicyUnavailable · NotSealed · ErasureKeyMissing
    │   └── KeysUnavailable · IntrospectionUnavailable · ReplayStoreUnavailable   the token could not be checked
    ├── LogDamaged                             500  the stored log contradicts itself or its anchor; the keeper stops
    └── Misconfigured                          the process refuses to start; never sent over HTTP

`slug` is stable and part of the API. `public` helps the caller. `cause` is for the log and is never sent.
service/web/http/problems.py maps the tree to HTTP.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, ClassVar

from service.places import limit_complaints

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.places import Complaint, FieldError


class TimewardenError(Exception):
    """The root. `public` is one sentence for the caller, `cause` a private note for the log, and `extra` holds
    machine-readable members of the answer."""

    slug: ClassVar[str] = "internal"
    summary: ClassVar[str] = "Internal error"

    def __init__(
        self, public: str | None = None, *, cause: str | None = None, extra: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(public or self.summary)
        self.public = public or self.summary
        self.cause = cause
        self.extra = dict(extra or {})
        # The id and leaf hash of the recorded decision behind this error, once it is recorded.
        self.decision: tuple[str, str] | None = None
        # Those of all decisions, where one request led to several.
        self.decisions: list[tuple[str, str]] = []
        # Of a denial: the `relation` that an access request could ask for to be allowed this, and the refusal to name
        # in it (`decision`), unless it tells of nothing.
        self.request_access: Mapping[str, str] | None = None


class BadInput(TimewardenError):
    slug = "bad-input"
    summary = "The request is not valid"


class MalformedRequest(BadInput):
    slug = "malformed-request"
    summary = "The request is malformed"


class MalformedCredentials(MalformedRequest):
    """The Authorization header is not what RFC 6750 allows; same slug as its parent."""


class InvalidField(BadInput):
    """One or more fields are wrong; each is named in `fields`."""

    slug = "invalid-field"
    summary = "A field of the request is not valid"

    def __init__(self, *fields: FieldError, public: str | None = None) -> None:
        sentence = public or "; ".join(f"{wrong.field}: {wrong.message}" for wrong in fields[:3]) or self.summary
        members = [{"field": wrong.field, "message": wrong.message} for wrong in fields]
        super().__init__(sentence, extra={"fields": members})
        self.fields = fields


class KeyReused(InvalidField):
    slug = "idempotency-key-reused"
    summary = "This Idempotency-Key was used for another request; use a new key for each change"


class QueryTooBroad(BadInput):
    slug = "query-too-broad"
    summary = "This query matches too many records to answer in time; narrow it, for example with since and until"


class BodyTooLarge(BadInput):
    slug = "body-too-large"
    summary = "The request body is too large"


class BodyTooSlow(BadInput):
    slug = "body-too-slow"
    summary = "The request body did not arrive in time"


class HeadersTooLarge(BadInput):
    slug = "headers-too-large"
    summary = "The request headers are too large"


class UnsupportedMediaType(BadInput):
    slug = "unsupported-media-type"
    summary = "The request body has an unsupported media type"


class Unauthenticated(TimewardenError):
    slug = "unauthenticated"
    summary = "Missing or invalid token"


class MissingToken(Unauthenticated):
    slug = "missing-token"
    summary = "Missing or invalid token: send an access token as 'Authorization: Bearer ...'"


class InvalidToken(Unauthenticated):
    """The token was checked and refused. `public` never holds any content of the token."""

    slug = "invalid-token"
    summary = "Missing or invalid token"


class InvalidProof(Unauthenticated):
    """The DPoP proof was checked and refused (RFC 9449 section 7.1). `public` never holds any content of it."""

    slug = "invalid-dpop-proof"
    summary = "Missing or invalid DPoP proof"


class NonceRequired(InvalidProof):
    """The caller can repeat the request with a proof that holds the nonce of this answer (RFC 9449 section 9)."""

    slug = "use-dpop-nonce"
    summary = "Send the request again, with a DPoP proof that holds the nonce of this answer"


class StepUpNeeded(Unauthenticated):
    """The policy would allow this after another sign-in (RFC 9470): one no older than `max_age` seconds, or, if
    `stronger`, one of a level that the challenge names as `acr_values`."""

    slug = "step-up-needed"
    summary = "This needs a stronger or more recent sign-in"
    stronger = False

    def __init__(self, public: str | None = None, *, max_age: int | None = None, acr_values: str | None = None) -> None:
        super().__init__(public)
        self.max_age, self.acr_values = max_age, acr_values


class Denied(TimewardenError):
    """The policy said no, and that decision is recorded."""

    slug = "denied"
    summary = "Forbidden"


class InsufficientScope(Denied):
    """No rule for this action can be satisfied with the token's scopes; one of `scopes` would help."""

    slug = "insufficient-scope"
    summary = "The token lacks a scope that this request needs"

    def __init__(self, scopes: Sequence[str]) -> None:
        super().__init__(f"This needs the scope {' or '.join(scopes)}", extra={"required_scope": list(scopes)})
        self.scopes = tuple(scopes)


class Forbidden(Denied):
    """Denied with `reasons` about the caller, nearest first; `near_misses` are the same reasons as data."""

    slug = "forbidden"
    summary = "Forbidden by the policy"

    def __init__(
        self,
        reasons: Sequence[str],
        *,
        rules: Sequence[str] = (),
        near_misses: Sequence[object] = (),
        request_access: Mapping[str, str] | None = None,
    ) -> None:
        members: dict[str, object] = {"reasons": list(reasons)}
        if rules:
            members["rules"] = list(rules)
        if near_misses:
            members["near_misses"] = list(near_misses)
        super().__init__(reasons[0] if reasons else None, extra=members)
        self.reasons = tuple(reasons)
        self.request_access = request_access


class NotFound(Denied):
    slug = "not-found"
    summary = "No such resource, or you may not see it"

    def __init__(self, public: str | None = None, *, request_access: Mapping[str, str] | None = None) -> None:
        super().__init__(public)
        self.request_access = request_access


class NotApplied(TimewardenError):
    """Allowed by the policy, but nothing was changed."""

    slug = "not-applied"
    summary = "Nothing was changed"


class PreconditionRequired(NotApplied):
    slug = "precondition-required"
    summary = "Send If-Match with the ETag of the version that you have read"


class PreconditionFailed(NotApplied):
    slug = "precondition-failed"
    summary = "The resource has changed since the version in If-Match; read it again"


class WrongState(NotApplied):
    slug = "wrong-state"
    summary = "The timesheet is not in a state that allows this"


class NoApprover(NotApplied):
    slug = "no-approver"
    summary = "Nobody could approve this: ask an administrator to name a fallback approver"


class Conflict(NotApplied):
    slug = "conflict"
    summary = "This conflicts with existing data"


class TimesheetFull(Conflict):
    slug = "timesheet-full"
    summary = "The timesheet has reached its maximum number of entries; combine hours of the same project and day"


class KeyInUse(NotApplied):
    slug = "idempotency-key-in-use"
    summary = "A request with this Idempotency-Key is in progress; send it again in a moment to get its answer"


class PolicyRejected(TimewardenError):
    """The policy is malformed, breaks a safety law or fails its cases. `complaints` says where and why: the first
    hundred, and how many more there are. `warnings` are what else was found, and refuse nothing."""

    slug = "policy-rejected"
    summary = "This policy cannot become active"

    def __init__(self, complaints: Sequence[Complaint], warnings: Sequence[Complaint] = ()) -> None:
        complaints = limit_complaints(complaints)
        first = f": {complaints[0]}" if complaints else ""
        extra = {"complaints": [asdict(complaint) for complaint in complaints]}
        if warnings:
            extra["warnings"] = [asdict(warning) for warning in limit_complaints(warnings)]
        super().__init__(self.summary + first, extra=extra)
        self.complaints = complaints


class StaleExpectation(TimewardenError):
    slug = "stale-expectation"
    summary = "The active version is not the one that you expected; read it and try again"


class TooManyRequests(TimewardenError):
    """Beyond a rate limit. `retry_after` in seconds."""

    slug = "too-many-requests"
    summary = "Too many requests; wait before you send more"

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"Too many requests; try again in {retry_after} s")
        self.retry_after = retry_after


class TryLater(TimewardenError):
    """Nothing happened; the same request may succeed later. `retry_after` in seconds."""

    slug = "try-later"
    summary = "Temporarily unavailable; nothing was changed"
    retry_after: ClassVar[int] = 2


class Overloaded(TryLater):
    """Too many requests to answer in time, though every part works; same slug as its parent."""

    def __init__(self, *, cause: str | None = None) -> None:
        super().__init__("The service is overloaded; nothing was changed", cause=cause)


class LogUnavailable(TryLater):
    slug = "log-unavailable"
    summary = "The decision log cannot be written, so the request was not answered and nothing was changed"


class DatabaseUnavailable(TryLater):
    slug = "database-unavailable"
    summary = "The database does not answer; read the resource before you repeat a change"


class KeysUnavailable(TryLater):
    slug = "keys-unavailable"
    summary = "The keys of the token's issuer cannot be fetched, so the token was not checked"


class IntrospectionUnavailable(TryLater):
    slug = "introspection-unavailable"
    summary = "The token's issuer does not answer introspection, so the token was not checked"


class ReplayStoreUnavailable(TryLater):
    slug = "replay-store-unavailable"
    summary = "The store of used DPoP proofs does not answer; try again with a new proof"


class ErasureKeyMissing(TryLater):
    slug = "erasure-key-missing"
    summary = "New people cannot be added: the erasure key is missing, so an erased person would not be recognized"


class PolicyUnavailable(TryLater):
    slug = "policy-unavailable"
    summary = "The active policy version cannot be loaded, so nothing was decided"


class NotSealed(TryLater):
    slug = "not-sealed"
    summary = "No signed checkpoint covers this record yet; try again in a moment"


class LogDamaged(TimewardenError):
    slug = "log-damaged"
    summary = "The stored log is damaged"


class Misconfigured(TimewardenError):
    """The process refuses to start; the sentence names the setting."""

    slug = "misconfigured"
    summary = "The configuration is incomplete"
