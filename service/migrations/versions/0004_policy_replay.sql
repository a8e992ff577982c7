-- Replays of recorded decisions, with the rights of each role. Run as timewarden_owner.

-- A job: decide recorded requests again, under `version`, or, without one, each under the version that decided it. The
-- app asks for it, a keeper does it. `cursor` is the id of the last record that `totals` counts: both change in one
-- statement, so that a job that another keeper goes on with counts nothing twice. A claim holds while `claimed_at` is
-- young; `attempts` counts claims since the last progress. No foreign key leaves the log, nor enters it from here.
CREATE TABLE policy_replay (
    id            uuid PRIMARY KEY,
    version       integer REFERENCES policy_version,
    since         timestamptz,
    until         timestamptz,
    action        text CHECK (char_length(action) BETWEEN 1 AND 64),
    resource_kind text CHECK (char_length(resource_kind) BETWEEN 1 AND 64),
    state         text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    by_person     uuid,
    by_client     text NOT NULL,
    asked_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at    timestamptz,
    ended_at      timestamptz,
    first_id      bigint,
    last_id       bigint,
    cursor        bigint,
    totals        jsonb NOT NULL DEFAULT '{}',
    problem       text CHECK (char_length(problem) BETWEEN 1 AND 500),
    attempts      integer NOT NULL DEFAULT 0,
    claimed_by    uuid,
    claimed_at    timestamptz
);
CREATE INDEX policy_replay_open ON policy_replay (asked_at) WHERE state IN ('queued', 'running');
CREATE INDEX policy_replay_ended ON policy_replay (ended_at) WHERE ended_at IS NOT NULL;

GRANT SELECT ON policy_replay TO timewarden_app, timewarden_keeper, timewarden_auditor;
GRANT INSERT (id, version, since, until, action, resource_kind, by_person, by_client) ON policy_replay TO timewarden_app;
-- The app cancels jobs, and removes those that ended long ago.
GRANT UPDATE (state, ended_at), DELETE ON policy_replay TO timewarden_app;
GRANT UPDATE (state, started_at, ended_at, first_id, last_id, cursor, totals, problem, attempts, claimed_by, claimed_at)
    ON policy_replay TO timewarden_keeper;
GRANT SELECT ON policy_version TO timewarden_keeper;
