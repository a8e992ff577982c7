"""SQL of timesheets and entries. Postgres owns them, and its constraints have the last word.

Every function but the locks, which return no data, takes a Permit, which only the gate can make. `listing` has the SQL
of lists.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import asyncpg
import msgspec

from service.authorization.enforcement.changes import LockTaken
from service.authorization.enforcement.declared_facts import facts_under
from service.authorization.enforcement.fact_statements import person_or_client
from service.authorization.enforcement.merged_people import KEEP_PEOPLE_APART, all_ids, canonical_id
from service.errors import Conflict, InvalidField, TryLater
from service.places import FieldError
from service.policy.approval import count_needed
from service.timesheets.entry import TAG_SEPARATOR, Entry
from service.timesheets.relations import KIND, TIMESHEET_FACTS
from service.timesheets.sheet_columns import APPROVALS, ENTRIES, ENTRY_ROWS, approvals_needed
from service.timesheets.timesheet import ACCEPTED, TRANSITIONS, Actor, GivenApproval, State, Timesheet
from service.values import Struct, replace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence

    from service.authorization.enforcement.changes import Permit
    from service.database import Connection


class StoredSheet(Struct, frozen=True):
    """A row with the columns of `sheet_columns.ROW`, its approvals, and how many it needs, None if unknown."""

    row: asyncpg.Record
    approvals: Sequence[GivenApproval]
    approvals_needed: int | None


class StoredApproval(msgspec.Struct):
    """An approval in the column `approvals` of `sheet_columns.ROW`."""

    person: UUID | None
    client: str | None
    at: datetime


# Reads the entries of `sheet_columns.ROW`.
_ENTRIES: Final = msgspec.json.Decoder(tuple[Entry, ...])
_APPROVALS: Final = msgspec.json.Decoder(list[StoredApproval])
MERGED_MEANWHILE: Final = "This person was just merged with another; send the request again"
_ENTRY_COLUMNS: Final = (
    "id, timesheet_id, day, project, minutes, note, external_ref, uploader, activity, billable, tags"
)
_DAY_NOTES: Final = msgspec.json.Decoder(dict[date, str])
# The columns that the database sets, of a row `r`.
_SET: Final = (
    f"state, created_at, updated_at, submitted_at, decided_at, decided_by, decided_by_client, {APPROVALS} AS approvals"
)


# Fails for a zone that this code knows and Postgres does not: reports ask Postgres when a day is in the sheet's zone.
_LOCAL_TIME: Final = "clock_timestamp() AT TIME ZONE time_zone AS local_time"


def _of_decision(column: str, value: str) -> str:
    """The assignment to a column about the last approval or rejection, for a transition from `state` to $3."""
    return (
        f"{column} = CASE WHEN state = 'submitted' AND $3 IN ('approved', 'rejected') THEN {value}"
        f" WHEN $3 IN ('draft', 'submitted') THEN NULL ELSE {column} END"
    )


# Time of the last submission; time and actor ($10, $11) of the last approval or rejection. A draft has none of them.
# An approval that others must follow ($12) is added to the earlier approvals; a deciding approval is not.
_TRANSITION: Final = f"""
    earlier_approvals = CASE
        WHEN $12 THEN earlier_approvals || jsonb_build_array(
            jsonb_build_object('person', $10::uuid, 'client', $11::text, 'at', moment))
        WHEN $3 IN ('draft', 'rejected') OR (state <> 'submitted' AND $3 = 'submitted') THEN '[]'
        ELSE earlier_approvals END,
    submitted_at = CASE $3 WHEN state THEN submitted_at WHEN 'submitted' THEN moment WHEN 'draft' THEN NULL
                           ELSE submitted_at END,
    {_of_decision("decided_at", "moment")}, {_of_decision("decided_by", "$10::uuid")},
    {_of_decision("decided_by_client", "$11::text")}
