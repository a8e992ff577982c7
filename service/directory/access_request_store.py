"""SQL of access requests and of the caller's relations to one. Postgres owns the rows; they are decided once and never
deleted. Access ends by its validity, so nothing has to run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from service.authorization.enforcement.attribute_sql import within_limits
from service.authorization.enforcement.fact_statements import KindFacts
from service.authorization.enforcement.merged_people import canonical_id, is_caller
from service.authorization.enforcement.path_sql import EdgeTable
from service.directory.entities import RequestedAccess, Validity
from service.directory.recorded_change import DirectoryChange, times
from service.directory.store import constraints
from service.policy.paths import find_requestable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    import asyncpg

    from service.authorization.enforcement.changes import NewValues, Permit
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection
    from service.policy.access_request import Vocabulary

KIND: Final = "access_request"
OPEN, GRANTED, DECLINED, WITHDRAWN, ENDED = "open", "granted", "declined", "withdrawn", "ended"

# A request or an access whose time has passed is ended, though nobody ended it.
STATE = """
    (CASE WHEN held.state = 'granted' AND held.valid_to <= statement_timestamp() THEN 'ended'
          WHEN held.state = 'open' AND held.requested_until <= statement_timestamp() THEN 'ended'
          ELSE held.state END)
"""
TABLE = f"""
    (SELECT held.id, held.relation, held.team_id, held.project, held.person_id, held.decision_id, held.reason,
            held.requested_at, held.requested_from, held.requested_until, {STATE} AS state, held.decided_at,
            held.decided_by, held.decided_by_client, held.decision_reason, held.valid_from, held.valid_to
     FROM access_request AS held)
"""
ROW = "r.id, r.person_id AS owner_id, r.state, NULL::integer AS version, r.requested_from, r.requested_until"
# The request that $3 would make, for a decision before the row exists; `:new` is what `describe_new` returns.
IMAGINED = (
    "SELECT NULL::uuid AS id, $3::uuid AS person_id, 'open'::text AS state, (:new ->> 'relation') AS relation,"
    " (:new ->> 'until')::timestamptz AS requested_until"
)
ACCESS_REQUEST_FACTS = KindFacts(
    kind=KIND,
    row=ROW,
    table=TABLE,
    imagined=IMAGINED,
    imagined_state=OPEN,
    relations={"requester": is_caller("r.person_id")},
    attributes={"resource.relation": "r.relation", "resource.until": within_limits("r.requested_until")},
    starts={
        "requester": "r.person_id",
        "team": EdgeTable("access_request", "id", "team_id", lasting=True),
        "project": EdgeTable("access_request", "id", "project", lasting=True),
    },
)

# A refusal on one timesheet: who was refused what. By the index on uid.
REFUSAL: Final = """
    SELECT person_id, action, resource_id FROM audit_record
    WHERE uid = $1 AND kind = 'decision' AND outcome = 'deny'
      AND resource_kind = 'timesheet' AND resource_id IS NOT NULL
"""
# The teams of the owner of a timesheet, and the projects with hours in it.
TEAMS_OF_OWNER: Final = f"""
    SELECT DISTINCT belongs.team_id FROM timesheet AS r JOIN membership AS belongs
        ON belongs.person_id = {canonical_id("r.owner_id")}
        AND belongs.valid_from <= statement_timestamp() AND statement_timestamp() < belongs.valid_to
    WHERE r.id = $1 ORDER BY 1
"""
PROJECTS_OF_SHEET: Final = "SELECT DISTINCT project FROM entry WHERE timesheet_id = $1 ORDER BY 1"
# A team by its id or its name, and whether a person is in it.
TEAM: Final = """
    SELECT team.id, EXISTS (
        SELECT FROM membership AS belongs WHERE belongs.team_id = team.id AND belongs.person_id = ANY ($3::uuid[])
            AND belongs.valid_from <= statement_timestamp() AND statement_timestamp() < belongs.valid_to) AS member
    FROM team WHERE team.id = $1::uuid OR team.name = $2::text
