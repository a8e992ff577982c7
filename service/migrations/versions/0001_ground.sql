-- Directory, policy, timesheets and the audit log, with the rights of each role.
-- Run as timewarden_owner. Privileges are granted column by column where the log depends on it.

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO timewarden_app, timewarden_keeper, timewarden_auditor;

-- ── Directory: people, the tree of teams, memberships, roles, grants to importing clients ──────────────────────────

-- A human. Made on first valid use of a token, or beforehand by the directory.
CREATE TABLE person (
    id           uuid PRIMARY KEY,
    display_name text CHECK (char_length(display_name) BETWEEN 1 AND 200),
    email        text CHECK (char_length(email) BETWEEN 3 AND 320),
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Which tokens speak for a person; a person may have any number.
CREATE TABLE person_link (
    issuer     text NOT NULL,
    subject    text NOT NULL,
    person_id  uuid NOT NULL REFERENCES person,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX person_link_person ON person_link (person_id);

CREATE TABLE team (
    id        uuid PRIMARY KEY,
    name      text NOT NULL UNIQUE CHECK (char_length(name) BETWEEN 1 AND 120),
    parent_id uuid REFERENCES team,
    CHECK (parent_id <> id)
);
CREATE INDEX team_parent ON team (parent_id);

-- The closure of the tree, kept by the directory in the same transaction as `team`: every team is its own ancestor.
CREATE TABLE team_path (
    ancestor_id   uuid NOT NULL REFERENCES team,
    descendant_id uuid NOT NULL REFERENCES team,
    depth         integer NOT NULL CHECK (depth >= 0),
    PRIMARY KEY (ancestor_id, descendant_id)
);
CREATE INDEX team_path_descendant ON team_path (descendant_id, ancestor_id);

-- Who belongs to a team or leads it, half-open in time: [valid_from, valid_to). Ended, never deleted.
CREATE TABLE membership (
    id         uuid PRIMARY KEY,
    person_id  uuid NOT NULL REFERENCES person,
    team_id    uuid NOT NULL REFERENCES team,
    part       text NOT NULL CHECK (part IN ('member', 'lead')),
    valid_from timestamptz NOT NULL,
    valid_to   timestamptz NOT NULL DEFAULT 'infinity',
    CHECK (valid_from < valid_to)
);
CREATE INDEX membership_person ON membership (person_id, part, team_id);
CREATE INDEX membership_team ON membership (team_id, part, person_id);

-- Roles that the directory gives, beside those of the token.
CREATE TABLE person_role (
    person_id  uuid NOT NULL REFERENCES person,
    role       text NOT NULL CHECK (role ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    valid_from timestamptz NOT NULL,
    valid_to   timestamptz NOT NULL DEFAULT 'infinity',
    CHECK (valid_from < valid_to),
    PRIMARY KEY (person_id, role, valid_from)
);

-- Which client may upload hours for the members of a team and of the teams below it.
CREATE TABLE importer_grant (
    id         uuid PRIMARY KEY,
    client_id  text NOT NULL CHECK (char_length(client_id) BETWEEN 1 AND 255),
    team_id    uuid NOT NULL REFERENCES team,
    valid_from timestamptz NOT NULL,
    valid_to   timestamptz NOT NULL DEFAULT 'infinity',
    CHECK (valid_from < valid_to)
);
CREATE INDEX importer_grant_client ON importer_grant (client_id, team_id);

-- Counts the changes of the directory, so that a record can say which state of it was seen.
CREATE TABLE directory_revision (
    one      boolean PRIMARY KEY DEFAULT true CHECK (one),
    revision bigint NOT NULL
);
INSERT INTO directory_revision (revision) VALUES (0);

-- ── Policy versions ────────────────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE policy_version (
    number        integer PRIMARY KEY CHECK (number > 0),
    digest        text NOT NULL CHECK (digest ~ '^[0-9a-f]{64}$'),
    parent        integer REFERENCES policy_version,
    model         text NOT NULL,
    rules         text NOT NULL,
    vocabulary    text NOT NULL,
    cases         jsonb NOT NULL,
    message       text NOT NULL CHECK (char_length(message) BETWEEN 1 AND 500),
    author_person uuid,
    author_client text NOT NULL,
    proposed_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Which version decides. Absent until `timewarden policy bootstrap`.
CREATE TABLE policy_head (
    one          boolean PRIMARY KEY DEFAULT true CHECK (one),
    active       integer NOT NULL REFERENCES policy_version,
    activated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- ── Timesheets ─────────────────────────────────────────────────────────────────────────────────────────────────────

-- One person's week. `version` grows by one with each change and is the ETag.
-- editors are all the people who ever wrote in it or handed it in, uploaders all the clients that did so for themselves;
-- they only ever grow: the law against approving one's own hours reads them.
CREATE TABLE timesheet (
    id           uuid PRIMARY KEY,
    owner_id     uuid NOT NULL REFERENCES person,
    period_start date NOT NULL CHECK (extract(isodow FROM period_start) = 1),
    period_end   date NOT NULL,
    time_zone    text NOT NULL,
    state        text NOT NULL CHECK (state IN ('draft', 'submitted', 'approved', 'rejected')),
    version      integer NOT NULL CHECK (version > 0),
    editors      uuid[] NOT NULL DEFAULT '{}',
    uploaders    text[] NOT NULL DEFAULT '{}',
    reason       text CHECK (char_length(reason) BETWEEN 1 AND 1000),
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (period_end = period_start + 6),
    UNIQUE (owner_id, period_start)
);
CREATE INDEX timesheet_period ON timesheet (period_start DESC, id DESC);
CREATE INDEX timesheet_owner_period ON timesheet (owner_id, period_start DESC, id DESC);

-- A day's minutes on a project. external_ref is the importing job's own name for the row.
CREATE TABLE entry (
    id           uuid PRIMARY KEY,
    timesheet_id uuid NOT NULL REFERENCES timesheet ON DELETE CASCADE,
    day          date NOT NULL,
    project      text NOT NULL CHECK (char_length(project) BETWEEN 1 AND 40),
    minutes      integer NOT NULL CHECK (minutes BETWEEN 1 AND 1440),
    note         text CHECK (char_length(note) BETWEEN 1 AND 500),
    external_ref text CHECK (char_length(external_ref) BETWEEN 1 AND 100),
    uploader     text,
    UNIQUE (timesheet_id, day, project, external_ref)
);
CREATE INDEX entry_timesheet ON entry (timesheet_id, day, id);

-- ── The audit log ──────────────────────────────────────────────────────────────────────────────────────────────────

-- Append-only. `body` holds the canonical bytes (RFC 8785 JSON) and is the Merkle leaf; the other columns are copies of
-- it that people search by. id, xid and at are set by the database alone. No foreign key leaves this table: one to a
-- sheet would make a denial wait for the very lock that its request holds.
CREATE TABLE audit_record (
    id             bigint GENERATED ALWAYS AS IDENTITY (CACHE 1),
    xid            xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at             timestamptz NOT NULL DEFAULT clock_timestamp(),
    uid            uuid NOT NULL,
    kind           text NOT NULL CHECK (kind IN ('decision', 'change', 'policy', 'directory', 'access', 'system')),
    decision_uid   uuid,
    decided_at     timestamptz,
    person_id      uuid,
    client_id      text,
    action         text,
    resource_kind  text,
    resource_id    text,
    owner_id       uuid,
    outcome        text CHECK (outcome IN ('allow', 'deny')),
    applied        boolean,
    reason         text,
    rules          text[] NOT NULL DEFAULT '{}',
    policy_version integer,
    request_id     text,
    returned       uuid[] NOT NULL DEFAULT '{}',
    body           bytea NOT NULL CHECK (octet_length(body) BETWEEN 2 AND 65535),
    leaf           bytea NOT NULL GENERATED ALWAYS AS (sha256('\x00'::bytea || body)) STORED,
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);
CREATE TABLE audit_record_0 PARTITION OF audit_record FOR VALUES FROM (MINVALUE) TO (100000000);
CREATE TABLE audit_record_rest PARTITION OF audit_record DEFAULT;
CREATE INDEX audit_record_xid ON audit_record (xid);
CREATE INDEX audit_record_uid ON audit_record (uid);
CREATE INDEX audit_record_person ON audit_record (person_id, id);
CREATE INDEX audit_record_resource ON audit_record (resource_id, id);
CREATE INDEX audit_record_returned ON audit_record USING gin (returned);

-- Free texts that a record commits to (salted), beside the log so that they can be erased.
CREATE TABLE audit_text (
    record_uid uuid NOT NULL,
    field      text NOT NULL,
    salt       bytea NOT NULL CHECK (octet_length(salt) = 16),
    value      text NOT NULL,
    PRIMARY KEY (record_uid, field)
);

-- Where a record stands in the sealed log: gapless from 0.
CREATE TABLE audit_position (
    position  bigint PRIMARY KEY CHECK (position >= 0),
    record_id bigint NOT NULL UNIQUE
);

-- The sealer's one row: how long the sealed log is. low_xid only bounds the scan for unsealed rows; edge and root are
-- the right edge and root of the tree, empty until the tree is grown.
CREATE TABLE log_head (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch   uuid NOT NULL,
    size    bigint NOT NULL CHECK (size >= 0),
    low_xid xid8 NOT NULL,
    edge    bytea[] NOT NULL DEFAULT '{}',
    root    bytea
);

-- C2SP tiles of the tree over the leaves, and the checkpoints signed over its root.
CREATE TABLE tile (
    level  smallint NOT NULL CHECK (level BETWEEN 0 AND 63),
    index  bigint NOT NULL CHECK (index >= 0),
    width  smallint NOT NULL CHECK (width BETWEEN 1 AND 256),
    hashes bytea NOT NULL CHECK (octet_length(hashes) = width * 32),
    PRIMARY KEY (level, index)
);
CREATE TABLE checkpoint (
    size bigint PRIMARY KEY CHECK (size > 0),
    root bytea NOT NULL CHECK (octet_length(root) = 32),
    note text,
    at   timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What the keeper's parts last said of themselves, for readiness and for people.
CREATE TABLE keeper_status (
    part   text PRIMARY KEY CHECK (part IN ('sealer', 'relay')),
    ready  boolean NOT NULL,
    detail text NOT NULL,
    at     timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Whoever tries to change the past is told so, the owner of the tables included.
CREATE FUNCTION refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit_record FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON audit_record EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON audit_record_0 EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON audit_record_rest EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit_position FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON audit_position EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON policy_version FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON policy_version EXECUTE FUNCTION refuse_rewriting();
REVOKE ALL ON FUNCTION refuse_rewriting() FROM PUBLIC;

-- ── Rights ─────────────────────────────────────────────────────────────────────────────────────────────────────────

-- The app: works on directory, policy and sheets; into the log it only inserts, and never id, xid or at.
GRANT SELECT, INSERT, UPDATE ON person, team, membership, person_role, importer_grant TO timewarden_app;
GRANT SELECT, INSERT ON person_link TO timewarden_app;
GRANT SELECT, INSERT, DELETE ON team_path TO timewarden_app;
GRANT SELECT, UPDATE ON directory_revision TO timewarden_app;
GRANT SELECT, INSERT ON policy_version TO timewarden_app;
GRANT SELECT ON policy_head TO timewarden_app;
GRANT UPDATE (active, activated_at) ON policy_head TO timewarden_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON timesheet, entry TO timewarden_app;
GRANT SELECT ON audit_record, audit_position, audit_text, log_head, tile, checkpoint, keeper_status TO timewarden_app;
GRANT INSERT (uid, kind, decision_uid, decided_at, person_id, client_id, action, resource_kind, resource_id, owner_id,
              outcome, applied, reason, rules, policy_version, request_id, returned, body)
    ON audit_record TO timewarden_app;
GRANT INSERT ON audit_text TO timewarden_app;

-- The keeper: reads the log, gives positions, grows the tree; it cannot write a record.
GRANT SELECT ON audit_record, audit_position, audit_text, log_head, tile, checkpoint, keeper_status TO timewarden_keeper;
GRANT INSERT ON audit_position, tile, checkpoint, keeper_status TO timewarden_keeper;
GRANT UPDATE (size, low_xid, edge, root) ON log_head TO timewarden_keeper;
GRANT UPDATE (width, hashes) ON tile TO timewarden_keeper;
GRANT UPDATE (note) ON checkpoint TO timewarden_keeper;
GRANT UPDATE (ready, detail, at) ON keeper_status TO timewarden_keeper;

-- The auditor: reads.
GRANT SELECT ON ALL TABLES IN SCHEMA public TO timewarden_auditor;
REVOKE SELECT ON person_link FROM timewarden_auditor;
