"""Who may send something large: judged before it is read, so that no stranger fills the memory. Owns no state.

What is sent is decided once more, by its own decisions; here only a refusal is recorded.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from service.authorization.enforcement.changes import Target
from service.errors import Forbidden

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.authorization.enforcement.changes import Change
    from service.authorization.enforcement.decision_record import Ask
    from service.authorization.enforcement.enforcement import Enforcement
    from service.errors import TimewardenError


async def admit(
    enforcement: Enforcement, ask: Ask, kind: str, action: str, *, by_rows: bool = False, never: str | None = None
) -> None:
    """Refuse whoever could not do this. `by_rows`: single rows will be decided on, so it is enough that one could be
    allowed. `never` is a law's reason why this asker may not, whatever the policy says. Raises Denied."""
    could = never is None and enforcement.could(ask, kind, action)
    if could and await (enforcement.could_for_anybody if by_rows else enforcement.prospect)(ask, kind, action):
        return

    async def nothing(_: Sequence[Change]) -> None:
        """Somebody who has just become able to; or whom the law stops."""
        if never is not None:
            raise Forbidden([never])

    def denied(refusals: Mapping[int, TimewardenError]) -> TimewardenError:
        return Forbidden([never]) if never is not None and isinstance(refusals[0], Forbidden) else refusals[0]

    # An idempotency key is for the change itself.
    await enforcement.change_all(replace(ask, once=None), kind, action, [Target()], nothing, denied=denied)
