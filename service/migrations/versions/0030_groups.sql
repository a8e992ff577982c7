-- Groups of people, which policies name. Run as timewarden_owner.

-- A group is never deleted and keeps its name: policies and records name it.
CREATE TABLE person_group (
    name       text PRIMARY KEY CHECK (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Who is in a group, half-open in time: [valid_from, valid_to). Ended, never deleted.
CREATE TABLE group_member (
    id         uuid PRIMARY KEY,
    group_name text NOT NULL REFERENCES person_group,
    person_id  uuid NOT NULL REFERENCES person,
    valid_from timestamptz NOT NULL,
    valid_to   timestamptz NOT NULL DEFAULT 'infinity',
    CONSTRAINT group_member_period CHECK (valid_from <= valid_to)
);
CREATE INDEX group_member_person ON group_member (person_id, group_name);
CREATE INDEX group_member_group ON group_member (group_name, person_id);
CREATE INDEX group_member_valid_from ON group_member (valid_from);
CREATE INDEX group_member_valid_to ON group_member (valid_to);

CREATE TRIGGER counted AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON group_member
    FOR EACH STATEMENT EXECUTE FUNCTION count_directory_change();

GRANT SELECT, INSERT ON person_group, group_member TO timewarden_app;
GRANT UPDATE (valid_to) ON group_member TO timewarden_app;
GRANT SELECT ON person_group, group_member TO timewarden_auditor;
