"""The Permit: proof that an allowed, about-to-be-recorded decision stands behind a read or write. Pure.

Stores ask for one, so a forgotten check is a type error. `enforcement` alone makes them (a test reads the imports).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from service.authorization.decision_point import Decision

_KEY: Final = object()


class Permit:
    """Says what was allowed: `decision`, with its action and resource."""

    __slots__ = ("decision",)

    def __init__(self, decision: Decision, key: object) -> None:
        if key is not _KEY or not decision.allowed:
            raise PermissionError("a Permit is made by enforcement, for an allowed decision")
        self.decision = decision

    def covers(self, kind: str, *actions: str) -> None:
        """Raise PermissionError unless this permit is for one of these actions on that kind: a programming error."""
        asked = self.decision.request
        if asked.resource.kind != kind or asked.action not in actions:
            raise PermissionError(f"a permit to {asked.action} {asked.resource.kind} was shown for {kind} {actions}")


def grant(decision: Decision) -> Permit:
    """Make a permit. Called by enforcement alone."""
    return Permit(decision, _KEY)
