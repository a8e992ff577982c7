-- Three lighter indexes of the log. Run as timewarden_owner. Large partitions have them already (migrations/large.py).

-- Most request ids are made by the service, a moment before their records' ids. Both are UUIDs of version 7, which begin
-- with the time: within a quarter of a second, their first eleven characters are the same. Search finds such records by
-- the index on uid, and all others by this one (RecordQuery).
DROP INDEX audit_record_request;
CREATE INDEX audit_record_request ON audit_record (request_id) WHERE left(request_id, 11) <> left(uid::text, 11);

-- Without the id, as the indexes on client, rule and policy version since step 0027: the few records of one moment are
-- sorted by id while they are read, and those of one person or resource at one moment share an entry.
DROP INDEX audit_record_person, audit_record_resource;
CREATE INDEX audit_record_person ON audit_record (person_id, decided_at);
CREATE INDEX audit_record_resource ON audit_record (resource_id, decided_at);
