-- What a policy version went through, and which API processes live. Run as timewarden_owner.

-- Each time that a version became the one that decides. Append-only; `step` has no gaps. `returns_to` is the step that a
-- rollback goes back to: the one before, or, after a rollback, whatever lay below the step that was gone back to. So two
-- rollbacks go back twice, and never to what the first one left. by_client is `system` for the first version.
CREATE TABLE policy_activation (
    step         bigint PRIMARY KEY CHECK (step > 0),
    number       integer NOT NULL REFERENCES policy_version,
    previous     integer REFERENCES policy_version,
    way          text NOT NULL CHECK (way IN ('first', 'activate', 'rollback')),
    returns_to   bigint REFERENCES policy_activation,
    by_person    uuid,
    by_client    text NOT NULL,
    decision_uid uuid,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (returns_to < step),
    CHECK ((way = 'first') = (previous IS NULL))
);
CREATE INDEX policy_activation_number ON policy_activation (number, step);

-- What happened before this table was there, from the log: the first version, and every activation.
INSERT INTO policy_activation (step, number, previous, way, returns_to, by_person, by_client, decision_uid, at)
SELECT row_number() OVER told, number, lag(number) OVER told,
       CASE WHEN row_number() OVER told = 1 THEN 'first' ELSE 'activate' END,
       nullif(row_number() OVER told - 1, 0), by_person, by_client, decision_uid, at
FROM (
    SELECT id, at,
           CASE kind WHEN 'system' THEN body #>> '{policy,version}' ELSE body #>> '{change,to,active}' END::integer
               AS number,
           (body #>> '{principal,person}')::uuid AS by_person,
           coalesce(body #>> '{principal,client}', 'system') AS by_client,
           (body ->> 'decision')::uuid AS decision_uid
    FROM (SELECT id, at, kind, convert_from(body, 'UTF8')::jsonb AS body
          FROM audit_record WHERE kind IN ('policy', 'system') AND action = 'activate') AS record
    WHERE body ->> 'event' = 'policy.bootstrapped' OR body #>> '{change,type}' = 'policy.activated'
) AS activation
WHERE EXISTS (SELECT FROM policy_head) AND EXISTS (SELECT FROM policy_version AS v WHERE v.number = activation.number)
WINDOW told AS (ORDER BY id);

-- Where the log does not tell of it, the version that decides now is the least that is known.
INSERT INTO policy_activation (step, number, previous, way, returns_to, by_client, at)
SELECT coalesce(last.step, 0) + 1, head.active, last.number,
       CASE WHEN last.step IS NULL THEN 'first' ELSE 'activate' END, last.step, 'system', head.activated_at
FROM policy_head AS head
LEFT JOIN (SELECT step, number FROM policy_activation ORDER BY step DESC LIMIT 1) AS last ON true
WHERE last.number IS DISTINCT FROM head.active;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON policy_activation
    FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON policy_activation EXECUTE FUNCTION refuse_rewriting();

-- The API processes that live: the words that their code knows, and the version that each decided by when it last
-- spoke. A row is no truth about anything but that: one that stopped speaking is left out, and swept away later.
CREATE TABLE api_replica (
    id             uuid PRIMARY KEY,
    words          text[] NOT NULL CHECK (cardinality(words) BETWEEN 1 AND 10000),
    policy_version integer,
    started_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at        timestamptz NOT NULL DEFAULT clock_timestamp()
);

GRANT SELECT ON policy_activation TO timewarden_app, timewarden_auditor;
GRANT INSERT (step, number, previous, way, returns_to, by_person, by_client, decision_uid)
    ON policy_activation TO timewarden_app;
GRANT SELECT, DELETE ON api_replica TO timewarden_app;
GRANT INSERT (id, words, policy_version) ON api_replica TO timewarden_app;
GRANT UPDATE (policy_version, seen_at) ON api_replica TO timewarden_app;
GRANT SELECT ON api_replica TO timewarden_auditor;