"""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A recorded refusal: who was refused which action on which timesheet."""

    person: UUID | None
    action: str
    sheet: UUID


def describe_new(relation: str | None, until: datetime) -> NewValues:
    """The values of a new request. One after a refusal names no relation. Records hold no words of callers, so neither
    is a relation that cannot be asked for."""

    def describe(vocabulary: Vocabulary) -> dict[str, object]:
        known = relation in find_requestable(vocabulary.paths)
        return {"relation": relation if known else None, "until": until}

    return describe


async def find_refusal(connection: Connection, decision: UUID) -> Refusal | None:
    """A refusal on a timesheet; None if the decision is none."""
    row = await connection.fetchrow(REFUSAL, decision)
    return None if row is None else Refusal(row["person_id"], row["action"], UUID(row["resource_id"]))


async def find_teams(connection: Connection, sheet: UUID) -> list[UUID]:
    """The present teams of a timesheet's owner."""
    return [row["team_id"] for row in await connection.fetch(TEAMS_OF_OWNER, sheet)]


async def find_projects(connection: Connection, sheet: UUID) -> list[str]:
    """The projects with hours in a timesheet."""
    return [row["project"] for row in await connection.fetch(PROJECTS_OF_SHEET, sheet)]


async def find_team(connection: Connection, team: UUID | str, person: Collection[UUID]) -> tuple[UUID, bool] | None:
    """A team by its id or name, and whether the person with these ids is in it; None if there is none."""
    key, name = (team, None) if isinstance(team, UUID) else (None, team)
    row = await connection.fetchrow(TEAM, key, name, [*person])
    return None if row is None else (row["id"], row["member"])


async def has_project(connection: Connection, code: str) -> bool:
    """Whether there is an active project with this code."""
    found: bool = await connection.fetchval("SELECT EXISTS (SELECT FROM project WHERE code = $1 AND active)", code)
    return found


async def list_open_of(connection: Connection, person: UUID) -> list[RequestedAccess]:
    """The open requests of a person under all their ids, which are few."""
    rows = await connection.fetch(
        f"SELECT * FROM {TABLE} AS r WHERE r.person_id = ANY (ids_of_person($1)) AND r.state = 'open'", person
    )
    return [_parse(row) for row in rows]


async def add(permit: Permit, connection: Connection, request: RequestedAccess) -> RequestedAccess:
    """Insert an open request. Raises InvalidField for a project or team that is missing."""
    permit.covers(KIND, "request")
    with constraints():
        # A new request, from now on if it does not say later, under the canonical id of the person.
        await connection.execute(
            "INSERT INTO access_request (id, relation, team_id, project, person_id, decision_id, reason,"
            " requested_from, requested_until)"
            f" VALUES ($1, $2, $3, $4, {canonical_id('$5::uuid')}, $6, $7,"
            " greatest($8::timestamptz, statement_timestamp()), $9)",
            request.id,
            request.relation,
            request.team,
            request.project,
            request.person,
            request.refusal,
            request.reason,
            request.requested.valid_from,
            request.requested.valid_to,
        )
    return await load(connection, request.id)


async def load(connection: Connection, request: UUID) -> RequestedAccess:
    """A request that exists."""
    row = await connection.fetchrow(f"SELECT * FROM {TABLE} AS r WHERE r.id = $1", request)
    if row is None:
        raise LookupError(str(request))
    return _parse(row)


