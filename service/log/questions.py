"""What may be asked of the log, as SQL conditions. Owns no state.

Beside each condition stands, word for word, the condition of the index that answers it (migration 0006): Postgres uses
such an index only for a question that says so itself.
"""

from __future__ import annotations

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

# Reading the log is decided like everything else, so ACCESS records are decisions too.
DECISIONS = (Kind.DECISION, Kind.ACCESS)

NOTABLE = "(r.action IS DISTINCT FROM 'read' OR r.outcome = 'deny')"
ON_BEHALF_OF_ANYONE = """position('"on_behalf_of":"'::bytea IN r.body) > 0"""
LISTED = (
    "(cardinality(r.returned) > 1 OR (cardinality(r.returned) = 1"
    " AND r.resource_id IS DISTINCT FROM r.returned[1]::text))"
)
# A change of something whose approval was carried out before it. Not EXISTS, which may be answered by reading every
# approval there ever was.
AFTER_APPROVAL = (
    "r.kind = 'change' AND r.id > (SELECT a.id FROM audit_record a WHERE a.resource_id = r.resource_id"
    " AND a.kind = 'change' AND a.action = 'approve' ORDER BY a.id LIMIT 1)"
)


@dataclass(frozen=True, slots=True)
class RecordFilters:
    """What must hold of a record; None asks nothing. `persons`: the asker is one of them. `resource` also finds lists
    that returned it, `story` the decision that made it instead; `rule` is one of the rules that decided; `owners`: it
    was a thing of one of them; `on_behalf_of`: a delegate did it for one of them; `since` and `until` bound decided_at,
    half-open; `after_approval`: changes of what had been approved before."""

    persons: tuple[UUID, ...] | None = None
    client: str | None = None
    action: str | None = None
    resource_kind: str | None = None
    resource: str | None = None
    story: str | None = None
    owners: tuple[UUID, ...] | None = None
    outcome: str | None = None
    applied: bool | None = None
    reason: str | None = None
    rule: str | None = None
    on_behalf_of: tuple[UUID, ...] | None = None
    policy_version: int | None = None
    request_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    after_approval: bool = False


@asynccontextmanager
async def planned_by_value(connection: Connection) -> AsyncIterator[None]:
    """Within, each question is planned for what it asks: a plan for questions in general would look for a rare client
    among everybody's records. Raises QueryTooBroad for a statement that takes longer than it may."""
    try:
        async with connection.transaction():
            # For this transaction alone.
            await connection.execute("SELECT set_config('plan_cache_mode', 'force_custom_plan', true)")
            yield
    except asyncpg.QueryCanceledError as error:
        raise QueryTooBroad(cause="a question took longer than a statement may") from error


