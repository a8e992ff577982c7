-- Processes may remember that a token is not in the deny list for as long as no entry is added. Run as timewarden_owner.

-- Which list it is: another value after every entry. Random, so that no value comes back after a restore, as the next
-- number would.
CREATE TABLE revocation_revision (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    revision uuid NOT NULL
);
INSERT INTO revocation_revision (revision) VALUES (gen_random_uuid());
GRANT SELECT ON revocation_revision TO timewarden_app;

-- Every entry changes the revision, whoever adds it. An entry that is removed does not: a token that was not in the list
-- is still not in it.
CREATE FUNCTION note_revocation() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE revocation_revision SET revision = gen_random_uuid();
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION note_revocation() FROM PUBLIC;

-- Deferred to the commit, so that no revocation waits for a transaction that has more to do, such as an erasure.
CREATE CONSTRAINT TRIGGER noted_at_commit AFTER INSERT OR UPDATE ON revocation
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note_revocation();
-- Entries that arrive by logical replication count, too.
ALTER TABLE revocation ENABLE ALWAYS TRIGGER noted_at_commit;
