"""A remembered caller, by whom a request is prepared before the database confirms that the directory is unchanged.

The statement that reads what the caller wants also reads what confirms the assumption (docs/decisions/0038).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from service.authorization.enforcement.attribute_values import OWNER_ID, read_columns
from service.authorization.enforcement.caller_values import caller_values, evaluate_facts
from service.authorization.enforcement.fact_lookup import About, FactLookup, relation_words
from service.authorization.enforcement.fact_statements import fact_parameters, revoked_condition
from service.identity import revocation
from service.values import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.directory_memory import CallerInDirectory, DirectoryState, RelationsToOwner
    from service.authorization.enforcement.fact_statements import KindFacts
    from service.identity.principal import Principal
    from service.log.insert import ConditionalInsert
    from service.policy.attributes import Value


class Assumption(Struct, frozen=True):
    """A caller as remembered in a state of the directory; `caller` as in FactLookup."""

    known: CallerInDirectory
    state: DirectoryState
    caller: Mapping[str, Value]

    def lookup(self, version: int) -> FactLookup:
        """The lookup without a row, as it will be under a policy version if the assumption holds."""
        known = self.known
        return FactLookup(
            version,
            self.state.revision,
            datetime.now(UTC),
            known.roles,
            ids=known.ids,
            former_ids=known.former_ids,
            caller=self.caller,
        )

    def columns(self, principal: Principal, first: int) -> tuple[str, list[object]]:
        """SQL columns of a statement FROM AMBIENT_FROM that tell what holds, and their parameters from number `first`
        on."""
        ids, *token, remembered = (f"${first + place}" for place in range(7))
        revoked = revoked_condition(f"{ids}::text::uuid[]", token, f"{remembered}::boolean")
        columns = f"""
            head.active AS lookup_version, directory.state AS lookup_state,
            statement_timestamp() AS lookup_at, {revoked} AS lookup_revoked
        """
        return columns, [self.known.id_array, *revocation.parameters(principal), principal.is_remembered]

    def question(self, principal: Principal, row_id: UUID | int | None) -> tuple[object, ...]:
        """The parameters of one request for the whole `remembering_statements`."""
        _, word = fact_parameters(principal)
        ids = self.known.id_array, self.known.former_array
        return (row_id, word, *ids, *revocation.parameters(principal), principal.is_remembered)

    def read(self, row: asyncpg.Record, *, revoked: bool) -> FactLookup:
        """The lookup without a row, from a row with what confirms the assumption."""
        return FactLookup(
            row["lookup_version"],
            self.state.revision,
            row["lookup_at"],
            self.known.roles,
            revoked=revoked,
            ids=self.known.ids,
            former_ids=self.known.former_ids,
            directory_state=self.state.id,
            unchanged_until=self.state.until,
            caller=self.caller,
        )

    def read_row(
        self,
        principal: Principal,
        row: asyncpg.Record,
        facts: KindFacts,
        related: RelationsToOwner,
        *,
        revoked: bool,
        at: datetime,
    ) -> FactLookup:
        """The lookup of a row with what confirms the assumption and with its `facts`, at this time. `related` is
        remembered of the caller and the row's owner."""
        relations, on_behalf_of = related.relations, related.on_behalf_of
        if facts.by_row:
            relations |= relation_words(facts.by_row, row, "relation")
            on_behalf_of = row["on_behalf_of"] if facts.acts_by_row else on_behalf_of
        attributes = {**read_columns(row, facts.row_attributes), **related.attributes}
        values: dict[str, bool | None] = {name: row[f"fact_{name}"] for name in facts.native}
        if facts.defined:
            known = caller_values(principal, self.known.roles, self.caller, at)
            known[OWNER_ID] = str(row["owner_id"])
            values |= evaluate_facts(facts.defined, {**known, **attributes})
        return FactLookup(
            row["lookup_version"],
            self.state.revision,
            at,
            self.known.roles,
            row,
            relations,
            values,
            frozenset(facts.relations),
            revoked=revoked,
            about=About.ROW,
            on_behalf_of=on_behalf_of,
            ids=self.known.ids,
            former_ids=self.known.former_ids,
            directory_state=self.state.id,
            unchanged_until=self.state.until,
            attributes=attributes,
            caller=self.caller,
        )


class ExpectedRow(Struct, frozen=True):
    """A row that a caller has read before, as a request will find it if nothing has changed since, at an estimated
    time; and the condition that it is so."""

    lookup: FactLookup
    condition: ConditionalInsert
