"""What a person or client is to a policy version, in SQL: the state of its life, and who proposed it. Pure.

Versions are rows of our own floor, so this floor supplies their facts, as floor 5 does for timesheets. A version's
state is no column: it follows from the head and from the history of activations, which only ever grows.
"""

from __future__ import annotations

from service.authorization.enforcement import merged_people
from service.authorization.enforcement.relationships import KindFacts

KIND = "policy"
PROPOSED, ACTIVE, RETIRED = "proposed", "active", "retired"

# The one that decides; one that ever did; one that never did. About a row `v` of policy_version.
STATE = f"""
    (CASE WHEN v.number = (SELECT active FROM policy_head) THEN '{ACTIVE}'
          WHEN EXISTS (SELECT FROM policy_activation AS was WHERE was.number = v.number) THEN '{RETIRED}'
          ELSE '{PROPOSED}' END)
"""

# Versions without their texts, as rows of a resource.
VERSIONS = f"""
    (SELECT v.number AS id, v.number, v.digest, v.parent, v.message, v.author_person, v.author_client, v.proposed_at,
            {STATE} AS state FROM policy_version AS v)
"""

ROW = "r.id, NULL::uuid AS owner_id, r.state, NULL::integer AS version"

# The person who put it forward through whatever app, or the client that did so for itself. NULL for a person who did so
# before an erasure: that fulfils denies and no allow.
PROPOSER = f"""
    ((:person IS NOT NULL
      AND {merged_people.survivor("r.author_person")} IS NOT DISTINCT FROM {merged_people.survivor(":person")})
     OR (:client IS NOT NULL AND r.author_person IS NULL AND r.author_client IS NOT DISTINCT FROM :client)
     OR {merged_people.unknown_if(f"r.author_person = ANY ({merged_people.former_ids(':person')})")})
"""

POLICY_FACTS = KindFacts(kind=KIND, row=ROW, table=VERSIONS, relations={"proposer": PROPOSER})