class RecordQuestion:
    """Filters and kinds within a window, as alternatives without overlap: a record is asked for when it meets every
    condition of one of `alternatives`. `values` are the parameters; more may be added by `hold`."""

    def __init__(self, filters: RecordFilters, kinds: Sequence[Kind] = (), window: Window = EVERYTHING) -> None:
        self.values: list[object] = []
        self._window = window
        shared = [*window.conditions("r"), *self._plain(filters, kinds)]
        split = [
            self._concerning(filters.resource),
            self._story(filters.story),
            self._by_rule(filters.rule),
            self._of_owners(filters.owners),
            self._by_applied(filters),
        ]
        self.alternatives = [[*shared, *(term for part in parts for term in part)] for parts in product(*split)]

    def hold(self, value: object) -> str:
        """A parameter's place, such as `$3`."""
        self.values.append(value)
        return f"${len(self.values)}"

    def where(self, terms: Sequence[str]) -> str:
        """A WHERE clause of one alternative."""
        return f"WHERE {' AND '.join(terms)}" if terms else ""

    def _plain(self, asked: RecordFilters, kinds: Sequence[Kind]) -> list[str]:
        terms: list[str] = []

        def hold(term: str, value: object) -> None:
            if value is not None:
                terms.append(term.replace("?", self.hold(value)))

        if len(kinds) == 1:
            terms.append(f"r.kind = '{kinds[0].value}'")
        elif kinds:
            terms.append(f"r.kind IN ({', '.join(repr(kind.value) for kind in kinds)})")
        if asked.persons is not None:
            one = asked.persons[0] if len(asked.persons) == 1 else None
            hold("r.person_id = ?", one)
            hold("r.person_id = ANY(?)", list(asked.persons) if one is None else None)
        hold("r.client_id = ?", asked.client)
        # A rule says nearly all of action and outcome: Postgres, who thinks them independent, would join their indexes.
        hides = " || ''" if asked.rule is not None else ""
        indexed = "" if asked.action == "read" or hides else " AND r.action <> 'read'"
        hold(f"r.action{hides} = ?{indexed}", asked.action)
        usual = asked.resource_kind in {"timesheet", "me"}
        rare = "" if usual else " AND r.resource_kind <> 'timesheet' AND r.resource_kind <> 'me'"
        hold(f"r.resource_kind = ?{rare}", asked.resource_kind)
        if asked.outcome is not None:
            terms.append(f"r.outcome{hides} = '{'deny' if asked.outcome == 'deny' else 'allow'}'")
        hold("r.reason = ?" + ("" if asked.reason == "allowed" else " AND r.reason <> 'allowed'"), asked.reason)
        if asked.on_behalf_of is not None:
            # Canonical bytes have one spelling, and no text of others stands in them.
            terms.append(ON_BEHALF_OF_ANYONE)
            spelled = [self.hold(f'"on_behalf_of":"{one}"'.encode()) for one in asked.on_behalf_of]
            terms.append(f"({' OR '.join(f'position({one} IN r.body) > 0' for one in spelled)})")
        hold("r.policy_version = ?", asked.policy_version)
        hold("r.request_id = ?", asked.request_id)
        hold("r.decided_at >= ?", asked.since)
        hold("r.decided_at < ?", asked.until)
        if not hides and (asked.outcome == "deny" or asked.action not in {None, "read"}):
            terms.append(NOTABLE)
        if asked.after_approval:
            terms.append(AFTER_APPROVAL)
        return terms

    def _concerning(self, resource: str | None) -> list[list[str]]:
        """Records of a resource, and lists that returned it."""
        if resource is None:
            return [[]]
        try:
            known = UUID(resource)
        except ValueError:
            return [[f"r.resource_id = {self.hold(resource)}"]]
        # However it was spelled: records have one spelling.
        place, listed = self.hold(str(known)), self.hold([known])
        return [
            [f"r.resource_id = {place}"],
            [f"r.returned @> {listed}", LISTED, f"r.resource_id IS DISTINCT FROM {place}"],
        ]

    def _story(self, resource: str | None) -> list[list[str]]:
        """Records of a resource, and decisions behind its changes that could not name it yet, as one to make it."""
        if resource is None:
            return [[]]
        place = self.hold(resource)
        # They were written in one transaction, so they lie in one partition.
        near = [f"c.resource_id = {place}", "c.kind = 'change'", *self._window.conditions("c")]
        behind = f"SELECT c.decision_uid FROM audit_record c WHERE {' AND '.join(near)}"
        return [
            [f"r.resource_id = {place}"],
            [f"r.uid = ANY(ARRAY({behind}))", f"r.resource_id IS DISTINCT FROM {place}"],
        ]

    def _by_rule(self, rule: str | None) -> list[list[str]]:
        """Records that name the rule first, which most do, and those that name it later."""
        if rule is None:
            return [[]]
        first, among = self.hold(rule), self.hold([rule])
        return [
            [f"r.rules[1] = {first}"],
            [f"r.rules @> {among}", "cardinality(r.rules) > 1", f"r.rules[1] <> {first}"],
        ]

    def _by_applied(self, asked: RecordFilters) -> list[list[str]]:
        """Changes that took place; or that did not, those that were denied apart from those that were allowed: the
        index of the latter finds them among ever so many denials."""
        if asked.applied is None:
            return [[]]
        if asked.applied or asked.rule is not None:
            return [["r.applied" if asked.applied else "NOT r.applied"]]
        outcomes = ("allow", "deny") if asked.outcome is None else (asked.outcome,)
        return [["NOT r.applied", f"r.outcome = '{one}'"] for one in outcomes]

    def _of_owners(self, owners: tuple[UUID, ...] | None) -> list[list[str]]:
        """For each of the owners, what others did with their things, and what they did."""
        if owners is None:
            return [[]]
        return [
            terms
            for place in map(self.hold, owners)
            for terms in (
                [f"r.owner_id = {place}", "r.owner_id IS DISTINCT FROM r.person_id"],
                [f"r.owner_id = {place}", f"r.person_id = {place}"],
            )
        ]
