-- The directory knows who was erased, also when the record of the erasure has been pruned. Run as timewarden_owner.

-- The ids of erased people, for good: nobody gives them anything again. It holds nothing else about them. Only the
-- function below writes it.
CREATE TABLE erased_person (
    person_id uuid PRIMARY KEY REFERENCES person
);
GRANT SELECT ON erased_person TO timewarden_app;

-- Earlier erasures, as far as the log or the keyed hashes still tell of them. By the index on actions.
INSERT INTO erased_person (person_id)
    SELECT id FROM person WHERE id::text IN (
        SELECT resource_id FROM audit_record WHERE kind = 'directory' AND action = 'erase')
    UNION SELECT person_id FROM erased_subject
    UNION SELECT former_id FROM former_person;

-- Erase a person. As before, and note every id of the person as erased.
CREATE OR REPLACE FUNCTION erase_person(
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

    INSERT INTO erased_person (person_id) SELECT unnest(theirs) ON CONFLICT DO NOTHING;
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
