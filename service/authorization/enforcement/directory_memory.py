"""What this process remembers of the directory: people of tokens, roles and ids of callers, relations to owners; and
rows that callers have read, which a statement compares before they count (docs/decisions/0077).

It holds for one revision of the directory, and until the next moment at which any validity begins or ends; then all of
it is forgotten. Every statement of facts reads the revision and the time in its own snapshot and uses only what holds
there, so a decision never rests on an older directory (docs/decisions/0035). Which tokens are not in the deny list is
remembered for one revision of that list, too (docs/decisions/0069). Owns its entries, which are in memory and bounded;
nothing is durable.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Final, Generic, TypeAlias, TypeVar

from service.authorization.enforcement.attribute_values import NOBODY, CallerAttributes
from service.values import replace

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.fact_statements import KindFacts
    from service.identity.principal import Principal
    from service.policy.attributes import Value

    Owners: TypeAlias = Mapping[str, Sequence[UUID]]

K = TypeVar("K", bound="Hashable")
V = TypeVar("V")
NEVER: Final = datetime.max.replace(tzinfo=UTC)
MAX_CALLERS: Final = 10_000
MAX_PEOPLE: Final = 10_000
# About 400 bytes each.
MAX_TOKENS: Final = 10_000
# About 300 bytes each, and the attributes of owners.
MAX_RELATIONS: Final = 100_000
# Bytes of rows that were read alone, of all callers together.
MAX_ROW_BYTES: Final = 4 * 2**20
# Of a row's columns but for its texts and lists, and of an item of a list, about.
ROW_BYTES: Final = 2_000
ITEM_BYTES: Final = 100
# Owners whose rows lists can show, of all callers together: about 70 bytes each.
MAX_OWNERS: Final = 500_000


@dataclass(frozen=True, slots=True)
class DirectoryState:
    """A state of the directory: its random id and the number of its revision, until the next moment at which a validity
    begins or ends, or NEVER. The number is for records: after a restore it comes back for another directory."""

    id: UUID
    revision: int
    until: datetime


@dataclass(frozen=True)
class CallerInDirectory:
    """The roles of a caller, all their ids, those from before an erasure, and their attributes."""

    roles: frozenset[str]
    ids: frozenset[UUID]
    former_ids: frozenset[UUID]
    attributes: CallerAttributes = NOBODY

    @cached_property
    def id_array(self) -> str:
        """All ids as a Postgres array."""
        return _array(self.ids)

    @cached_property
    def former_array(self) -> str:
        """The former ids as a Postgres array."""
        return _array(self.former_ids)


@dataclass(frozen=True, slots=True)
class RelationsToOwner:
    """The relations of a caller to the rows of an owner, the delegator for whom the caller acts on them, and the
    attributes of the owner."""

    relations: frozenset[str]
    on_behalf_of: UUID | None
    attributes: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OwnersOfCaller:
    """For which owners each of a caller's relations to their rows holds, and the points through which others can hold.
    Each is None if they are too many."""

    by_relation: Owners | None
    points: Sequence[str] | None


class RememberedPerson:
    """The person of a token."""

    def __init__(self, person: UUID) -> None:
        self._person = person
        # Of the last request, since requests with one token have one principal.
        self._principal: Principal | None = None
        self._identified: Principal | None = None

    def identify(self, principal: Principal) -> Principal:
        """The principal with this person."""
        if self._identified is None or principal is not self._principal:
            self._principal = principal
            self._identified = replace(principal, person=self._person, is_remembered=True)
        return self._identified


class DirectoryMemory:
    """Keys: a caller is their person and who-word; relations are those to an owner's rows of a kind, under the words
    and attributes of a policy version."""

    def __init__(self) -> None:
        self._state: DirectoryState | None = None
        self._since: datetime | None = None
        self._callers: _Recent[tuple[UUID | None, str], CallerInDirectory] = _Recent(MAX_CALLERS)
        self._relations: _Recent[tuple[UUID | None, str, KindFacts, UUID], RelationsToOwner] = _Recent(MAX_RELATIONS)
        self._owners: _Recent[tuple[UUID | None, str, KindFacts, frozenset[str]], OwnersOfCaller] = _Recent(MAX_OWNERS)
        # One mapping for all callers of an owner's rows.
        self._attributes: _Recent[tuple[KindFacts, UUID], Mapping[str, Value]] = _Recent(MAX_PEOPLE)
        self._people: _Recent[tuple[str, str, int], RememberedPerson] = _Recent(MAX_PEOPLE)
        # Rows as callers have last found them, which are read again before they are used.
        self._rows: _Recent[tuple[UUID | None, str, KindFacts, UUID | int], asyncpg.Record] = _Recent(MAX_ROW_BYTES)
        # Tokens that were looked up at this revision of the deny list, and are not revoked.
        self._denials: UUID | None = None
        self._unrevoked: _Recent[tuple[object, ...], bool] = _Recent(MAX_TOKENS)

    @property
    def state(self) -> DirectoryState | None:
        """The state in which all entries hold. While it is the same object, nothing was forgotten."""
        return self._state

    def forget(self) -> None:
        """Forget everything: when a connection was lost, another database may answer at the next one."""
        self._state = self._since = None
        self._denials = None
        for entries in (self._callers, self._relations, self._owners, self._attributes, self._people, self._unrevoked):
            entries.clear()
        self._rows.clear()

    def holds_at(self, state: UUID, at: datetime) -> bool:
        """Whether the entries hold in a snapshot of this state and time. A new state or a passed moment forgets
        them."""
        if self._state is None or self._since is None:
            return False
        if state != self._state.id or at >= self._state.until:
            self.forget()
            return False
        return at >= self._since

    def covers(self, at: datetime) -> bool:
        """Whether the entries hold at this time, if the directory is in the remembered state."""
        return self._state is not None and self._since is not None and self._since <= at < self._state.until

    def enter(self, state: DirectoryState, at: datetime) -> bool:
        """Whether what was read in this state, at this time, may be remembered. Another state forgets the old one,
        unless it is the older one with the same id."""
        if self._state is None or state.id != self._state.id or state.until > self._state.until:
            self.forget()
            self._state, self._since = state, at
        return state == self._state

    def caller(self, person: UUID | None, word: str) -> CallerInDirectory | None:
        """The entry of a caller."""
        return self._callers.get((person, word))

    def remember_caller(self, person: UUID | None, word: str, caller: CallerInDirectory) -> None:
        """Remember a caller."""
        self._callers.put((person, word), caller)

    def relations(self, person: UUID | None, word: str, facts: KindFacts, owner: UUID) -> RelationsToOwner | None:
        """The entry of a caller and an owner."""
        return self._relations.get((person, word, facts, owner))

    def remember_relations(
        self, person: UUID | None, word: str, facts: KindFacts, owner: UUID, relations: RelationsToOwner
    ) -> None:
        """Remember relations."""
        shared = self._attributes.get((facts, owner))
        if shared == relations.attributes:
            relations = replace(relations, attributes=shared)
        else:
            self._attributes.put((facts, owner), relations.attributes)
        self._relations.put((person, word, facts, owner), relations)

    def owners(
        self, person: UUID | None, word: str, facts: KindFacts, relations: frozenset[str]
    ) -> OwnersOfCaller | None:
        """The entry of a caller and the owners of a kind's rows."""
        return self._owners.get((person, word, facts, relations))

    def remember_owners(
        self, person: UUID | None, word: str, facts: KindFacts, relations: frozenset[str], owners: OwnersOfCaller
    ) -> None:
        """Remember owners."""
        size = 1 + sum(map(len, (owners.by_relation or {}).values())) + len(owners.points or ())
        self._owners.put((person, word, facts, relations), owners, size)

    def row(self, person: UUID | None, word: str, facts: KindFacts, row_id: UUID | int) -> asyncpg.Record | None:
        """The row as a caller found it last, with its digest."""
        return self._rows.get((person, word, facts, row_id))

    def remember_row(
        self, person: UUID | None, word: str, facts: KindFacts, row_id: UUID | int, row: asyncpg.Record
    ) -> None:
        """Remember a row that was read with its digest."""
        size = ROW_BYTES
        for value in row.values():
            if type(value) is str:
                size += sys.getsizeof(value)
            elif type(value) is list:
                size += ITEM_BYTES * len(value)
        self._rows.put((person, word, facts, row_id), row, size)

    def forget_row(self, person: UUID | None, word: str, facts: KindFacts, row_id: UUID | int) -> None:
        """Forget a row that has changed."""
        self._rows.drop((person, word, facts, row_id))

    def person(self, issuer: str, subject: str, issued_at: int) -> RememberedPerson | None:
        """The remembered person of a token. Facts are looked up only for a token that still belongs to them."""
        return self._people.get((issuer, subject, issued_at))

    def unrevoked_at(self, token: tuple[object, ...]) -> UUID | None:
        """The revision of the deny list at which a token was not revoked; None if it must be looked up. `token`: the
        parameters of the lookup."""
        return self._denials if self._unrevoked.get(token) else None

    def remember_unrevoked(self, token: tuple[object, ...], denials: UUID) -> None:
        """Remember that a token is not revoked, at this revision of the deny list."""
        self.see_denials(denials)
        self._unrevoked.put(token, True)

    def see_denials(self, denials: UUID) -> None:
        """Another revision of the deny list than before forgets which tokens are not revoked."""
        if denials != self._denials:
            self._unrevoked.clear()
            self._denials = denials

    def remember_person(self, issuer: str, subject: str, issued_at: int, person: UUID) -> None:
        """Remember the person of a token, by its time of issue too: an erasure revokes the tokens issued before it."""
        self._people.put((issuer, subject, issued_at), RememberedPerson(person))


class _Recent(Generic[K, V]):
    """Entries whose sizes add up to at most `bound`; the least recently used are dropped first."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._held = 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, key: K) -> V | None:
        found = self._entries.get(key)
        if found is None:
            return None
        self._entries.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, size: int = 1) -> None:
        _, before = self._entries.pop(key, (value, 0))
        self._entries[key] = value, size
        self._held += size - before
        while self._held > self._bound:
            _, (_, dropped) = self._entries.popitem(last=False)
            self._held -= dropped

    def drop(self, key: K) -> None:
        if key in self._entries:
            self._held -= self._entries.pop(key)[1]

    def clear(self) -> None:
        self._entries.clear()
        self._held = 0


def _array(ids: frozenset[UUID]) -> str:
    return "{" + ",".join(sorted(map(str, ids))) + "}"
