-- Processes notice a restored directory, also if they keep their connections. Run as timewarden_owner.

-- Which directory it is: another value after every change. Random, so that no value comes back after a restore, as the
-- next number of the revision does. In the same row, so that it costs no further lookup.
ALTER TABLE directory_revision ADD COLUMN state uuid NOT NULL DEFAULT gen_random_uuid();

-- Each increment of the revision changes the state: by the triggers of the directory, by the service, also the release
-- before, and by an operator.
CREATE FUNCTION renew_directory_state() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    NEW.state := gen_random_uuid();
    RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION renew_directory_state() FROM PUBLIC;

CREATE TRIGGER renewed BEFORE UPDATE ON directory_revision FOR EACH ROW EXECUTE FUNCTION renew_directory_state();
-- An operator may increment the revision in the session in which no other trigger fired.
ALTER TABLE directory_revision ENABLE ALWAYS TRIGGER renewed;
