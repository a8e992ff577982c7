"""Erasing a person: links, name, address, open sheets, the texts about them with their salts, and kept answers.
Postgres does most of it in one function.

Records stay as they are and so do all proofs; what they committed to can be shown to nobody any more. Whoever was
erased and signs in again is a new person, whom laws, denials and revocations still recognise by a keyed hash of issuer
and subject (docs/decisions/0025). With a person go those who were merged into them: they are one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from uuid_utils.compat import uuid7

from service.authorization.enforcement.changes import Answer, Target, refused_under
from service.authorization.enforcement.decision_point import Resource
from service.authorization.enforcement.kept_answers import forget_person
from service.directory import store
from service.directory.store import KIND
from service.errors import Conflict, DatabaseUnavailable, Forbidden, NotFound
from service.log.record import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.changes import Caller, Change
    from service.authorization.enforcement.gate import Gate
    from service.identity.subject_hashes import SubjectHashes

ERASE = "erase"
# Waiting sheets that a refusal names.
MAX_NAMED: Final = 20

# Their sheets, as uploads lock them: whoever writes in one now has finished, so that no note comes after this, and
# nobody waits for whoever waits for them.
SHEETS = """
    SELECT FROM timesheet WHERE owner_id = ANY (ids_of_person($1)) ORDER BY owner_id, period_start FOR UPDATE
"""

# The person with every id, and the hold that keeps them; their row is kept from changing meanwhile.
KNOWN = "SELECT ids_of_person(id) AS ids, hold_on_person(id) AS hold FROM person WHERE id = $1 FOR UPDATE"

# Tokens that speak for them.
LINKS = "SELECT issuer, subject FROM person_link WHERE person_id = ANY ($1::uuid[])"

# Their sheets that are not final: who could go on with them will be gone.
OPEN = """
    SELECT r.id, r.owner_id, r.state, r.version, r.period_start,
           (SELECT coalesce(sum(e.minutes), 0) FROM entry AS e WHERE e.timesheet_id = r.id) AS minutes,
           (SELECT count(e.note) FROM entry AS e WHERE e.timesheet_id = r.id) AS notes
    FROM timesheet AS r WHERE r.owner_id = ANY ($1::uuid[]) AND r.state IN ('draft', 'rejected', 'submitted')
    ORDER BY r.owner_id, r.period_start
"""

ERASE_PERSON = """
    SELECT links, texts, notes, issued_before FROM erase_person(
        $1, $2, $3, $4, $5, make_interval(days => $6), clock_timestamp() + $7::interval, $8::interval)
"""

# As when somebody revokes a person's tokens: requests that are under way as them are refused with their next facts.
REVOKE = """
    INSERT INTO revocation (id, what, value, issued_before, expires_at, by_person, by_client)
    SELECT id, 'person', value, $3, $3::timestamptz + $4::interval, $5, $6
    FROM unnest($1::uuid[], $2::text[]) AS one (id, value)
"""

# What would go, of every id that they have: links, texts beside the log, notes on the hours that are there, open
# sheets; and what forbids it.
COUNT = """
    SELECT (SELECT count(*) FROM person_link WHERE person_id = ANY (theirs.ids)) AS links,
           (SELECT count(*) FROM audit_text WHERE record_uid IN (SELECT records_about($1))) AS texts,
           (SELECT count(*) FROM entry JOIN timesheet ON timesheet.id = entry.timesheet_id
            WHERE timesheet.owner_id = ANY (theirs.ids) AND entry.note IS NOT NULL) AS notes,
           (SELECT count(*) FROM timesheet
            WHERE owner_id = ANY (theirs.ids) AND state IN ('draft', 'rejected')) AS sheets,
           ARRAY(SELECT id FROM timesheet WHERE owner_id = ANY (theirs.ids) AND state = 'submitted'
                 ORDER BY period_start) AS waiting,
           theirs.ids, hold_on_person($1) AS hold
    FROM person CROSS JOIN LATERAL (SELECT ids_of_person(id) AS ids) AS theirs WHERE id = $1
