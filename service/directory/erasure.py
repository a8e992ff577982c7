"""Erases a person: links, name, address, personal attributes, open sheets, the texts about them with their salts, and
stored responses. One SQL function does most of it.

Records and proofs stay as they are; the texts that records committed to cannot be shown any more. An erased person who
signs in again is a new person, whom laws, deny rules and revocations still recognise by a keyed hash of issuer and
subject (docs/decisions/0025). People who were merged into the person are erased with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from service.authorization.enforcement.changes import Answer, Target, refused_under
from service.authorization.enforcement.decision_point import Resource
from service.authorization.enforcement.merged_people import canonical_id
from service.authorization.enforcement.stored_responses import delete_person
from service.directory import access_request_store, grant_store, store
from service.directory.access_request_store import describe_closed
from service.directory.recorded_change import record_changes
from service.directory.store import KIND
from service.errors import Conflict, DatabaseUnavailable, Forbidden, NotFound
from service.ids import make_id
from service.log.record import Kind
from service.log.retention import HOLDS_LOCK
from service.values import replace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.changes import Caller, Change, Permit
    from service.authorization.enforcement.gate import Gate
    from service.database import Connection
    from service.identity.subject_hashes import SubjectHashes

ERASE = "erase"
# Submitted sheets that a refusal names.
MAX_NAMED: Final = 20

# Lock their sheets in the order of uploads, so that two requests cannot deadlock. No note can be written after this.
SHEETS = """
    SELECT id FROM timesheet WHERE owner_id = ANY (ids_of_person($1)) ORDER BY owner_id, period_start FOR UPDATE
"""

# Lock the rows of all ids of the person: from now on no timesheet is opened under one of them.
ROWS = "SELECT FROM person WHERE id = ANY (ids_of_person($1)) ORDER BY id FOR UPDATE"

# Whether they have a sheet that is not locked, because it was opened between the two.
OPENED = "SELECT EXISTS (SELECT FROM timesheet WHERE owner_id = ANY (ids_of_person($1)) AND id <> ALL ($2::uuid[]))"

# The canonical id, all ids, and a legal hold on them.
KNOWN = f"""
    SELECT {canonical_id("person.id")} AS canonical, ids_of_person(id) AS ids, hold_on_person(id) AS hold
    FROM person WHERE id = $1
"""

# Their links.
LINKS = "SELECT issuer, subject FROM person_link WHERE person_id = ANY ($1::uuid[])"

# Their sheets that are not final: nobody could submit or decide them any more.
OPEN = """
    SELECT r.id, r.owner_id, r.state, r.version, r.period_start,
           (SELECT coalesce(sum(e.minutes), 0) FROM entry AS e WHERE e.timesheet_id = r.id) AS minutes,
           (SELECT count(e.note) FROM entry AS e WHERE e.timesheet_id = r.id) AS notes
    FROM timesheet AS r WHERE r.owner_id = ANY ($1::uuid[]) AND r.state IN ('draft', 'rejected', 'submitted')
    ORDER BY r.owner_id, r.period_start
"""

ERASE_PERSON = """
    SELECT links, texts, notes, issued_before, values_removed FROM erase_person(
        $1, $2, $3, $4, $5, make_interval(days => $6), clock_timestamp() + $7::interval, $8::interval, $9)
"""

# Texts that the function leaves: the tags of their hours, and the notes on days. A sheet that loses any text, also one
# that the function deletes, is no longer what was read: it gets a new version, so its ETag is another one.
CLEAR_DAY_NOTES = """
    UPDATE timesheet AS r SET day_notes = '{}', version = version + 1
    WHERE r.owner_id = ANY ($1::uuid[]) AND (r.day_notes <> '{}' OR r.reason IS NOT NULL OR EXISTS (
        SELECT FROM entry AS e WHERE e.timesheet_id = r.id AND (e.note IS NOT NULL OR e.tags <> '{}')))
"""
CLEAR_TAGS = """
    UPDATE entry SET tags = '{}' FROM timesheet
    WHERE timesheet.id = entry.timesheet_id AND timesheet.owner_id = ANY ($1::uuid[]) AND entry.tags <> '{}'