"""


def _insert_entries(first: int) -> str:
    """SQL that inserts the entries in `_entry_arrays`, the parameters from number `first` on."""
    kinds = ("uuid", "uuid", "date", "text", "integer", "text", "text", "text", "text", "boolean", "text")
    arrays = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(kinds, start=first))
    return (
        f"INSERT INTO entry ({_ENTRY_COLUMNS})"
        " SELECT id, timesheet_id, day, project, minutes, note, external_ref, uploader, activity, billable,"
        f" string_to_array(tags, '{TAG_SEPARATOR}') FROM unnest({arrays}) AS new ({_ENTRY_COLUMNS})"
    )


def _entry_arrays(entries: Collection[tuple[UUID, Entry]]) -> list[list[Any]]:
    """The columns of the entries, each with the id of its sheet."""
    return [
        [entry.id for _, entry in entries],
        [sheet_id for sheet_id, _ in entries],
        [entry.day for _, entry in entries],
        [entry.project for _, entry in entries],
        [entry.minutes for _, entry in entries],
        [entry.note for _, entry in entries],
        [entry.external_ref for _, entry in entries],
        [entry.uploader for _, entry in entries],
        [entry.activity for _, entry in entries],
        [bool(entry.billable) for _, entry in entries],
        # Arrays of different lengths are no array of Postgres.
        [TAG_SEPARATOR.join(entry.tags) for _, entry in entries],
    ]


# A new sheet; the database sets its times.
_CREATE: Final = f"""
    INSERT INTO timesheet AS r (id, owner_id, period_start, period_end, time_zone, state, version, editors, uploaders,
        reason, day_notes)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING {_SET}, {_LOCAL_TIME}
"""
_CREATE_WITH_ENTRIES: Final = f"WITH made AS ({_CREATE}), written AS ({_insert_entries(12)}) SELECT * FROM made"
# Only the version that was locked is updated.
_SAVE: Final = f"""
    UPDATE timesheet AS r SET state = $3, version = $4, editors = $5, uploaders = $6,
        reason = $7, locked_by = $8, locked_by_client = $9, day_notes = $13, updated_at = moment, {_TRANSITION}
    FROM clock_timestamp() AS moment WHERE id = $1 AND version = $2 RETURNING {_SET}
"""
# And entries that are new or changed.
_SAVE_WITH_ENTRIES: Final = f"""
    WITH saved AS ({_SAVE}), written AS ({_insert_entries(14)} ON CONFLICT (id) DO UPDATE SET day = excluded.day,
        project = excluded.project, minutes = excluded.minutes, note = excluded.note, uploader = excluded.uploader,
        activity = excluded.activity, billable = excluded.billable, tags = excluded.tags
        WHERE entry.timesheet_id = excluded.timesheet_id)
    SELECT * FROM saved
