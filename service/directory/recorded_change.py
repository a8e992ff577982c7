"""One way to change the directory and one to list it: decided, in turn, and recorded. Owns no state.

Every change counts up the directory's revision, whose row lets changes go one by one until they commit, and relations
see it from the next decision on. Names and addresses never stand in a record's bytes: they go beside it as texts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from service.authorization.enforcement.changes import Answer, Target, refused_under
from service.authorization.enforcement.decision_point import Resource
from service.directory import store
from service.directory.store import KIND, MANAGE
from service.errors import NotFound
from service.log.record import Kind
from service.pacing import paced

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from uuid import UUID

    from service.authorization.enforcement.changes import Caller, Permit
    from service.authorization.enforcement.gate import Gate
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection
    from service.directory.entities import Validity

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    """A page; `after` is the key to go on behind, None on the last page."""

    items: Sequence[T]
    after: str | None


@dataclass(frozen=True, slots=True)
class Told:
    """What the log is told of a change: the id of what changed, the kind of change, ids and times before and after,
    texts; and of which `kind` it is, where that is another than was asked of."""

    subject: str
    what: str
    after: Mapping[str, object] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    before: Mapping[str, object] = field(default_factory=dict)
    kind: str = ""


async def manage(
    gate: Gate,
    caller: Caller,
    subject: UUID | str,
    work: Callable[[Permit, Connection], Awaitable[tuple[T, Sequence[Told]]]],
    *,
    asked: tuple[str, str] = (KIND, MANAGE),
    target: Target | None = None,
) -> Answer[T]:
    """Change something of the directory with whoever may do what is `asked`. Raises what `work` raises, and Denied and
    TryLater."""
    async with gate.change(caller, *asked, target or Target(str(subject))) as change:
        await store.advance(change.connection)
        value, told = await work(change.permit, change.connection)
        async for one in paced(told):
            change.record(
                "directory.changed",
                Resource(one.kind or asked[0], one.subject),
                before=one.before,
                after={"what": one.what, **one.after},
                texts=one.texts,
                kind=Kind.DIRECTORY,
            )
    return change.answer(value)


async def listing(
    gate: Gate,
    caller: Caller,
    kind: str,
    load: Callable[[Visibility, Connection], Awaitable[list[T]]],
    limit: int,
    key: Callable[[T], str],
    *,
    returned: bool = True,
) -> Answer[Listed[T]]:
    """A page of what `load` finds: one more than `limit` tells that there are more. Keys that are ids are `returned`
    in the record."""
    async with gate.list(caller, kind, "read") as listed:
        found = await load(listed.visibility, listed.connection)
        items = found[:limit]
        keys = [key(item) for item in items]
        listed.returned = keys if returned else []
    return listed.answer(Listed(items, keys[-1] if len(found) > limit else None))


async def single(
    gate: Gate,
    caller: Caller,
    kind: str,
    load: Callable[[Visibility, Connection], Awaitable[T | None]],
    returned: UUID | None = None,
) -> Answer[T]:
    """What `load` finds, if a list would show it; an id that is `returned` stands in the record. Raises NotFound."""
    async with gate.list(caller, kind, "read") as listed:
        found = await load(listed.visibility, listed.connection)
        listed.returned = [str(returned)] if found is not None and returned is not None else []
    if found is None:
        with refused_under(listed.receipt):
            raise NotFound
    return listed.answer(found)


def times(validity: Validity) -> dict[str, Any]:
    """A validity as members of a record."""
    return {"valid_from": validity.valid_from, "valid_to": validity.valid_to}
