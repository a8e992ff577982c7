"""Compares two stored versions. Each is read like any version, with a recorded decision. Owns no state.

A comparison takes up to some seconds of CPU in a check worker, so an API process runs one at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.authorization.enforcement.changes import Answer, refused_under
from service.database import Turns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from service.administration.checks.diff import PolicyDiff
    from service.administration.versions.administration import PolicyAdministration
    from service.authorization.enforcement.changes import Caller
    from service.policy.policy_file import PolicyText

    Compare = Callable[[PolicyText, PolicyText], Awaitable[PolicyDiff]]

# Seconds.
LONGEST_WAIT = 10.0
BUSY = "Other policy versions are being compared; ask again in a moment"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The differences of version `number` from version `against`."""

    number: int
    against: int
    diff: PolicyDiff


class PolicyComparison:
    """Compares versions that the caller may read. `compare` finds the differences in a check worker."""

    def __init__(self, administration: PolicyAdministration, compare: Compare) -> None:
        self._administration = administration
        self._compare = compare
        self._turns = Turns(1, timeout=LONGEST_WAIT, full=BUSY)

    async def compare(self, caller: Caller, number: int, against: int | None) -> Answer[Comparison]:
        """The differences from `against`, or the active version, to `number`. The receipt is of the read of `number`;
        the other read has its own record. Raises NotFound, TryLater, and PolicyRejected for a version that this code
        cannot read."""
        after = await self._administration.read(caller, number)
        before = await (
            self._administration.active(caller) if against is None else self._administration.read(caller, against)
        )
        with refused_under(after.receipt):
            async with self._turns.take():
                diff = await self._compare(before.value.text, after.value.text)
        return Answer(Comparison(number, before.value.version.number, diff), after.receipt)
