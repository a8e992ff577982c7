"""Relations and facts of a timesheet as SQL expressions. Pure: `relationships` and `listing` read the rows.

Each expression is true or false, also when :person or :client is NULL. It is NULL only if it holds through an id of the
caller from before an erasure: then it matches every deny rule and no allow rule (docs/decisions/0025).

An expression is evaluated for one row and starts from the row's owner, who has few memberships and few teams above
them, however many people a manager leads; OFFSET 0 keeps Postgres from computing the whole set instead. `REACHES` gives
the owners for whom a relation can hold at all. Lists use it to read fewer rows; it decides nothing
(docs/decisions/0009).
"""

from __future__ import annotations

from service.authorization.enforcement.fact_statements import KindFacts
from service.authorization.enforcement.merged_people import (
    all_ids,
    canonical_id,
    former_ids,
    returned_people,
    unknown_if,
)

KIND = "timesheet"

# All columns of a sheet, with its entries in order as JSON.
ROW = """
    r.id, r.owner_id, r.period_start, r.time_zone, r.state, r.version, r.editors, r.uploaders, r.reason,
    r.locked_by, r.locked_by_client, r.created_at, r.updated_at,
    r.submitted_at, r.decided_at, r.decided_by, r.decided_by_client,
    (SELECT coalesce(jsonb_agg(jsonb_build_object(
                'id', e.id, 'day', e.day, 'project', e.project, 'minutes', e.minutes, 'note', e.note,
                'external_ref', e.external_ref, 'uploader', e.uploader) ORDER BY e.day, e.id), '[]')
     FROM entry AS e WHERE e.timesheet_id = r.id) AS entries
"""

# The draft that $3 would own, for a decision before the row exists.
IMAGINED = """
    SELECT NULL::uuid AS id, $3::uuid AS owner_id, 'draft'::text AS state, '{}'::uuid[] AS editors,
           '{}'::text[] AS uploaders, NULL::uuid AS locked_by, NULL::text AS locked_by_client
"""


def now(alias: str) -> str:
    """Condition: [valid_from, valid_to) holds now."""
    return f"{alias}.valid_from <= statement_timestamp() AND statement_timestamp() < {alias}.valid_to"


# People who are members or leads of a team now, with that team and the teams above it.
_BELONGING = f"""
    membership AS belongs JOIN team_path AS above ON above.descendant_id = belongs.team_id AND {now("belongs")}
"""

# Owner and caller by their canonical ids: the directory holds nothing under the id of a merged person.
_OWNER, _ASKER = canonical_id("r.owner_id"), canonical_id(":person")

# Ids of the caller from before an erasure: mostly none, looked up once a statement.
_FORMER = former_ids(":person")

OWNER = f"((:person IS NOT NULL AND {_OWNER} = {_ASKER}) OR {unknown_if(f'r.owner_id = ANY ({_FORMER})')})"

# The person leads a team that the owner belongs to, or one above it; a lead is not their own manager.
MANAGER = f"""
    EXISTS (SELECT FROM {_BELONGING}
            JOIN membership AS over ON over.team_id = above.ancestor_id AND over.person_id = {_ASKER}
                AND over.part = 'lead' AND {now("over")}
            WHERE belongs.person_id = {_OWNER} AND belongs.person_id <> {_ASKER} OFFSET 0)
"""

# The person is a delegate of a manager of the owner; a delegate's own delegate has nothing. OFFSET 0 and LATERAL make
# it start from the few managers of the owner and look up a delegation of each: from the delegate's side it would read
# every person whom the delegators lead.
_DELEGATIONS = f"""
    FROM (SELECT over.person_id FROM {_BELONGING}
          JOIN membership AS over ON over.team_id = above.ancestor_id AND over.person_id <> belongs.person_id
              AND over.part = 'lead' AND {now("over")}
          WHERE belongs.person_id = {_OWNER} AND belongs.person_id <> {_ASKER} OFFSET 0) AS leads
    CROSS JOIN LATERAL (SELECT delegation.delegator_id, delegation.valid_from, delegation.id FROM delegation
                        WHERE delegation.delegator_id = leads.person_id AND delegation.delegate_id = {_ASKER}
                            AND {now("delegation")} OFFSET 0) AS delegation
"""
_HAS_DELEGATION = f"""
    EXISTS (SELECT FROM delegation WHERE delegation.delegate_id = {_ASKER} AND {now("delegation")} OFFSET 0)
"""
DELEGATE = f"({_HAS_DELEGATION} AND EXISTS (SELECT {_DELEGATIONS} OFFSET 0))"
# On whose behalf a delegate acts: of several delegators, the one whose delegation is the oldest.
ON_BEHALF_OF = f"""
    (CASE WHEN {_HAS_DELEGATION}
          THEN (SELECT delegation.delegator_id {_DELEGATIONS}
                ORDER BY delegation.valid_from, delegation.id LIMIT 1) END)
"""

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
# Whether anybody has this relation to the owner and is not among the editors of the sheet ($2).
_EDITORS = (
    f"(SELECT {canonical_id('editor.id')} FROM unnest($2::uuid[]) AS editor (id)"
    f" UNION ALL {returned_people('$2::uuid[]')})"
)
_LEADS = f"""
    FROM {_BELONGING}
    JOIN membership AS over ON over.team_id = above.ancestor_id AND over.part = 'lead' AND {now("over")}
        AND over.person_id <> belongs.person_id
"""
HAS_APPROVER = {
    "manager": f"EXISTS (SELECT {_LEADS} WHERE belongs.person_id = {_OWNER} AND over.person_id NOT IN {_EDITORS})",
    "delegate": f"""
        EXISTS (SELECT {_LEADS} JOIN delegation ON delegation.delegator_id = over.person_id AND {now("delegation")}
                WHERE belongs.person_id = {_OWNER} AND delegation.delegate_id <> {_OWNER}
                    AND delegation.delegate_id NOT IN {_EDITORS})
    """,
    "fallback": f"""
        (NOT {LED} AND EXISTS (SELECT FROM fallback_approver AS named WHERE {_NAMED_FOR_OWNER}
                               AND named.person_id NOT IN {_EDITORS}))
    """,
}

