-- People who turned out to be one. Run as timewarden_owner.

-- Who was merged into whom: `person_id` stands in sheets and records for good, and means `into_id`, which is never
-- merged itself. Rows are added; that the one who stays is merged in turn moves what points at them.
CREATE TABLE merged_person (
    person_id uuid PRIMARY KEY REFERENCES person,
    into_id   uuid NOT NULL REFERENCES person,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT merged_person_two CHECK (person_id <> into_id)
);
CREATE INDEX merged_person_into ON merged_person (into_id);
GRANT SELECT, INSERT, UPDATE (into_id) ON merged_person TO timewarden_app;
GRANT SELECT ON merged_person TO timewarden_auditor;
-- Tokens of whoever was merged speak for the one who stays.
GRANT UPDATE (person_id) ON person_link TO timewarden_app;

-- Every id that a person has.
CREATE FUNCTION ids_of_person(person uuid) RETURNS uuid[] LANGUAGE sql STABLE
SET search_path = public, pg_temp
BEGIN ATOMIC
    WITH stays AS (
        SELECT coalesce((SELECT m.into_id FROM merged_person m WHERE m.person_id = ids_of_person.person), person) AS id)
    SELECT ARRAY(SELECT id FROM stays UNION ALL SELECT m.person_id FROM merged_person m JOIN stays ON m.into_id = stays.id);
END;

-- As before, but of every id that the person has: the hold that keeps their data,
CREATE OR REPLACE FUNCTION hold_on_person(person uuid) RETURNS uuid LANGUAGE sql STABLE
SET search_path = public, pg_temp
RETURN (
    SELECT h.id FROM legal_hold h
    WHERE h.until IS NULL AND (h.what = 'all' OR h.about = ANY (ids_of_person(person))
        OR (h.what = 'resource' AND EXISTS (
            SELECT FROM audit_record r WHERE r.resource_id = h.about::text AND r.owner_id = ANY (ids_of_person(person))
            UNION ALL SELECT FROM timesheet t WHERE t.id = h.about AND t.owner_id = ANY (ids_of_person(person)))))
    ORDER BY h.id LIMIT 1
);

-- the records whose texts are about them,
CREATE OR REPLACE FUNCTION records_about(person uuid) RETURNS SETOF uuid LANGUAGE sql STABLE
SET search_path = public, pg_temp
BEGIN ATOMIC
    SELECT r.uid FROM unnest(ids_of_person(person)) AS one (id) JOIN audit_record r ON r.owner_id = one.id
        WHERE r.owner_id IS DISTINCT FROM r.person_id AND r.kind = 'change'
    UNION ALL
    SELECT r.uid FROM unnest(ids_of_person(person)) AS one (id) JOIN audit_record r ON r.person_id = one.id
        WHERE r.owner_id = r.person_id AND r.kind = 'change'
    UNION ALL
    SELECT r.uid FROM unnest(ids_of_person(person)) AS one (id) JOIN audit_record r ON r.resource_id = one.id::text
        WHERE r.kind = 'directory';
END;

-- and erasing them.
CREATE OR REPLACE FUNCTION erase_person(person uuid, OUT links bigint, OUT texts bigint, OUT notes bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    theirs uuid[] := ids_of_person(person);
BEGIN
    -- A hold that is being set is waited for.
    PERFORM pg_advisory_xact_lock(hashtextextended('legal_hold', 0));
    IF hold_on_person(person) IS NOT NULL THEN
        RAISE EXCEPTION 'a legal hold keeps this person''s data' USING ERRCODE = 'insufficient_privilege';
    END IF;
    DELETE FROM person_link WHERE person_id = ANY (theirs);
    GET DIAGNOSTICS links = ROW_COUNT;
    UPDATE public.person SET display_name = NULL, email = NULL WHERE id = ANY (theirs);
    DELETE FROM audit_text WHERE record_uid IN (SELECT records_about(person));
    GET DIAGNOSTICS texts = ROW_COUNT;
    UPDATE entry SET note = NULL FROM timesheet
        WHERE timesheet.id = entry.timesheet_id AND timesheet.owner_id = ANY (theirs) AND note IS NOT NULL;
    GET DIAGNOSTICS notes = ROW_COUNT;
    UPDATE timesheet SET reason = NULL WHERE owner_id = ANY (theirs) AND reason IS NOT NULL;
END
$$;
REVOKE ALL ON FUNCTION ids_of_person(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ids_of_person(uuid) TO timewarden_app;
