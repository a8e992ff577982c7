-- Processes remember the terms of projects too: whether they accept hours, their kind, activities and default. Run as
-- timewarden_owner.

-- Formerly only attributes counted. Names and versions still do not.
DROP TRIGGER counted ON project;
CREATE TRIGGER counted AFTER
    INSERT OR UPDATE OF code, active, kind, billable, activities, attributes OR DELETE OR TRUNCATE ON project
    FOR EACH STATEMENT EXECUTE FUNCTION count_directory_change();
