-- Access requests: a person asks for a relation to a team or a project for a time. Run as timewarden_owner.

-- Decided once, never deleted. Access is in force in [valid_from, valid_to), which a grant sets and an end shortens.
-- `reason` and `decision_reason` are texts that an erasure removes. `decision_id` is the refusal that led to it.
CREATE TABLE access_request (
    id                uuid PRIMARY KEY,
    relation          text NOT NULL,
    team_id           uuid REFERENCES team,
    project           text REFERENCES project,
    person_id         uuid NOT NULL REFERENCES person,
    decision_id       uuid,
    reason            text,
    requested_at      timestamptz NOT NULL DEFAULT statement_timestamp(),
    requested_from    timestamptz NOT NULL,
    requested_until   timestamptz NOT NULL,
    state             text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'granted', 'declined', 'withdrawn', 'ended')),
    decided_at        timestamptz,
    decided_by        uuid,
    decided_by_client text,
    decision_reason   text,
    valid_from        timestamptz,
    valid_to          timestamptz,
    CONSTRAINT access_request_subject CHECK ((team_id IS NULL) <> (project IS NULL)),
    CONSTRAINT access_request_period CHECK (requested_from < requested_until),
    CONSTRAINT access_request_validity CHECK (
        (valid_from IS NULL) = (valid_to IS NULL) AND (valid_from IS NOT NULL) = (state IN ('granted', 'ended'))
        AND valid_from <= valid_to AND valid_to <= requested_until)
);
-- From a person to their access, and to their requests.
CREATE INDEX access_request_person ON access_request (person_id, id);
CREATE INDEX access_request_team ON access_request (team_id, relation, person_id) WHERE team_id IS NOT NULL;
CREATE INDEX access_request_project ON access_request (project, relation, person_id) WHERE project IS NOT NULL;
CREATE INDEX access_request_open ON access_request (id) WHERE state = 'open';
CREATE INDEX access_request_valid_from ON access_request (valid_from);
CREATE INDEX access_request_valid_to ON access_request (valid_to);

-- Only access changes relations, so only that makes processes forget what they remember of the directory: whoever may
-- ask for access cannot slow others down by asking.
CREATE TRIGGER counted_insert AFTER INSERT ON access_request
    FOR EACH ROW WHEN (NEW.valid_from IS NOT NULL) EXECUTE FUNCTION count_directory_change();
CREATE TRIGGER counted_update AFTER UPDATE ON access_request
    FOR EACH ROW WHEN (OLD.valid_from IS NOT NULL OR NEW.valid_from IS NOT NULL)
    EXECUTE FUNCTION count_directory_change();
CREATE TRIGGER counted_delete AFTER DELETE ON access_request
    FOR EACH ROW WHEN (OLD.valid_from IS NOT NULL) EXECUTE FUNCTION count_directory_change();
CREATE TRIGGER counted_truncate AFTER TRUNCATE ON access_request
    FOR EACH STATEMENT EXECUTE FUNCTION count_directory_change();

GRANT SELECT, INSERT ON access_request TO timewarden_app;
-- A merge moves open requests and access to the remaining person.
GRANT UPDATE (person_id, reason, state, decided_at, decided_by, decided_by_client, decision_reason, valid_from, valid_to)
    ON access_request TO timewarden_app;
GRANT SELECT ON access_request TO timewarden_auditor;

-- As before, with access requests.
CREATE OR REPLACE FUNCTION next_validity_change() RETURNS timestamptz LANGUAGE plpgsql STABLE
SET search_path = public, pg_temp AS $$
DECLARE
    moment timestamptz := statement_timestamp();
BEGIN
    RETURN nullif(least(
        (SELECT min(valid_from) FROM membership WHERE valid_from > moment),
        (SELECT min(valid_to) FROM membership WHERE valid_to > moment),
        (SELECT min(valid_from) FROM person_role WHERE valid_from > moment),
        (SELECT min(valid_to) FROM person_role WHERE valid_to > moment),
        (SELECT min(valid_from) FROM group_member WHERE valid_from > moment),
        (SELECT min(valid_to) FROM group_member WHERE valid_to > moment),
        (SELECT min(valid_from) FROM project_lead WHERE valid_from > moment),
        (SELECT min(valid_to) FROM project_lead WHERE valid_to > moment),
        (SELECT min(valid_from) FROM importer_grant WHERE valid_from > moment),
        (SELECT min(valid_to) FROM importer_grant WHERE valid_to > moment),
        (SELECT min(valid_from) FROM delegation WHERE valid_from > moment),
        (SELECT min(valid_to) FROM delegation WHERE valid_to > moment),
        (SELECT min(valid_from) FROM fallback_approver WHERE valid_from > moment),
        (SELECT min(valid_to) FROM fallback_approver WHERE valid_to > moment),
        (SELECT min(valid_from) FROM access_request WHERE valid_from > moment),
        (SELECT min(valid_to) FROM access_request WHERE valid_to > moment),
        (SELECT min(until) FROM former_person WHERE until > moment)), 'infinity');
END
$$;

-- As before, with the records of directory changes that belong to a person: those of their access requests.
CREATE OR REPLACE FUNCTION records_about(person uuid) RETURNS SETOF uuid LANGUAGE sql STABLE
SET search_path = public, pg_temp
BEGIN ATOMIC
    SELECT r.uid FROM unnest(ids_of_person(person)) AS one (id) JOIN audit_record r ON r.owner_id = one.id
        WHERE r.owner_id IS DISTINCT FROM r.person_id AND r.kind IN ('change', 'directory')
    UNION ALL
    SELECT r.uid FROM unnest(ids_of_person(person)) AS one (id) JOIN audit_record r ON r.person_id = one.id
        WHERE r.owner_id = r.person_id AND r.kind IN ('change', 'directory')
    UNION ALL
    SELECT r.uid FROM unnest(ids_of_person(person)) AS one (id) JOIN audit_record r ON r.resource_id = one.id::text
        WHERE r.kind = 'directory';
END;

CREATE OR REPLACE FUNCTION analyze_directory() RETURNS void LANGUAGE sql SECURITY DEFINER
SET search_path = public, pg_temp AS
'ANALYZE person, person_link, person_role, team, team_path, membership, project, person_group, group_member, project_lead, access_request';
