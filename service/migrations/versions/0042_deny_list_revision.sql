-- Processes may remember that a token is not in the deny list for as long as no entry is added. Run as timewarden_owner.

CREATE TABLE revocation_revision (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    revision bigint NOT NULL
);
INSERT INTO revocation_revision (revision) VALUES (1);
GRANT SELECT ON revocation_revision TO timewarden_app;

-- Every entry increments the revision, whoever adds it. An entry that is removed changes nothing: a token that was not in
-- the list is still not in it.
CREATE FUNCTION count_revocation() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE revocation_revision SET revision = revision + 1;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION count_revocation() FROM PUBLIC;

-- Deferred to the commit, so that no revocation waits for a transaction that has more to do, such as an erasure.
CREATE CONSTRAINT TRIGGER revision_at_commit AFTER INSERT OR UPDATE ON revocation
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION count_revocation();
