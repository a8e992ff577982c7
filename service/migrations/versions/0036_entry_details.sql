-- Activities, billable hours, tags, notes on days, and projects of absence. Run as timewarden_owner.

-- The checks hold for new rows: every old one has the default.
ALTER TABLE entry
    ADD COLUMN activity text,
    ADD COLUMN billable boolean NOT NULL DEFAULT false,
    ADD COLUMN tags text[] NOT NULL DEFAULT '{}';
ALTER TABLE entry ADD CONSTRAINT entry_tags CHECK (cardinality(tags) <= 10) NOT VALID;

-- The note on each day that has one, by the day.
ALTER TABLE timesheet ADD COLUMN day_notes jsonb NOT NULL DEFAULT '{}';
ALTER TABLE timesheet ADD CONSTRAINT timesheet_day_notes CHECK (jsonb_typeof(day_notes) = 'object') NOT VALID;

-- `billable` is the default of new hours.
ALTER TABLE project
    ADD COLUMN kind text NOT NULL DEFAULT 'work' CHECK (kind IN ('work', 'absence')),
    ADD COLUMN billable boolean NOT NULL DEFAULT false,
    ADD COLUMN activities text[] NOT NULL DEFAULT '{}' CHECK (cardinality(activities) <= 100),
    ADD CONSTRAINT project_absence CHECK (kind = 'work' OR NOT billable);
GRANT UPDATE (kind, billable, activities) ON project TO timewarden_app;
