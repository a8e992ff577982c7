"""SQL of delegations and of the caller's relations to one. Postgres owns the rows; they are ended, never deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.authorization.enforcement.attribute_sql import within_limits
from service.authorization.enforcement.merged_people import is_caller
from service.directory.grants import DELEGATIONS

if TYPE_CHECKING:
    from uuid import UUID

    from service.authorization.enforcement.changes import NewValues
    from service.authorization.enforcement.visibility import Visibility
    from service.database import Connection
    from service.directory.entities import Delegation, Validity

KIND: Final = DELEGATIONS.kind
ROW = "r.id, r.delegator_id AS owner_id, ''::text AS state, NULL::integer AS version"
# The delegation that $3 would grant, for a decision before the row exists; `:new` is what `describe_new` returns. It
# begins as the row would, and a missing end is none.
IMAGINED = (
    "SELECT NULL::uuid AS id, $3::uuid AS delegator_id, NULL::uuid AS delegate_id,"
    " coalesce((:new ->> 'valid_from')::timestamptz, statement_timestamp()) AS valid_from,"
    " (:new ->> 'valid_to')::timestamptz AS valid_to"
)
ATTRIBUTES = {"resource.valid_from": within_limits("r.valid_from"), "resource.valid_to": within_limits("r.valid_to")}
DELEGATOR = is_caller("r.delegator_id")
DELEGATE = is_caller("r.delegate_id")


def describe_new(validity: Validity) -> NewValues:
    """The values of a new delegation."""
    return lambda _: {"valid_from": validity.valid_from, "valid_to": validity.valid_to}


async def list_delegations(
    visibility: Visibility, connection: Connection, *, now: bool, after: UUID | None, limit: int
) -> list[Delegation]:
    """Visible delegations after the id `after`, oldest first; `limit` + 1 rows if there are more."""
    if (visibility.kind, visibility.action) != (KIND, "read"):
        raise PermissionError("the visibility is of something else")
    # Visible delegations in keyset order.
    rows = await connection.fetch(
        f"SELECT {DELEGATIONS.all_columns} FROM delegation AS r WHERE {visibility.condition}"
        " AND ($3::uuid IS NULL OR r.id > $3)"
        " AND (NOT $4::boolean OR (r.valid_from <= statement_timestamp() AND statement_timestamp() < r.valid_to))"
        " ORDER BY r.id LIMIT $5",
        *visibility.parameters,
        after,
        now,
        limit + 1,
    )
    return [DELEGATIONS.read(row) for row in rows]
