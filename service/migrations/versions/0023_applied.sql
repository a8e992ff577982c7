-- What was applied, and what was not, is searched by an index. Run as timewarden_owner.

-- Changes that took place, newest first.
CREATE INDEX audit_record_applied ON audit_record (decided_at, id) WHERE applied;
-- Changes that did not, with the denied ones apart from the allowed: each kind may be rare among the other.
CREATE INDEX audit_record_not_applied ON audit_record (outcome, decided_at, id) WHERE NOT applied;
