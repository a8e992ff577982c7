"""The facts of policy versions in SQL: a version's state, and who proposed it. Pure.

A version's state is not a column: it follows from the active version and from the history of activations, which is
append-only.
"""

from __future__ import annotations

from service.authorization.enforcement import merged_people
from service.authorization.enforcement.fact_statements import KindFacts

KIND = "policy"
PROPOSED, ACTIVE, RETIRED = "proposed", "active", "retired"

# Active, activated before, or never activated. About a row `v` of policy_version.
STATE = f"""
    (CASE WHEN v.number = (SELECT active FROM policy_head) THEN '{ACTIVE}'
          WHEN EXISTS (SELECT FROM policy_activation AS was WHERE was.number = v.number) THEN '{RETIRED}'
          ELSE '{PROPOSED}' END)
"""

# Versions without their texts, as rows of the kind.
VERSIONS = f"""
    (SELECT v.number AS id, v.number, v.digest, v.parent, v.message, v.author_person, v.author_client, v.proposed_at,
            {STATE} AS state FROM policy_version AS v)
"""

ROW = "r.id, NULL::uuid AS owner_id, r.state, NULL::integer AS version"

# The person who proposed it through any app, or the client that proposed it for itself. NULL for a person who proposed
# it before an erasure: NULL matches denies and no allow.
PROPOSER = f"""
    ({merged_people.is_caller("r.author_person")}
     OR (:client IS NOT NULL AND r.author_person IS NULL AND r.author_client IS NOT DISTINCT FROM :client))
"""

ATTRIBUTES = {"resource.number": "r.number::bigint", "resource.proposed_at": "r.proposed_at"}

POLICY_FACTS = KindFacts(kind=KIND, row=ROW, table=VERSIONS, relations={"proposer": PROPOSER}, attributes=ATTRIBUTES)
