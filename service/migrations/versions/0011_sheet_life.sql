-- Sheets that are locked for payroll. Who locked one, a person or a client for itself, is known for as long as it is
-- locked: another must unlock it.
ALTER TABLE timesheet
    ADD COLUMN locked_by uuid REFERENCES person,
    ADD COLUMN locked_by_client text,
    DROP CONSTRAINT timesheet_state_check,
    ADD CONSTRAINT timesheet_state_check
        CHECK (state IN ('draft', 'submitted', 'approved', 'rejected', 'locked')),
    ADD CONSTRAINT timesheet_locked_by_check
        CHECK (num_nonnulls(locked_by, locked_by_client) = CASE WHEN state = 'locked' THEN 1 ELSE 0 END);
