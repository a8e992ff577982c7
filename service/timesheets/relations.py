"""What a person or client is to a timesheet, in SQL. Pure: rows are read by `relationships` (one) and `listing` (many).

Each expression is true or false, also when :person or :client is NULL. It is NULL only for what the asker is or did
under an id from before an erasure: that fulfils every deny and no allow (docs/decisions/0025).

An expression is asked of one row and starts from the row's owner, whose memberships and the teams above them are few,
however many people somebody leads; OFFSET 0 keeps Postgres from computing the whole set instead. `REACHES` says whose
rows a relation can hold for at all, so that a list need not ask all rows: it narrows the search and decides nothing
(docs/decisions/0009).
"""

from __future__ import annotations

from service.authorization.enforcement.one_person import former_ids, ids, returned, survivor, unknown_if
from service.authorization.enforcement.relationships import KindFacts

KIND = "timesheet"

# Everything of a sheet, its entries in order as JSON.
ROW = """
    r.id, r.owner_id, r.period_start, r.time_zone, r.state, r.version, r.editors, r.uploaders, r.reason,
    r.locked_by, r.locked_by_client, r.created_at, r.updated_at,
    r.submitted_at, r.decided_at, r.decided_by, r.decided_by_client,
    (SELECT coalesce(jsonb_agg(jsonb_build_object(
                'id', e.id, 'day', e.day, 'project', e.project, 'minutes', e.minutes, 'note', e.note,
                'external_ref', e.external_ref, 'uploader', e.uploader) ORDER BY e.day, e.id), '[]')
     FROM entry AS e WHERE e.timesheet_id = r.id) AS entries
"""

# The draft that $3 would own.
IMAGINED = """
    SELECT NULL::uuid AS id, $3::uuid AS owner_id, 'draft'::text AS state, '{}'::uuid[] AS editors,
           '{}'::text[] AS uploaders, NULL::uuid AS locked_by, NULL::text AS locked_by_client
"""


def now(alias: str) -> str:
    """The validity [valid_from, valid_to) holds at this moment."""
    return f"{alias}.valid_from <= statement_timestamp() AND statement_timestamp() < {alias}.valid_to"


# Whoever belongs to a team now, as a member or as its lead, with the teams that it lies in: itself and those above.
_BELONGING = f"""
    membership AS belongs JOIN team_path AS above ON above.descendant_id = belongs.team_id AND {now("belongs")}
"""

# The owner of the row and the asker, by the ids that stay of them: the directory speaks of nobody who was merged.
_OWNER, _ASKER = survivor("r.owner_id"), survivor(":person")

# Ids of the asker from before an erasure: mostly none, looked up once a statement.
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

# Somebody else leads a team of the owner's, or one above it.
LED = f"""
    EXISTS (SELECT FROM {_BELONGING}
            JOIN membership AS over ON over.team_id = above.ancestor_id AND over.part = 'lead' AND {now("over")}
            WHERE belongs.person_id = {_OWNER} AND over.person_id <> belongs.person_id OFFSET 0)
"""
# A fallback approver `named` is there for the owner: for a team that they belong to, one above it, or for all.
_NAMED_FOR_OWNER = f"""
    {now("named")} AND named.person_id <> {_OWNER}
    AND (named.team_id IS NULL OR EXISTS (
        SELECT FROM {_BELONGING} WHERE belongs.person_id = {_OWNER} AND above.ancestor_id = named.team_id))
"""
FALLBACK = f"""
    (EXISTS (SELECT FROM fallback_approver AS named WHERE named.person_id = {_ASKER} AND {_NAMED_FOR_OWNER} OFFSET 0)
     AND NOT {LED})
"""
# Whether there is anybody at all who could be this to the owner, and did not write in the sheet: $2 holds who did.
_WROTE = f"(SELECT {survivor('wrote.id')} FROM unnest($2::uuid[]) AS wrote (id) UNION ALL {returned('$2::uuid[]')})"
_LEADS = f"""
    FROM {_BELONGING}
    JOIN membership AS over ON over.team_id = above.ancestor_id AND over.part = 'lead' AND {now("over")}
        AND over.person_id <> belongs.person_id
"""
HAS_APPROVER = {
    "manager": f"EXISTS (SELECT {_LEADS} WHERE belongs.person_id = {_OWNER} AND over.person_id NOT IN {_WROTE})",
    "delegate": f"""
        EXISTS (SELECT {_LEADS} JOIN delegation ON delegation.delegator_id = over.person_id AND {now("delegation")}
                WHERE belongs.person_id = {_OWNER} AND delegation.delegate_id <> {_OWNER}
                    AND delegation.delegate_id NOT IN {_WROTE})
    """,
    "fallback": f"""
        (NOT {LED} AND EXISTS (SELECT FROM fallback_approver AS named WHERE {_NAMED_FOR_OWNER}
                               AND named.person_id NOT IN {_WROTE}))
    """,
}

