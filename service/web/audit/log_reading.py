"""Reading the log: decided, and recorded as ACCESS with the ids that were given out, even if these are none.

Owns no state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, TypeVar

from service.authorization.enforcement.changes import Answer, refused_under
from service.errors import InvalidField, NotFound, NotSealed, QuestionTooWide
from service.log.record import Kind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from service.authorization.enforcement.decision_record import Ask, Positions, Put
    from service.authorization.enforcement.enforcement import Enforcement
    from service.authorization.enforcement.permit import Permit
    from service.authorization.enforcement.relationships import Seen
    from service.database import Connection

T = TypeVar("T")
# Why an access gave nothing out.
Nothing: TypeAlias = NotFound | NotSealed | QuestionTooWide | InvalidField


async def read_log(
    enforcement: Enforcement,
    ask: Ask,
    load: Callable[[Connection], Awaitable[tuple[T, Sequence[str] | Positions]]],
    *,
    put: Put | None = None,
) -> Answer[T]:
    """What `load` returns, a value and the ids in it, once that is on record, with the question as it was `put`. It may
    raise NotFound, NotSealed, QuestionTooWide and InvalidField, which are recorded as an access that gave nothing out.
    Raises Denied, TryLater."""

    async def loaded(
        _permit: Permit, _seen: Seen, connection: Connection
    ) -> tuple[T | Nothing, Sequence[str] | Positions]:
        try:
            return await load(connection)
        except (NotFound, NotSealed, QuestionTooWide, InvalidField) as error:
            return error, []

    answer = await enforcement.read(ask, "log", "read", loaded, record_kind=Kind.ACCESS, put=put)
    value = answer.value
    if isinstance(value, NotFound | NotSealed | QuestionTooWide | InvalidField):
        with refused_under(answer.receipt):
            raise value
    return Answer(value, answer.receipt)
