"""What the caller cannot mend: something is away, damaged, or not configured. Pure."""

from __future__ import annotations

from typing import ClassVar

from service.errors.root import TimewardenError


class TryLater(TimewardenError):
    """Nothing happened; the same request may succeed later. `retry_after` in seconds."""

    slug = "try-later"
    summary = "Temporarily unavailable; nothing was changed"
    retry_after: ClassVar[int] = 2


class Overloaded(TryLater):
    """More is asked than can be done in time, though every part is well; same slug as its parent."""

    def __init__(self, *, cause: str | None = None) -> None:
        super().__init__("More requests arrive than can be answered in time; nothing was changed", cause=cause)


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


class ErasureKeyMissing(TryLater):
    slug = "erasure-key-missing"
    summary = "Somebody may come back after an erasure, which cannot be told without its key: nobody new is taken in"


class PolicyUnavailable(TryLater):
    slug = "policy-unavailable"
    summary = "The active policy version cannot be learned, so nothing was decided"


class NotSealed(TryLater):
    slug = "not-sealed"
    summary = "No signed checkpoint covers this so far; ask again"


class LogDamaged(TimewardenError):
    slug = "log-damaged"
    summary = "The stored log is damaged"


class Misconfigured(TimewardenError):
    """The process refuses to start; the sentence names the setting."""

    slug = "misconfigured"
    summary = "The configuration is incomplete"
