-- Lists of timesheets in one state: without these, a page of the few that wait for approval looks through all the years
-- of those that were approved.
CREATE INDEX timesheet_state_period ON timesheet (state, period_start DESC, id DESC);
CREATE INDEX timesheet_owner_state ON timesheet (owner_id, state, period_start DESC, id DESC);

-- Who holds a role, for telling who may do what to a sheet.
CREATE INDEX person_role_role ON person_role (role, person_id);
