"""Search in the log, newest first. Reads only.

The filters use the search copies; what is shown comes from the record's own bytes. Pages go by the record's id
(keyset), which also holds for records that are not sealed yet.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from service.audit.record import Kind, read_body

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import asyncpg

    from service.database import Connection

# Reading the log is decided like everything else, so ACCESS records are decisions too.
DECISIONS = (Kind.DECISION, Kind.ACCESS)

SHOWN = """
    SELECT r.id, r.uid, r.kind, r.at, r.leaf, r.body, p.position
    FROM audit_record r LEFT JOIN audit_position p ON p.record_id = r.id
"""

# The free texts of one record that are not erased.
TEXTS = "SELECT field, value FROM audit_text WHERE record_uid = $1"


@dataclass(frozen=True, slots=True)
class Filters:
    """What must hold of a record; None asks nothing. `resource` also finds lists that returned it; `rule` is one of the
    rules that decided; `since` and `until` bound decided_at, half-open."""

    person: UUID | None = None
    client: str | None = None
    action: str | None = None
    resource_kind: str | None = None
    resource: str | None = None
    outcome: str | None = None
    reason: str | None = None
    rule: str | None = None
    policy_version: int | None = None
    request_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Logged:
    """A record as the log holds it. `position` is None until it is sealed; `at` is when Postgres took it; `leaf` is
    hex; `texts` is filled for a single record only."""

    id: int
    uid: UUID
    kind: str
    at: datetime
    position: int | None
    leaf: str
    body: dict[str, object]
    texts: Mapping[str, str] = field(default_factory=dict)


async def decisions(
    connection: Connection, filters: Filters, *, before: int | None = None, limit: int = 50
) -> list[Logged]:
    """Decisions, newest first; the next page starts `before` the last id of this one."""
    return await records(connection, filters, kinds=DECISIONS, before=before, limit=limit)


async def records(
    connection: Connection,
    filters: Filters,
    *,
    kinds: Sequence[Kind] = (),
    before: int | None = None,
    limit: int = 50,
) -> list[Logged]:
    """Records of any of `kinds` (all when empty), newest first."""
    statement, values = _page(filters, kinds, before, limit)
    return [_logged(row) for row in await connection.fetch(statement, *values)]


async def decision(connection: Connection, uid: UUID) -> Logged | None:
    """One decision by its id, with its texts; None when there is none."""
    found = await record(connection, uid)
    return found if found and found.kind in DECISIONS else None


async def record(connection: Connection, uid: UUID) -> Logged | None:
    """One record by its uid, with its texts."""
    # The first of that uid: a uid is unique by its generator, and nobody can add an older one.
    row = await connection.fetchrow(f"{SHOWN} WHERE r.uid = $1 ORDER BY r.id LIMIT 1", uid)
    if row is None:
        return None
    return _logged(row, {one["field"]: one["value"] for one in await connection.fetch(TEXTS, uid)})


def _page(filters: Filters, kinds: Sequence[Kind], before: int | None, limit: int) -> tuple[str, list[object]]:
    """The statement of one page and its parameters."""
    values: list[object] = []
    terms: list[str] = []

    def hold(term: str, value: object) -> None:
        if value is not None:
            values.append(value)
            terms.append(term.replace("?", f"${len(values)}"))

    hold("r.id < ?", before)
    hold("r.kind = ANY(?)", [one.value for one in kinds] or None)
    hold("r.person_id = ?", filters.person)
    hold("r.client_id = ?", filters.client)
    hold("r.action = ?", filters.action)
    hold("r.resource_kind = ?", filters.resource_kind)
    hold("r.outcome = ?", filters.outcome)
    hold("r.reason = ?", filters.reason)
    hold("? = ANY(r.rules)", filters.rule)
    hold("r.policy_version = ?", filters.policy_version)
    hold("r.request_id = ?", filters.request_id)
    hold("r.decided_at >= ?", filters.since)
    hold("r.decided_at < ?", filters.until)
    if filters.resource is not None:
        terms.append(_concerning(filters.resource, values))
    where = f"WHERE {' AND '.join(terms)}" if terms else ""
    values.append(limit)
    # One page, newest first.
    return f"{SHOWN} {where} ORDER BY r.id DESC LIMIT ${len(values)}", values


def _concerning(resource: str, values: list[object]) -> str:
    """Records of a resource, and lists that returned it: each half by its own index, whatever the planner guesses."""
    values.append(resource)
    halves = [f"SELECT id FROM audit_record WHERE resource_id = ${len(values)}"]
    try:
        listed = UUID(resource)
    except ValueError:
        pass
    else:
        values.append([listed])
        halves.append(f"SELECT id FROM audit_record WHERE returned @> ${len(values)}")
    return f"r.id = ANY(ARRAY({' UNION '.join(halves)}))"


def _logged(row: asyncpg.Record, texts: Mapping[str, str] | None = None) -> Logged:
    return Logged(
        id=row["id"],
        uid=row["uid"],
        kind=row["kind"],
        at=row["at"],
        position=row["position"],
        leaf=row["leaf"].hex(),
        body=read_body(row["body"]),
        texts=texts or {},
    )
