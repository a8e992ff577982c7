"""Whether a kept answer may be given once more: decided anew, as a read of what the answer tells of. Owns no state.

The decision is recorded and names the first one (`request.again`). Whoever may not read it any more gets nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from service.authorization.enforcement.kept_answers import all_visible
from service.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.authorization.enforcement.changes import Answer
    from service.authorization.enforcement.decision_record import Ask
    from service.authorization.enforcement.enforcement import Enforcement
    from service.authorization.enforcement.kept_answers import About
    from service.authorization.enforcement.permit import Permit
    from service.authorization.enforcement.relationships import Seen
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection
    from service.log.log import Receipt


class AnswersAgain:
    """Decides through `enforcement`, as every read."""

    def __init__(self, enforcement: Enforcement) -> None:
        self._enforcement = enforcement

    async def permitted(self, ask: Ask, about: About) -> Receipt:
        """The receipt of the decision to give an answer again. Raises Denied.

        A token whose scopes could never read is asked for the change's own action instead, as of the state that the
        change found: so whoever only submits or approves can repeat that. Whoever uploads is asked for that in any
        case, as an upload tells nothing else. The record says `read` all the same, because nothing is done again. What
        is gone is decided as something new of the same owner.
        """
        reads = about.action != "upload" and self._enforcement.could(ask, about.kind, "read")
        ask = replace(ask, again=about.decision, recorded_as=None if reads else "read")
        action, states = ("read", ()) if reads else (about.action, about.states)
        if not self._enforcement.has_rows(about.kind):
            return (await self._enforcement.read(ask, about.kind, action, _nothing)).receipt
        if len(about.resources) == 1:
            answer = await self._enforcement.read(
                ask,
                about.kind,
                action,
                _the_row,
                row_id=about.resources[0],
                once_of=about.owner,
                state=states[0] if states else None,
            )
            return answer.receipt
        return await self._of_many(ask, about, action, states)

    async def _of_many(self, ask: Ask, about: About, action: str, states: Sequence[str]) -> Receipt:
        async def query(visibility: Visibility, connection: Connection) -> tuple[bool, Sequence[str]]:
            whole = await all_visible(visibility, connection, about.resources, states)
            return whole, [str(one) for one in about.resources] if whole else []

        answer: Answer[bool] = await self._enforcement.list(ask, about.kind, action, query)
        if not answer.value:
            raise NotFound
        return answer.receipt


async def _nothing(_permit: Permit, _seen: Seen, _connection: Connection) -> tuple[None, Sequence[str]]:
    return None, []


async def _the_row(_permit: Permit, seen: Seen, _connection: Connection) -> tuple[None, Sequence[str]]:
    return None, [] if seen.row is None else [str(seen.row["id"])]