"""


OWN = "nobody erases themselves: another administrator has to"
NO_KEY = "Without an erasure key nobody can be erased safely: the operator sets TIMEWARDEN_ERASURE_KEYS"
WAITING = "Timesheets of this person wait for approval: have them approved or rejected first"


@dataclass(frozen=True, slots=True)
class Erased:
    """How many went, or would: links, texts beside the log, notes of entries, and open `sheets`, drafts and rejected
    ones. What forbids it: a legal `hold`, and submitted sheets that are `waiting`."""

    links: int
    texts: int
    notes: int
    sheets: int = 0
    hold: UUID | None = None
    waiting: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class Memory:
    """What an erasure leaves: `hashes` of subjects, for `days`. `lifetime`: seconds after its issue from which no token
    is valid any more. `ahead`: seconds that the time of issue of a valid token may lie ahead."""

    hashes: SubjectHashes
    days: int
    lifetime: int
    ahead: int


class Erasure:
    """Both raise Denied, Forbidden for oneself, NotFound and TryLater."""

    def __init__(self, gate: Gate, memory: Memory) -> None:
        self._gate = gate
        self._memory = memory

    async def preview(self, caller: Caller, person: UUID) -> Answer[Erased]:
        """What `erase` would do now."""
        async with self._gate.read(replace(caller, dry_run=True), KIND, ERASE) as reading:
            reading.permit.covers(KIND, ERASE)
            row = await reading.connection.fetchrow(COUNT, person)
            reading.returned = [] if row is None else [str(person)]
        with refused_under(reading.receipt):
            if row is None:
                raise NotFound("There is no such person")
            if not reading.lookup.same_human.isdisjoint(row["ids"]):
                raise Forbidden([OWN])
        names = ("links", "texts", "notes", "sheets", "hold")
        return reading.answer(Erased(**{name: row[name] for name in names}, waiting=tuple(row["waiting"])))

    async def erase(self, caller: Caller, person: UUID) -> Answer[Erased]:
        """Erase, for good. Drafts and rejected sheets, which only their owner could hand in, are deleted. Raises
        Conflict: its extra `hold` names the legal hold that forbids it, `timesheets` those that wait for approval;
        without either there is no erasure key."""
        async with self._gate.change(caller, KIND, ERASE, Target(str(person))) as change:
            change.permit.covers(KIND, ERASE)
            await store.advance(change.connection)
            await change.connection.execute(SHEETS, person)
            known = await change.connection.fetchrow(KNOWN, person)
            if known is None:
                raise NotFound("There is no such person")
            if not change.lookup.same_human.isdisjoint(known["ids"]):
                raise Forbidden([OWN])
            if known["hold"] is not None:
                raise Conflict("A legal hold keeps this person's data", extra={"hold": str(known["hold"])})
            # Answers that are kept for a day repeat notes and reasons. Those about a sheet are found by it, while it is
            # there.
            await forget_person(change.connection, person)
            sheets, notes = await _close_sheets(change, known["ids"])
            row = await self._erase(change, person, known["ids"])
            erased = Erased(row["links"], row["texts"], notes + row["notes"], sheets)
            counts = {"links": erased.links, "texts": erased.texts, "notes": erased.notes, "sheets": erased.sheets}
            change.record(
                "directory.changed",
                Resource(KIND, str(person)),
                before={},
                after={"what": "person.erased", **counts},
                kind=Kind.DIRECTORY,
            )
        return change.answer(erased)

    async def _erase(self, change: Change, person: UUID, ids: Sequence[UUID]) -> asyncpg.Record:
        """All that goes, in one function that looks for holds once more; and every token of before is revoked."""
        memory, connection = self._memory, change.connection
        if not memory.hashes.names:
            raise Conflict(NO_KEY)
        links = await connection.fetch(LINKS, ids)
        ahead, lifetime = timedelta(seconds=memory.ahead), timedelta(seconds=memory.lifetime)
        row = await connection.fetchrow(
            ERASE_PERSON,
            person,
            [link["issuer"] for link in links],
            [link["subject"] for link in links],
            [memory.hashes.compute(link["issuer"], link["subject"])[0] for link in links],
            memory.hashes.names[0],
            memory.days,
            ahead,
            lifetime,
        )
        if row is None:
            raise DatabaseUnavailable(cause="a function returned no row")
        principal, texts = change.caller.principal, [str(one) for one in ids]
        by = principal.person, principal.client
        await connection.execute(REVOKE, [uuid7() for _ in ids], texts, row["issued_before"], lifetime, *by)
        return row


async def _close_sheets(change: Change, ids: Sequence[UUID]) -> tuple[int, int]:
    """Delete drafts and rejected sheets, each on record: how many, and how many notes went with them. Raises Conflict
    while one waits for approval."""
    rows = await change.connection.fetch(OPEN, ids)
    if waiting := [str(row["id"]) for row in rows if row["state"] == "submitted"]:
        raise Conflict(WAITING, extra={"timesheets": waiting[:MAX_NAMED]})
    # Entries go with their sheet.
    await change.connection.execute("DELETE FROM timesheet WHERE id = ANY ($1::uuid[])", [row["id"] for row in rows])
    for row in rows:
        sheet = Resource("timesheet", str(row["id"]), row["owner_id"], row["state"], row["version"])
        told = {"state": row["state"], "version": row["version"], "minutes": row["minutes"]}
        change.record(
            "timesheet.deleted", sheet, before={**told, "period_start": row["period_start"].isoformat()}, after={}
        )
    return len(rows), sum(row["notes"] for row in rows)
