"""The root of the tree: what every error has. Pure: owns no state."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping


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
        # Of all of them, where a request led to several.
        self.decisions: list[tuple[str, str]] = []
