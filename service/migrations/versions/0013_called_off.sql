-- What was planned can be called off before it begins. Its row stays, with no moment in it: valid_to = valid_from.
ALTER TABLE membership
    DROP CONSTRAINT membership_check,
    ADD CONSTRAINT membership_period CHECK (valid_from <= valid_to) NOT VALID;
ALTER TABLE importer_grant
    DROP CONSTRAINT importer_grant_check,
    ADD CONSTRAINT importer_grant_period CHECK (valid_from <= valid_to) NOT VALID;
ALTER TABLE deputy_grant
    DROP CONSTRAINT deputy_grant_period,
    ADD CONSTRAINT deputy_grant_period CHECK (valid_from <= valid_to) NOT VALID;
ALTER TABLE fallback_approver
    DROP CONSTRAINT fallback_approver_period,
    ADD CONSTRAINT fallback_approver_period CHECK (valid_from <= valid_to) NOT VALID;
-- A role that was called off may be given again for the very same time, so it needs a name of its own.
ALTER TABLE person_role
    DROP CONSTRAINT person_role_check,
    DROP CONSTRAINT person_role_pkey,
    ADD COLUMN id uuid NOT NULL DEFAULT gen_random_uuid(),
    ADD CONSTRAINT person_role_pkey PRIMARY KEY (id),
    ADD CONSTRAINT person_role_period CHECK (valid_from <= valid_to) NOT VALID;
CREATE INDEX person_role_person ON person_role (person_id, role);
ALTER TABLE membership VALIDATE CONSTRAINT membership_period;
ALTER TABLE importer_grant VALIDATE CONSTRAINT importer_grant_period;
ALTER TABLE deputy_grant VALIDATE CONSTRAINT deputy_grant_period;
ALTER TABLE fallback_approver VALIDATE CONSTRAINT fallback_approver_period;
ALTER TABLE person_role VALIDATE CONSTRAINT person_role_period;

-- What was called off until now was left a microsecond that is still to come.
UPDATE membership SET valid_to = valid_from
    WHERE valid_from > statement_timestamp() AND valid_to = valid_from + interval '1 microsecond';
UPDATE deputy_grant SET valid_to = valid_from
    WHERE valid_from > statement_timestamp() AND valid_to = valid_from + interval '1 microsecond';