"""

# Revoke all tokens of the person: requests under way are refused when they next read facts.
REVOKE = """
    INSERT INTO revocation (id, what, value, issued_before, expires_at, by_person, by_client)
    SELECT id, 'person', value, $3, $3::timestamptz + $4::interval, $5, $6
    FROM unnest($1::uuid[], $2::text[]) AS revoked (id, value)
"""

# Counts everything that an erasure would delete, under every id of the person, and finds what forbids it.
COUNT = """
    SELECT (SELECT count(*) FROM person_link WHERE person_id = ANY (theirs.ids)) AS links,
           (SELECT count(*) FROM audit_text WHERE record_uid IN (SELECT records_about($1)))
               + (SELECT count(*) FROM attribute_texts_about($1)) AS texts,
           (SELECT count(*) FROM entry JOIN timesheet ON timesheet.id = entry.timesheet_id
            WHERE timesheet.owner_id = ANY (theirs.ids) AND entry.note IS NOT NULL) AS notes,
           (SELECT count(*) FROM timesheet
            WHERE owner_id = ANY (theirs.ids) AND state IN ('draft', 'rejected')) AS sheets,
           ARRAY(SELECT id FROM timesheet WHERE owner_id = ANY (theirs.ids) AND state = 'submitted'
                 ORDER BY period_start) AS pending,
           (SELECT count(*) FROM person AS known CROSS JOIN LATERAL jsonb_object_keys(known.attributes) AS held (name)
            WHERE known.id = ANY (theirs.ids) AND held.name <> ALL ($2)) AS attributes,
           theirs.ids, hold_on_person($1) AS hold
    FROM person CROSS JOIN LATERAL (SELECT ids_of_person(id) AS ids) AS theirs WHERE id = $1
