"""Erasing a person: links, name, address, the texts about them with their salts, and kept answers. Postgres does all
but the last in one function.

Records stay as they are and so do all proofs; what they committed to can be shown to nobody any more. Whoever was
erased and signs in again is a new person. With a person go those who were merged into them: they are one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.audit.record import Kind
from service.authorization.changes import Answer, Target, refused_under
from service.authorization.decision_point import Resource
from service.authorization.kept_answers import forget_person
from service.directory import store
from service.directory.store import KIND
from service.errors import Conflict, DatabaseUnavailable, NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from service.authorization.changes import Change
    from service.authorization.decision_record import Ask
    from service.authorization.enforcement import Enforcement
    from service.authorization.permit import Permit
    from service.authorization.relationships import Seen
    from service.database import Connection

ERASE = "erase"

# Their sheets, as uploads lock them: whoever writes in one now has finished, so that no note comes after this, and
# nobody waits for whoever waits for them.
SHEETS = """
    SELECT FROM timesheet WHERE owner_id = ANY (ids_of_person($1)) ORDER BY owner_id, period_start FOR UPDATE
"""

# The person, and the hold that keeps them; their row is kept from changing meanwhile.
KNOWN = "SELECT id, hold_on_person(id) AS hold FROM person WHERE id = $1 FOR UPDATE"

# What would go, of every id that they have: links, texts beside the log, notes on the hours that are there.
COUNT = """
    SELECT (SELECT count(*) FROM person_link WHERE person_id = ANY (theirs.ids)) AS links,
           (SELECT count(*) FROM audit_text WHERE record_uid IN (SELECT records_about($1))) AS texts,
           (SELECT count(*) FROM entry JOIN timesheet ON timesheet.id = entry.timesheet_id
            WHERE timesheet.owner_id = ANY (theirs.ids) AND entry.note IS NOT NULL) AS notes,
           hold_on_person($1) AS hold
    FROM person CROSS JOIN LATERAL (SELECT ids_of_person(id) AS ids) AS theirs WHERE id = $1
"""


@dataclass(frozen=True, slots=True)
class Erased:
    """How many went, or would: links, texts beside the log, notes of entries. `hold`: a legal hold that forbids it."""

    links: int
    texts: int
    notes: int
    hold: UUID | None = None


class Erasure:
    """Both raise Denied, NotFound and TryLater."""

    def __init__(self, enforcement: Enforcement) -> None:
        self._enforcement = enforcement

    async def preview(self, ask: Ask, person: UUID) -> Answer[Erased]:
        """What `erase` would do now."""

        async def load(permit: Permit, _: Seen, connection: Connection) -> tuple[Erased | None, Sequence[str]]:
            permit.covers(KIND, ERASE)
            row = await connection.fetchrow(COUNT, person)
            return (Erased(row["links"], row["texts"], row["notes"], row["hold"]), [str(person)]) if row else (None, [])

        answer = await self._enforcement.read(ask, KIND, ERASE, load)
        if answer.value is None:
            with refused_under(answer.receipt):
                raise NotFound("There is no such person")
        return Answer(answer.value, answer.receipt)

    async def erase(self, ask: Ask, person: UUID) -> Answer[Erased]:
        """Erase, for good. Raises Conflict, whose extra `hold` names the legal hold that forbids it."""

        async def work(change: Change) -> Erased:
            change.permit.covers(KIND, ERASE)
            await store.advance(change.connection)
            await change.connection.execute(SHEETS, person)
            known = await change.connection.fetchrow(KNOWN, person)
            if known is None:
                raise NotFound("There is no such person")
            if known["hold"] is not None:
                raise Conflict("A legal hold keeps this person's data", extra={"hold": str(known["hold"])})
            # All of it, in one function that looks for holds once more.
            row = await change.connection.fetchrow("SELECT links, texts, notes FROM erase_person($1)", person)
            if row is None:
                raise DatabaseUnavailable(cause="a function returned no row")
            # Answers that are kept for a day repeat notes and reasons.
            await forget_person(change.connection, person)
            erased = Erased(row["links"], row["texts"], row["notes"])
            counts = {"links": erased.links, "texts": erased.texts, "notes": erased.notes}
            change.record(
                "directory.changed",
                Resource(KIND, str(person)),
                before={},
                after={"what": "person.erased", **counts},
                kind=Kind.DIRECTORY,
            )
            return erased

        return await self._enforcement.change(ask, KIND, ERASE, Target(str(person)), work)
