-- Attributes of people, teams and projects. Run as timewarden_owner.

-- One value for each name, as the active vocabulary declares them: a string, an integer, true or false, a time as a
-- string (RFC 3339, in UTC), or, of a person, a list of strings. The service checks names and types, and takes a value
-- of another type for a missing one.
ALTER TABLE person ADD COLUMN attributes jsonb NOT NULL DEFAULT '{}'
    CONSTRAINT person_attributes CHECK (jsonb_typeof(attributes) = 'object' AND octet_length(attributes::text) <= 65536);
ALTER TABLE team ADD COLUMN attributes jsonb NOT NULL DEFAULT '{}'
    CONSTRAINT team_attributes CHECK (jsonb_typeof(attributes) = 'object' AND octet_length(attributes::text) <= 65536);
ALTER TABLE project ADD COLUMN attributes jsonb NOT NULL DEFAULT '{}'
    CONSTRAINT project_attributes CHECK (jsonb_typeof(attributes) = 'object' AND octet_length(attributes::text) <= 65536);
GRANT UPDATE (attributes) ON project TO timewarden_app;

-- Processes remember attributes too. Names and addresses are no part of any decision.
CREATE TRIGGER counted AFTER INSERT OR UPDATE OF attributes OR DELETE OR TRUNCATE ON person
    FOR EACH STATEMENT EXECUTE FUNCTION count_directory_change();
CREATE TRIGGER counted AFTER INSERT OR UPDATE OF attributes OR DELETE OR TRUNCATE ON team
    FOR EACH STATEMENT EXECUTE FUNCTION count_directory_change();
CREATE TRIGGER counted AFTER INSERT OR UPDATE OF attributes OR DELETE OR TRUNCATE ON project
    FOR EACH STATEMENT EXECUTE FUNCTION count_directory_change();

-- The texts of personal attributes beside decisions: the person's as caller, and as owner of the resource.
CREATE INDEX audit_text_attribute ON audit_text (record_uid) WHERE starts_with(field, 'attributes.');
CREATE FUNCTION attribute_texts_about(person uuid) RETURNS TABLE (record_uid uuid, field text) LANGUAGE sql STABLE
SET search_path = public, pg_temp
BEGIN ATOMIC
    SELECT t.record_uid, t.field FROM unnest(ids_of_person(person)) AS known (id)
        JOIN audit_record r ON r.person_id = known.id
        JOIN audit_text t ON t.record_uid = r.uid AND starts_with(t.field, 'attributes.')
        WHERE r.kind IN ('decision', 'access') AND (starts_with(t.field, 'attributes.principal.')
            OR (r.owner_id = r.person_id AND starts_with(t.field, 'attributes.resource.owner.')))
    UNION ALL
    SELECT t.record_uid, t.field FROM unnest(ids_of_person(person)) AS known (id)
        JOIN audit_record r ON r.owner_id = known.id AND r.owner_id IS DISTINCT FROM r.person_id
        JOIN audit_text t ON t.record_uid = r.uid AND starts_with(t.field, 'attributes.')
        WHERE r.kind IN ('decision', 'access') AND starts_with(t.field, 'attributes.resource.owner.');
