-- Rules that a record names after the first, and actors likewise. Run as timewarden_owner.

-- These indexes hold only what comes after the first. By those of whole columns, a search for a rule that is often the
-- first, and never a later one, read every record that names several rules.
DROP INDEX audit_record_rules, audit_record_actors;
CREATE INDEX audit_record_rules ON audit_record USING gin ((rules[2:])) WITH (gin_pending_list_limit = 256)
    WHERE cardinality(rules) > 1;
CREATE INDEX audit_record_actors ON audit_record USING gin ((actors[2:])) WHERE cardinality(actors) > 1;
