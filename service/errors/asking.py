"""What the caller can mend before there is anything to decide: the request, the credentials, the pace. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.errors.root import TimewardenError

if TYPE_CHECKING:
    from service.places import FieldError


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
        sentence = public or "; ".join(f"{field.field}: {field.message}" for field in fields[:3]) or self.summary
        super().__init__(
            sentence, extra={"fields": [{"field": field.field, "message": field.message} for field in fields]}
        )
        self.fields = fields


class QueryTooBroad(BadInput):
    slug = "query-too-broad"
    summary = "This question meets too many records to be answered in time; narrow it, for example by since and until"


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


class KeyReused(InvalidField):
    slug = "idempotency-key-reused"
    summary = "This Idempotency-Key was used for another request; take a new key for each change"


class TooManyRequests(TimewardenError):
    """Beyond a rate limit. `retry_after` in seconds."""

    slug = "too-many-requests"
    summary = "Too many requests; wait before you send more"

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"Too many requests; try again in {retry_after} s")
        self.retry_after = retry_after
