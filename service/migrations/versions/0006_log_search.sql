-- Questions to the log, legal holds, erasure and retention. Run as timewarden_owner.

-- ── Indexes for the auditors' questions ────────────────────────────────────────────────────────────────────────────

-- Every page goes by (decided_at, id), newest first, so each index ends with these: a question narrowed to some time
-- reads that time alone, and one about few records reads those alone. What most records would only repeat is left out of
-- an index by its condition; search writes the same condition into the question.
DROP INDEX audit_record_person, audit_record_resource, audit_record_returned;
CREATE INDEX audit_record_time ON audit_record (decided_at, id);
CREATE INDEX audit_record_person ON audit_record (person_id, decided_at, id);
CREATE INDEX audit_record_client ON audit_record (client_id, decided_at, id);
CREATE INDEX audit_record_resource ON audit_record (resource_id, decided_at, id);
CREATE INDEX audit_record_rule ON audit_record ((rules[1]), decided_at, id);
CREATE INDEX audit_record_policy ON audit_record (policy_version, decided_at, id);
CREATE INDEX audit_record_request ON audit_record (request_id);

-- Whose things, where they are not the asker's own: one's own are found by the person.
CREATE INDEX audit_record_owner ON audit_record (owner_id, decided_at, id) WHERE owner_id IS DISTINCT FROM person_id;
-- All but reads that were allowed: a tenth of a log, and what most questions are about.
CREATE INDEX audit_record_person_notable ON audit_record (person_id, decided_at, id)
    WHERE action IS DISTINCT FROM 'read' OR outcome = 'deny';
CREATE INDEX audit_record_action ON audit_record (action, decided_at, id) WHERE action <> 'read';
CREATE INDEX audit_record_denied ON audit_record (decided_at, id) WHERE outcome = 'deny';
CREATE INDEX audit_record_reason ON audit_record (reason, decided_at, id) WHERE reason <> 'allowed';
CREATE INDEX audit_record_kind ON audit_record (kind, decided_at, id) WHERE kind <> 'decision';
CREATE INDEX audit_record_resource_kind ON audit_record (resource_kind, decided_at, id)
    WHERE resource_kind <> 'timesheet' AND resource_kind <> 'me';
-- Approvals that were carried out, to see what changed after one.
CREATE INDEX audit_record_approved ON audit_record (resource_id, id) WHERE kind = 'change' AND action = 'approve';
-- Lists by what they returned; a read of one thing is found by the thing. And records of more than one rule.
CREATE INDEX audit_record_returned ON audit_record USING gin (returned) WITH (gin_pending_list_limit = 256)
    WHERE cardinality(returned) > 1 OR (cardinality(returned) = 1 AND resource_id IS DISTINCT FROM returned[1]::text);
CREATE INDEX audit_record_rules ON audit_record USING gin (rules) WITH (gin_pending_list_limit = 256)
    WHERE cardinality(rules) > 1;

-- Auditors look people up by their e-mail addresses.
CREATE INDEX person_email ON person (lower(email));
