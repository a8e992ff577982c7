"""Who may send something large: judged before it is read, so that no stranger fills the memory. Owns no state.

What is sent is decided once more, by its own decisions; here only a refusal is recorded.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from service.authorization.enforcement.changes import Target
from service.errors import Forbidden

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.authorization.enforcement.changes import Caller
    from service.authorization.enforcement.gate import Gate
    from service.errors import TimewardenError


async def admit(
    gate: Gate, caller: Caller, kind: str, action: str, *, any_row: bool = False, never: str | None = None
) -> None:
    """Refuse whoever could not do this. `any_row`: single rows will be decided on, so it is enough that one could be
    allowed. `never` is a law's reason why this asker may not, whatever the policy says. Raises Denied."""
    could = never is None and gate.could_allow(caller, kind, action)
    if could and await gate.would_allow(caller, kind, action, any_row=any_row):
        return

    def combine(refusals: Mapping[int, TimewardenError]) -> TimewardenError:
        return Forbidden([never]) if never is not None and isinstance(refusals[0], Forbidden) else refusals[0]

    # An idempotency key is for the change itself.
    async with gate.change_all(replace(caller, once=None), kind, action, [Target()], combine=combine):
        # The caller has just become able to; or the law stops them.
        if never is not None:
            raise Forbidden([never])
