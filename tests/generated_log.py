"""Generates a log of any length in Postgres: a year of an organisation. The bytes are not valid records.

Of 100 records, some 62 are single reads, 20 lists, 8 edits and 2 approvals; each change has its decision. Of 25
decisions, 1 is a denial. Sheets belong to people, people to teams. There are few clients, one of them rare. The policy
changes every month.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncpg

PEOPLE = 5_000

# Records `$1` to `$2` of `$3`, spread over the year before 2026-11-01; the hash of `n` picks the owner.
GENERATE = """
    INSERT INTO audit_record (uid, kind, decision_uid, decided_at, person_id, client_id, action, resource_kind,
                              resource_id, owner_id, outcome, applied, reason, rules, policy_version, request_id,
                              returned, actors, body)
    SELECT gen_random_uuid(), kind, CASE WHEN kind = 'change' THEN gen_random_uuid() END, moment,
           md5('person' || person)::uuid, client, action, kinds, CASE WHEN NOT list THEN sheet::text END,
           CASE WHEN NOT list THEN md5('person' || owner)::uuid END,
           CASE WHEN kind = 'decision' THEN CASE WHEN denied THEN 'deny' ELSE 'allow' END END,
           CASE WHEN action <> 'read' AND kind = 'decision' THEN NOT denied END,
           CASE WHEN kind = 'decision' THEN CASE WHEN denied THEN 'no-rule' ELSE 'allowed' END END,
           CASE WHEN kind <> 'decision' THEN '{}'
                WHEN own_approval THEN ARRAY['never-own-hours']
                WHEN denied THEN '{}'
                WHEN action = 'read' AND owner = person THEN ARRAY['read-own']
                WHEN action = 'read' THEN ARRAY['read-team']
                WHEN action = 'approve' AND n / 100 % 31 = 0 THEN ARRAY['approve-team', 'approve-as-delegate']
                ELSE ARRAY[action || '-team'] END,
           1 + (n * 12 / $3)::int, md5('request' || n),
           CASE WHEN list THEN ARRAY(SELECT md5('sheet' || (owner * 50 + nth))::uuid FROM generate_series(0, 9) nth)
                WHEN action = 'read' AND NOT denied THEN ARRAY[sheet] ELSE '{}' END,
           CASE WHEN n % 1000 = 3 THEN ARRAY['scheduler'] WHEN n % 5000 = 4 THEN ARRAY['gateway', 'scheduler'] END,
           convert_to('{"kind":"' || kind || '","n":' || n || behalf || ',"x":"' || repeat(md5(n::text), 15) || '"}',
                      'UTF8')
    FROM (SELECT n, part, owner, sheet, moment, list, person, client, action, kinds,
                 CASE WHEN part IN (90, 92, 94, 96, 98) THEN 'change' ELSE 'decision' END AS kind,
                 part = 97 OR (part < 60 AND h % 40 = 0) OR (action = 'approve' AND owner = person) AS denied,
                 CASE WHEN action = 'approve' AND n / 100 % 31 = 0
                      THEN ',"on_behalf_of":"' || md5('person' || owner / 10 * 10)::uuid || '"' ELSE '' END AS behalf,
                 action = 'approve' AND owner = person AS own_approval
          FROM (SELECT n, part, h, owner, moment, part BETWEEN 62 AND 81 AS list,
                       md5('sheet' || (owner * 50 + h / 7 % 50))::uuid AS sheet,
                       CASE WHEN part >= 91 AND part <= 92 AND h % 50 <> 0 THEN owner / 10 * 10
                            WHEN part BETWEEN 40 AND 61 THEN owner / 10 * 10 ELSE owner END AS person,
                       CASE WHEN h % 100000 = 7 THEN 'rare-job' WHEN h % 10 = 0 THEN 'payroll-import' ELSE 'web' END
                           AS client,
                       CASE WHEN part IN (91, 92) THEN 'approve' WHEN part IN (95, 96) THEN 'submit'
                            WHEN part = 99 AND h % 20 = 0 THEN 'reopen' WHEN part = 98 AND h % 20 = 0 THEN 'reopen'
                            WHEN part IN (89, 90, 93, 94, 97, 98, 99) THEN 'edit'
                            ELSE 'read' END AS action,
                       'timesheet' AS kinds
                FROM (SELECT n, n % 100 AS part, h, (h / 100 % 5000)::int AS owner,
                             '2025-11-01 00:00Z'::timestamptz + n * (interval '365 days' / $3::bigint) AS moment
                      FROM (SELECT n, abs(hashint8(n))::bigint AS h FROM generate_series($1::bigint, $2::bigint) n) AS a
                     ) AS b) AS c) AS d
"""


async def generate(connection: asyncpg.Connection[asyncpg.Record], total: int, *, step: int = 500_000) -> None:
    """Insert `total` records, `step` in a transaction, then analyze. `connection` is the owner's."""
    for first in range(0, total, step):
        await connection.execute(GENERATE, first, min(first + step, total) - 1, total, timeout=3600)
    await connection.execute("VACUUM (ANALYZE) audit_record", timeout=3600)
