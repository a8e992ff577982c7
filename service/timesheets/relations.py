"""Relations and facts of a timesheet as SQL expressions. Pure: `relationships` and `listing` read the rows.

Each expression is true or false, also when :person or :client is NULL. It is NULL only if it holds through an id of the
caller from before an erasure: then it matches every deny rule and no allow rule (docs/decisions/0025).

`path_sql` composes relations with a path; these are the others, and the edges of a sheet. An expression is evaluated
for one row and starts from the row's owner, who has few memberships and few teams above them; OFFSET 0 keeps Postgres
from computing a whole set instead. `REACHES` gives the owners for whom a relation can hold at all. Lists use it to read
fewer rows; it decides nothing (docs/decisions/0009).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.authorization.enforcement.attribute_sql import within_limits
from service.authorization.enforcement.declared_relations import paths_under
from service.authorization.enforcement.fact_statements import KindFacts
from service.authorization.enforcement.merged_people import (
    all_ids,
    canonical_id,
    former_ids,
    returned_people,
    unknown_if,
)
from service.authorization.enforcement.path_sql import EdgeTable, PathSql, now
from service.policy.path_parser import default_paths
from service.policy.paths import NodeType
from service.timesheets.sheet_columns import APPROVAL_IDS, COLUMNS, EARLIER_APPROVERS, ENTRIES, ENTRY_ROWS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import date

    from service.authorization.enforcement.changes import NewValues
    from service.policy.access_request import Vocabulary

KIND = "timesheet"
# Thousands may approve, such as the members of a group.
MAX_APPROVERS_LISTED = 100
STARTS: Mapping[str, EdgeTable | str] = {
    "owner": "r.owner_id",
    "projects": EdgeTable("entry", "timesheet_id", "project", lasting=True),
}

# The draft that $3 would own, for a decision before the row exists; `:new` is what `describe_new` returns.
IMAGINED = """
    SELECT NULL::uuid AS id, $3::uuid AS owner_id, 'draft'::text AS state, '{}'::uuid[] AS editors,
           '{}'::text[] AS uploaders, NULL::uuid AS locked_by, NULL::text AS locked_by_client,
           (:new ->> 'period_start')::date AS period_start,
           NULL::timestamptz AS updated_at, NULL::timestamptz AS submitted_at,
           '[]'::jsonb AS earlier_approvals, NULL::timestamptz AS decided_at, NULL::uuid AS decided_by,
           NULL::text AS decided_by_client
"""


# People who are members or leads of a team now, with that team and the teams above it.
_BELONGING = f"""
    membership AS belongs JOIN team_path AS above ON above.descendant_id = belongs.team_id AND {now("belongs")}
"""

# Owner and caller by their canonical ids: the directory holds nothing under the id of a merged person.
_OWNER, _ASKER = canonical_id("r.owner_id"), canonical_id(":person")

# Ids of the caller from before an erasure: mostly none, looked up once a statement.
_FORMER = former_ids(":person")

OWNER = f"((:person IS NOT NULL AND {_OWNER} = {_ASKER}) OR {unknown_if(f'r.owner_id = ANY ({_FORMER})')})"

# The owner has a manager: another person leads one of their teams, or a team above.
LED = f"""
    EXISTS (SELECT FROM {_BELONGING}
            JOIN membership AS over ON over.team_id = above.ancestor_id AND over.part = 'lead' AND {now("over")}
            WHERE belongs.person_id = {_OWNER} AND over.person_id <> belongs.person_id OFFSET 0)
"""
# A fallback approver `named` covers the owner: by one of their teams, by a team above, or everywhere.
_NAMED_FOR_OWNER = f"""
    {now("named")} AND named.person_id <> {_OWNER}
    AND (named.team_id IS NULL OR EXISTS (
        SELECT FROM {_BELONGING} WHERE belongs.person_id = {_OWNER} AND above.ancestor_id = named.team_id))
