-- Processes may remember the directory for as long as nothing in it changes. Run as timewarden_owner.

-- Every statement that changes the directory increments its revision, whoever sends it. Removing expired rows of
-- former_person changes nothing: they ceased to count at their `until`.
CREATE FUNCTION count_directory_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE directory_revision SET revision = revision + 1;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION count_directory_change() FROM PUBLIC;

CREATE TRIGGER counted AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON person_link
    FOR EACH STATEMENT EXECUTE FUNCTION count_directory_change();
CREATE TRIGGER counted AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON membership
    FOR EACH STATEMENT EXECUTE FUNCTION count_directory_change();
CREATE TRIGGER counted AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON team_path
    FOR EACH STATEMENT EXECUTE FUNCTION count_directory_change();
CREATE TRIGGER counted AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON person_role
    FOR EACH STATEMENT EXECUTE FUNCTION count_directory_change();
CREATE TRIGGER counted AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON importer_grant
    FOR EACH STATEMENT EXECUTE FUNCTION count_directory_change();
CREATE TRIGGER counted AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON delegation
    FOR EACH STATEMENT EXECUTE FUNCTION count_directory_change();
CREATE TRIGGER counted AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON fallback_approver
    FOR EACH STATEMENT EXECUTE FUNCTION count_directory_change();
CREATE TRIGGER counted AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON merged_person
    FOR EACH STATEMENT EXECUTE FUNCTION count_directory_change();
CREATE TRIGGER counted AFTER INSERT OR UPDATE OR TRUNCATE ON former_person
    FOR EACH STATEMENT EXECUTE FUNCTION count_directory_change();

-- The next moment at which a validity in the directory begins or ends.
CREATE INDEX membership_valid_from ON membership (valid_from);
CREATE INDEX membership_valid_to ON membership (valid_to);
CREATE INDEX person_role_valid_from ON person_role (valid_from);
CREATE INDEX person_role_valid_to ON person_role (valid_to);
CREATE INDEX importer_grant_valid_from ON importer_grant (valid_from);
CREATE INDEX importer_grant_valid_to ON importer_grant (valid_to);
CREATE INDEX delegation_valid_from ON delegation (valid_from);
CREATE INDEX delegation_valid_to ON delegation (valid_to);
CREATE INDEX fallback_approver_valid_from ON fallback_approver (valid_from);
CREATE INDEX fallback_approver_valid_to ON fallback_approver (valid_to);

-- NULL if there is none. plpgsql keeps the plan, and each line reads the first entry of an index.
CREATE FUNCTION next_validity_change() RETURNS timestamptz LANGUAGE plpgsql STABLE
SET search_path = public, pg_temp AS $$
DECLARE
    moment timestamptz := statement_timestamp();
BEGIN
    RETURN nullif(least(
        (SELECT min(valid_from) FROM membership WHERE valid_from > moment),
        (SELECT min(valid_to) FROM membership WHERE valid_to > moment),
        (SELECT min(valid_from) FROM person_role WHERE valid_from > moment),
        (SELECT min(valid_to) FROM person_role WHERE valid_to > moment),
        (SELECT min(valid_from) FROM importer_grant WHERE valid_from > moment),
        (SELECT min(valid_to) FROM importer_grant WHERE valid_to > moment),
        (SELECT min(valid_from) FROM delegation WHERE valid_from > moment),
        (SELECT min(valid_to) FROM delegation WHERE valid_to > moment),
        (SELECT min(valid_from) FROM fallback_approver WHERE valid_from > moment),
        (SELECT min(valid_to) FROM fallback_approver WHERE valid_to > moment),
        (SELECT min(until) FROM former_person WHERE until > moment)), 'infinity');
END
$$;
REVOKE ALL ON FUNCTION next_validity_change() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION next_validity_change() TO timewarden_app;
