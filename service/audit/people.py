"""Finds people by their token's subject, e-mail address or name, and their sheets by week. Reads only; owns no
state."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Final
from uuid import UUID

import msgspec

from service.audit.search import LoggedRecord, search_records
from service.authorization.enforcement.merged_people import canonical_id
from service.errors import QueryTooBroad
from service.log.record import Kind
from service.log.record_query import RecordFilters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.database import Connection

MAX_IDS = 20
# Deleted sheets of a person that are looked through for a week.
MAX_DELETED_SHEETS = 500
# Timesheets of a person for one week that a search looks for.
MAX_SHEETS_OF_WEEK = 20


class _Resource(msgspec.Struct):
    id: UUID


class _Sheet(msgspec.Struct):
    period_start: date


class _Change(msgspec.Struct):
    before: _Sheet = msgspec.field(name="from")


class _Deletion(msgspec.Struct):
    resource: _Resource
    change: _Change


_DELETION: Final = msgspec.json.Decoder(_Deletion)


async def find_by_subject(connection: Connection, issuer: str, subject: str) -> tuple[UUID, ...]:
    """All ids of the person whose tokens have this issuer and subject; empty if there is none."""
    # By primary key.
    rows = await connection.fetch(
        "SELECT unnest(ids_of_person(person_id)) AS id FROM person_link WHERE issuer = $1 AND subject = $2",
        issuer,
        subject,
    )
    return tuple(row["id"] for row in rows)


async def find_by_email(connection: Connection, email: str) -> tuple[UUID, ...]:
    """All ids of the people with this e-mail address, regardless of case; at most MAX_IDS."""
    # By the index on lower(email).
    rows = await connection.fetch(
        "SELECT unnest(ids_of_person(id)) AS id FROM person WHERE lower(email) = lower($1) ORDER BY id LIMIT $2",
        email,
        MAX_IDS,
    )
    return tuple(row["id"] for row in rows)


async def find_by_name(connection: Connection, name: str) -> list[tuple[UUID, str]]:
    """The canonical ids and names of people with this name, regardless of case; without any, of those whose names have
    words that begin with its words. At most MAX_IDS."""
    words = re.findall(r"\w+", name)
    if not words:
        return []
    # By the index on the words of names.
    rows = await connection.fetch(
        f"""
        SELECT found.id, found.display_name FROM (
            SELECT person.id, person.display_name, lower(person.display_name) = lower($2) AS is_exact FROM person
            WHERE person.display_name IS NOT NULL
                AND to_tsvector('simple', person.display_name) @@ to_tsquery('simple', $1)
                AND person.id = {canonical_id("person.id")}) AS found
        ORDER BY is_exact DESC, display_name, id LIMIT $3
        """,
        " & ".join(f"'{word}':*" for word in words),
        name,
        MAX_IDS,
    )
    found = [(row["id"], row["display_name"]) for row in rows]
    exact = [(person, called) for person, called in found if called.lower() == name.lower()]
    return exact or found


async def find_sheets(connection: Connection, owners: Sequence[UUID], week: date) -> tuple[UUID, ...]:
    """The timesheets of a person, who has these ids, for the week with this Monday; also those that were deleted.
    Raises QueryTooBroad if the person deleted MAX_DELETED_SHEETS, or there are more than MAX_SHEETS_OF_WEEK."""
    # By timesheet_owner_period.
    rows = await connection.fetch(
        "SELECT id FROM timesheet WHERE owner_id = ANY($1::uuid[]) AND period_start = $2", owners, week
    )
    deleted = await search_records(
        connection, RecordFilters(owners=tuple(owners), action="delete"), kinds=[Kind.CHANGE], limit=MAX_DELETED_SHEETS
    )
    gone = [UUID(uid) for record in deleted if (uid := _sheet_deleted(record, week))]
    found = (*(row["id"] for row in rows), *gone)
    if len(deleted) == MAX_DELETED_SHEETS or len(found) > MAX_SHEETS_OF_WEEK:
        raise QueryTooBroad(cause="a person deleted very many timesheets")
    return found


def _sheet_deleted(record: LoggedRecord, week: date) -> str | None:
    """The id of the sheet whose deletion is recorded, if it was of this week."""
    try:
        deletion = _DELETION.decode(record.json)
    except msgspec.DecodeError:
        return None
    return str(deletion.resource.id) if deletion.change.before.period_start == week else None


async def load_ids(connection: Connection, person: UUID) -> tuple[UUID, ...]:
    """All ids of a person: their own and those of people merged into them."""
    found: list[UUID] = await connection.fetchval("SELECT ids_of_person($1)", person)
    return tuple(found)
