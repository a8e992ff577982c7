"""Every error that Timewarden raises on purpose, in one tree. Pure: owns no state.

    TimewardenError                            slug, public sentence, private cause
    ├── BadInput                               the caller can mend it
    │   ├── MalformedRequest                   400  the bytes or the headers are not what HTTP or JSON allow
    │   │   └── MalformedCredentials           400  the Authorization header itself, so a challenge goes with it
    │   ├── InvalidField · QueryTooBroad     422  a field is wrong; names it · too many records to answer in time
    │   │   └── KeyReused                      422  an Idempotency-Key that was sent with another request
    │   ├── BodyTooSlow                        408  the sender stopped, or trickles
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
    │   ├── WrongState · NoApprover · Conflict 409  the state · nobody could approve it · a constraint
    │   └── TimesheetFull                      409  one entry more than a sheet holds
    ├── PolicyRejected                         422  a policy that may not become active; every complaint with its place
    ├── StaleExpectation                       409  the active version is another one than the caller expected
    ├── TooManyRequests                        429  beyond a rate limit; says when there is room again
    ├── TryLater                               503
    │   ├── Overloaded                         all parts are well, and too much is asked; the slug of TryLater
    │   ├── LogUnavailable · DatabaseUnavailable · PolicyUnavailable · NotSealed
    │   └── KeysUnavailable · IntrospectionUnavailable · ReplayUnavailable   the token could not be judged
    ├── LogDamaged                             500  the stored log contradicts itself or its anchor; the keeper stops
    └── Misconfigured                          the process refuses to start; never leaves over HTTP

`slug` is stable and part of the API; `public` helps the caller; `cause` is for the log alone and never leaves. One
table maps the tree to HTTP: service/web/http/problems.py.
"""

from __future__ import annotations

from service.errors.asking import (
    BadInput,
    BodyTooLarge,
    BodyTooSlow,
    HeadersTooLarge,
    InvalidField,
    InvalidProof,
    InvalidToken,
    KeyReused,
    MalformedCredentials,
    MalformedRequest,
    MissingToken,
    NonceWanted,
    QueryTooBroad,
    StepUpNeeded,
    TooManyRequests,
    Unauthenticated,
    UnsupportedMediaType,
)
from service.errors.deciding import (
    Conflict,
    Denied,
    Forbidden,
    InsufficientScope,
    KeyInUse,
    NoApprover,
    NotApplied,
    NotFound,
    PolicyRejected,
    PreconditionFailed,
    PreconditionRequired,
    StaleExpectation,
    TimesheetFull,
    WrongState,
)
from service.errors.root import (
    TimewardenError,
)
from service.errors.serving import (
    DatabaseUnavailable,
    ErasureKeyMissing,
    IntrospectionUnavailable,
    KeysUnavailable,
    LogDamaged,
    LogUnavailable,
    Misconfigured,
    NotSealed,
    Overloaded,
    PolicyUnavailable,
    ReplayUnavailable,
    TryLater,
)

__all__ = [
    "BadInput",
    "BodyTooLarge",
    "BodyTooSlow",
    "Conflict",
    "DatabaseUnavailable",
    "Denied",
    "ErasureKeyMissing",
    "Forbidden",
    "HeadersTooLarge",
    "InsufficientScope",
    "IntrospectionUnavailable",
    "InvalidField",
    "InvalidProof",
    "InvalidToken",
    "KeyInUse",
    "KeyReused",
    "KeysUnavailable",
    "LogDamaged",
    "LogUnavailable",
    "MalformedCredentials",
    "MalformedRequest",
    "Misconfigured",
    "MissingToken",
    "NoApprover",
    "NonceWanted",
    "NotApplied",
    "NotFound",
    "NotSealed",
    "Overloaded",
    "PolicyRejected",
    "PolicyUnavailable",
    "PreconditionFailed",
    "PreconditionRequired",
    "QueryTooBroad",
    "ReplayUnavailable",
    "StaleExpectation",
    "StepUpNeeded",
    "TimesheetFull",
    "TimewardenError",
    "TooManyRequests",
    "TryLater",
    "Unauthenticated",
    "UnsupportedMediaType",
    "WrongState",
]
