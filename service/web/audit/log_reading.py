"""Reading the log: decided, and recorded as ACCESS with the ids that were given out, even if these are none.

Owns no state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from service.authorization.enforcement.changes import Answer, refused_under
from service.errors import InvalidField, NotFound, NotSealed, QueryTooBroad

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from service.authorization.enforcement.decision_record import Caller, Positions, Put
    from service.authorization.enforcement.gate import Gate
    from service.database import Connection

T = TypeVar("T")


async def read_log(
    gate: Gate,
    caller: Caller,
    load: Callable[[Connection], Awaitable[tuple[T, Sequence[str] | Positions]]],
    *,
    put: Put | None = None,
) -> Answer[T]:
    """What `load` returns, a value and the ids in it, once that is on record, with the question as it was `put`. It may
    raise NotFound, NotSealed, QueryTooBroad and InvalidField, which are recorded as an access that gave nothing out.
    Raises Denied, TryLater."""
    value: T | NotFound | NotSealed | QueryTooBroad | InvalidField
    async with gate.read(caller, "log", "read", put=put) as reading:
        try:
            value, reading.returned = await load(reading.connection)
        except (NotFound, NotSealed, QueryTooBroad, InvalidField) as error:
            value = error
    if isinstance(value, NotFound | NotSealed | QueryTooBroad | InvalidField):
        with refused_under(reading.receipt):
            raise value
    return reading.answer(value)
