-- An erasure also removes what the person typed as a filter of reads of the log. Run as timewarden_owner.

-- As before, and the free texts of the person's queries of the log and of their own decisions. The name stays: the
-- release before calls it.
CREATE OR REPLACE FUNCTION attribute_texts_about(person uuid) RETURNS TABLE (record_uid uuid, field text)
LANGUAGE sql STABLE SET search_path = public, pg_temp
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
        WHERE r.kind IN ('decision', 'access') AND starts_with(t.field, 'attributes.resource.owner.')
    UNION ALL
    -- OFFSET 0 keeps both a lookup for each row before it, so that the records and texts of all people are never read.
    SELECT asked.uid, typed.field FROM unnest(ids_of_person(person)) AS known (id)
        CROSS JOIN LATERAL (SELECT r.uid FROM audit_record r WHERE r.person_id = known.id
            AND (r.kind = 'access' OR (r.kind = 'decision' AND r.resource_kind = 'me' AND r.action = 'review'))
            OFFSET 0) AS asked
        CROSS JOIN LATERAL (SELECT t.field FROM audit_text t WHERE t.record_uid = asked.uid
            AND NOT starts_with(t.field, 'attributes.') OFFSET 0) AS typed;
END;
