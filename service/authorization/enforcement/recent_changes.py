"""Which rows a caller has changed in this process and was not refused since.

Only the cost of a change rests on it, never a decision (docs/decisions/0072). Owns its entries, which are in memory and
bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from service.authorization.enforcement.fact_statements import fact_parameters

if TYPE_CHECKING:
    from uuid import UUID

    from service.identity.principal import Principal

# About 400 bytes each.
MAX_ROWS_CHANGED: Final = 10_000


class RecentChanges:
    """Rows by the caller who changed them; the oldest entries are dropped first."""

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[object, ...], None] = OrderedDict()

    def take(self, principal: Principal, kind: str, row_id: UUID | int | None) -> bool:
        """Whether the caller's last change of the row was allowed. Forgets it, until the next one is allowed."""
        return self._entries.pop(_key(principal, kind, row_id), self) is None

    def add(self, principal: Principal, kind: str, row_id: UUID | int | None) -> None:
        """Remember an allowed change."""
        self._entries[_key(principal, kind, row_id)] = None
        if len(self._entries) > MAX_ROWS_CHANGED:
            self._entries.popitem(last=False)


def _key(principal: Principal, kind: str, row_id: UUID | int | None) -> tuple[object, ...]:
    return (*fact_parameters(principal), kind, row_id)
