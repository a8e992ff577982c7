-- Who acted for the caller of a delegated token (RFC 8693), to search by. Run as timewarden_owner.

-- The current actor first. NULL where nobody did, as in nearly all records, which these indexes therefore leave out.
ALTER TABLE audit_record ADD COLUMN actors text[];
GRANT INSERT (actors) ON audit_record TO timewarden_app;
CREATE INDEX audit_record_actor ON audit_record ((actors[1]), decided_at, id) WHERE actors[1] IS NOT NULL;
CREATE INDEX audit_record_delegated ON audit_record (decided_at, id) WHERE actors IS NOT NULL;
-- Actors before the current one.
CREATE INDEX audit_record_actors ON audit_record USING gin (actors) WHERE cardinality(actors) > 1;
