"""Filters of a log search as SQL conditions. Owns no state.

Next to a filter the SQL repeats the condition of the partial index for it (migration 0006), word for word: Postgres
uses a partial index only for a query that implies its condition.
"""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg

from service.errors import QueryTooBroad
from service.log.record import Kind
from service.log.windows import EVERYTHING, Window

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import datetime

    from service.database import Connection

# Reading the log is authorized as well, so ACCESS records are decisions.
DECISIONS = (Kind.DECISION, Kind.ACCESS)

ANY_ACTOR = "*"
NOTABLE = "(r.action IS DISTINCT FROM 'read' OR r.outcome = 'deny')"
# NOTABLE leaves out the first of the actions that only read.
NOT_READING = "(r.outcome = 'deny' OR r.action NOT IN ('read', 'list-approvals', 'review'))"
ON_BEHALF_OF_ANYONE = """position('"on_behalf_of":"'::bytea IN r.body) > 0"""
LISTED = (
    "(cardinality(r.returned) > 1 OR (cardinality(r.returned) = 1"
    " AND r.resource_id IS DISTINCT FROM r.returned[1]::text))"
)
# Among the terms of an alternative: find all its records by their index, and sort them then. Postgres cannot know how
# often lists return an id, and in a long log would read records in the order of the page until it has enough.
GATHERED = "OFFSET 0"
# The first eleven characters of a UUID.
BEGIN_OF_UID = re.compile("[0-9a-f]{8}-[0-9a-f]{2}")
# A word is frequent if so many of the newest records have it: then some 25,000 hold a page of 50.
NEWEST, FREQUENT = 2_000, 4
# A change of a sheet after it was approved for the first time, which may take several approvals. A subquery with LIMIT:
# for EXISTS, Postgres might read every approval. Records of changes are never packed.
AFTER_APPROVAL = (
    "r.kind = 'change' AND r.id > (SELECT a.id FROM audit_record a WHERE a.resource_id = r.resource_id"
    " AND a.kind = 'change' AND a.action = 'approve'"
    """ AND position('"type":"timesheet.approved"'::bytea IN a.body) > 0 ORDER BY a.id LIMIT 1)"""
)


@dataclass(frozen=True, slots=True)
class RecordFilters:
    """Filters that a record must match; None does not filter, and an empty tuple finds nothing. `persons`: ids of the
    caller. `resource` also finds lists that returned the resource; `history` finds the decision that created it
    instead. `rule`: one of the rules that decided. `actor`: one of the actors that acted for the caller, ANY_ACTOR for
    any. `owners`: ids of the resource's owner. `sheets`: as `resource` and `history` together, for one of these.
    `on_behalf_of`: ids of the delegator. `since` and `until` bound decided_at, half-open. `after_approval`: changes of
    a sheet that had been approved before.

    `concerned`: ids of one person; decisions about what they asked for, and about what others asked for of theirs or of
    them in the directory. `by_others`: only those, or only the former. `without_reads`: no allowed reads."""

    persons: tuple[UUID, ...] | None = None
    client: str | None = None
    action: str | None = None
    resource_kind: str | None = None
    resource: str | None = None
    history: str | None = None
    owners: tuple[UUID, ...] | None = None
    sheets: tuple[UUID, ...] | None = None
    outcome: str | None = None
    applied: bool | None = None
    reason: str | None = None
    rule: str | None = None
    on_behalf_of: tuple[UUID, ...] | None = None
    actor: str | None = None
    policy_version: int | None = None
    request_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    after_approval: bool = False
    concerned: tuple[UUID, ...] | None = None
    by_others: bool | None = None
    without_reads: bool = False


