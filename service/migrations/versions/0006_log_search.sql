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

-- ── Personal data, legal holds, retention ──────────────────────────────────────────────────────────────────────────

-- While a hold stands, what it is about is neither erased nor pruned: everything, a person's, or one resource's.
CREATE TABLE legal_hold (
    id        uuid PRIMARY KEY,
    what      text NOT NULL CHECK (what IN ('all', 'person', 'resource')),
    about     uuid,
    reason    text NOT NULL CHECK (char_length(reason) BETWEEN 1 AND 1000),
    by_person uuid,
    by_client text NOT NULL,
    since     timestamptz NOT NULL DEFAULT clock_timestamp(),
    until     timestamptz,
    CHECK ((what = 'all') = (about IS NULL))
);
GRANT SELECT, INSERT, UPDATE (until) ON legal_hold TO timewarden_app;
GRANT SELECT ON legal_hold TO timewarden_auditor;

-- What is left of records whose bodies were dropped by retention: enough for every proof about the others.
CREATE TABLE audit_pruned (
    position  bigint PRIMARY KEY,
    record_id bigint NOT NULL UNIQUE,
    uid       uuid NOT NULL,
    leaf      bytea NOT NULL CHECK (octet_length(leaf) = 32),
    at        timestamptz NOT NULL
);
CREATE INDEX audit_pruned_uid ON audit_pruned (uid);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit_pruned FOR EACH ROW EXECUTE FUNCTION refuse_rewriting();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON audit_pruned EXECUTE FUNCTION refuse_rewriting();
GRANT SELECT ON audit_pruned TO timewarden_app, timewarden_keeper, timewarden_auditor;

-- The closed partitions and the moments of deciding in them, which cannot change any more: a page is looked for in the
-- few partitions that can hold it. Ids behind the last `upper` lie in the partition that is open.
CREATE TABLE audit_partition (
    name  text PRIMARY KEY,
    lower bigint NOT NULL,
    upper bigint NOT NULL CHECK (upper > lower),
    first timestamptz NOT NULL,
    last  timestamptz NOT NULL
);
GRANT SELECT ON audit_partition TO timewarden_app, timewarden_keeper, timewarden_auditor;

-- The hold that keeps a person's data, if there is one. A sheet outlives its records, and the other way round.
CREATE FUNCTION hold_on_person(person uuid) RETURNS uuid LANGUAGE sql STABLE
SET search_path = public, pg_temp
RETURN (
    SELECT h.id FROM legal_hold h
    WHERE h.until IS NULL AND (h.what = 'all' OR h.about = person OR (h.what = 'resource' AND EXISTS (
        SELECT FROM audit_record r WHERE r.resource_id = h.about::text AND r.owner_id = person
        UNION ALL SELECT FROM timesheet t WHERE t.id = h.about AND t.owner_id = person)))
    ORDER BY h.id LIMIT 1
);

-- The records whose texts are about a person: changes of their hours, and of their entry in the directory.
CREATE FUNCTION records_about(person uuid) RETURNS SETOF uuid LANGUAGE sql STABLE
SET search_path = public, pg_temp
BEGIN ATOMIC
    SELECT uid FROM audit_record
        WHERE owner_id = person AND owner_id IS DISTINCT FROM person_id AND kind = 'change'
    UNION ALL
    SELECT uid FROM audit_record WHERE person_id = person AND owner_id = person AND kind = 'change'
    UNION ALL
    SELECT uid FROM audit_record WHERE resource_id = person::text AND kind = 'directory';
END;

-- Erase a person: links, name, address, and the texts about them with their salts. The app may call this and may not
-- delete texts by itself: whoever takes the app over can blank a whole person, which a record tells, but can neither
-- pick texts nor get around a hold.
CREATE FUNCTION erase_person(person uuid, OUT links bigint, OUT texts bigint, OUT notes bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    -- A hold that is being set is waited for.
    PERFORM pg_advisory_xact_lock(hashtextextended('legal_hold', 0));
    IF hold_on_person(person) IS NOT NULL THEN
        RAISE EXCEPTION 'a legal hold keeps this person''s data' USING ERRCODE = 'insufficient_privilege';
    END IF;
    DELETE FROM person_link WHERE person_id = person;
    GET DIAGNOSTICS links = ROW_COUNT;
    UPDATE public.person SET display_name = NULL, email = NULL WHERE id = erase_person.person;
    DELETE FROM audit_text WHERE record_uid IN (SELECT records_about(person));
    GET DIAGNOSTICS texts = ROW_COUNT;
    UPDATE entry SET note = NULL FROM timesheet
        WHERE timesheet.id = entry.timesheet_id AND timesheet.owner_id = person AND note IS NOT NULL;
    GET DIAGNOSTICS notes = ROW_COUNT;
    UPDATE timesheet SET reason = NULL WHERE owner_id = person AND reason IS NOT NULL;
END
$$;
REVOKE ALL ON FUNCTION hold_on_person(uuid), records_about(uuid), erase_person(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION hold_on_person(uuid), records_about(uuid), erase_person(uuid) TO timewarden_app;