END;
REVOKE ALL ON FUNCTION attribute_texts_about(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION attribute_texts_about(uuid) TO timewarden_app;

-- Erase a person. As before, and their attributes except those of the names `kept`, which are not personal data.
-- `values_removed` is the number of attributes that were removed.
DROP FUNCTION erase_person(uuid, text[], text[], bytea[], text, interval, timestamptz, interval);
CREATE FUNCTION erase_person(
    person uuid, issuers text[], subjects text[], hashes bytea[], key_name text,
    memory interval, revoked_before timestamptz, lifetime interval, kept text[] DEFAULT '{}',
    OUT links bigint, OUT texts bigint, OUT notes bigint, OUT issued_before timestamptz,
    OUT values_removed bigint
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    theirs uuid[] := ids_of_person(person);
    keep_until timestamptz := greatest(clock_timestamp() + memory, revoked_before + lifetime);
    of_attributes bigint;
BEGIN
    -- A hold that is being set is waited for.
    PERFORM pg_advisory_xact_lock(hashtextextended('legal_hold', 0));
    IF hold_on_person(person) IS NOT NULL THEN
        RAISE EXCEPTION 'a legal hold keeps this person''s data' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF EXISTS (SELECT FROM timesheet t WHERE t.owner_id = ANY (theirs) AND t.state = 'submitted') THEN
        RAISE EXCEPTION 'a submitted timesheet of this person waits' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF EXISTS (SELECT FROM person_link l WHERE l.person_id = ANY (theirs) AND NOT EXISTS (
                   SELECT FROM unnest(issuers, subjects, hashes) AS given (issuer, subject, hash)
                   WHERE given.issuer = l.issuer AND given.subject = l.subject AND octet_length(given.hash) = 32)) THEN
        RAISE EXCEPTION 'a link of this person has no hash' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;

    -- Revocations of the person, or of a subject of theirs, may reach a moment further than this erasure does.
    SELECT greatest(revoked_before, max(r.issued_before)) INTO issued_before FROM revocation r
        WHERE (r.what = 'person' AND r.value = ANY (theirs::text[]))
            OR (r.what = 'subject' AND EXISTS (SELECT FROM person_link l WHERE l.person_id = ANY (theirs)
                                               AND l.issuer = r.issuer AND l.subject = r.value));
    -- What revocations said of their subjects in clear, the hashes say from now on.
    DELETE FROM revocation r USING person_link l
        WHERE l.person_id = ANY (theirs) AND r.what = 'subject' AND r.issuer = l.issuer AND r.value = l.subject;

    -- Each link becomes a hash that stands for every id that they have, and for whom they were before.
    INSERT INTO erasure_key AS known (name, until)
        SELECT key_name, keep_until WHERE EXISTS (SELECT FROM person_link l WHERE l.person_id = ANY (theirs))
        ON CONFLICT (name) DO UPDATE SET until = greatest(known.until, excluded.until);
    INSERT INTO erased_subject AS known (hash, person_id, revoked_before, until)
        SELECT given.hash, one.id, erase_person.issued_before, max(one.until)
        FROM person_link l
        JOIN unnest(issuers, subjects, hashes) AS given (issuer, subject, hash)
            ON given.issuer = l.issuer AND given.subject = l.subject
        CROSS JOIN (SELECT id, keep_until FROM unnest(theirs) AS own (id)
                    UNION ALL SELECT was.former_id, was.until FROM former_person was
                    WHERE was.person_id = ANY (theirs) AND clock_timestamp() < was.until) AS one (id, until)
        WHERE l.person_id = ANY (theirs) GROUP BY given.hash, one.id
        ON CONFLICT (hash, person_id) DO UPDATE SET until = greatest(known.until, excluded.until),
            revoked_before = greatest(known.revoked_before, excluded.revoked_before);

    DELETE FROM person_link WHERE person_id = ANY (theirs);
    GET DIAGNOSTICS links = ROW_COUNT;
    SELECT count(*) INTO values_removed
        FROM public.person AS known CROSS JOIN LATERAL jsonb_object_keys(known.attributes) AS held (name)
        WHERE known.id = ANY (theirs) AND held.name <> ALL (kept);
    UPDATE public.person AS known SET display_name = NULL, email = NULL, attributes = coalesce(
            (SELECT jsonb_object_agg(held.key, held.value) FROM jsonb_each(known.attributes) AS held
             WHERE held.key = ANY (kept)), '{}')
        WHERE known.id = ANY (theirs);
    DELETE FROM audit_text WHERE record_uid IN (SELECT records_about(erase_person.person));
    GET DIAGNOSTICS texts = ROW_COUNT;
    DELETE FROM audit_text AS held USING attribute_texts_about(erase_person.person) AS found
        WHERE held.record_uid = found.record_uid AND held.field = found.field;
    GET DIAGNOSTICS of_attributes = ROW_COUNT;
    texts := texts + of_attributes;
    UPDATE entry SET note = NULL FROM timesheet
        WHERE timesheet.id = entry.timesheet_id AND timesheet.owner_id = ANY (theirs) AND note IS NOT NULL;
    GET DIAGNOSTICS notes = ROW_COUNT;
    UPDATE timesheet SET reason = NULL WHERE owner_id = ANY (theirs) AND reason IS NOT NULL;
END
$$;
REVOKE ALL ON FUNCTION erase_person(
    uuid, text[], text[], bytea[], text, interval, timestamptz, interval, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION erase_person(
    uuid, text[], text[], bytea[], text, interval, timestamptz, interval, text[]) TO timewarden_app;
