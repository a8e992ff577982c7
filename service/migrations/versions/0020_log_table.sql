-- The newest partition of the log takes every id that will ever be drawn. Until now it ended at a hundred million, and
-- what came later went to audit_record_rest, where it could not be pruned. Run as timewarden_owner.

-- Postgres looks once through that partition. Records that lie in audit_record_rest already are taken in by the next
-- `timewarden audit partition`.
DO $$
DECLARE
    newest text;
    lower text;
BEGIN
    LOCK TABLE audit_record IN ACCESS EXCLUSIVE MODE;
    IF EXISTS (SELECT FROM audit_record_rest) THEN
        RETURN;
    END IF;
    SELECT c.relname, coalesce(substring(pg_get_expr(c.relpartbound, c.oid) FROM 'FROM \(''(\d+)''\)'), 'MINVALUE')
    INTO newest, lower
    FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
    WHERE inhparent = 'audit_record'::regclass AND pg_get_expr(c.relpartbound, c.oid) <> 'DEFAULT'
    ORDER BY substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \(''(\d+)''\)')::bigint DESC LIMIT 1;
    EXECUTE format('ALTER TABLE audit_record DETACH PARTITION %I', newest);
    EXECUTE format('ALTER TABLE audit_record ATTACH PARTITION %I FOR VALUES FROM (%s) TO (9223372036854775807)', newest, lower);
END
$$;

-- What was done on somebody's behalf is no column: those of records that are there could not be filled. The bytes say it
-- in one spelling, and few records do.
CREATE INDEX audit_record_stood_in ON audit_record (decided_at, id)
    WHERE position('"on_behalf_of":"'::bytea IN body) > 0;
