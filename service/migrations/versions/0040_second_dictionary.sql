-- A second dictionary for packed records. Run as timewarden_owner.

-- The dictionary that packs new records (service/log/packing.py), which is also the first byte of their `body`. A log
-- that the release before may still seal keeps the first; `open_log` gives a new log the newest.
ALTER TABLE log_head ADD COLUMN packing smallint NOT NULL DEFAULT 1 CHECK (packing > 0);

-- A sealer of the release before does not know that records of a later dictionary are packed, and would seal the hash of
-- the packed bytes as their leaf. With this code of error it reports the sentence and goes on trying.
CREATE FUNCTION refuse_older_sealer() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NEW.packing > coalesce(nullif(current_setting('timewarden.reads_packing', true), ''), '1')::smallint THEN
        RAISE EXCEPTION 'records are packed with dictionary %, which this keeper cannot read: start a newer one', NEW.packing
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER sealed_by_a_reader BEFORE UPDATE OF tree_size ON log_head FOR EACH ROW
    WHEN (NEW.packing > 1 AND NEW.tree_size > OLD.tree_size) EXECUTE FUNCTION refuse_older_sealer();
