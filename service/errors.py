"""Every error that Timewarden raises on purpose, in one tree. Pure: owns no state.

    TimewardenError                            slug, public sentence, private cause
    ├── BadInput                               the caller can mend it
    │   ├── MalformedRequest                   400  the bytes or the headers are not what HTTP or JSON allow
    │   │   └── MalformedCredentials           400  the Authorization header itself, so a challenge goes with it
    │   ├── InvalidField                       422  a field is wrong; names it
    │   │   └── KeyReused                      422  an Idempotency-Key that was sent with another request
    │   └── BodyTooLarge · HeadersTooLarge · UnsupportedMediaType   413 · 431 · 415
    ├── Unauthenticated                        401
    │   ├── MissingToken                       no credentials: a challenge without an error code
    │   ├── InvalidToken                       bad, expired, wrong issuer or audience ...
    │   ├── InvalidProof · NonceWanted         the DPoP proof beside the token is not good (RFC 9449)
    │   └── StepUpNeeded                       a stronger or fresher sign-in is wanted (RFC 9470)
    ├── Denied                                 the policy said no
    │   ├── InsufficientScope                  403  no rule can be satisfied with these scopes
    │   ├── Forbidden                          403  with reasons about the caller
    │   └── NotFound                           404  unknown, or not for the caller to know
    ├── NotApplied                             allowed, yet nothing was changed
    │   ├── PreconditionRequired · ...Failed   428 no If-Match · 412 the resource moved on
    │   ├── KeyInUse                           409  the same Idempotency-Key is under way
    │   └── WrongState · NoApprover · Conflict 409  the state · nobody could approve it · a constraint
    ├── PolicyRejected                         422  a policy that may not become active; every complaint with its place
    ├── StaleExpectation                       409  the active version is another one than the caller expected
    ├── TooManyRequests                        429  beyond a rate limit; says when there is room again
    ├── TryLater                               503
    │   ├── LogUnavailable · DatabaseUnavailable · PolicyUnavailable
    │   └── KeysUnavailable · IntrospectionUnavailable · ReplayUnavailable   the token could not be judged
    └── Misconfigured                          the process refuses to start; never leaves over HTTP

`slug` is stable and part of the API; `public` helps the caller; `cause` is for the log alone and never leaves. One
table maps the tree to HTTP: service/web/problems.py.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.places import Complaint, FieldError


class TimewardenError(Exception):
    """The root. `public` is one sentence for the caller; `cause` a private note for the log; `extra` machine-readable
    members of the answer."""

    slug: ClassVar[str] = "internal"
    summary: ClassVar[str] = "Something went wrong"

    def __init__(
        self, public: str | None = None, *, cause: str | None = None, extra: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(public or self.summary)
        self.public = public or self.summary
        self.cause = cause
        self.extra = dict(extra or {})
        # The id and leaf hash of the recorded decision behind this error, once there is one.
        self.decision: tuple[str, str] | None = None


class BadInput(TimewardenError):
    slug = "bad-input"
    summary = "The request cannot be understood"


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
        sentence = public or "; ".join(f"{one.field}: {one.message}" for one in fields[:3]) or self.summary
        super().__init__(sentence, extra={"fields": [{"field": one.field, "message": one.message} for one in fields]})
        self.fields = fields


class BodyTooLarge(BadInput):
    slug = "body-too-large"
    summary = "The request body is too large"


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
    """The token was judged and refused. `public` never holds any content of the token."""

    slug = "invalid-token"
    summary = "Missing or invalid token"


class InvalidProof(Unauthenticated):
    """The DPoP proof was judged and refused (RFC 9449 section 7.1). `public` never holds any content of it."""

    slug = "invalid-dpop-proof"
    summary = "Missing or invalid DPoP proof"


class NonceWanted(InvalidProof):
    """The same request with a proof that holds the nonce of this answer is judged anew (RFC 9449 section 9)."""

    slug = "use-dpop-nonce"
    summary = "Make a DPoP proof with the nonce of this answer, and send the request again"


class StepUpNeeded(Unauthenticated):
    """Allowed but for the sign-in (RFC 9470): it is older than `max_age` seconds, or a `stronger` one is wanted, which
    the door names as `acr_values`."""

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
    """No rule for this action can be satisfied with the token's scopes; `scopes` would help."""

    slug = "insufficient-scope"
    summary = "The token lacks the scope that this needs"

    def __init__(self, scopes: Sequence[str]) -> None:
        super().__init__(f"This needs the scope {' or '.join(scopes)}", extra={"required_scope": list(scopes)})
        self.scopes = tuple(scopes)


class Forbidden(Denied):
    """Denied with reasons that speak of the caller; `reasons` are sentences, nearest first. `near_misses` are the same
    as members: each a rule that would have allowed, with the conditions that were missing."""

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


class KeyReused(InvalidField):
    slug = "idempotency-key-reused"
    summary = "This Idempotency-Key was used for another request; take a new key for each change"


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


class KeyInUse(NotApplied):
    slug = "idempotency-key-in-use"
    summary = "A request with this Idempotency-Key is under way; send it again in a moment to get its answer"


class PolicyRejected(TimewardenError):
    """The policy is malformed, breaks a safety law or fails its cases; `complaints` says where and why."""

    slug = "policy-rejected"
    summary = "This policy cannot become active"

    def __init__(self, complaints: Sequence[Complaint]) -> None:
        first = f": {complaints[0]}" if complaints else ""
        super().__init__(self.summary + first, extra={"complaints": [asdict(one) for one in complaints]})
        self.complaints = tuple(complaints)


class StaleExpectation(TimewardenError):
    slug = "stale-expectation"
    summary = "Another version is active than the one that you expected; look at it and try again"


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


class LogUnavailable(TryLater):
    slug = "log-unavailable"
    summary = "The decision log cannot be written, so nothing was answered and nothing was changed"


class DatabaseUnavailable(TryLater):
    slug = "database-unavailable"
    summary = "The database does not answer; look the resource up before you repeat a change"


class KeysUnavailable(TryLater):
    slug = "keys-unavailable"
    summary = "The token's issuer cannot be asked for its keys, so the token was not judged"


class IntrospectionUnavailable(TryLater):
    slug = "introspection-unavailable"
    summary = "The token's issuer cannot be asked about it, so the token was not judged"


class ReplayUnavailable(TryLater):
    slug = "replay-store-unavailable"
    summary = "Whether this DPoP proof was used before cannot be learned now; try again with a new proof"


class PolicyUnavailable(TryLater):
    slug = "policy-unavailable"
    summary = "The active policy version cannot be learned, so nothing was decided"


class Misconfigured(TimewardenError):
    """The process refuses to start; the sentence names the setting."""

    slug = "misconfigured"
    summary = "The configuration is incomplete"
