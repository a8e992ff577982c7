-- Rules that a record names after the first, and actors likewise. Run as timewarden_owner.

-- Postgres keeps statistics of an indexed expression. From those of the whole column it took a rule that is often the
-- first, and never a later one, for a frequent later rule, and read the whole log for the newest records with it.
DROP INDEX audit_record_rules, audit_record_actors;
CREATE INDEX audit_record_rules ON audit_record USING gin ((rules[2:])) WITH (gin_pending_list_limit = 256)
    WHERE cardinality(rules) > 1;
CREATE INDEX audit_record_actors ON audit_record USING gin ((actors[2:])) WHERE cardinality(actors) > 1;
