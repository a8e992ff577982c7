"""Decides whether a stored response may be returned once more: as a read of what it is about. Owns no state.

The decision is recorded and names the first one (`request.again`). A stored response is returned only to callers who
may still read the resource.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.authorization.enforcement.changes import Target
from service.errors import NotFound
from service.values import replace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from service.authorization.enforcement.changes import Caller
    from service.authorization.enforcement.gate import Gate
    from service.authorization.enforcement.stored_responses import AnsweredChange
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection
    from service.log.log import Receipt


class IdempotentReplay:
    """Decides through the gate, like every read."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def decide(self, caller: Caller, change: AnsweredChange) -> Receipt:
        """The receipt of the decision that the response to `change` may be returned. Raises Denied.

        If the token's scopes can never read, the change's own action is decided, as of the state that the change found:
        a client that only submits or approves can repeat its request. An upload is always decided as an upload, because
        its response holds nothing else. The record says `read` all the same, because nothing is changed. If the row was
        deleted since, it is decided as a new one of the same owner.
        """
        may_read = change.action != "upload" and self._gate.could_allow(caller, change.kind, "read")
        caller = replace(caller, again=change.decision, recorded_as=None if may_read else "read")
        action, states = ("read", ()) if may_read else (change.action, change.states)
        if not self._gate.has_rows(change.kind):
            async with self._gate.read(caller, change.kind, action) as reading:
                pass
            return reading.receipt
        if len(change.resources) > 1:
            return await self._decide_many(caller, change, action, states)
        row_id = change.resources[0]
        target = Target(
            str(row_id), row_id=row_id, must_exist=True, owner=change.owner, state=states[0] if states else None
        )
        async with self._gate.read(caller, change.kind, action, target) as reading:
            reading.returned = [] if reading.row is None else [str(reading.row["id"])]
        return reading.receipt

    async def _decide_many(self, caller: Caller, change: AnsweredChange, action: str, states: Sequence[str]) -> Receipt:
        async with self._gate.list(caller, change.kind, action) as listing:
            visible = await _all_visible(listing.visibility, listing.connection, change.resources, states)
            listing.returned = [str(resource) for resource in change.resources] if visible else []
        if not visible:
            raise NotFound
        return listing.receipt


async def _all_visible(
    visibility: Visibility, connection: Connection, rows: Sequence[UUID], states: Sequence[str] = ()
) -> bool:
    """Whether all these rows exist and would be listed; with `states`, as if each row were in its state."""
    table = visibility.facts.table
    arguments: list[list[UUID] | list[str]] = [list(rows)]
    if states:
        # The rows with another state.
        table = f"""(
            SELECT (jsonb_populate_record(r, jsonb_build_object('state', was.state))).*
            FROM unnest($3::uuid[], $4::text[]) AS was (id, state) JOIN {table} AS r ON r.id = was.id)
        """
        arguments.append(list(states))
    # The rows that the caller may see.
    found: int = await connection.fetchval(
        f"SELECT count(*) FROM {table} AS r WHERE r.id = ANY($3::uuid[]) AND {visibility.condition}",
        *visibility.parameters,
        *arguments,
    )
    return found == len(set(rows))
