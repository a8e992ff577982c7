"""The Permit: proof that an allowed, about-to-be-recorded decision stands behind a read or write. Pure.

Stores ask for one, so a forgotten check is a type error. `enforcement` alone makes them (a test reads the imports).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from service.authorization.enforcement.decision_point import Decision
    from service.authorization.engine.engine import Snapshot

_KEY: Final = object()


class Permit:
    """Says what was allowed: `decision`, with its action and resource, under the version of `snapshot`."""

    __slots__ = ("decision", "snapshot")

    def __init__(self, decision: Decision, snapshot: Snapshot, key: object) -> None:
        if key is not _KEY or not decision.allowed:
            raise PermissionError("a Permit is made by enforcement, for an allowed decision")
        self.decision, self.snapshot = decision, snapshot

    def note(self, **noted: object) -> None:
        """Have the record of this decision hold these members too: ids, words and numbers only, never a free text."""
        self.decision = replace(self.decision, noted={**self.decision.noted, **noted})

    def covers(self, kind: str, *actions: str) -> None:
        """Raise PermissionError unless this permit is for one of these actions on that kind: a programming error."""
        asked = self.decision.request
        if asked.resource.kind != kind or asked.action not in actions:
            raise PermissionError(f"a permit to {asked.action} {asked.resource.kind} was shown for {kind} {actions}")


def grant(decision: Decision, snapshot: Snapshot) -> Permit:
    """Make a permit. Called by enforcement alone."""
    return Permit(decision, snapshot, _KEY)
