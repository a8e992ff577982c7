-- Nobody overwrites what they have not seen: people, teams and projects have versions. Run as timewarden_owner.

ALTER TABLE person ADD COLUMN version integer NOT NULL DEFAULT 1;
ALTER TABLE team ADD COLUMN version integer NOT NULL DEFAULT 1;
ALTER TABLE project ADD COLUMN version integer NOT NULL DEFAULT 1;

-- Whatever changes a row, by hand, by an import, by a merge or by an erasure, makes its next version.
CREATE FUNCTION next_version() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    NEW.version := OLD.version + 1;
    RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION next_version() FROM PUBLIC;
CREATE TRIGGER next_version BEFORE UPDATE ON person
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION next_version();
CREATE TRIGGER next_version BEFORE UPDATE ON team
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION next_version();
CREATE TRIGGER next_version BEFORE UPDATE ON project
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION next_version();

-- When a sheet was handed in last; when and by whom, a person or a client for itself, it was approved or rejected.
-- What was decided before is in the log.
ALTER TABLE timesheet
    ADD COLUMN submitted_at timestamptz,
    ADD COLUMN decided_at timestamptz,
    ADD COLUMN decided_by uuid,
    ADD COLUMN decided_by_client text;
-- What waits was handed in when it was last changed.
UPDATE timesheet SET submitted_at = updated_at WHERE state = 'submitted';

-- A second project is not told apart from the first by case alone. Not unique: there may be such already.
CREATE INDEX project_code_without_case ON project (lower(code));
