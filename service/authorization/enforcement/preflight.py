"""Decides who may send a large body before it is read, so that a stranger cannot fill the memory. Owns no state.

Only a refusal is recorded here. The request gets its own decision once its body is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.authorization.enforcement.changes import Target
from service.errors import Forbidden
from service.values import replace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.authorization.enforcement.changes import Caller
    from service.authorization.enforcement.gate import Gate
    from service.errors import TimewardenError


async def admit(
    gate: Gate, caller: Caller, kind: str, action: str, *, any_row: bool = False, never: str | None = None
) -> None:
    """Refuse a caller who could not do this. `any_row`: the request decides on single rows, so it is enough that one of
    them could be allowed. `never`: the reason of a law that forbids it to this caller. Raises Denied."""
    could = never is None and gate.could_allow(caller, kind, action)
    if could and await gate.would_allow(caller, kind, action, any_row=any_row):
        return

    def combine(refusals: Mapping[int, TimewardenError]) -> TimewardenError:
        return Forbidden([never]) if never is not None and isinstance(refusals[0], Forbidden) else refusals[0]

    # The idempotency key is for the change itself.
    async with gate.change_all(replace(caller, idempotent=None), kind, action, [Target()], combine=combine):
        # Allowed meanwhile, unless the law forbids it.
        if never is not None:
            raise Forbidden([never])
