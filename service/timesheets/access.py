"""Lists who may do what to a timesheet, and by which rule, for callers who may read the sheet. Owns no state."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.authorization.enforcement.access import Named, Way, find_named, find_ways
from service.authorization.enforcement.changes import Answer, refused_under
from service.authorization.enforcement.names import load_names_of_row, select_names
from service.database import Turns
from service.policy.matching import FORMER, GROUP, PERSON, former_word
from service.policy.request_space import Budget
from service.timesheets import access_store, store
from service.timesheets.relations import KIND
from service.timesheets.timesheet import Actor, actions_from, repeats_approval

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from service.authorization.enforcement.changes import Caller
    from service.authorization.enforcement.gate import Gate
    from service.authorization.enforcement.names import Names
    from service.authorization.engine.engine import Snapshot
    from service.timesheets.access_store import Candidate
    from service.timesheets.timesheet import Timesheet

    Ways = Mapping[str, tuple[Way, ...]]

MAX_WAIT_SECONDS = 10.0
BUSY = "Other requests for the access to a timesheet are running; send this one again in a moment"


@dataclass(frozen=True, slots=True)
class Grantee:
    """A person, or a client that acts for itself, with their relations to the sheet and the ways to take each action;
    `names` are theirs, None if they were not asked for."""

    person: UUID | None
    client: str | None
    relations: frozenset[str]
    may: Ways
    names: Names | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """A page of the people and clients who may do anything; `after` is the key of the next page, None on the last page.
    `by_word` has the ways of a token with a word, such as a role, for a caller without a relation to the sheet; it is
    empty after the first page. `cut_short`: there are so many rules or facts that some ways may be
    missing."""

    state: str
    version: int
    grantees: tuple[Grantee, ...]
    by_word: Mapping[str, Ways]
    cut_short: bool
    after: str | None


@dataclass(frozen=True, slots=True)
class _Found:
    """The facts from which access is computed."""

    snapshot: Snapshot
    sheet: Timesheet
    actions: tuple[str, ...]
    named: Named
    candidates: Sequence[Candidate]
    of_stranger: Mapping[str, bool | None]
    names: Names | None


class TimesheetAccess:
    """Decided and recorded as a read of the sheet."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._one_at_a_time = Turns(1, timeout=MAX_WAIT_SECONDS, full=BUSY)

    async def of(
        self,
        caller: Caller,
        sheet_id: UUID,
        *,
        with_names: bool = False,
        after: str | None = None,
        limit: int = 50,
    ) -> Answer[Access]:
        """The access to a sheet under the active version; computed for `limit` candidates. Raises Denied, TryLater."""
        async with self._gate.read(caller, KIND, "read", sheet_id) as reading:
            snapshot, sheet = reading.permit.snapshot, store.sheet_of_row(reading.permit, reading.found)
            known = snapshot.vocabulary.actions.get(KIND, frozenset())
            actions = tuple(action for action in actions_from(sheet.state) if action in known)
            named = find_named(snapshot, KIND, actions)
            candidates = await access_store.candidates(
                reading.permit, reading.connection, sheet_id, named, after=after or "", limit=limit + 1
            )
            names = None
            if with_names:
                people = [str(candidate.person) for candidate in candidates if candidate.person]
                names = await load_names_of_row(reading, people)
            of_stranger = await access_store.facts_of_stranger(reading.permit, reading.connection, sheet_id)
            reading.returned = [str(sheet_id)]
        found = _Found(snapshot, sheet, actions, named, candidates, of_stranger, names)
        # In a thread, after the connection was released: many rules take long.
        with refused_under(reading.receipt):
            async with self._one_at_a_time.take():
                access = await asyncio.to_thread(_compute_access, found, limit, first=after is None)
        return reading.answer(access)


def _compute_access(found: _Found, limit: int, *, first: bool) -> Access:
    budget = Budget()
    grantees = (_grantee(found, candidate, budget) for candidate in found.candidates[:limit])
    allowed = tuple(grantee for grantee in grantees if grantee.may)
    by_word = _find_ways_by_word(found, budget) if first else {}
    return Access(
        state=found.sheet.state,
        version=found.snapshot.number,
        grantees=allowed,
        by_word=by_word,
        cut_short=budget.exhausted or budget.left_out,
        after=found.candidates[limit - 1].key if len(found.candidates) > limit else None,
    )


def _grantee(found: _Found, candidate: Candidate, budget: Budget) -> Grantee:
    words = {
        candidate.key,
        *candidate.relations,
        *(f"role:{role}" for role in candidate.roles),
        *(f"{GROUP}{group}" for group in candidate.groups),
        *(f"{PERSON}{person}" for person in candidate.ids),
    }
    words |= {former_word(f"{PERSON}{person}") for person in candidate.former_ids}
    relations = frozenset(word for word in candidate.relations if not word.startswith(FORMER))
    may = _may(found, words, candidate.facts, budget)
    actor = Actor(candidate.person, candidate.client, candidate.ids | candidate.former_ids)
    if repeats_approval(found.sheet, actor):
        may.pop("approve", None)
    names = None if found.names is None else select_names(found.names, [str(candidate.person)])
    return Grantee(candidate.person, candidate.client, relations, may, names)


def _find_ways_by_word(found: _Found, budget: Budget) -> dict[str, Ways]:
    """The ways of a caller without relations to the sheet, by each word that their token may bring."""
    by_word = {word: _may(found, {word}, found.of_stranger, budget) for word in found.named.of_token}
    return {word: may for word, may in by_word.items() if may}


def _may(
    found: _Found, who: Iterable[str], facts: Mapping[str, bool | None], budget: Budget
) -> dict[str, tuple[Way, ...]]:
    resource = (KIND, found.sheet.state)
    by_action = {action: find_ways(found.snapshot, resource, action, who, facts, budget) for action in found.actions}
    return {action: allowed for action, allowed in by_action.items() if allowed}
