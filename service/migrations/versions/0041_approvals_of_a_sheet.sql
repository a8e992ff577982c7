-- The approvals of a timesheet as a function. Run as timewarden_owner.

-- The approvals since the last submission as JSON, oldest first: `earlier` ones and the deciding one. People stand under
-- their canonical ids and count once, however many accounts they used. An approval does not count if a merge has since
-- made its giver the owner or an editor. A function, so that the statements that read sheets stay quick to start: nearly
-- all sheets have no earlier approvals and never call it.
CREATE FUNCTION approvals_of_sheet(
    earlier jsonb, is_complete boolean, owner uuid, editors uuid[],
    decided_at timestamptz, decided_by uuid, decided_by_client text
) RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (
        SELECT coalesce(jsonb_agg(to_jsonb(given) ORDER BY given.at), '[]')
        FROM (SELECT DISTINCT ON (found.person, found.client) found.*
              FROM (SELECT coalesce(merged.into_id, stored.person) AS person, stored.client, stored.at
                    FROM (SELECT * FROM jsonb_to_recordset(earlier) AS early (person uuid, client text, at timestamptz)
                          UNION ALL SELECT $6, $7, $5 WHERE is_complete AND $5 IS NOT NULL) AS stored
                    LEFT JOIN merged_person AS merged ON merged.person_id = stored.person) AS found
              WHERE found.person IS NULL OR found.person NOT IN (
                  SELECT coalesce(merged.into_id, hand.id) FROM unnest(owner || editors) AS hand (id)
                  LEFT JOIN merged_person AS merged ON merged.person_id = hand.id)
              ORDER BY found.person, found.client, found.at) AS given);
END
$$;
REVOKE ALL ON FUNCTION approvals_of_sheet(jsonb, boolean, uuid, uuid[], timestamptz, uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION approvals_of_sheet(jsonb, boolean, uuid, uuid[], timestamptz, uuid, text) TO timewarden_app;