# Whom the directory names for the approval of the row, who did not write in it: those who lead its owner and those who
# stand in for them, or whoever is named where nobody leads.
_WROTE_IN_IT = f"(SELECT {survivor('wrote.id')} FROM unnest(r.editors) AS wrote (id) UNION ALL {returned('r.editors')})"
APPROVERS = f"""
    ARRAY(SELECT found.id FROM (
              SELECT over.person_id AS id {_LEADS} WHERE belongs.person_id = {_OWNER}
              UNION SELECT delegation.delegate_id {_LEADS}
              JOIN delegation ON delegation.delegator_id = over.person_id AND {now("delegation")}
              WHERE belongs.person_id = {_OWNER}
              UNION SELECT named.person_id FROM fallback_approver AS named WHERE {_NAMED_FOR_OWNER} AND NOT {LED}
          ) AS found WHERE found.id <> {_OWNER} AND found.id NOT IN {_WROTE_IN_IT} ORDER BY found.id)
"""

# The client was given a team that the owner belongs to, or one above it.
IMPORTER = f"""
    EXISTS (SELECT FROM {_BELONGING}
            JOIN importer_grant AS over ON over.team_id = above.ancestor_id AND over.client_id = :client
                AND {now("over")}
            WHERE belongs.person_id = {_OWNER} OFFSET 0)
"""

# Everybody in the teams of a lead or of a client's grants, and in those below: found from above, for lists.
_BELOW = f"""
    JOIN team_path AS below ON below.ancestor_id = over.team_id
    JOIN membership AS belongs ON belongs.team_id = below.descendant_id AND {now("belongs")}
"""


def _and_merged(reach: str) -> str:
    """Those whom a relation can hold for, under every id that they have."""
    others = f"SELECT merged.person_id FROM merged_person AS merged WHERE merged.into_id IN ({reach})"
    return f"{reach} UNION ALL {others}"


REACHES = {
    "owner": f"SELECT unnest({ids(':person')}) AS owner_id",
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
    # Whom nobody else leads, if the person is named for anybody; among them whoever was merged, who belongs to no team.
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

# It is not the person's own, and they ever wrote in it or handed it in; or the client that acts, for itself or for the
# person, ever did so for itself.
ACTED_FOR_OWNER = f"""
    ({_OWNER} IS DISTINCT FROM {_ASKER}
     AND ((:person IS NOT NULL AND r.editors && {ids(":person")}) OR r.uploaders @> ARRAY[:app]
          OR {unknown_if(f"r.editors && {_FORMER}")}))
"""

# The person locked it for payroll, or the client did so for itself.
LOCKED_BY_ASKER = f"""
    ((:person IS NOT NULL AND {survivor("r.locked_by")} IS NOT DISTINCT FROM {_ASKER})
     OR (:client IS NOT NULL AND r.locked_by_client IS NOT DISTINCT FROM :client)
     OR {unknown_if(f"r.locked_by = ANY ({_FORMER})")})
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
    reaches=REACHES,
)
