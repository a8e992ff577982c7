-- The index of request ids leaves out those that the ids of their records tell. Run as timewarden_owner.

-- Most request ids are made by the service, a moment before their records' ids. Both are UUIDs of version 7, which begin
-- with the time: within a quarter of a second, their first eleven characters are the same. Search finds such records by
-- the index on uid, and all others by this one (RecordQuery). Large partitions have it already (migrations/large.py).
DROP INDEX audit_record_request;
CREATE INDEX audit_record_request ON audit_record (request_id) WHERE left(request_id, 11) <> left(uid::text, 11);
