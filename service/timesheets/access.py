"""Who may do what to one timesheet, and by which rule: for whoever may read the sheet. Owns no state."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.authorization.enforcement.access import Named, Way, named, ways
from service.authorization.enforcement.changes import Answer, refused_under
from service.database import Turns
from service.policy.matching import PERSON, former_word
from service.policy.request_space import Budget
from service.timesheets import access_store
from service.timesheets.relations import KIND, TIMESHEET_FACTS
from service.timesheets.shown import possible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from service.authorization.enforcement.decision_record import Caller
    from service.authorization.enforcement.gate import Gate
    from service.authorization.engine.engine import Snapshot
    from service.timesheets.access_store import Candidate

    Ways = Mapping[str, tuple[Way, ...]]

# Seconds.
LONGEST_WAIT = 10.0
BUSY = "Others are asking who may do what, and that takes a while; ask again in a moment"


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
    a stranger to the sheet may do for a word that a token alone brings; on the first page only. `cut_short`: the rules
    are so many that not every way is told."""

    state: str
    version: int
    somebody: tuple[Somebody, ...]
    whoever: Mapping[str, Ways]
    cut_short: bool
    after: str | None


@dataclass(frozen=True, slots=True)
class _Found:
    """What was read, of which the ways are made."""

    snapshot: Snapshot
    state: str
    actions: tuple[str, ...]
    names: Named
    candidates: Sequence[Candidate]


class TimesheetAccess:
    """To see it is a read of the sheet: it is decided and recorded as one."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._one_at_a_time = Turns(1, timeout=LONGEST_WAIT, full=BUSY)

    async def of(self, caller: Caller, sheet_id: UUID, *, after: str | None = None, limit: int = 50) -> Answer[Access]:
        """As of now, under the active version; `limit` candidates are looked at. Raises Denied, TryLater."""
        async with self._gate.read(caller, KIND, "read", sheet_id) as reading:
            snapshot, state = reading.permit.snapshot, reading.found["state"]
            known = snapshot.vocabulary.actions.get(KIND, frozenset())
            actions = tuple(action for action in possible(state) if action in known)
            names = named(snapshot, KIND, actions)
            candidates = await access_store.candidates(
                reading.permit, reading.connection, sheet_id, names, after=after or "", limit=limit + 1
            )
            reading.returned = [str(sheet_id)]
        found = _Found(snapshot, state, actions, names, candidates)
        # When no connection is held, and beside the other requests: many rules take a while.
        with refused_under(reading.receipt):
            async with self._one_at_a_time.one():
                told = await asyncio.to_thread(_told, found, limit, first=after is None)
        return reading.answer(told)


def _told(found: _Found, limit: int, *, first: bool) -> Access:
    budget = Budget()
    somebody = tuple(one for each in found.candidates[:limit] if (one := _somebody(found, each, budget)).may)
    whoever = _whoever(found, budget) if first else {}
    return Access(
        state=found.state,
        version=found.snapshot.number,
        somebody=somebody,
        whoever=whoever,
        cut_short=budget.exhausted,
        after=found.candidates[limit - 1].key if len(found.candidates) > limit else None,
    )


def _somebody(found: _Found, one: Candidate, budget: Budget) -> Somebody:
    words = {one.key, *one.relations, *(f"role:{role}" for role in one.roles), *(f"{PERSON}{each}" for each in one.ids)}
    words |= {former_word(f"{PERSON}{each}") for each in one.former_ids}
    shown = one.relations & TIMESHEET_FACTS.relations.keys()
    return Somebody(one.person, one.client, shown, _may(found, words, one.facts, budget))


def _whoever(found: _Found, budget: Budget) -> dict[str, Ways]:
    """Strangers to the sheet, who are nothing to it and did nothing to it."""
    facts = dict.fromkeys(TIMESHEET_FACTS.facts, False)
    told = {word: _may(found, {word}, facts, budget) for word in found.names.whoever}
    return {word: may for word, may in told.items() if may}


def _may(found: _Found, who: Iterable[str], facts: Mapping[str, bool | None], budget: Budget) -> Ways:
    thing = (KIND, found.state)
    told = {action: ways(found.snapshot, thing, action, who, facts, budget) for action in found.actions}
    return {action: some for action, some in told.items() if some}
