-- The tree over the sealed records, what guards it, and heartbeats.

-- How many leaves the tree has: as many as the log is long, fewer while a log sealed by an older release is caught up.
ALTER TABLE log_head
    ADD COLUMN tree_size bigint NOT NULL DEFAULT 0 CHECK (tree_size >= 0),
    ADD CHECK (tree_size <= size),
    ADD CHECK ((tree_size = 0) = (root IS NULL));
GRANT UPDATE (tree_size) ON log_head TO timewarden_keeper;

-- Hashes do not compress.
ALTER TABLE tile ALTER COLUMN hashes SET STORAGE EXTERNAL;

-- A tile only grows: what stands in it stays, as every proof given so far rests on it.
CREATE FUNCTION refuse_other_hashes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (new.level, new.index) IS DISTINCT FROM (old.level, old.index) OR new.width < old.width
        OR substr(new.hashes, 1, octet_length(old.hashes)) <> old.hashes THEN
        RAISE EXCEPTION 'a tile only grows' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN new;
END
$$;
CREATE TRIGGER only_grows BEFORE UPDATE ON tile FOR EACH ROW EXECUTE FUNCTION refuse_other_hashes();
CREATE TRIGGER append_only BEFORE DELETE ON tile FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON tile EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER append_only BEFORE DELETE ON checkpoint FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON checkpoint EXECUTE FUNCTION refuse_rewriting();
REVOKE ALL ON FUNCTION refuse_other_hashes() FROM PUBLIC;

-- Signing speaks for itself.
ALTER TABLE keeper_status
    DROP CONSTRAINT keeper_status_part_check,
    ADD CONSTRAINT keeper_status_part_check CHECK (part IN ('sealer', 'signer', 'relay'));

-- The one record that the keeper may write: that it was there, in a log that was silent for `silence`. The bytes are
-- RFC 8785 JSON: members in order, no spaces. Returns whether it was written.
CREATE FUNCTION write_heartbeat(silence interval, record_uid uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    now_is timestamptz := date_trunc('microseconds', clock_timestamp());
BEGIN
    PERFORM FROM public.log_head FOR UPDATE;
    -- In a statement of its own, so that it sees the heartbeat for whose writer the lock waited.
    IF EXISTS (
        SELECT FROM (SELECT at FROM public.audit_record ORDER BY id DESC LIMIT 1) AS newest
        WHERE newest.at > now_is - greatest(silence, interval '1 second')
    ) THEN
        RETURN false;
    END IF;
    INSERT INTO public.audit_record (uid, kind, decided_at, body)
    VALUES (record_uid, 'system', now_is, convert_to(format(
        '{"decided_at":"%s","event":"log.heartbeat","kind":"system","nonce":"%s","uid":"%s","v":1}',
        to_char(now_is AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        replace(gen_random_uuid()::text, '-', ''), record_uid), 'UTF8'));
    RETURN true;
END
$$;
REVOKE ALL ON FUNCTION write_heartbeat(interval, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION write_heartbeat(interval, uuid) TO timewarden_keeper;
