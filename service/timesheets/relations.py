"""What a person or client is to a timesheet, in SQL. Pure: rows are read by `relationships` (one) and `store` (lists).

Each expression is true or false, never NULL, also when :person or :client is NULL. The sets of owners do not depend on
the row, so Postgres computes them once a statement and finds the rows by timesheet_owner_period; nothing is said of the
row beside `= ANY`, because that would be a filter that goes through the whole set for each row.
"""

from __future__ import annotations

from service.authorization.relationships import KindFacts

KIND = "timesheet"

# Everything of a sheet, its entries in order as JSON.
ROW = """
    r.id, r.owner_id, r.period_start, r.time_zone, r.state, r.version, r.editors, r.uploaders, r.reason,
    r.created_at, r.updated_at,
    (SELECT coalesce(jsonb_agg(jsonb_build_object(
                'id', e.id, 'day', e.day, 'project', e.project, 'minutes', e.minutes, 'note', e.note,
                'external_ref', e.external_ref, 'uploader', e.uploader) ORDER BY e.day, e.id), '[]')
     FROM entry AS e WHERE e.timesheet_id = r.id) AS entries
"""

# The draft that $3 would own.
IMAGINED = """
    SELECT NULL::uuid AS id, $3::uuid AS owner_id, 'draft'::text AS state, '{}'::uuid[] AS editors,
           '{}'::text[] AS uploaders
"""


def _now(alias: str) -> str:
    """The validity [valid_from, valid_to) holds at this moment."""
    return f"{alias}.valid_from <= statement_timestamp() AND statement_timestamp() < {alias}.valid_to"


# Whoever belongs to a team now, as a member or as its lead, or to one below it.
_BELONGING = f"""
    JOIN team_path AS below ON below.ancestor_id = over.team_id
    JOIN membership AS belongs ON belongs.team_id = below.descendant_id AND {_now("belongs")}
"""

OWNER = "(r.owner_id = :person AND :person IS NOT NULL)"

# The people in the teams that the person leads, and in those below; a lead is not their own manager.
MANAGER = f"""
    (r.owner_id = ANY (ARRAY(
        SELECT belongs.person_id FROM membership AS over {_BELONGING} AND belongs.person_id <> over.person_id
        WHERE over.person_id = :person AND over.part = 'lead' AND {_now("over")})))
"""

# The people in the teams that the client was given, and in those below.
IMPORTER = f"""
    (r.owner_id = ANY (ARRAY(
        SELECT belongs.person_id FROM importer_grant AS over {_BELONGING}
        WHERE over.client_id = :client AND {_now("over")})))
"""

# The person ever wrote in it or handed it in, and it is not theirs; or the client ever did so for itself.
ACTED_FOR_OWNER = """
    ((:person IS NOT NULL AND r.owner_id IS DISTINCT FROM :person AND r.editors @> ARRAY[:person])
     OR (:client IS NOT NULL AND r.uploaders @> ARRAY[:client]))
"""

TIMESHEET_FACTS = KindFacts(
    kind=KIND,
    row=ROW,
    table="timesheet",
    imagined=IMAGINED,
    imagined_state="draft",
    relations={"owner": OWNER, "manager": MANAGER, "importer": IMPORTER},
    facts={"acted_for_owner": ACTED_FOR_OWNER},
)