"""
FALLBACK = f"""
    (EXISTS (SELECT FROM fallback_approver AS named WHERE named.person_id = {_ASKER} AND {_NAMED_FOR_OWNER} OFFSET 0)
     AND NOT {LED})
"""
# Their ids are those of the editors of the sheet, $2, and of those who came back from an erasure of one.
_EDITORS = (
    f"(SELECT {canonical_id('editor.id')} FROM unnest($2::uuid[]) AS editor (id)"
    f" UNION ALL {returned_people('$2::uuid[]')})"
)
_ROW_EDITORS = (
    f"(SELECT {canonical_id('editor.id')} FROM unnest(r.editors) AS editor (id)"
    f" UNION ALL {returned_people('r.editors')})"
)
_PATHS, _SQL = default_paths(KIND), PathSql(KIND, STARTS)
_FALLBACKS = f"SELECT named.person_id AS id FROM fallback_approver AS named WHERE {_NAMED_FOR_OWNER} AND NOT {LED}"


def describe_new(period_start: date) -> NewValues:
    """The values of a new sheet."""
    return lambda _: {"period_start": period_start}


def find_people(vocabulary: Vocabulary) -> dict[str, str]:
    """For each relation that a version can name, if only people other than the owner can have it: a SELECT of the `id`
    of all of them, about the row `r`."""
    sql, paths = PathSql(KIND, STARTS), paths_under(KIND, vocabulary)
    people = {relation: sql.find_all(path) for relation, path in paths.items() if path.to is NodeType.PEOPLE}
    return {"fallback": _FALLBACKS, **people}


def find_clients(vocabulary: Vocabulary) -> list[str]:
    """A SELECT of the `id` of all clients that have a relation, for each relation of clients."""
    sql, paths = PathSql(KIND, STARTS), paths_under(KIND, vocabulary)
    return [sql.find_all(path) for path in paths.values() if path.to is NodeType.CLIENTS]


def count_approvers(people: Iterable[str], most: int) -> str:
    """How many of these people are neither the owner nor among the editors of the sheet, $2; counted up to `most`."""
    found = " UNION ALL ".join(people)
    others = f"FROM ({found}) AS found WHERE found.id <> {_OWNER} AND found.id NOT IN {_EDITORS}"
    if most == 1:
        return f"(EXISTS (SELECT {others}))::integer"
    return f"(SELECT count(*) FROM (SELECT DISTINCT found.id {others} LIMIT {most}) AS counted)"


def list_approvers(people: Iterable[str], *, others: bool) -> str:
    """An array of the first MAX_APPROVERS_LISTED of these people who are neither the owner nor among the editors; with
    `others`, of those whose approval the sheet does not have."""
    found = " UNION ALL ".join(people) or "SELECT NULL::uuid AS id"
    without = f"AND found.id NOT IN ({EARLIER_APPROVERS})" if others else ""
    return f"""
        ARRAY(SELECT DISTINCT found.id FROM ({found}) AS found
              WHERE found.id <> {_OWNER} AND found.id NOT IN {_ROW_EDITORS} {without} ORDER BY found.id
              LIMIT {MAX_APPROVERS_LISTED})
    """


REACHES = {
    "owner": f"SELECT unnest({all_ids(':person')}) AS owner_id",
    # If the person is a fallback approver: owners without a manager. Merged people are among them, without a team.
    "fallback": f"""
        SELECT person.id AS owner_id FROM person
        WHERE EXISTS (SELECT FROM fallback_approver AS named WHERE named.person_id = {_ASKER} AND {now("named")})
            AND NOT EXISTS (SELECT FROM {_BELONGING}
                JOIN membership AS over ON over.team_id = above.ancestor_id AND over.part = 'lead' AND {now("over")}
                WHERE belongs.person_id = person.id AND over.person_id <> belongs.person_id)
    """,
    **{relation: owners for relation, path in _PATHS.items() if (owners := _SQL.find_owners(path)) is not None},
}

# The sheet is not the caller's own, and the person ever entered hours or submitted it, or the acting client ever did so
# for itself.
ACTED_FOR_OWNER = f"""
    ((r.owner_id = ANY (:ids)) IS NOT TRUE
     AND (r.editors && :ids OR r.uploaders @> ARRAY[:app] OR {unknown_if("r.editors && :former")}))
