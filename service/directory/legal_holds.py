"""Legal holds: what is on hold is neither erased nor pruned. Postgres owns them (`legal_hold`).

The policy decides who sets and lifts a hold, and both are recorded; the reason is a text beside the record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.authorization.enforcement.changes import Target
from service.authorization.enforcement.decision_point import Resource
from service.authorization.enforcement.merged_people import KEEP_PEOPLE_APART
from service.authorization.enforcement.names import load_names_of_change, load_names_of_rows
from service.authorization.enforcement.person_references import PersonReference, find_person
from service.errors import DatabaseUnavailable, Forbidden, InvalidField, NotFound
from service.fields import is_legible
from service.ids import make_id
from service.log.record import Kind
from service.log.retention import HOLDS_LOCK
from service.places import FieldError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.changes import Answer, Caller, Change
    from service.authorization.enforcement.gate import Gate
    from service.authorization.enforcement.names import Names
    from service.authorization.enforcement.person_references import NamedPerson
    from service.database import Connection

KIND, HOLD = "log", "hold"
WHAT = ("all", "person", "resource")
MAX_REASON_LENGTH = 1000


@dataclass(frozen=True, slots=True)
class LegalHold:
    """A hold on everything, on a person or on one resource with the id `about`. It is in force while `until` is
    None."""

    id: UUID
    what: str
    about: UUID | None
    reason: str
    since: datetime
    until: datetime | None


class LegalHolds:
    """Every method raises Denied and TryLater."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def set(self, caller: Caller, what: str, about: NamedPerson | None, reason: str) -> Answer[LegalHold]:
        """Set a hold. Raises InvalidField."""
        _check(what, about, reason)
        async with self._gate.change(caller, KIND, HOLD, Target(hold=_lock_holds)) as change:
            change.permit.covers(KIND, HOLD)
            if about is not None:
                about = await find_person(change.connection, caller.principal, about, "about")
            # A new hold.
            row = await change.connection.fetchrow(
                "INSERT INTO legal_hold (id, what, about, reason, by_person, by_client)"
                " VALUES ($1, $2, $3, $4, $5, $6) RETURNING *",
                make_id(),
                what,
                about,
                reason,
                caller.principal.person,
                caller.principal.client,
            )
            if row is None:
                raise DatabaseUnavailable(cause="an INSERT returned no row")
            made = _hold(row)
            _record(change, made, "log.held", {"reason": reason})
            change.names = await load_names_of_change(change, _ids_in(made))
        return change.answer(made)

    async def lift(self, caller: Caller, hold: UUID) -> Answer[LegalHold]:
        """Lift a hold. Raises NotFound if no such hold is in force, Forbidden for the person or client who set it."""
        async with self._gate.change(caller, KIND, HOLD, Target(str(hold), hold=_keep_people_apart)) as change:
            change.permit.covers(KIND, HOLD)
            # Whether the caller set it, under any id, also one from before an erasure.
            own = await change.connection.fetchval(
                "SELECT CASE WHEN by_person IS NULL THEN $2::uuid IS NULL AND by_client = $3"
                " ELSE by_person = ANY ($4::uuid[]) END"
                " FROM legal_hold WHERE id = $1 AND until IS NULL FOR UPDATE",
                hold,
                caller.principal.person,
                caller.principal.client,
                list(change.lookup.same_human),
            )
            if own:
                raise Forbidden(["nobody lifts a hold that they set: another person has to do it"])
            # End the hold.
            row = await change.connection.fetchrow(
                "UPDATE legal_hold SET until = clock_timestamp() WHERE id = $1 AND until IS NULL RETURNING *", hold
            )
            if row is None:
                raise NotFound("There is no such hold in force")
            lifted = _hold(row)
            _record(change, lifted, "log.hold-lifted", {})
            change.names = await load_names_of_change(change, _ids_in(lifted))
        return change.answer(lifted)

    async def list(
        self, caller: Caller, *, with_names: bool = False
    ) -> Answer[Sequence[tuple[LegalHold, Names | None]]]:
        """The latest 200 holds, newest first, each with the names of the people in it if they are asked for."""
        async with self._gate.list(caller, KIND, "read") as listing:
            # Visible holds; ids grow with time.
            rows = await listing.connection.fetch(
                f"SELECT h.* FROM legal_hold AS h WHERE {listing.visibility.condition} ORDER BY h.id DESC LIMIT 200",
                *listing.visibility.parameters,
            )
            listing.returned = [str(row["id"]) for row in rows]
            ids = {row["id"]: [str(row["about"])] for row in rows if row["about"] is not None}
            named = await load_names_of_rows(listing.visibility, listing.connection, ids) if with_names else {}
        return listing.answer([(_hold(row), named.get(row["id"], {}) if with_names else None) for row in rows])


async def _lock_holds(connection: Connection) -> None:
    """Erasure and retention take the same lock, so they see a new hold, or it waits for them."""
    await connection.execute(HOLDS_LOCK)


async def _keep_people_apart(connection: Connection) -> None:
    await connection.execute(f"SELECT {KEEP_PEOPLE_APART}")


def _check(what: str, about: NamedPerson | None, reason: str) -> None:
    if what not in WHAT:
        raise InvalidField(FieldError("what", f"must be one of {', '.join(WHAT)}"))
    if (what == "all") != (about is None):
        raise InvalidField(FieldError("about", "must be missing for all, and an id for a person or a resource"))
    if what != "person" and isinstance(about, PersonReference):
        raise InvalidField(FieldError("about", "must be an id"))
    if not 1 <= len(reason) <= MAX_REASON_LENGTH:
        raise InvalidField(FieldError("reason", f"must have 1 to {MAX_REASON_LENGTH} characters"))
    if not is_legible(reason):
        raise InvalidField(FieldError("reason", "must have a character that can be seen"))


def _ids_in(hold: LegalHold) -> list[str]:
    return [] if hold.about is None else [str(hold.about)]


def _record(change: Change, hold: LegalHold, event: str, texts: dict[str, str]) -> None:
    after = {"what": hold.what, "about": hold.about}
    change.record(event, Resource(KIND, str(hold.id)), before={}, after=after, texts=texts, kind=Kind.SYSTEM)


def _hold(row: asyncpg.Record) -> LegalHold:
    return LegalHold(row["id"], row["what"], row["about"], row["reason"], row["since"], row["until"])
