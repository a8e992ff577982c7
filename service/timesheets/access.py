"""Who may do what to one timesheet, and by which rule: for whoever may read the sheet. Owns no state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.authorization.access import Named, Way, named, ways
from service.errors import NotFound
from service.timesheets import access_store
from service.timesheets.relations import KIND, TIMESHEET_FACTS
from service.timesheets.shown import ON_A_SHEET

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from service.authorization.changes import Answer
    from service.authorization.decision_record import Ask
    from service.authorization.enforcement import Enforcement
    from service.authorization.engine import Snapshot
    from service.authorization.permit import Permit
    from service.authorization.relationships import Seen
    from service.database import Connection
    from service.timesheets.access_store import Candidate

    Ways = Mapping[str, tuple[Way, ...]]


@dataclass(frozen=True, slots=True)
class Somebody:
    """A person, or a client for itself, what they are to the sheet, and the ways in which they may do each action."""

    person: UUID | None
    client: str | None
    relations: frozenset[str]
    may: Ways


@dataclass(frozen=True, slots=True)
class Access:
    """A page of everybody who may do anything; `after` is the key to go on from, None on the last page. `whoever`: what
    a stranger to the sheet may do for a word that a token alone brings; on the first page only."""

    state: str
    version: int
    somebody: tuple[Somebody, ...]
    whoever: Mapping[str, Ways]
    after: str | None


class TimesheetAccess:
    """To see it is a read of the sheet: it is decided and recorded as one."""

    def __init__(self, enforcement: Enforcement) -> None:
        self._enforcement = enforcement

    async def of(self, ask: Ask, sheet_id: UUID, *, after: str | None = None, limit: int = 50) -> Answer[Access]:
        """As of now, under the active version; `limit` candidates are looked at. Raises Denied, TryLater."""

        async def load(permit: Permit, seen: Seen, connection: Connection) -> tuple[Access, Sequence[str]]:
            if seen.row is None:
                raise NotFound
            snapshot, state = permit.snapshot, seen.row["state"]
            known = snapshot.vocabulary.actions.get(KIND, frozenset())
            actions = [action for action in ON_A_SHEET if action in known]
            names = named(snapshot, KIND, actions)
            found = await access_store.candidates(
                permit, connection, sheet_id, names, after=after or "", limit=limit + 1
            )
            access = Access(
                state=state,
                version=seen.version,
                somebody=tuple(one for each in found[:limit] if (one := _somebody(snapshot, state, actions, each)).may),
                whoever=_whoever(snapshot, state, actions, names) if after is None else {},
                after=found[limit - 1].key if len(found) > limit else None,
            )
            return access, [str(sheet_id)]

        return await self._enforcement.read(ask, KIND, "read", load, row_id=sheet_id)


def _somebody(snapshot: Snapshot, state: str, actions: Iterable[str], one: Candidate) -> Somebody:
    words = {one.key, *one.relations, *(f"role:{role}" for role in one.roles)}
    return Somebody(one.person, one.client, one.relations, _may(snapshot, state, actions, words, one.facts))


def _whoever(snapshot: Snapshot, state: str, actions: Iterable[str], names: Named) -> dict[str, Ways]:
    """Strangers to the sheet, who are nothing to it and did nothing to it."""
    facts = dict.fromkeys(TIMESHEET_FACTS.facts, False)
    told = {word: _may(snapshot, state, actions, {word}, facts) for word in names.whoever}
    return {word: may for word, may in told.items() if may}


def _may(snapshot: Snapshot, state: str, actions: Iterable[str], who: Iterable[str], facts: Mapping[str, bool]) -> Ways:
    found = {action: ways(snapshot, (KIND, state), action, who, facts) for action in actions}
    return {action: some for action, some in found.items() if some}
