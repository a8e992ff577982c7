"""SQL of timesheets and entries. Postgres owns them; the database's constraints are the last word.

Every function takes a Permit, which enforcement alone can make, except the locks, which tell nothing. Lists are in
`listing`.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import asyncpg

from service.authorization.enforcement.one_person import ids
from service.authorization.enforcement.relationships import asker
from service.errors import Conflict
from service.identity import revocation
from service.timesheets.entry import Entry
from service.timesheets.relations import KIND
from service.timesheets.timesheet import TRANSITIONS, By, State, Timesheet

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence

    from service.authorization.enforcement.permit import Permit
    from service.database import Connection
    from service.identity.principal import Principal

_TIMED: Final = "created_at, updated_at, submitted_at, decided_at, decided_by, decided_by_client"


def _of_decision(column: str, value: str) -> str:
    """What a step from `state` to $3 makes of a column about the last approval or rejection."""
    return (
        f"{column} = CASE WHEN state = 'submitted' AND $3 IN ('approved', 'rejected') THEN {value}"
        f" WHEN $3 IN ('draft', 'submitted') THEN NULL ELSE {column} END"
    )


# When a sheet was handed in last; when, and by whom ($10, $11), it was approved or rejected. A draft has none of it.
_STEPS: Final = f"""
    submitted_at = CASE $3 WHEN state THEN submitted_at WHEN 'submitted' THEN moment WHEN 'draft' THEN NULL
                           ELSE submitted_at END,
    {_of_decision("decided_at", "moment")}, {_of_decision("decided_by", "$10::uuid")},
    {_of_decision("decided_by_client", "$11::text")}
"""


def lock(sheet_id: UUID) -> Callable[[Connection], Awaitable[UUID | None]]:
    """For a Target: locks a sheet until the transaction ends."""

    async def locking(connection: Connection) -> UUID | None:
        # The sheet's id, once nobody else is changing it.
        found: UUID | None = await connection.fetchval("SELECT id FROM timesheet WHERE id = $1 FOR UPDATE", sheet_id)
        return found

    return locking


def lock_many(sheet_ids: Sequence[UUID], first: UUID) -> Callable[[Connection], Awaitable[UUID | None]]:
    """For the first of several Targets: locks all of their sheets, in the order in which uploads lock them, so that
    nobody waits for whoever waits for them; gives the id of its own."""

    async def locking(connection: Connection) -> UUID | None:
        # Owner and week of a sheet never change, so the order is the same for everybody.
        found = await connection.fetch(
            "SELECT id FROM timesheet WHERE id = ANY($1::uuid[]) ORDER BY owner_id, period_start FOR UPDATE", sheet_ids
        )
        return first if any(row["id"] == first for row in found) else None

    return locking


def lock_week(owner: UUID, period_start: date) -> Callable[[Connection], Awaitable[UUID | None]]:
    """For a Target: locks a person's week, whether or not it has a sheet yet, so that two makers go one by one."""

    async def locking(connection: Connection) -> UUID | None:
        # Two weeks with the same hash only wait for one another.
        await connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"{KIND} {owner} {period_start}"
        )
        # The week's sheet, if it has one, under whichever id of theirs.
        found: UUID | None = await connection.fetchval(
            f"SELECT id FROM timesheet WHERE owner_id = ANY({ids('$1::uuid')}) AND period_start = $2"
            " ORDER BY id LIMIT 1 FOR UPDATE",
            owner,
            period_start,
        )
        return found

    return locking


async def is_revoked(connection: Connection, principal: Principal) -> bool:
    """Whether the asker's token was revoked, as by an erasure for which a statement before this one waited."""
    # The deny list, as every decision asks it.
    found: bool | None = await connection.fetchval(
        f"SELECT {revocation.revoked(people=ids('$6::uuid'), first=1)}",
        *revocation.parameters(principal),
        principal.person,
    )
    return found is not False


def sheet_of_row(permit: Permit, row: asyncpg.Record) -> Timesheet:
    """The sheet in a row that was seen for this permit."""
    permit.covers(KIND, "read", *TRANSITIONS)
    return sheet_of(row)


async def create(permit: Permit, connection: Connection, sheet: Timesheet) -> Timesheet:
    """Store a new sheet with its entries. Raises Conflict when the owner has one for that week, or does not exist."""
    permit.covers(KIND, "create", "upload")
    if permit.decision.request.resource.owner != sheet.owner:
        raise PermissionError("the permit is for another owner")
    with _constraints():
        # A new sheet; the database sets its times.
        row = await connection.fetchrow(
            "INSERT INTO timesheet (id, owner_id, period_start, period_end, time_zone, state, version, editors,"
            " uploaders, reason) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
            f" RETURNING {_TIMED}",
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
        )
        await _write_entries(connection, sheet, sheet.entries)
    return _timed(sheet, row)


async def create_all(made: Sequence[tuple[Permit, Timesheet]], connection: Connection) -> None:
    """Store new drafts with their entries, all written by the same hands, at once. Raises Conflict as `create`."""
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
            " AS one (id, owner_id, period_start, time_zone, version))"
            " INSERT INTO entry (id, timesheet_id, day, project, minutes, note, external_ref, uploader)"
            " SELECT * FROM unnest($8::uuid[], $9::uuid[], $10::date[], $11::text[], $12::integer[], $13::text[],"
            " $14::text[], $15::text[])",
            [one.id for one in sheets],
            [one.owner for one in sheets],
            [one.period_start for one in sheets],
            [one.time_zone for one in sheets],
            [one.version for one in sheets],
            sorted(sheets[0].editors),
            sorted(sheets[0].uploaders),
            [one.id for _, one in entries],
            [sheet_id for sheet_id, _ in entries],
            [one.day for _, one in entries],
            [one.project for _, one in entries],
            [one.minutes for _, one in entries],
            [one.note for _, one in entries],
            [one.external_ref for _, one in entries],
            [one.uploader for _, one in entries],
        )