"""

# The person locked the sheet for payroll, or the client did so for itself.
LOCKED_BY_ASKER = f"""
    (coalesce(r.locked_by = ANY (:ids), false)
     OR (:client IS NOT NULL AND r.locked_by_client IS NOT DISTINCT FROM :client)
     OR {unknown_if("r.locked_by = ANY (:former)")})
"""

# The entries of a sheet, added up once for all attributes and, in single reads, for the entries as JSON.
_HOURS = f"""
    SELECT coalesce(sum(e.minutes), 0) AS minutes, count(e.id) AS entry_count, count(DISTINCT e.day) AS days,
           coalesce(array_agg(DISTINCT e.project COLLATE "C"), '{{}}') AS projects, {ENTRIES}
    FROM {ENTRY_ROWS}
"""
# The owner's teams and those above.
_TEAMS = f"SELECT above.ancestor_id FROM {_BELONGING} WHERE belongs.person_id = who.id"
# The owner in the directory, by their canonical id. OFFSET 0 keeps Postgres from computing a column wherever it is
# read.
_ROW_OWNER = f"""
    SELECT who.id::text AS id,
           (SELECT person.attributes FROM person WHERE person.id = who.id) AS document,
           (SELECT coalesce(jsonb_agg(team.attributes), '[]') FROM team
            WHERE team.id IN ({_TEAMS}) AND team.attributes <> '{{}}') AS team_documents,
           ARRAY(SELECT DISTINCT held.group_name COLLATE "C" FROM group_member AS held
                 WHERE held.person_id = who.id AND {now("held")} ORDER BY 1) AS groups,
           ARRAY(SELECT DISTINCT found.ancestor_id::text FROM ({_TEAMS}) AS found ORDER BY 1) AS teams
    FROM (SELECT {_OWNER} AS id) AS who OFFSET 0
"""
ATTRIBUTES = {
    "resource.minutes": "hours.minutes",
    "resource.entry_count": "hours.entry_count",
    "resource.days": "hours.days",
    "resource.projects": "hours.projects",
    "resource.period_start": within_limits("(r.period_start::timestamp AT TIME ZONE 'UTC')"),
    "resource.state_since": "r.updated_at",
    "resource.submitted_at": "r.submitted_at",
    "resource.approvals": APPROVAL_IDS,
    "resource.owner.id": "row_owner.id",
    "resource.owner.groups": "row_owner.groups",
    "resource.owner.teams": "row_owner.teams",
}
# The attributes that the directory holds of the owner, of the owner's teams, and of the sheet's projects.
DOCUMENTS = {
    "resource.owner": "row_owner.document",
    "resource.owner.teams": "row_owner.team_documents",
    "resource.projects": """
        (SELECT coalesce(jsonb_agg(known.attributes), '[]') FROM project AS known
         WHERE known.code = ANY (hours.projects) AND known.attributes <> '{}')
    """,
}

TIMESHEET_FACTS = KindFacts(
    kind=KIND,
    row=f"{COLUMNS}, hours.entries",
    table="timesheet",
    imagined=IMAGINED,
    imagined_state="draft",
    relations={
        "owner": OWNER,
        "fallback": FALLBACK,
        **{relation: _SQL.holds(path) for relation, path in _PATHS.items()},
    },
    on_behalf_of=_SQL.find_delegator(_PATHS["delegate"]),
    facts={"acted_for_owner": ACTED_FOR_OWNER, "locked_by_asker": LOCKED_BY_ASKER},
    by_owner=True,
    reaches=REACHES,
    attributes=ATTRIBUTES,
    documents=DOCUMENTS,
    sources={"hours": _HOURS, "row_owner": _ROW_OWNER},
    starts=STARTS,
)
