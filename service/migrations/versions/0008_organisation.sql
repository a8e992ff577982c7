-- Projects, deputies and fallback approvers, with the rights of each role. Run as timewarden_owner.

-- What hours are spent on. `code` is the word that entries use. A project is never deleted: one that is over is not
-- active, and takes no new hours.
CREATE TABLE project (
    code       text PRIMARY KEY CHECK (code ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$'),
    name       text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 200),
    active     boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What entries name already is a project, called by its code until somebody gives it a name.
INSERT INTO project (code, name) SELECT DISTINCT project, project FROM entry;

-- Who stands in for whom, half-open in time: [valid_from, valid_to). Ended, never deleted. It gives nothing by itself:
-- the deputy has what the manager has over others at that moment, and does not pass it on.
CREATE TABLE deputy_grant (
    id         uuid PRIMARY KEY,
    manager_id uuid NOT NULL REFERENCES person,
    deputy_id  uuid NOT NULL REFERENCES person,
    valid_from timestamptz NOT NULL,
    valid_to   timestamptz NOT NULL DEFAULT 'infinity',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT deputy_grant_period CHECK (valid_from < valid_to),
    CONSTRAINT deputy_grant_two_people CHECK (manager_id <> deputy_id)
);
CREATE INDEX deputy_grant_deputy ON deputy_grant (deputy_id, manager_id);
CREATE INDEX deputy_grant_manager ON deputy_grant (manager_id, deputy_id);

-- Who approves for those above whom nobody leads: in a team and in those below it, or, without a team, everywhere.
CREATE TABLE fallback_approver (
    id         uuid PRIMARY KEY,
    person_id  uuid NOT NULL REFERENCES person,
    team_id    uuid REFERENCES team,
    valid_from timestamptz NOT NULL,
    valid_to   timestamptz NOT NULL DEFAULT 'infinity',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT fallback_approver_period CHECK (valid_from < valid_to)
);
CREATE INDEX fallback_approver_person ON fallback_approver (person_id, team_id);
CREATE INDEX fallback_approver_team ON fallback_approver (team_id, person_id);

GRANT SELECT, INSERT ON project, deputy_grant, fallback_approver TO timewarden_app;
GRANT UPDATE (name, active) ON project TO timewarden_app;
GRANT UPDATE (valid_to) ON deputy_grant, fallback_approver TO timewarden_app;
GRANT SELECT ON project, deputy_grant, fallback_approver TO timewarden_auditor;
