"""SQL of a merge. Postgres owns it; every change of the directory holds one row (store.advance), so nobody is given
anything meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from uuid_utils.compat import uuid7

from service.directory import delegation_store, erased_store
from service.directory.entities import Person, Validity
from service.directory.people_store import unmerged
from service.directory.recorded_change import Told, times
from service.directory.store import KIND, MANAGE, PEOPLE, VALID, begin, end
from service.errors import Conflict, InvalidField, NotFound
from service.places import FieldError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    import asyncpg

    from service.authorization.enforcement.changes import Permit
    from service.database import Connection


@dataclass(frozen=True, slots=True)
class _Held:
    """What people hold for a time: its table, what a row says, and what the log is told when one begins and ends."""

    table: str
    says: tuple[str, ...]
    begun: str
    ended: str
    kind: str = KIND


HELD: Final = (
    _Held("membership", ("person_id", "team_id", "part"), "membership.created", "membership.ended"),
    _Held("person_role", ("person_id", "role"), "role.given", "role.taken"),
    _Held("fallback_approver", ("person_id", "team_id"), "fallback.named", "fallback.ended"),
    _Held(
        "delegation", ("delegator_id", "delegate_id"), "delegation.granted", "delegation.ended", delegation_store.KIND
    ),
)
NAMES: Final = {**PEOPLE, "team_id": "team"}


@dataclass(frozen=True, slots=True)
class Merged:
    """Who stays; how many links moved, what the other was called, and what the log is told of what moved with them."""

    stays: Person
    links: int
    texts: Mapping[str, str]
    moved: Sequence[Told]


async def merge(permit: Permit, connection: Connection, person: UUID, into: UUID) -> Merged:
    """Raises as `Merging.merge`."""
    permit.covers(KIND, MANAGE)
    gone = await unmerged(connection, person)
    try:
        stays = await unmerged(connection, into)
    except NotFound as error:
        raise InvalidField(FieldError("into", "is no person")) from error
    # Whoever was merged into this person is the other one too.
    await connection.execute("UPDATE merged_person SET into_id = $2 WHERE into_id = $1", person, into)
    # From now on they are one.
    await connection.execute("INSERT INTO merged_person (person_id, into_id) VALUES ($1, $2)", person, into)
    # Their tokens speak for the one who stays.
    links = await connection.fetch(
        "UPDATE person_link SET person_id = $2 WHERE person_id = $1 RETURNING person_id", person, into
    )
    await erased_store.take_over(connection, person, into)
    moved = [told for held in HELD for told in await _move(connection, held, person, into)]
    stays = Person(into, stays.display_name or gone.display_name, stays.email or gone.email)
    # What is known of one is known of both, and stands in one place. Whoever means another now has a new version, also
    # without a name: that is what a version tells of.
    await connection.execute(
        "UPDATE person SET display_name = NULL, email = NULL, version = version + 1"
        " WHERE id IN (SELECT person_id FROM merged_person WHERE into_id = $1)",
        into,
    )
    version = await connection.fetchval(
        "UPDATE person SET display_name = $2, email = $3 WHERE id = $1 RETURNING version",
        into,
        stays.display_name,
        stays.email,
    )
    texts = {"display_name": gone.display_name, "email": gone.email}
    known = {name: text for name, text in texts.items() if text is not None}
    return Merged(replace(stays, version=version), len(links), known, moved)


async def _move(connection: Connection, held: _Held, person: UUID, into: UUID) -> list[Told]:
    """End what the one holds or would hold, and begin the same for the other, unless they hold it as long anyway."""
    told: list[Told] = []
    theirs = [name for name in held.says if name in PEOPLE]
    # What has not ended, of which there is little, by the indexes on people.
    rows = await connection.fetch(
        f"SELECT id, {', '.join(held.says)}, {VALID} FROM {held.table}"
        f" WHERE ({' OR '.join(f'{name} = $1' for name in theirs)}) AND valid_from < valid_to"
        " AND statement_timestamp() < valid_to ORDER BY valid_from",
        person,
    )
    for row in rows:
        was, now = await end(connection, held.table, row["id"], None, VALID)
        told.append(_told(held, held.ended, row, row["id"], now, before=was))
        what = {name: into if row[name] == person else row[name] for name in held.says}
        if len({what[name] for name in theirs}) < len(theirs):
            # Nobody delegates to themselves.
            continue
        key = {} if held.table == "person_role" else {"id": uuid7()}
        validity = Validity(now["valid_to"], was["valid_to"])
        made = await begin(connection, held.table, key, what, validity, f"id, {VALID}")
        if made is not None:
            told.append(_told(held, held.begun, what, made["id"], made))
        elif not await _covered(connection, held.table, what, validity):
            raise Conflict(
                "Both hold the same for times that overlap in part: end one of the two first",
                extra={"held": str(row["id"])},
            )
    return told


async def _covered(connection: Connection, table: str, what: Mapping[str, object], validity: Validity) -> bool:
    """Whether a row of the same holds for all of this time."""
    same = [f"{name} IS NOT DISTINCT FROM ${place}" for place, name in enumerate(what, start=3)]
    # One row that begins no later and ends no sooner.
    found: bool = await connection.fetchval(
        f"SELECT EXISTS (SELECT FROM {table} WHERE {' AND '.join(same)} AND valid_from <= $1"
        " AND coalesce($2::timestamptz, 'infinity') <= valid_to)",
        validity.valid_from,
        validity.valid_to,
        *what.values(),
    )
    return found


def _told(
    held: _Held,
    event: str,
    what: Mapping[str, object] | asyncpg.Record,
    row_id: UUID,
    now: asyncpg.Record,
    *,
    before: asyncpg.Record | None = None,
) -> Told:
    def facts(row: asyncpg.Record) -> dict[str, object]:
        said = {NAMES.get(name, name): what[name] for name in held.says}
        return said | times(Validity(row["valid_from"], row["valid_to"]))

    subject = what["person_id"] if held.table == "person_role" else row_id
    was = facts(before) if before is not None else {}
    return Told(str(subject), event, facts(now), before=was, kind=held.kind)
