-- Deputies are called delegates, and what a manager grants them a delegation. Run as timewarden_owner.

-- Indexes and constraints get the names that a table of this name would have had. Rights and rows stay.
ALTER TABLE deputy_grant RENAME TO delegation;
ALTER TABLE delegation RENAME COLUMN manager_id TO delegator_id;
ALTER TABLE delegation RENAME COLUMN deputy_id TO delegate_id;
ALTER TABLE delegation RENAME CONSTRAINT deputy_grant_pkey TO delegation_pkey;
ALTER TABLE delegation RENAME CONSTRAINT deputy_grant_manager_id_fkey TO delegation_delegator_id_fkey;
ALTER TABLE delegation RENAME CONSTRAINT deputy_grant_deputy_id_fkey TO delegation_delegate_id_fkey;
ALTER TABLE delegation RENAME CONSTRAINT deputy_grant_period TO delegation_period;
ALTER TABLE delegation RENAME CONSTRAINT deputy_grant_two_people TO delegation_two_people;
ALTER INDEX deputy_grant_deputy RENAME TO delegation_delegate;
ALTER INDEX deputy_grant_manager RENAME TO delegation_delegator;
ALTER INDEX audit_record_stood_in RENAME TO audit_record_on_behalf_of;
