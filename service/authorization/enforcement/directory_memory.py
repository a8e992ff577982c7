"""What this process remembers of the directory: people of tokens, roles and ids of callers, relations to owners.

It holds for one revision of the directory, and until the next moment at which any validity begins or ends; then all of
it is forgotten. Every statement of facts reads the revision and the time in its own snapshot and uses only what holds
there, so a decision never rests on an older directory (docs/decisions/0035). Owns its entries, which are in memory and
bounded; nothing is durable.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable
    from uuid import UUID

K = TypeVar("K", bound="Hashable")
V = TypeVar("V")
NEVER: Final = datetime.max.replace(tzinfo=UTC)
MAX_CALLERS: Final = 10_000
MAX_PEOPLE: Final = 10_000
# About 300 bytes each.
MAX_RELATIONS: Final = 100_000


@dataclass(frozen=True, slots=True)
class DirectoryState:
    """A state of the directory: a revision, until the next moment at which a validity begins or ends, or NEVER."""

    revision: int
    until: datetime


@dataclass(frozen=True)
class CallerInDirectory:
    """The roles of a caller, all their ids, and those from before an erasure."""

    roles: frozenset[str]
    ids: frozenset[UUID]
    former_ids: frozenset[UUID]

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
    """The relations of a caller to the rows of an owner, and the delegator for whom the caller acts on them."""

    relations: frozenset[str]
    on_behalf_of: UUID | None


NO_RELATIONS: Final = RelationsToOwner(frozenset(), None)


class DirectoryMemory:
    """Keys: a caller is their person and who-word; relations are those to an owner's rows of a kind."""

    def __init__(self) -> None:
        self._state: DirectoryState | None = None
        self._since: datetime | None = None
        self._callers: _Recent[tuple[UUID | None, str], CallerInDirectory] = _Recent(MAX_CALLERS)
        self._relations: _Recent[tuple[UUID | None, str, str, UUID], RelationsToOwner] = _Recent(MAX_RELATIONS)
        self._people: _Recent[tuple[str, str, int], UUID] = _Recent(MAX_PEOPLE)

    def forget(self) -> None:
        """Forget everything: when a connection was lost, another database may answer at the next one."""
        self._state = self._since = None
        for entries in (self._callers, self._relations, self._people):
            entries.clear()

    def holds_at(self, revision: int, at: datetime) -> bool:
        """Whether the entries hold in a snapshot of this revision and time. A new revision or a passed moment forgets
        them."""
        if self._state is None or self._since is None:
            return False
        if revision != self._state.revision or at >= self._state.until:
            self.forget()
            return False
        return at >= self._since

    def enter(self, state: DirectoryState, at: datetime) -> bool:
        """Whether what was read in this state, at this time, may be remembered. Another state forgets the old one,
        unless it is the older one of the same revision."""
        if self._state is None or state.revision != self._state.revision or state.until > self._state.until:
            self.forget()
            self._state, self._since = state, at
        return state == self._state

    def caller(self, person: UUID | None, word: str) -> CallerInDirectory | None:
        """What is remembered of a caller."""
        return self._callers.get((person, word))

    def remember_caller(self, person: UUID | None, word: str, caller: CallerInDirectory) -> None:
        """Remember a caller."""
        self._callers.put((person, word), caller)

    def relations(self, person: UUID | None, word: str, kind: str, owner: UUID) -> RelationsToOwner | None:
        """What is remembered of a caller and an owner."""
        return self._relations.get((person, word, kind, owner))

    def remember_relations(
        self, person: UUID | None, word: str, kind: str, owner: UUID, relations: RelationsToOwner
    ) -> None:
        """Remember relations."""
        self._relations.put((person, word, kind, owner), relations)

    def person(self, issuer: str, subject: str, issued_at: int) -> UUID | None:
        """The remembered person of a token. Every statement of facts checks that the token still belongs to them."""
        return self._people.get((issuer, subject, issued_at))

    def remember_person(self, issuer: str, subject: str, issued_at: int, person: UUID) -> None:
        """Remember the person of a token, by its time of issue too: an erasure revokes the tokens issued before it."""
        self._people.put((issuer, subject, issued_at), person)


class _Recent(Generic[K, V]):
    """At most `size` entries; the least recently used is dropped first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def put(self, key: K, value: V) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        self._entries.clear()


def _array(ids: frozenset[UUID]) -> str:
    return "{" + ",".join(sorted(map(str, ids))) + "}"
