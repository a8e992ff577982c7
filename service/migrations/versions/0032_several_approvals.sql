-- A sheet may need several approvals. Run as timewarden_owner.

-- Who approved the sheet since its last submission, and when, before the approval that decided: an array of objects with
-- `person` or `client`, and `at`. The one that decided is in decided_by, also of sheets that older releases approved.
ALTER TABLE timesheet ADD COLUMN earlier_approvals jsonb NOT NULL DEFAULT '[]'
    CHECK (jsonb_typeof(earlier_approvals) = 'array' AND jsonb_array_length(earlier_approvals) < 10);

-- An approval that does not decide changes the sheet, so the order of submission is no longer that of changes.
DROP INDEX timesheet_waiting;
DROP INDEX timesheet_owner_waiting;
CREATE INDEX timesheet_waiting ON timesheet (submitted_at, id) WHERE state = 'submitted';
CREATE INDEX timesheet_owner_waiting ON timesheet (owner_id, submitted_at, id) WHERE state = 'submitted';
