-- Who leads a project, and what the directory holds about a caller. Run as timewarden_owner.

-- Half-open in time: [valid_from, valid_to). Ended, never deleted.
CREATE TABLE project_lead (
    id         uuid PRIMARY KEY,
    project    text NOT NULL REFERENCES project,
    person_id  uuid NOT NULL REFERENCES person,
    valid_from timestamptz NOT NULL,
    valid_to   timestamptz NOT NULL DEFAULT 'infinity',
    CONSTRAINT project_lead_period CHECK (valid_from <= valid_to)
);
CREATE INDEX project_lead_person ON project_lead (person_id, project);
CREATE INDEX project_lead_project ON project_lead (project, person_id);
CREATE INDEX project_lead_valid_from ON project_lead (valid_from);
CREATE INDEX project_lead_valid_to ON project_lead (valid_to);

CREATE TRIGGER counted AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON project_lead
    FOR EACH STATEMENT EXECUTE FUNCTION count_directory_change();

GRANT SELECT, INSERT ON project_lead TO timewarden_app;
GRANT UPDATE (valid_to) ON project_lead TO timewarden_app;
GRANT SELECT ON project_lead TO timewarden_auditor;

-- Entries name the codes of projects: from a lead to the weeks with hours on their projects, the newest first.
CREATE INDEX entry_project ON entry (project, day, timesheet_id);

-- What the directory holds about a person now, by their canonical id. All lists are in order and without repetitions.
-- `teams` are those that the person is a member or lead of. plpgsql keeps the plan.
CREATE FUNCTION caller_attributes(caller uuid) RETURNS jsonb LANGUAGE plpgsql STABLE
SET search_path = public, pg_temp AS $$
DECLARE
    moment timestamptz := statement_timestamp();
    canonical uuid := coalesce((SELECT m.into_id FROM merged_person m WHERE m.person_id = caller), caller);
BEGIN
    RETURN jsonb_build_object(
        'attributes', coalesce((SELECT p.attributes FROM person p WHERE p.id = canonical), '{}'),
        'groups', to_jsonb(ARRAY(
            SELECT DISTINCT held.group_name COLLATE "C" FROM group_member held
            WHERE held.person_id = canonical AND held.valid_from <= moment AND moment < held.valid_to ORDER BY 1)),
        'teams', to_jsonb(ARRAY(
            SELECT DISTINCT held.team_id FROM membership held
            WHERE held.person_id = canonical AND held.valid_from <= moment AND moment < held.valid_to ORDER BY 1)),
        'projects_led', to_jsonb(ARRAY(
            SELECT DISTINCT held.project COLLATE "C" FROM project_lead held
            WHERE held.person_id = canonical AND held.valid_from <= moment AND moment < held.valid_to ORDER BY 1)));
END
$$;
REVOKE ALL ON FUNCTION caller_attributes(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION caller_attributes(uuid) TO timewarden_app;

-- As before, with members of groups and leads of projects.
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
        (SELECT min(until) FROM former_person WHERE until > moment)), 'infinity');
END
$$;

CREATE OR REPLACE FUNCTION analyze_directory() RETURNS void LANGUAGE sql SECURITY DEFINER
SET search_path = public, pg_temp AS
'ANALYZE person, person_link, person_role, team, team_path, membership, project, person_group, group_member, project_lead';