"""

OWN = "nobody erases themselves: another administrator has to do it"
NO_KEY = "There is no erasure key: the operator has to set TIMEWARDEN_ERASURE_KEYS"
PENDING = "This person has submitted timesheets: have them approved or rejected first"


@dataclass(frozen=True, slots=True)
class Erased:
    """The numbers of deleted links, texts beside the log, notes of entries, personal `attributes`, and `sheets` (drafts
    and rejected ones). A preview also names what forbids the erasure: a legal `hold`, and `pending` sheets."""

    links: int
    texts: int
    notes: int
    attributes: int
    sheets: int = 0
    hold: UUID | None = None
    pending: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class Memory:
    """How erased people are recognised: by `hashes` of subjects, for `days`. `lifetime` is the maximum age of a valid
    token in seconds; `ahead` is how many seconds its time of issue may lie in the future."""

    hashes: SubjectHashes
    days: int
    lifetime: int
    ahead: int


class Erasure:
    """Both methods raise Denied, Forbidden for oneself, NotFound and TryLater."""

    def __init__(self, gate: Gate, memory: Memory) -> None:
        self._gate = gate
        self._memory = memory

    async def preview(self, caller: Caller, person: UUID) -> Answer[Erased]:
        """Return what `erase` would do now."""
        async with self._gate.read(replace(caller, dry_run=True), KIND, ERASE) as reading:
            reading.permit.covers(KIND, ERASE)
            row = await reading.connection.fetchrow(COUNT, person, _kept_attributes(reading.permit))
            reading.returned = [] if row is None else [str(person)]
        with refused_under(reading.receipt):
            if row is None:
                raise NotFound("There is no such person")
            if not reading.lookup.same_human.isdisjoint(row["ids"]):
                raise Forbidden([OWN])
        names = ("links", "texts", "notes", "attributes", "sheets", "hold")
        return reading.answer(Erased(**{name: row[name] for name in names}, pending=tuple(row["pending"])))

    async def erase(self, caller: Caller, person: UUID) -> Answer[Erased]:
        """Erase a person for good, with their drafts and rejected sheets, which only they could submit, and end what
        they hold for a time. Raises Conflict, whose extra names the legal `hold` or the submitted `timesheets` that
        forbid it; without an extra, the erasure key is missing."""
        async with self._gate.change(caller, KIND, ERASE, Target(str(person), hold=_lock_holds)) as change:
            change.permit.covers(KIND, ERASE)
            await store.advance(change.connection)
            await _lock_sheets_and_rows(change.connection, person)
            known = await change.connection.fetchrow(KNOWN, person)
            if known is None:
                raise NotFound("There is no such person")
            if not change.lookup.same_human.isdisjoint(known["ids"]):
                raise Forbidden([OWN])
            if known["hold"] is not None:
                raise Conflict("A legal hold keeps this person's data", extra={"hold": str(known["hold"])})
            # Stored responses repeat notes and reasons. Those about a sheet can only be found before it is deleted.
            await delete_person(change.connection, person)
            sheets, notes = await _close_sheets(change, known["ids"])
            closed = await access_request_store.erase(change.connection, known["ids"])
            ended = await grant_store.end_all(change.connection, known["ids"])
            await record_changes(change, [*describe_closed(closed), *ended])
            row = await self._erase(change, person, known["ids"])
            erased = Erased(row["links"], row["texts"], notes + row["notes"], row["values_removed"], sheets)
            names = ("links", "texts", "notes", "attributes", "sheets")
            counts = {name: getattr(erased, name) for name in names}
            change.record(
                "directory.changed",
                # The record is about the person with all ids, also if the request named a merged one.
                Resource(KIND, str(known["canonical"])),
                before={},
                after={"what": "person.erased", **counts},
                kind=Kind.DIRECTORY,
            )
        return change.answer(erased)

    async def _erase(self, change: Change, person: UUID, ids: Sequence[UUID]) -> asyncpg.Record:
        """Call the function that erases, which checks holds once more, and revoke every token of the person."""
        memory, connection = self._memory, change.connection
        if not memory.hashes.names:
            raise Conflict(NO_KEY)
        await connection.execute(CLEAR_DAY_NOTES, ids)
        await connection.execute(CLEAR_TAGS, ids)
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
            _kept_attributes(change.permit),
        )
        if row is None:
            raise DatabaseUnavailable(cause="a function returned no row")
        principal, values = change.caller.principal, [str(each) for each in ids]
        by = principal.person, principal.client
        await connection.execute(REVOKE, [make_id() for _ in ids], values, row["issued_before"], lifetime, *by)
        return row


async def _lock_holds(connection: Connection) -> None:
    """Keep legal holds and the directory as they are until the commit. Retention takes the lock of holds and then that
    of the log, which an erasure reads, so any other order could deadlock."""
    await connection.execute(HOLDS_LOCK)
    await store.lock(connection)


async def _lock_sheets_and_rows(connection: Connection, person: UUID) -> None:
    """Lock all sheets of the person, and then the rows of all ids. If a sheet was opened between the two, release both
    and start again: a request that waits for a sheet must not have the rows, because an upload that has the sheet may
    wait for them."""
    while True:
        await connection.execute("SAVEPOINT unlocked")
        sheets = await connection.fetch(SHEETS, person)
        await connection.execute(ROWS, person)
        if not await connection.fetchval(OPENED, person, [sheet["id"] for sheet in sheets]):
            await connection.execute("RELEASE unlocked")
            return
        await connection.execute("ROLLBACK TO unlocked")


def _kept_attributes(permit: Permit) -> list[str]:
    """The attributes that the active policy declares and does not call personal. Any other could be personal."""
    return [name for name, attribute in permit.snapshot.vocabulary.people.items() if not attribute.personal]


async def _close_sheets(change: Change, ids: Sequence[UUID]) -> tuple[int, int]:
    """Delete and record drafts and rejected sheets; returns the number of sheets and of their notes. Raises Conflict if
    a sheet is submitted."""
    rows = await change.connection.fetch(OPEN, ids)
    if pending := [str(row["id"]) for row in rows if row["state"] == "submitted"]:
        raise Conflict(PENDING, extra={"timesheets": pending[:MAX_NAMED]})
    # The foreign key deletes their entries.
    await change.connection.execute("DELETE FROM timesheet WHERE id = ANY ($1::uuid[])", [row["id"] for row in rows])
    for row in rows:
        sheet = Resource("timesheet", str(row["id"]), row["owner_id"], row["state"], row["version"])
        facts = {"state": row["state"], "version": row["version"], "minutes": row["minutes"]}
        change.record(
            "timesheet.deleted", sheet, before={**facts, "period_start": row["period_start"].isoformat()}, after={}
        )
    return len(rows), sum(row["notes"] for row in rows)
