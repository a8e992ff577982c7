-- Erasure lifts no law and revives no token; client ids with an issuer's prefix fit everywhere. Run as timewarden_owner.

-- Which keys made hashes of erased subjects that are still asked. A process without one of them makes nobody known,
-- because it could not tell who comes back. Not personal data.
CREATE TABLE erasure_key (
    name  text PRIMARY KEY CHECK (name ~ '^[0-9a-f]{16}$'),
    until timestamptz NOT NULL
);

-- Pseudonymous personal data: HMAC-SHA256 of an erased (issuer, subject) under a key that lies outside the database,
-- and whom it stood for. Asked when a link to a person is made, for laws and denials, and when a token without a link
-- comes, for revocation. The keeper removes rows after `until`.
CREATE TABLE erased_subject (
    hash           bytea NOT NULL CHECK (octet_length(hash) = 32),
    person_id      uuid NOT NULL REFERENCES person,
    revoked_before timestamptz NOT NULL,
    until          timestamptz NOT NULL,
    PRIMARY KEY (hash, person_id)
);
CREATE INDEX erased_subject_until ON erased_subject (until);

-- Whom a person was before an erasure: for laws and denials the two are one human, and for nothing else. The keeper
-- removes rows after `until`.
CREATE TABLE former_person (
    person_id uuid NOT NULL REFERENCES person,
    former_id uuid NOT NULL REFERENCES person,
    until     timestamptz NOT NULL,
    PRIMARY KEY (person_id, former_id),
    CONSTRAINT former_person_two CHECK (person_id <> former_id)
);
CREATE INDEX former_person_former ON former_person (former_id);
CREATE INDEX former_person_until ON former_person (until);

GRANT SELECT ON erasure_key, erased_subject, former_person TO timewarden_app;
GRANT INSERT, UPDATE (until) ON former_person TO timewarden_app;
GRANT SELECT (until), DELETE ON erased_subject, former_person TO timewarden_keeper;

-- The ids that the human behind a person had before an erasure, with those of others who came back from the same one;
-- none of them is an id that the person has. A function, so that the many statements that ask stay quick to plan.
CREATE FUNCTION former_ids_of_person(person uuid) RETURNS uuid[] LANGUAGE plpgsql STABLE
SET search_path = public, pg_temp AS $$
DECLARE
    theirs uuid[];
BEGIN
    IF NOT EXISTS (SELECT FROM former_person) THEN
        RETURN '{}';
    END IF;
    theirs := ids_of_person(person);
    RETURN ARRAY(
        SELECT DISTINCT known.id FROM former_person was
        CROSS JOIN LATERAL (
            SELECT was.former_id AS id
            UNION ALL SELECT kin.person_id FROM former_person kin
            WHERE kin.former_id = was.former_id AND statement_timestamp() < kin.until) AS same
        CROSS JOIN LATERAL unnest(ids_of_person(same.id)) AS known (id)
        WHERE was.person_id = ANY (theirs) AND statement_timestamp() < was.until AND known.id <> ALL (theirs));
END
$$;
REVOKE ALL ON FUNCTION former_ids_of_person(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION former_ids_of_person(uuid) TO timewarden_app;

-- Erase a person. As before, but every link that goes leaves its hash: `hashes` are those of `issuers` and `subjects`,
-- place by place, made with the key of that `key_name`. Without a hash for each link nothing is erased. They are kept
-- for `memory`. Tokens issued before `issued_before` are revoked; it is `revoked_before`, or later where a revocation of
-- the person reached further. The hashes outlive every such token, which is valid for `lifetime` at the most.
DROP FUNCTION erase_person(uuid);
CREATE FUNCTION erase_person(
    person uuid, issuers text[], subjects text[], hashes bytea[], key_name text,
    memory interval, revoked_before timestamptz, lifetime interval,
    OUT links bigint, OUT texts bigint, OUT notes bigint, OUT issued_before timestamptz
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    theirs uuid[] := ids_of_person(person);
    keep_until timestamptz := greatest(clock_timestamp() + memory, revoked_before + lifetime);
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
    UPDATE public.person SET display_name = NULL, email = NULL WHERE id = ANY (theirs);
    DELETE FROM audit_text WHERE record_uid IN (SELECT records_about(erase_person.person));
    GET DIAGNOSTICS texts = ROW_COUNT;
    UPDATE entry SET note = NULL FROM timesheet
        WHERE timesheet.id = entry.timesheet_id AND timesheet.owner_id = ANY (theirs) AND note IS NOT NULL;
    GET DIAGNOSTICS notes = ROW_COUNT;
    UPDATE timesheet SET reason = NULL WHERE owner_id = ANY (theirs) AND reason IS NOT NULL;
END
$$;
REVOKE ALL ON FUNCTION erase_person(
    uuid, text[], text[], bytea[], text, interval, timestamptz, interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION erase_person(
    uuid, text[], text[], bytea[], text, interval, timestamptz, interval) TO timewarden_app;

-- A client id has up to 255 characters, and 21 more with the prefix of its issuer.
ALTER TABLE revocation DROP CONSTRAINT revocation_value_check;
ALTER TABLE revocation ADD CONSTRAINT revocation_value_check
    CHECK (char_length(value) BETWEEN 1 AND CASE what WHEN 'client' THEN 276 ELSE 255 END);
ALTER TABLE importer_grant DROP CONSTRAINT importer_grant_client_id_check;
ALTER TABLE importer_grant ADD CONSTRAINT importer_grant_client_id_check
    CHECK (char_length(client_id) BETWEEN 1 AND 276);