# The people who may approve the row by the directory and are not among its editors: managers of the owner, their
# delegates, and fallback approvers if the owner has no manager.
_ROW_EDITORS = (
    f"(SELECT {canonical_id('editor.id')} FROM unnest(r.editors) AS editor (id)"
    f" UNION ALL {returned_people('r.editors')})"
)
APPROVERS = f"""
    ARRAY(SELECT found.id FROM (
              SELECT over.person_id AS id {_LEADS} WHERE belongs.person_id = {_OWNER}
              UNION SELECT delegation.delegate_id {_LEADS}
              JOIN delegation ON delegation.delegator_id = over.person_id AND {now("delegation")}
              WHERE belongs.person_id = {_OWNER}
              UNION SELECT named.person_id FROM fallback_approver AS named WHERE {_NAMED_FOR_OWNER} AND NOT {LED}
          ) AS found WHERE found.id <> {_OWNER} AND found.id NOT IN {_ROW_EDITORS} ORDER BY found.id)
"""

# The client has a grant for one of the owner's teams, or a team above.
IMPORTER = f"""
    EXISTS (SELECT FROM {_BELONGING}
            JOIN importer_grant AS over ON over.team_id = above.ancestor_id AND over.client_id = :client
                AND {now("over")}
            WHERE belongs.person_id = {_OWNER} OFFSET 0)
"""

# People in the teams of a lead or of a client's grants, and in the teams below: from the top down, for lists.
_BELOW = f"""
    JOIN team_path AS below ON below.ancestor_id = over.team_id
    JOIN membership AS belongs ON belongs.team_id = below.descendant_id AND {now("belongs")}
"""


def _and_merged(reach: str) -> str:
    """The owners of `reach` under every id that they have."""
    others = f"SELECT merged.person_id FROM merged_person AS merged WHERE merged.into_id IN ({reach})"
    return f"{reach} UNION ALL {others}"


REACHES = {
    "owner": f"SELECT unnest({all_ids(':person')}) AS owner_id",
    "manager": _and_merged(f"""
        SELECT belongs.person_id AS owner_id FROM membership AS over {_BELOW}
        WHERE over.person_id = {_ASKER} AND over.part = 'lead' AND {now("over")}
    """),
    "delegate": _and_merged(f"""
        SELECT belongs.person_id AS owner_id FROM (
            SELECT DISTINCT over.team_id FROM delegation
            JOIN membership AS over ON over.person_id = delegation.delegator_id AND over.part = 'lead' AND {now("over")}
            WHERE delegation.delegate_id = {_ASKER} AND {now("delegation")} OFFSET 0) AS over {_BELOW}
    """),
    # If the person is a fallback approver: owners without a manager. Merged people are among them, without a team.
    "fallback": f"""
        SELECT person.id AS owner_id FROM person
        WHERE EXISTS (SELECT FROM fallback_approver AS named WHERE named.person_id = {_ASKER} AND {now("named")})
            AND NOT EXISTS (SELECT FROM {_BELONGING}
                JOIN membership AS over ON over.team_id = above.ancestor_id AND over.part = 'lead' AND {now("over")}
                WHERE belongs.person_id = person.id AND over.person_id <> belongs.person_id)
    """,
    "importer": _and_merged(f"""
        SELECT belongs.person_id AS owner_id FROM importer_grant AS over {_BELOW}
        WHERE over.client_id = :client AND {now("over")}
    """),
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

TIMESHEET_FACTS = KindFacts(
    kind=KIND,
    row=ROW,
    table="timesheet",
    imagined=IMAGINED,
    imagined_state="draft",
    relations={"owner": OWNER, "manager": MANAGER, "delegate": DELEGATE, "fallback": FALLBACK, "importer": IMPORTER},
    on_behalf_of=ON_BEHALF_OF,
    facts={"acted_for_owner": ACTED_FOR_OWNER, "locked_by_asker": LOCKED_BY_ASKER},
    by_owner=True,
    reaches=REACHES,
)
