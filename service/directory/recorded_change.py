"""How every use case of the directory changes, lists and reads it: decided by the gate and recorded. Owns no state.

Every change locks the row of the directory's revision before it is decided, and then increments it. So changes are
serialised, and each is decided by the directory that it changes. Other decisions see it once it has committed. Names,
addresses and values of attributes are texts beside a record, never part of its bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar
from uuid import UUID

import msgspec

from service.authorization.enforcement.changes import Answer, Target, refused_under
from service.authorization.enforcement.decision_point import Resource
from service.authorization.enforcement.names import load_names_of_change, load_names_of_rows
from service.authorization.enforcement.person_references import find_person
from service.directory import store
from service.directory.store import KIND, MANAGE
from service.errors import NotFound
from service.log.record import Kind
from service.pacing import pace
from service.values import replace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from service.authorization.enforcement.changes import Caller, Change, Permit
    from service.authorization.enforcement.gate import Gate
    from service.authorization.enforcement.names import Names
    from service.authorization.enforcement.person_references import NamedPerson
    from service.authorization.enforcement.team_references import NamedTeam
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection
    from service.directory.declared_attributes import Attributes, JsonValue
    from service.directory.entities import Validity

T = TypeVar("T")
K = TypeVar("K", UUID, str)
# Members of entities that have a name elsewhere.
NAMED: Final = ("person", "team", "delegator", "delegate", "project", "decided_by", "parent", "merged_into")
# The person whom a path names.
SUBJECT: Final = "path.person_id"


@dataclass(frozen=True, slots=True)
class DirectoryPage(Generic[T]):
    """A page; `after` is the key of the next page, None on the last page. `names` are those in each item by id, if they
    were asked for."""

    items: Sequence[T]
    after: str | None
    names: Sequence[Names | None]

    @property
    def named(self) -> list[tuple[T, Names | None]]:
        """The items, each with its names."""
        return list(zip(self.items, self.names, strict=True))


@dataclass(frozen=True, slots=True)
class DirectoryChange:
    """A change for the log: the id of its subject, `what` changed, ids and times before and after, and texts. `kind` is
    the subject's kind of resource, if the decision was about another kind. `owner` is the person whose texts they are,
    if the subject is another."""

    subject: str
    what: str
    after: Mapping[str, object] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    before: Mapping[str, object] = field(default_factory=dict)
    kind: str = ""
    owner: UUID | None = None


async def manage(
    gate: Gate,
    caller: Caller,
    subject: UUID | str | None,
    work: Callable[[Permit, Connection], Awaitable[tuple[T, Sequence[DirectoryChange]]]],
    *,
    asked: tuple[str, str] = (KIND, MANAGE),
    target: Target | None = None,
    hold: Callable[[Connection], Awaitable[None]] = store.lock,
) -> Answer[T]:
    """Decide `asked` (kind, action) once `hold` has the directory, run `work` in the transaction, and record the
    changes that it returns. None: the subject is named in another way than by id; `work` finds it and names its id to
    the permit. Raises what `work` raises, Denied and TryLater."""
    target = target or Target(None if subject is None else str(subject))
    async with gate.change(caller, *asked, replace(target, hold=hold)) as change:
        await store.advance(change.connection)
        value, changes = await work(change.permit, change.connection)
        await record_changes(change, changes)
        change.names = await load_names_of_change(change, ids_in(value))
    return change.answer(value)


def given_id(named: NamedPerson | NamedTeam) -> UUID | None:
    """The id by which a request names a person or a team; None if it names them in another way."""
    return named if isinstance(named, UUID) else None


async def find_subject(permit: Permit, connection: Connection, caller: Caller, person: NamedPerson) -> UUID:
    """The id of the person whom the path of an allowed change names. Raises InvalidField."""
    return permit.name_resource(await find_person(connection, caller.principal, person, SUBJECT))


async def record_changes(change: Change, changes: Sequence[DirectoryChange]) -> None:
    """Record changes of the directory with the change that was decided."""
    kind = change.decision.request.resource.kind
    async for entry in pace(changes):
        change.record(
            "directory.changed",
            Resource(entry.kind or kind, entry.subject, entry.owner),
            before=entry.before,
            after={"what": entry.what, **entry.after},
            texts=entry.texts,
            kind=Kind.DIRECTORY,
        )


def _id_of(item: Any) -> str:
    return str(item.id)


async def listing(
    gate: Gate,
    caller: Caller,
    load: Callable[[Visibility, Connection], Awaitable[list[T] | None]],
    limit: int,
    *,
    kind: str = KIND,
    key: Callable[[T], str] = _id_of,
    returned: bool = True,
    with_names: bool = False,
) -> Answer[DirectoryPage[T]]:
    """A page of what `load` returns, which is one item more than `limit` if there are more, with their `key` in order.
    If `returned`, the record names the keys. `with_names`: the page has the names in each item. Raises NotFound if
    `load` returns None, because the things belong to one that does not exist."""
    async with gate.list(caller, kind, "read") as listed:
        found = await load(listed.visibility, listed.connection)
        items = (found or [])[:limit]
        keys = [key(item) for item in items]
        names: Sequence[Names | None] = [None] * len(items)
        if with_names:
            ids = {UUID(key(item)): ids_in(item) for item in items}
            names = list((await load_names_of_rows(listed.visibility, listed.connection, ids)).values())
        listed.returned = keys if returned else []
    if found is None:
        with refused_under(listed.receipt):
            raise NotFound
    return listed.answer(DirectoryPage(items, keys[-1] if len(found) > limit else None, names))


def ids_in(item: object) -> list[str]:
    """The ids of people and teams and the code of a project in an entity, or in a list of entities."""
    if isinstance(item, list):
        return [key for each in item for key in ids_in(each)]
    return [str(value) for member in NAMED if (value := getattr(item, member, None)) is not None]


async def single(
    gate: Gate,
    caller: Caller,
    load: Callable[[Visibility, Connection, K], Awaitable[T | None]],
    key: K | Callable[[Connection], Awaitable[K]],
    *,
    kind: str = KIND,
    with_names: bool = False,
) -> Answer[T]:
    """Return the result of `load`, if the caller may see it; the record names its id. `key`: the id, or how it is
    found. `with_names`: with the names in it. Raises NotFound."""
    names: Names | None = None
    async with gate.list(caller, kind, "read") as listed:
        known = key if isinstance(key, UUID | str) else await key(listed.connection)
        found = await load(listed.visibility, listed.connection, known)
        if found is not None and isinstance(known, UUID):
            listed.returned = [str(known)]
            if with_names:
                named = await load_names_of_rows(listed.visibility, listed.connection, {known: ids_in(found)})
                names = named[known]
    if found is None:
        with refused_under(listed.receipt):
            raise NotFound
    return Answer(found, listed.receipt, names)


def described_attributes(before: Attributes, after: Attributes) -> tuple[dict[str, object], dict[str, str]]:
    """Which attributes changed, for a record, and their new values as texts beside it, since values may be personal
    data; both empty if none changed."""
    changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    texts = {f"attributes.{name}": _write_value(after[name]) for name in changed if name in after}
    return ({"attributes": changed} if changed else {}), texts


def _write_value(value: JsonValue) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def times(validity: Validity) -> dict[str, Any]:
    """A validity for a record."""
    return {"valid_from": validity.valid_from, "valid_to": validity.valid_to}
