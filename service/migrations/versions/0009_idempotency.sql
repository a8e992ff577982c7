-- Answers kept under idempotency keys, reminders, and what waits for approval. Run as timewarden_owner.

-- The answer of a change that was made under an idempotency key, kept for 24 hours. `name` is the hash of who asked,
-- with which key, for which method and path; `fingerprint` that of the whole request.
CREATE TABLE kept_answer (
    name         bytea PRIMARY KEY CHECK (octet_length(name) = 32),
    fingerprint  bytea NOT NULL CHECK (octet_length(fingerprint) = 32),
    kind         text NOT NULL,
    action       text NOT NULL,
    resources    uuid[] NOT NULL,
    owner_id     uuid,
    decision_uid uuid NOT NULL,
    status       smallint NOT NULL CHECK (status BETWEEN 200 AND 299),
    headers      text[] NOT NULL,
    body         bytea NOT NULL,
    at           timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX kept_answer_at ON kept_answer (at);

-- When an approver was last reminded of a sheet: no part of the sheet, whose version it leaves alone.
CREATE TABLE reminder (
    timesheet_id uuid PRIMARY KEY REFERENCES timesheet ON DELETE CASCADE,
    at           timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What waits for approval, oldest first: a submitted sheet is frozen, so it was handed in when it was last changed.
CREATE INDEX timesheet_waiting ON timesheet (updated_at, id) WHERE state = 'submitted';
CREATE INDEX timesheet_owner_waiting ON timesheet (owner_id, updated_at, id) WHERE state = 'submitted';

GRANT SELECT, INSERT, UPDATE, DELETE ON kept_answer, reminder TO timewarden_app;