async def decide(
    permit: Permit,
    connection: Connection,
    request: UUID,
    state: str,
    *,
    until: datetime | None = None,
    reason: str | None = None,
) -> RequestedAccess:
    """Grant, decline or withdraw an open request that is locked. Granted access begins now, or when it was asked for if
    that is later, and ends at `until`."""
    permit.covers(KIND, {GRANTED: "grant", DECLINED: "decline", WITHDRAWN: "withdraw"}[state])
    principal = permit.decision.request.principal
    with constraints():
        # By the primary key. The end may have passed since the row was looked at.
        await connection.execute(
            "UPDATE access_request SET state = $2, decided_at = statement_timestamp(), decided_by = $3,"
            " decided_by_client = $4, decision_reason = $5,"
            " valid_from = CASE WHEN $2 = 'granted' THEN greatest(requested_from, statement_timestamp()) END,"
            " valid_to = CASE WHEN $2 = 'granted' THEN least($6::timestamptz, requested_until) END WHERE id = $1",
            request,
            state,
            principal.person,
            None if principal.person else principal.client,
            reason,
            until,
        )
    return await load(connection, request)


# Ends access now, or before it begins.
_END: Final = "state = 'ended', valid_to = greatest(valid_from, least(valid_to, statement_timestamp()))"


async def end(permit: Permit, connection: Connection, request: UUID) -> RequestedAccess:
    """End granted access now; if it has not begun, it never does."""
    permit.covers(KIND, "end")
    await connection.execute(f"UPDATE access_request SET {_END} WHERE id = $1", request)
    return await load(connection, request)


async def erase(connection: Connection, people: Sequence[UUID]) -> list[tuple[RequestedAccess, RequestedAccess]]:
    """End the access of people, withdraw their open requests, and remove the texts of all their requests. Returns those
    that changed, before and after."""
    found = await connection.fetch(
        f"SELECT * FROM {TABLE} AS r WHERE r.person_id = ANY ($1::uuid[]) AND r.state IN ('open', 'granted')", people
    )
    before = [_parse(row) for row in found]
    await connection.execute(
        "UPDATE access_request SET reason = NULL, decision_reason = NULL WHERE person_id = ANY ($1::uuid[])", people
    )
    await _close(connection, before)
    return [(request, await load(connection, request.id)) for request in before]


async def merge(connection: Connection, person: UUID, into: UUID) -> list[tuple[RequestedAccess, RequestedAccess]]:
    """Move the open requests and the access of `person` to `into`, and end access that one of the two granted to the
    other: nobody grants their own. Returns what changed, before and after."""
    found = await connection.fetch(
        f"SELECT * FROM {TABLE} AS r WHERE r.person_id IN ($1, $2) AND r.state IN ('open', 'granted') ORDER BY r.id",
        person,
        into,
    )
    before = [_parse(row) for row in found]
    await connection.execute(
        "UPDATE access_request SET person_id = $2 WHERE person_id = $1 AND id = ANY ($3::uuid[])",
        person,
        into,
        [request.id for request in before],
    )
    # Every id of the remaining person, after the merge.
    ids = await connection.fetchval("SELECT ids_of_person($1)::text[]", into)
    await _close(connection, [request for request in before if request.state == GRANTED and request.decided_by in ids])
    changes = [(request, await load(connection, request.id)) for request in before]
    return [(was, now) for was, now in changes if was != now]


async def _close(connection: Connection, requests: Sequence[RequestedAccess]) -> None:
    granted = [request.id for request in requests if request.state == GRANTED]
    await connection.execute(f"UPDATE access_request SET {_END} WHERE id = ANY ($1::uuid[])", granted)
    await connection.execute(
        "UPDATE access_request SET state = 'withdrawn', decided_at = statement_timestamp() WHERE id = ANY ($1::uuid[])",
        [request.id for request in requests if request.state == OPEN],
    )


