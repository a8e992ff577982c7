"""Whether a kept answer may be given once more: decided anew, as a read of what the answer tells of. Owns no state.

The decision is recorded and names the first one (`request.again`). Whoever may not read it any more gets nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from service.authorization.enforcement.changes import Target
from service.authorization.enforcement.kept_answers import all_visible
from service.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.authorization.enforcement.changes import Caller
    from service.authorization.enforcement.gate import Gate
    from service.authorization.enforcement.kept_answers import AnsweredChange
    from service.log.log import Receipt


class AnswersAgain:
    """Decides through the gate, as every read."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def permitted(self, caller: Caller, about: AnsweredChange) -> Receipt:
        """The receipt of the decision to give an answer again. Raises Denied.

        A token whose scopes could never read is asked for the change's own action instead, as of the state that the
        change found: so whoever only submits or approves can repeat that. Whoever uploads is asked for that in any
        case, as an upload tells nothing else. The record says `read` all the same, because nothing is done again. What
        is gone is decided as something new of the same owner.
        """
        reads = about.action != "upload" and self._gate.could_allow(caller, about.kind, "read")
        caller = replace(caller, again=about.decision, recorded_as=None if reads else "read")
        action, states = ("read", ()) if reads else (about.action, about.states)
        if not self._gate.has_rows(about.kind):
            async with self._gate.read(caller, about.kind, action) as reading:
                pass
            return reading.receipt
        if len(about.resources) > 1:
            return await self._of_many(caller, about, action, states)
        was = states[0] if states else None
        target = Target(
            str(about.resources[0]), row_id=about.resources[0], must_exist=True, owner=about.owner, state=was
        )
        async with self._gate.read(caller, about.kind, action, target) as reading:
            reading.returned = [] if reading.row is None else [str(reading.row["id"])]
        return reading.receipt

    async def _of_many(self, caller: Caller, about: AnsweredChange, action: str, states: Sequence[str]) -> Receipt:
        async with self._gate.list(caller, about.kind, action) as listing:
            whole = await all_visible(listing.visibility, listing.connection, about.resources, states)
            listing.returned = [str(resource) for resource in about.resources] if whole else []
        if not whole:
            raise NotFound
        return listing.receipt
