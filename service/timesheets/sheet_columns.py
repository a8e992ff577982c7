"""The columns of a timesheet with its entries and approvals, as SQL about a row `r`. Pure: stores read the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from service.authorization.enforcement.merged_people import canonical_id
from service.policy.approval import APPROVALS as APPROVALS_ATTRIBUTE
from service.policy.approval import MAX_APPROVALS, OTHER_APPROVERS

if TYPE_CHECKING:
    from service.authorization.enforcement.fact_statements import KindFacts
    from service.authorization.engine.engine import Snapshot
    from service.policy.expressions.expression import Expression

ARE_COMPLETE: Final = "r.state IN ('approved', 'locked')"

# The approvals since the last submission as JSON, oldest first. NULL if no `earlier_approvals` are stored beside the
# deciding approval.
APPROVALS = f"""
    CASE WHEN r.earlier_approvals <> '[]' THEN approvals_of_sheet(
        r.earlier_approvals, {ARE_COMPLETE}, r.owner_id, r.editors, r.decided_at, r.decided_by, r.decided_by_client) END
"""

# The same approvals as the attribute `resource.approvals`: ids of people and clients, without repetitions, in order.
APPROVAL_IDS = f"""
    CASE WHEN r.earlier_approvals <> '[]' THEN ARRAY(
             SELECT coalesce(given.person, given.client) COLLATE "C"
             FROM jsonb_to_recordset({APPROVALS}) AS given (person text, client text) ORDER BY 1)
         WHEN {ARE_COMPLETE} AND r.decided_at IS NOT NULL
         THEN ARRAY[coalesce({canonical_id("r.decided_by")}::text, r.decided_by_client)]
         ELSE '{{}}'::text[] END
"""

# The people whose approvals a submitted sheet has, by their canonical ids.
EARLIER_APPROVERS = f"""
    SELECT {canonical_id("stored.person")} FROM jsonb_to_recordset(r.earlier_approvals) AS stored (person uuid)
    WHERE stored.person IS NOT NULL
"""

# The columns of a sheet without its entries.
COLUMNS = f"""
    r.id, r.owner_id, r.period_start, r.time_zone, r.state, r.version, r.editors, r.uploaders, r.reason,
    r.locked_by, r.locked_by_client, r.created_at, r.updated_at,
    r.submitted_at, r.decided_at, r.decided_by, r.decided_by_client, r.day_notes, {APPROVALS} AS approvals
"""
# The entries `e` of a sheet `r`, with the columns that stand in their JSON.
ENTRY_ROWS = """
    (SELECT id, day, project, minutes, note, external_ref, uploader, activity, billable, tags
     FROM entry WHERE timesheet_id = r.id) AS e
"""
# These in order as JSON: a text, which takes half the time of jsonb, and is only sent. Built of whole rows, it takes
# three quarters of the time that it takes to name each column.
ENTRIES = "coalesce(json_agg(e ORDER BY e.day, e.id), '[]') AS entries"
# All columns of a sheet, with its entries, and with none.
ROW = f"{COLUMNS}, (SELECT {ENTRIES} FROM {ENTRY_ROWS}) AS entries"
_ROW_WITHOUT_ENTRIES = f"{COLUMNS}, '[]'::json AS entries"

_OTHERS: Final = "ARRAY[" + ", ".join(f"'{name}'" for name in OTHER_APPROVERS) + "]"


def approvals_needed(expression: Expression | None, facts: KindFacts) -> str:
    """How many approvals the row needs, as `approval.count_needed` finds it; once it is approved, how many it has."""
    given = f"cardinality({APPROVAL_IDS})"
    if expression is None:
        return f"(CASE WHEN {ARE_COMPLETE} THEN {given} ELSE greatest(1, {given}) END)"
    complete = expression.sql({**facts.attributes, APPROVALS_ATTRIBUTE: "tried.approvals"})
    return f"""
        (SELECT CASE WHEN {ARE_COMPLETE} THEN cardinality(given.ids) ELSE (
             SELECT min(tried.number) FROM (
                 SELECT number, given.ids || ({_OTHERS})[1:number - cardinality(given.ids)] AS approvals
                 FROM generate_series(greatest(1, cardinality(given.ids)), {MAX_APPROVALS}) AS number) AS tried
             WHERE {complete}) END
         FROM (SELECT {APPROVAL_IDS} AS ids OFFSET 0) AS given {facts.join_sources(complete)})
    """


def columns_of(snapshot: Snapshot, facts: KindFacts, *, entries: bool = True) -> str:
    """All columns of a sheet under a policy version, for lists: ROW, and `approvals_needed` where that is not one.
    Without `entries`, the row has none."""
    expression, row = snapshot.vocabulary.approval, ROW if entries else _ROW_WITHOUT_ENTRIES
    return row if expression is None else f"{row}, {approvals_needed(expression, facts)} AS approvals_needed"


def approved_by_caller(snapshot: Snapshot, facts: KindFacts) -> str:
    """Whether a pending sheet has an approval of the caller, under any id, and needs more."""
    expression = snapshot.vocabulary.approval
    if expression is None:
        # Any further approval would be the last one.
        return "false"
    return f"""
        (r.earlier_approvals <> '[]' AND EXISTS (
             SELECT FROM jsonb_to_recordset(r.earlier_approvals) AS given (person uuid, client text)
             WHERE given.person = ANY (:ids) OR given.person = ANY (:former) OR given.client = :client)
         AND (cardinality({APPROVAL_IDS}) >= {approvals_needed(expression, facts)}) IS NOT TRUE)
    """