async def list_requests(
    visibility: Visibility,
    connection: Connection,
    *,
    state: str | None,
    mine: bool,
    to_decide: bool,
    newest_first: bool = False,
    after: UUID | None,
    limit: int,
) -> list[RequestedAccess]:
    """Visible requests after the id `after`, oldest first unless `newest_first`; `limit` + 1 rows if there are more.
    `mine`: the caller's; `to_decide`: those that the caller may grant now."""
    if (visibility.kind, visibility.action) != (KIND, "read"):
        raise PermissionError("the visibility is of something else")
    follows, order = ("<", "DESC") if newest_first else (">", "ASC")
    conditions = [visibility.condition, f"($3::uuid IS NULL OR r.id {follows} $3)"]
    if mine:
        conditions.append("r.person_id = ANY (ids_of_person($1))")
    if to_decide:
        # Both conditions have the same parameters: they are about the same caller and kind.
        conditions.append(f"({visibility.of_action('grant').condition}) AND r.state = 'open'")
    if state is not None:
        conditions.append(f"r.state = '{state}'")
    if to_decide or state == OPEN:
        # By the index on open requests: those whose time has passed are stored as open too.
        conditions.append("EXISTS (SELECT FROM access_request AS at WHERE at.id = r.id AND at.state = 'open')")
    # Visible requests in keyset order.
    rows = await connection.fetch(
        f"SELECT * FROM {TABLE} AS r WHERE {' AND '.join(conditions)} ORDER BY r.id {order} LIMIT $4",
        *visibility.parameters,
        after,
        limit + 1,
    )
    return [_parse(row) for row in rows]


async def load_visible(visibility: Visibility, connection: Connection, request: UUID) -> RequestedAccess | None:
    """A request, if it is visible."""
    if (visibility.kind, visibility.action) != (KIND, "read"):
        raise PermissionError("the visibility is of something else")
    # One row by its primary key.
    row = await connection.fetchrow(
        f"SELECT * FROM {TABLE} AS r WHERE {visibility.condition} AND r.id = $3", *visibility.parameters, request
    )
    return None if row is None else _parse(row)


async def list_own(permit: Permit, connection: Connection, person: UUID) -> list[RequestedAccess]:
    """A person's open requests, and the access that is in force or to come, oldest first. The permit is to read one's
    own account."""
    permit.covers("me", "read")
    # By the index on the person.
    rows = await connection.fetch(
        f"SELECT * FROM {TABLE} AS r WHERE r.person_id = ANY (ids_of_person($1))"
        " AND r.state IN ('open', 'granted') ORDER BY r.id",
        person,
    )
    return [_parse(row) for row in rows]


def describe_change(
    what: str,
    request: RequestedAccess,
    *,
    before: Mapping[str, object] | None = None,
    texts: Mapping[str, str] | None = None,
) -> DirectoryChange:
    """A change of a request for the log."""
    return DirectoryChange(str(request.id), what, _facts(request), texts or {}, before or {}, KIND, request.person)


def describe_closed(changes: Iterable[tuple[RequestedAccess, RequestedAccess]]) -> list[DirectoryChange]:
    """The changes of requests, each before and after, by an erasure or a merge."""
    return [
        describe_change(
            "access.moved" if before.state == after.state else f"access.{after.state}", after, before=_facts(before)
        )
        for before, after in changes
    ]


def _facts(request: RequestedAccess) -> dict[str, object]:
    """A request for a record."""
    facts: dict[str, object] = {
        "relation": request.relation,
        "person": request.person,
        "state": request.state,
        "from": request.requested.valid_from,
        "until": request.requested.valid_to,
    }
    more = {"team": request.team, "project": request.project, "refusal": request.refusal}
    facts |= {name: value for name, value in more.items() if value is not None}
    return facts if request.validity is None else facts | times(request.validity)


def _parse(row: asyncpg.Record) -> RequestedAccess:
    decider = row["decided_by"] or row["decided_by_client"]
    return RequestedAccess(
        row["id"],
        row["relation"],
        row["team_id"],
        row["project"],
        row["person_id"],
        Validity(row["requested_from"], row["requested_until"]),
        row["reason"],
        row["decision_id"],
        row["state"],
        row["requested_at"],
        None if decider is None else str(decider),
        row["decided_at"],
        row["decision_reason"],
        None if row["valid_from"] is None else Validity(row["valid_from"], row["valid_to"]),
    )
