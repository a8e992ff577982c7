-- Smaller indexes of the log, and statistics after an import of the directory. Run as timewarden_owner.

-- Pages are ordered by (decided_at, id). Decisions that were made together have one decided_at, and most have the same
-- client, rule and policy version: without the id they are equal keys, which Postgres stores once. It sorts the few
-- records of one moment by id while it reads them.
DROP INDEX audit_record_client, audit_record_rule, audit_record_policy;
CREATE INDEX audit_record_client ON audit_record (client_id, decided_at);
CREATE INDEX audit_record_rule ON audit_record ((rules[1]), decided_at);
CREATE INDEX audit_record_policy ON audit_record (policy_version, decided_at);

-- Let Postgres count the rows of the directory. The app may not do so itself, since it does not own the tables.
CREATE FUNCTION analyze_directory() RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS
'ANALYZE person, person_link, person_role, team, team_path, membership';
REVOKE ALL ON FUNCTION analyze_directory() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION analyze_directory() TO timewarden_app;