"""


def lock(sheet_id: UUID, *, now: bool = False) -> Callable[[Connection], Awaitable[UUID | None]]:
    """A lock for a Target: locks one sheet until the transaction ends. `now`: it raises LockTaken instead of waiting
    for a transaction that is changing the sheet."""

    async def take(connection: Connection) -> UUID | None:
        locked = f"SELECT id FROM timesheet WHERE id = $1 FOR UPDATE {'NOWAIT' if now else ''}"
        try:
            # By its primary key; after a transaction that is changing the sheet, it waits for a merge.
            found: UUID | None = await connection.fetchval(
                f"SELECT id, {KEEP_PEOPLE_APART} FROM ({locked}) AS locked", sheet_id
            )
        except asyncpg.LockNotAvailableError:
            if now:
                raise LockTaken from None
            raise
        return found

    return take


def lock_many(sheet_ids: Sequence[UUID], first: UUID) -> Callable[[Connection], Awaitable[UUID | None]]:
    """A lock for the first of several Targets: locks all of their sheets in the order in which uploads lock them, so
    that two requests cannot deadlock. Returns `first` if that sheet exists."""

    async def take(connection: Connection) -> UUID | None:
        # Owner and week of a sheet never change, so every request has the same order.
        found = await connection.fetch(
            "SELECT id FROM timesheet WHERE id = ANY($1::uuid[]) ORDER BY owner_id, period_start FOR UPDATE", sheet_ids
        )
        # Taken last: a request that waits for a sheet keeps no merge waiting.
        await connection.execute(f"SELECT {KEEP_PEOPLE_APART}")
        return first if any(row["id"] == first for row in found) else None

    return take


def lock_week(owner: UUID, period_start: date) -> Callable[[Connection], Awaitable[UUID | None]]:
    """A lock for a Target: locks a person's week, also before it has a sheet, so that only one request creates one, and
    keeps the person from being erased. Raises TryLater if they are merged with another one while it waits."""

    async def take(connection: Connection) -> UUID | None:
        # The week of the canonical id. Two weeks with the same hash wait for each other, and nothing worse.
        canonical = await connection.fetchval(
            "SELECT id, pg_advisory_xact_lock(hashtextextended($2 || id || $3, 0))"
            f" FROM (SELECT {canonical_id('$1::uuid')} AS id OFFSET 0) AS canonical",
            owner,
            f"{KIND} ",
            f" {period_start}",
        )
        # The week's sheet, if there is one, under any id of the owner; then the lock that keeps a merge waiting.
        row = await connection.fetchrow(
            f"SELECT sheet.id, ids, {KEEP_PEOPLE_APART}"
            f" FROM (SELECT {all_ids('$1::uuid')} AS ids OFFSET 0) AS owner LEFT JOIN LATERAL"
            " (SELECT id FROM timesheet WHERE owner_id = ANY (ids) AND period_start = $2"
            " ORDER BY id LIMIT 1 FOR UPDATE) AS sheet ON true",
            owner,
            period_start,
        )
        # The new sheet's foreign key takes this lock too, but only after the facts were read. An erasure that it waits
        # for has looked for sheets before this one exists, and revokes the caller's token.
        now = await connection.fetchrow(
            f"SELECT {canonical_id('person.id')} AS id, {all_ids('person.id')} AS ids FROM person WHERE id = $1"
            " FOR KEY SHARE",
            owner,
        )
        # A merge that committed before that lock may have brought a sheet of another id, under the lock of that id.
        if row is None or (now is not None and (now["id"], set(now["ids"])) != (canonical, set(row["ids"]))):
            raise TryLater(MERGED_MEANWHILE, cause="the owner of a new timesheet was merged meanwhile")
        found: UUID | None = row["id"]
        return found

    return take


def sheet_of_row(permit: Permit, row: asyncpg.Record) -> Timesheet:
    """The sheet in a row that was read for this permit."""
    permit.covers(KIND, "read", *TRANSITIONS)
    sheet = sheet_of(row)
    if permit.snapshot.vocabulary.approval is None or sheet.state in ACCEPTED:
        return sheet
    return replace(sheet, approvals_needed=_count_needed(permit, sheet.approvals))


def stored_sheet(permit: Permit, row: asyncpg.Record) -> StoredSheet:
    """A row that was read for this permit, with its approvals and how many it needs; None if that is unknown."""
    permit.covers(KIND, "read")
    approvals = read_approvals(row)
    if permit.snapshot.vocabulary.approval is None or row["state"] in ACCEPTED:
        return StoredSheet(row, approvals, read_approvals_needed(row, approvals))
    return StoredSheet(row, approvals, _count_needed(permit, approvals))


def _count_needed(permit: Permit, approvals: Sequence[GivenApproval]) -> int | None:
    attributes, given = permit.decision.request.lookup.attributes, [approval.name for approval in approvals]
    return count_needed(permit.snapshot.vocabulary.approval, attributes, given)


async def create(permit: Permit, connection: Connection, sheet: Timesheet) -> Timesheet:
    """Store a new sheet with its entries. Raises Conflict if the owner has one for that week or does not exist, and
    InvalidField for a time zone that Postgres does not know."""
    permit.covers(KIND, "create", "upload")
    if permit.decision.request.resource.owner != sheet.owner:
        raise PermissionError("the permit is for another owner")
    entries = [(sheet.id, entry) for entry in sheet.entries]
    with _constraints():
        row = await connection.fetchrow(
            _CREATE_WITH_ENTRIES if entries else _CREATE,
            sheet.id,
            sheet.owner,
            sheet.period_start,
            sheet.period_end,
            sheet.time_zone,
            sheet.state,
            sheet.version,
            sorted(sheet.editors),
            sorted(sheet.uploaders),
            sheet.reason,
            _write_day_notes(sheet),
            *(_entry_arrays(entries) if entries else ()),
        )
    return _with_times(sheet, row)


async def create_all(made: Sequence[tuple[Permit, Timesheet]], connection: Connection) -> None:
    """Store new drafts with their entries, all with the same editors, at once. Raises as `create`."""
    for permit, sheet in made:
        permit.covers(KIND, "upload")
        if permit.decision.request.resource.owner != sheet.owner or sheet.editors != made[0][1].editors:
            raise PermissionError("the permit is for another owner")
    sheets = [sheet for _, sheet in made]
    entries = [(sheet.id, entry) for sheet in sheets for entry in sheet.entries]
    with _constraints():
        # Sheets and their entries in one statement: a file has thousands of them.
        await connection.execute(
            "WITH made AS (INSERT INTO timesheet"
            " (id, owner_id, period_start, period_end, time_zone, state, version, editors, uploaders)"
            " SELECT id, owner_id, period_start, period_start + 6, time_zone, 'draft', version, $6, $7"
            " FROM unnest($1::uuid[], $2::uuid[], $3::date[], $4::text[], $5::integer[])"
            f" AS new (id, owner_id, period_start, time_zone, version) RETURNING {_LOCAL_TIME}) {_insert_entries(8)}",
            [sheet.id for sheet in sheets],
            [sheet.owner for sheet in sheets],
            [sheet.period_start for sheet in sheets],
            [sheet.time_zone for sheet in sheets],
            [sheet.version for sheet in sheets],
            sorted(sheets[0].editors),
            sorted(sheets[0].uploaders),
            *_entry_arrays(entries),
        )


async def save(permit: Permit, connection: Connection, before: Timesheet, after: Timesheet) -> Timesheet:
    """Store what changed between two versions of a sheet. Raises Conflict if the stored version is not `before`."""
    _check_permit(permit, after)
    known = {entry.id: entry for entry in before.entries}
    kept = {entry.id for entry in after.entries}
    changed = [(after.id, entry) for entry in after.entries if known.get(entry.id) != entry]
    if removed := [entry_id for entry_id in known if entry_id not in kept]:
        # Entries that were removed. First, since a new entry may have the external reference of one of them.
        await connection.execute("DELETE FROM entry WHERE timesheet_id = $1 AND id = ANY($2)", after.id, removed)
    with _constraints():
        row = await connection.fetchrow(
            _SAVE_WITH_ENTRIES if changed else _SAVE,
            after.id,
            before.version,
            after.state,
            after.version,
            sorted(after.editors),
            sorted(after.uploaders),
            after.reason,
            after.locked_by and after.locked_by.person,
            after.locked_by and after.locked_by.client,
            *person_or_client(permit.decision.request.principal),
            after.state is before.state is State.SUBMITTED,
            _write_day_notes(after),
            *(_entry_arrays(changed) if changed else ()),
        )
    return _with_times(after, row)


async def refresh_approvals_needed(permit: Permit, connection: Connection, sheet: Timesheet) -> Timesheet:
    """The stored sheet with the number of approvals that it needs by now."""
    permit.covers(KIND, *TRANSITIONS, "create")
    expression = permit.snapshot.vocabulary.approval
    if expression is None or sheet.state in ACCEPTED:
        return sheet
    facts = facts_under(TIMESHEET_FACTS, permit.snapshot)
    # By its primary key; its minutes or projects may have changed.
    needed = await connection.fetchval(
        f"SELECT {approvals_needed(expression, facts)} FROM timesheet AS r WHERE r.id = $1", sheet.id
    )
    return replace(sheet, approvals_needed=needed)


async def load_entries(
    permit: Permit, connection: Connection, sheets: Collection[UUID]
) -> dict[UUID, tuple[Entry, ...]]:
    """The entries of other sheets of the owner whom the permit is about."""
    permit.covers(KIND, "upload")
    # By the index on the entries' timesheet.
    rows = await connection.fetch(
        f"SELECT r.id, (SELECT {ENTRIES} FROM {ENTRY_ROWS}) AS entries FROM unnest($1::uuid[]) AS r (id)", list(sheets)
    )
    return {row["id"]: _ENTRIES.decode(row["entries"]) for row in rows}


async def delete(permit: Permit, connection: Connection, sheet: Timesheet) -> None:
    """Delete a sheet with its entries."""
    _check_permit(permit, sheet)
    # The foreign key deletes its entries.
    await connection.execute("DELETE FROM timesheet WHERE id = $1 AND version = $2", sheet.id, sheet.version)


@contextmanager
def _constraints() -> Iterator[None]:
    """Turn violations of constraints into Conflict, and a time zone that Postgres does not know into InvalidField."""
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        sentence = "This person already has a timesheet for this week"
        if error.constraint_name != "timesheet_owner_id_period_start_key":
            sentence = "This timesheet already has an entry with this day, project and external reference"
        raise Conflict(sentence, cause=error.constraint_name) from error
    except asyncpg.ForeignKeyViolationError as error:
        raise Conflict("There is no such person", cause=error.constraint_name) from error
    except asyncpg.InvalidParameterValueError as error:
        message = "is an IANA time zone that the database does not know yet; use another one of the same place"
        raise InvalidField(FieldError("time_zone", message)) from error


def _check_permit(permit: Permit, sheet: Timesheet) -> None:
    permit.covers(KIND, *TRANSITIONS)
    if permit.decision.request.resource.id != str(sheet.id):
        raise PermissionError("the permit is for another timesheet")


def _with_times(sheet: Timesheet, row: asyncpg.Record | None) -> Timesheet:
    if row is None:
        raise Conflict(cause="the locked version is not the stored one")
    return replace(sheet, **_read_times(row))


def _read_times(row: asyncpg.Record) -> dict[str, Any]:
    """The fields that the database sets."""
    decider = (row["decided_by"], row["decided_by_client"])
    approvals = read_approvals(row)
    return {
        **{name: row[name] for name in ("created_at", "updated_at", "submitted_at", "decided_at")},
        "decided_by": Actor(*decider) if any(decider) else None,
        "approvals": approvals,
        "approvals_needed": read_approvals_needed(row, approvals),
    }


def read_approvals(row: asyncpg.Record) -> tuple[GivenApproval, ...]:
    """The approvals since the last submission, from a row with the columns of `sheet_columns.ROW`."""
    if row["approvals"] is not None:
        stored = _APPROVALS.decode(row["approvals"])
        return tuple(GivenApproval(Actor(given.person, given.client), given.at) for given in stored)
    decider = (row["decided_by"], row["decided_by_client"])
    if any(decider) and row["state"] in ACCEPTED:
        return (GivenApproval(Actor(*decider), row["decided_at"]),)
    return ()


def read_approvals_needed(row: asyncpg.Record, approvals: Sequence[GivenApproval]) -> int | None:
    """How many approvals the sheet in such a row needs: as many as it has, and at least one before it is approved,
    unless the row says otherwise."""
    given = len(approvals)
    return given if row["state"] in ACCEPTED else row.get("approvals_needed", max(1, given))


def sheet_of(row: asyncpg.Record) -> Timesheet:
    """The sheet in a row with the columns of `sheet_columns.ROW`."""
    return Timesheet(
        id=row["id"],
        owner=row["owner_id"],
        period_start=row["period_start"],
        time_zone=row["time_zone"],
        state=State(row["state"]),
        version=row["version"],
        editors=frozenset(row["editors"]),
        uploaders=frozenset(row["uploaders"]),
        reason=row["reason"],
        locked_by=Actor(*locker) if any(locker := (row["locked_by"], row["locked_by_client"])) else None,
        **_read_times(row),
        day_notes=read_day_notes(row),
        entries=_ENTRIES.decode(row["entries"]),
    )


def read_day_notes(row: asyncpg.Record) -> tuple[tuple[date, str], ...]:
    """The notes on days of a row with the columns of `sheet_columns.ROW`, by day."""
    stored = row["day_notes"]
    return () if stored == "{}" else tuple(sorted(_DAY_NOTES.decode(stored).items()))


def _write_day_notes(sheet: Timesheet) -> str:
    return msgspec.json.encode(dict(sheet.day_notes)).decode()