@asynccontextmanager
async def custom_plans(connection: Connection, *, in_order: bool = False) -> AsyncIterator[None]:
    """A transaction in which Postgres plans each statement for its parameters: a generic plan would search for a rare
    client among all records. `in_order`: it reads records in the order of the page. Where its statistics are of a log
    that was nearly empty, it would sort all records instead. Raises QueryTooBroad when a statement exceeds the
    statement timeout."""
    try:
        async with connection.transaction():
            # `true`: for this transaction only.
            await connection.execute(
                "SELECT set_config('plan_cache_mode', 'force_custom_plan', true), set_config('enable_sort', $1, true)",
                "off" if in_order else "on",
            )
            yield
    except asyncpg.QueryCanceledError as error:
        raise QueryTooBroad(cause="a query exceeded the statement timeout") from error


class RecordQuery:
    """Filters, kinds and a window as SQL: a record matches if it meets every condition of one of `alternatives`, which
    do not overlap. `values` are the parameters; `add_parameter` adds more."""

    def __init__(self, filters: RecordFilters, kinds: Sequence[Kind] = (), window: Window = EVERYTHING) -> None:
        self.values: list[object] = []
        self._window = window
        if () in {filters.persons, filters.owners, filters.sheets, filters.on_behalf_of, filters.concerned}:
            # None of no ids. Postgres refuses a parameter that no condition uses, so the other filters are left out.
            self.alternatives = [["false"]]
            return
        shared = [*window.conditions("r"), *self._simple_terms(filters, kinds)]
        split = [
            self._by_resource(filters.resource),
            self._by_sheets(filters.sheets),
            self._by_history(filters.history),
            self._by_rule(filters.rule),
            self._by_actor(filters.actor),
            self._by_owner(filters.owners),
            self._by_concerned(filters),
            self._by_applied(filters),
            self._by_request(filters.request_id),
        ]
        self.alternatives = [[*shared, *(term for part in parts for term in part)] for parts in product(*split)]

    def add_parameter(self, value: object) -> str:
        """Add a parameter and return its placeholder, such as `$3`."""
        self.values.append(value)
        return f"${len(self.values)}"

    def source(self, terms: Sequence[str]) -> str:
        """The FROM and WHERE of the records `r` of one alternative."""
        conditions = [term for term in terms if term != GATHERED]
        found = f"FROM audit_record r{' WHERE ' if conditions else ''}{' AND '.join(conditions)}"
        return f"FROM (SELECT * {found} {GATHERED}) AS r" if GATHERED in terms else found

    def _simple_terms(self, filters: RecordFilters, kinds: Sequence[Kind]) -> list[str]:
        terms: list[str] = []

        def add(term: str, value: object) -> None:
            if value is not None:
                terms.append(term.replace("?", self.add_parameter(value)))

        if len(kinds) == 1:
            terms.append(f"r.kind = '{kinds[0].value}'")
        elif kinds:
            terms.append(f"r.kind IN ({', '.join(repr(kind.value) for kind in kinds)})")
        if filters.persons is not None:
            single = filters.persons[0] if len(filters.persons) == 1 else None
            add("r.person_id = ?", single)
            add("r.person_id = ANY(?)", list(filters.persons) if single is None else None)
        add("r.client_id = ?", filters.client)
        # A rule nearly determines action and outcome. Postgres takes them for independent and would combine their
        # indexes, so `|| ''` keeps it from using those.
        no_index = " || ''" if filters.rule is not None else ""
        indexed = "" if filters.action == "read" or no_index else " AND r.action <> 'read'"
        add(f"r.action{no_index} = ?{indexed}", filters.action)
        frequent = filters.resource_kind in {"timesheet", "me"}
        rare = "" if frequent else " AND r.resource_kind <> 'timesheet' AND r.resource_kind <> 'me'"
        add(f"r.resource_kind = ?{rare}", filters.resource_kind)
        if filters.outcome is not None:
            terms.append(f"r.outcome{no_index} = '{'deny' if filters.outcome == 'deny' else 'allow'}'")
        add("r.reason = ?" + ("" if filters.reason == "allowed" else " AND r.reason <> 'allowed'"), filters.reason)
        if filters.on_behalf_of is not None:
            # A search in the bytes is exact: canonical JSON has one spelling, and free texts are not in it.
            terms.append(ON_BEHALF_OF_ANYONE)
            members = [self.add_parameter(f'"on_behalf_of":"{uid}"'.encode()) for uid in filters.on_behalf_of]
            terms.append(f"({' OR '.join(f'position({member} IN r.body) > 0' for member in members)})")
        add("r.policy_version = ?", filters.policy_version)
        add("r.decided_at >= ?", filters.since)
        add("r.decided_at < ?", filters.until)
        if not no_index and (
            filters.outcome == "deny" or filters.action not in {None, "read"} or filters.without_reads
        ):
            terms.append(NOTABLE)
        terms += [NOT_READING] if filters.without_reads else []
        terms += [AFTER_APPROVAL] if filters.after_approval else []
        return terms

    def _by_resource(self, resource: str | None) -> list[list[str]]:
        """Records of a resource, and lists that returned it."""
        if resource is None:
            return [[]]
        try:
            known = UUID(resource)
        except ValueError:
            return [[f"r.resource_id = {self.add_parameter(resource)}"]]
        # Records spell a UUID in canonical form.
        place, listed = self.add_parameter(str(known)), self.add_parameter([known])
        return [
            [f"r.resource_id = {place}"],
            [f"r.returned @> {listed}", LISTED, f"r.resource_id IS DISTINCT FROM {place}", GATHERED],
        ]

    def _by_sheets(self, sheets: tuple[UUID, ...] | None) -> list[list[str]]:
        """Records of any of these resources, lists that returned one, and the decisions of their changes, each once."""
        if sheets is None:
            return [[]]
        places = self.add_parameter([str(sheet) for sheet in sheets])
        elsewhere = f"coalesce(r.resource_id <> ALL({places}), true)"
        found: list[list[str]] = []
        for number, sheet in enumerate(sheets):
            listed, earlier = self.add_parameter([sheet]), self.add_parameter(list(sheets[:number]))
            found.append([f"r.resource_id = {self.add_parameter(str(sheet))}"])
            found.append([f"r.returned @> {listed}", LISTED, elsewhere, f"NOT r.returned && {earlier}", GATHERED])
        all_sheets = self.add_parameter(list(sheets))
        unlisted = f"NOT coalesce(r.returned && {all_sheets}, false)"
        return [*found, [self._decided_change(f"= ANY({places})"), elsewhere, unlisted]]

    def _by_history(self, resource: str | None) -> list[list[str]]:
        """Records of a resource, and the decisions of its changes that could not name it, such as its creation."""
        if resource is None:
            return [[]]
        place = self.add_parameter(resource)
        return [
            [f"r.resource_id = {place}"],
            [self._decided_change(f"= {place}"), f"r.resource_id IS DISTINCT FROM {place}"],
        ]

    def _decided_change(self, of_resource: str) -> str:
        """The condition that a record decided a change of a resource, whose id fulfils `of_resource`."""
        # A decision and its change are written in one transaction, so they are in one partition.
        near = [f"c.resource_id {of_resource}", "c.kind = 'change'", *self._window.conditions("c")]
        decisions = f"SELECT c.decision_uid FROM audit_record c WHERE {' AND '.join(near)}"
        return f"r.uid = ANY(ARRAY({decisions}))"

    def _by_rule(self, rule: str | None) -> list[list[str]]:
        """Records that name the rule first, as most do, and those that name it later."""
        if rule is None:
            return [[]]
        return self._by_place("rules", rule)

    def _by_actor(self, actor: str | None) -> list[list[str]]:
        """Records of delegated tokens whose current actor this is, as of most, and those where it acted earlier."""
        if actor is None:
            return [[]]
        if actor == ANY_ACTOR:
            return [["r.actors IS NOT NULL"]]
        return self._by_place("actors", actor)

    def _by_place(self, column: str, word: str) -> list[list[str]]:
        """Records whose list begins with the word, and those that name it later. If the newest do, such a page is soon
        full in their order, which `ANY` leaves to no index; otherwise all that do are found first."""
        first, among = self.add_parameter(word), self.add_parameter([word])
        later = [f"cardinality(r.{column}) > 1", f"r.{column}[1] <> {first}"]
        newest = f"SELECT n.{column} AS words FROM audit_record n ORDER BY n.decided_at DESC, n.id DESC LIMIT {NEWEST}"
        frequent = f"(SELECT count(*) FROM ({newest}) AS newest WHERE newest.words[2:] @> {among}) >= {FREQUENT}"
        return [
            [f"r.{column}[1] = {first}"],
            [*later, f"{first} = ANY(r.{column}[2:])", frequent],
            [*later, f"r.{column}[2:] @> {among}", f"NOT {frequent}", GATHERED],
        ]

    def _by_applied(self, filters: RecordFilters) -> list[list[str]]:
        """Changes that were applied, or that were not. Allowed changes that were not applied have an index of their
        own, so they are an alternative beside the denials."""
        if filters.applied is None:
            return [[]]
        if filters.applied or filters.rule is not None:
            return [["r.applied" if filters.applied else "NOT r.applied"]]
        outcomes = ("allow", "deny") if filters.outcome is None else (filters.outcome,)
        # For NOT, Postgres expects as many as are not true, and most are null; IS FALSE says how few there are.
        return [["NOT r.applied", "r.applied IS FALSE", f"r.outcome = '{outcome}'"] for outcome in outcomes]

    def _by_request(self, request_id: str | None) -> list[list[str]]:
        """Records of a request. The index of request ids leaves out those whose uid begins as the request's id, which
        are nearly all: the service makes both, and they begin with the time. The index on uid finds them."""
        if request_id is None:
            return [[]]
        same = f"r.request_id = {self.add_parameter(request_id)}"
        found = [[same, "left(r.request_id, 11) <> left(r.uid::text, 11)"]]
        if BEGIN_OF_UID.match(request_id):
            first, last = (self.add_parameter(UUID(request_id[:11] + digit * 22)) for digit in "0f")
            found.append([same, f"r.uid BETWEEN {first} AND {last}", GATHERED])
        return found

    def _by_owner(self, owners: tuple[UUID, ...] | None) -> list[list[str]]:
        """For each id of the owner, what others did with the owner's resources, and what the owner did."""
        if owners is None:
            return [[]]
        return [
            terms
            for place in map(self.add_parameter, owners)
            for terms in (
                [f"r.owner_id = {place}", "r.owner_id IS DISTINCT FROM r.person_id"],
                [f"r.owner_id = {place}", f"r.person_id = {place}"],
            )
        ]

    def _by_concerned(self, filters: RecordFilters) -> list[list[str]]:
        """The person's own requests, and those of others about resources of theirs or about them in the directory; each
        with every id of the person. Reads of the log by others are about the log, not about a person."""
        if filters.concerned is None:
            return [[]]
        own, theirs = list[list[str]](), list[list[str]]()
        # Postgres refuses a parameter that no condition uses.
        if not filters.by_others:
            own = [[f"r.person_id = {self.add_parameter(uid)}"] for uid in filters.concerned]
        if filters.by_others is not False:
            ids = self.add_parameter(list(filters.concerned))
            others = f"(r.person_id IS NULL OR r.person_id <> ALL({ids}))"
            owned = ["r.kind = 'decision'", "r.owner_id IS DISTINCT FROM r.person_id", others]
            listed = ["r.kind = 'decision'", "r.resource_kind = 'directory'", "r.owner_id IS NULL", others]
            theirs = [[f"r.owner_id = {self.add_parameter(uid)}", *owned] for uid in filters.concerned]
            theirs += [[f"r.resource_id = {self.add_parameter(str(uid))}", *listed] for uid in filters.concerned]
        return own + theirs
