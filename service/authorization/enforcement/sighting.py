"""From a target to a decision about it: what is locked, then seen, then judged. Owns no state.

Enforcement opens the transaction, records and answers; every decision of it is made here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from service.authorization.enforcement.judgement import Behind, about_of, decided, judged, resource_of, sighted
from service.authorization.enforcement.relationships import About
from service.errors import NotApplied
from service.identity.refusals import refusal

if TYPE_CHECKING:
    from uuid import UUID

    from service.authorization.enforcement.changes import Target
    from service.authorization.enforcement.decision_point import Decision
    from service.authorization.enforcement.decision_record import Ask
    from service.authorization.enforcement.judgement import Expect
    from service.authorization.enforcement.relationships import Relationships, Seen
    from service.authorization.engine.engine import Snapshot
    from service.database import Connection
    from service.errors import TimewardenError


class Sighting:
    """`relationships` reads the facts."""

    def __init__(self, relationships: Relationships) -> None:
        self._relationships = relationships

    async def decide_on(
        self,
        connection: Connection,
        snapshot: Snapshot,
        ask: Ask,
        asked: tuple[str, str],
        target: Target,
        expect: Expect | None,
    ) -> tuple[Decision, TimewardenError | None]:
        """First the row's lock, then, in a later statement, the facts: they may have changed while the lock waited.
        A target's own `expect` goes before the one that is for all."""
        expect = target.expect or expect
        row_id: UUID | int | None = None
        if target.lock is not None and snapshot.could_allow(*asked, ask.principal.scopes):
            row_id = await target.lock(connection)
        about = about_of(target)
        seen = await self.see(connection, snapshot, ask, asked, row_id, owner=target.owner, about=about)
        resource = resource_of(asked[0], seen, target.id)
        if seen.row is None and target.owner is not None:
            resource = replace(resource, owner=target.owner, state=self._relationships.of(asked[0]).imagined_state)
        decision = decided(snapshot, ask, asked[1], resource, seen)
        refused = judged(snapshot, decision, missing=target.must_exist and seen.row is None, expect=expect)
        if refused is not None:
            return refused.decision, refused.error
        if expect is not None:
            try:
                expect(resource.version)
            except NotApplied as error:
                return decision, error
        return decision, None

    async def see(
        self,
        connection: Connection,
        snapshot: Snapshot,
        ask: Ask,
        asked: tuple[str, str],
        row_id: UUID | int | None,
        *,
        owner: UUID | None = None,
        about: About = About.KIND,
    ) -> Seen:
        """The facts of a row, of an imagined one, or of none. Without a fitting scope nothing is looked up, so that the
        refusal is the same for known and unknown ids. Raises InvalidToken for a token that was revoked: then nobody
        asks, so there is nothing to decide. Signals Behind."""
        may_look = snapshot.could_allow(*asked, ask.principal.scopes)
        if may_look and row_id is not None and self._relationships.of(asked[0]).table:
            seen = await self._relationships.of_row(connection, ask.principal, asked[0], row_id)
        elif may_look and owner is not None:
            seen = await self._relationships.of_imagined(connection, ask.principal, asked[0], owner)
        else:
            seen = await self._relationships.ambient(connection, ask.principal)
        if seen.revoked:
            raise refusal("revoked")
        if seen.version != snapshot.number:
            raise Behind(seen.version)
        facts = self._relationships.of(asked[0])
        return sighted(seen, facts, about, looked=may_look or about in {About.KIND, About.LIST})