async def save(permit: Permit, connection: Connection, before: Timesheet, after: Timesheet) -> Timesheet:
    """Store what changed between two versions of a sheet. Raises Conflict when the stored one is not `before`."""
    _mine(permit, after)
    known = {entry.id: entry for entry in before.entries}
    kept = {entry.id for entry in after.entries}
    with _constraints():
        # Each change is made from the version that was locked, and from no other.
        row = await connection.fetchrow(
            "UPDATE timesheet SET state = $3, version = $4, editors = $5, uploaders = $6,"
            f" reason = $7, locked_by = $8, locked_by_client = $9, updated_at = moment, {_STEPS}"
            f" FROM clock_timestamp() AS moment WHERE id = $1 AND version = $2 RETURNING {_TIMED}",
            after.id,
            before.version,
            after.state,
            after.version,
            sorted(after.editors),
            sorted(after.uploaders),
            after.reason,
            after.locked_by and after.locked_by.person,
            after.locked_by and after.locked_by.client,
            *asker(permit.decision.request.principal),
        )
        if gone := [one for one in known if one not in kept]:
            # Entries that are there no longer.
            await connection.execute("DELETE FROM entry WHERE timesheet_id = $1 AND id = ANY($2)", after.id, gone)
        await _write_entries(connection, after, [entry for entry in after.entries if known.get(entry.id) != entry])
    return _timed(after, row)


async def closed_projects(permit: Permit, connection: Connection, codes: Collection[str]) -> dict[str, str]:
    """Those of the projects `codes` that take no hours, each with the sentence that says why."""
    permit.covers(KIND, "edit", "upload")
    if not codes:
        return {}
    # What is known of these projects, and of those that are spelled the same but for capitals, by the index on that.
    rows = await connection.fetch(
        "SELECT code, active FROM project WHERE lower(code) = ANY($1)", [code.lower() for code in codes]
    )
    known: dict[str, bool] = {row["code"]: row["active"] for row in rows}
    meant = {row["code"].lower(): row["code"] for row in rows}

    def why(code: str) -> str:
        if code in known:
            return "is the code of a project that takes no more hours"
        alike = meant.get(code.lower())
        return "is not the code of a project" + (f"; {alike} is" if alike is not None else "")

    return {code: why(code) for code in codes if not known.get(code)}


async def delete(permit: Permit, connection: Connection, sheet: Timesheet) -> None:
    """Remove a sheet with its entries; the log keeps what it was."""
    _mine(permit, sheet)
    # Entries go with their sheet.
    await connection.execute("DELETE FROM timesheet WHERE id = $1 AND version = $2", sheet.id, sheet.version)


async def _write_entries(connection: Connection, sheet: Timesheet, entries: list[Entry] | tuple[Entry, ...]) -> None:
    if not entries:
        return
    # Entries that are new or changed.
    await connection.executemany(
        "INSERT INTO entry (id, timesheet_id, day, project, minutes, note, external_ref, uploader)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO UPDATE SET day = excluded.day,"
        " project = excluded.project, minutes = excluded.minutes, note = excluded.note, uploader = excluded.uploader"
        " WHERE entry.timesheet_id = excluded.timesheet_id",
        [
            (
                entry.id,
                sheet.id,
                entry.day,
                entry.project,
                entry.minutes,
                entry.note,
                entry.external_ref,
                entry.uploader,
            )
            for entry in entries
        ],
    )


@contextmanager
def _constraints() -> Iterator[None]:
    """What the database refuses is a contradiction to what is there, not a fault of the service."""
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        sentence = "There is already a timesheet for this person and week"
        if error.constraint_name != "timesheet_owner_id_period_start_key":
            sentence = "There is already an entry with this day, project and external reference"
        raise Conflict(sentence, cause=error.constraint_name) from error
    except asyncpg.ForeignKeyViolationError as error:
        raise Conflict("There is no such person", cause=error.constraint_name) from error


def _mine(permit: Permit, sheet: Timesheet) -> None:
    permit.covers(KIND, *TRANSITIONS)
    if permit.decision.request.resource.id != str(sheet.id):
        raise PermissionError("the permit is for another timesheet")


def _timed(sheet: Timesheet, row: asyncpg.Record | None) -> Timesheet:
    if row is None:
        raise Conflict(cause="the locked version is not the stored one")
    return replace(sheet, **_steps(row))


def _steps(row: asyncpg.Record) -> dict[str, Any]:
    decider = (row["decided_by"], row["decided_by_client"])
    told: dict[str, Any] = {name: row[name] for name in ("created_at", "updated_at", "submitted_at", "decided_at")}
    return {**told, "decided_by": By(*decider) if any(decider) else None}


def sheet_of(row: asyncpg.Record) -> Timesheet:
    """The sheet in a row with the columns of `relations.ROW`."""
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
        locked_by=By(*locker) if any(locker := (row["locked_by"], row["locked_by_client"])) else None,
        **_steps(row),
        entries=tuple(
            Entry(
                date.fromisoformat(one["day"]),
                one["project"],
                one["minutes"],
                one["note"],
                id=UUID(one["id"]),
                external_ref=one["external_ref"],
                uploader=one["uploader"],
            )
            for one in json.loads(row["entries"])
        ),
    )
